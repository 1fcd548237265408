"""The planner's algorithms in plain Python: exact fractions, exhaustive search, one step at a time.

Sections, turns and items are plain tuples, so that nothing here depends on the public classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations
from typing import Any, NamedTuple

__all__ = [
    "Bounds",
    "best_selection",
    "cut_history",
    "group_messages",
    "select_greedily",
    "select_newest",
    "water_fill",
]


class Bounds(NamedTuple):
    """A section as the water-filling sees it."""

    min_tokens: int
    max_tokens: int
    demand: int
    weight: float
    priority: int


def _level(total: int, lows: list[int], highs: list[int], weights: list[Fraction]) -> list[int]:
    """Share `total` as clamp(t * weight, low, high), by halving the range of the water level t."""
    if not lows:
        return []
    if total >= sum(highs):
        return list(highs)

    def shares(t: Fraction) -> list[Fraction]:
        return [
            max(Fraction(low), min(Fraction(high), t * w))
            for low, high, w in zip(lows, highs, weights, strict=True)
        ]

    # The level lies between two neighbouring break points, where the shares are linear in t.
    points = sorted(
        {
            Fraction(bound) / w
            for bounds in (lows, highs)
            for bound, w in zip(bounds, weights, strict=True)
        }
    )
    below, above = 0, len(points) - 1
    while above - below > 1:
        middle = (below + above) // 2
        if sum(shares(points[middle])) <= total:
            below = middle
        else:
            above = middle
    t0, t1 = points[below], points[above]
    f0, f1 = sum(shares(t0)), sum(shares(t1))
    t = t0 if f1 == f0 else t0 + (t1 - t0) * (total - f0) / (f1 - f0)
    exact = shares(t)
    floors = [share.numerator // share.denominator for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: floors[i] - exact[i])
    for i in by_remainder[: total - sum(floors)]:
        floors[i] += 1
    return floors


def water_fill(room: int, sections: Sequence[Bounds]) -> list[int]:
    """Share `room` tokens: minimums first, then level by level, within a level by weight.

    Within a level, section i gets clamp(t * weight_i, granted_i, limit_i) for the t that uses the
    room up; whole tokens by largest remainder, ties to the earlier section.
    """
    granted = [0] * len(sections)
    remaining = room
    minimums = [min(s.min_tokens, s.max_tokens, s.demand) for s in sections]
    wanted = [min(s.max_tokens, s.demand) for s in sections]
    for limits in (minimums, wanted):
        for priority in sorted({s.priority for s in sections}, reverse=True):
            members = [i for i, s in enumerate(sections) if s.priority == priority]
            lows = [granted[i] for i in members]
            highs = [limits[i] for i in members]
            poured = min(remaining, sum(highs) - sum(lows))
            weights = [Fraction(sections[i].weight) for i in members]
            for i, share in zip(
                members, _level(sum(lows) + poured, lows, highs, weights), strict=True
            ):
                granted[i] = share
            remaining -= poured
    return granted


def cut_history(
    measure: Sequence[int],
    tokens: Sequence[int],
    carried: Sequence[int],
    *,
    cap: int,
    room: int,
    rule: str,
    amount: int,
) -> tuple[int, int]:
    """Return the first kept group, and the one if the cap alone counted.

    A place is any group under ``"tight"``, the groups from `amount` on under ``"keep_last"``, and
    under ``"grid"`` the first groups at or after 0, amount, 2 amount, ... tokens. The cut is the
    first place that fits, the newest group if there is none.
    """
    newest = len(measure) - 1
    if newest < 0:
        return 0, 0
    starts = [sum(measure[:i]) for i in range(len(measure))]
    places = list(range(amount if rule == "keep_last" else 0, newest))
    if rule == "grid":
        points = range(0, starts[-1] + 1, amount)
        places = sorted({next(i for i, start in enumerate(starts) if start >= p) for p in points})
    within_cap = [i for i in places if sum(measure[i:]) <= cap] + [newest]
    fitting = [i for i in within_cap if sum(tokens[i:]) + carried[i] <= room] + [newest]
    return min(fitting[0], newest), min(within_cap[0], newest)


def group_messages(
    messages: Sequence[tuple[Any, ...]], wraps_tool_results: bool
) -> tuple[int, list[int], list[int], list[int]]:
    """Return the number of leading system messages; starts and heads of the groups; the places.

    Of messages as ``convert_messages`` makes them, whose calls all have their results.
    """
    roles = [message[0] for message in messages]
    lead = 0
    while lead < len(roles) and roles[lead] in ("system", "developer"):
        lead += 1
    starts: list[int] = []
    heads: list[int] = []
    head = -1
    for i in range(lead, len(roles)):
        content = messages[i][1]
        wraps = content.startswith("<tool_response>") and content.endswith("</tool_response>")
        is_result = roles[i] == "tool" or (
            roles[i] == "user" and wraps_tool_results and head >= 0 and wraps
        )
        leads_on = False
        if i > 0 and roles[i] == roles[i - 1] == "assistant" and not messages[i - 1][5]:
            before = messages[i - 1]
            leads_on = before[4] == "analysis" or (bool(before[3]) and not before[1])
        begins = roles[i] in ("user", "assistant") and not is_result and not leads_on
        if begins or not starts:
            if roles[i] == "user":
                head = len(starts)
            starts.append(i)
            heads.append(head)
    places = [g for g, h in enumerate(heads) if h < 0 or h != g - 1]
    return lead, starts, heads, places


def _groups(items: Sequence[tuple[int, float, int]]) -> list[tuple[int, float, list[int]]]:
    """Tokens, utility and members of each group, in order of first members; -1 is no group."""
    groups: list[tuple[int, float, list[int]]] = []
    index_of: dict[int, int] = {}
    for i, (tokens, utility, group) in enumerate(items):
        if group >= 0 and group in index_of:
            at = index_of[group]
            old_tokens, old_utility, members = groups[at]
            groups[at] = (old_tokens + tokens, old_utility + utility, [*members, i])
        else:
            index_of[group] = len(groups)
            groups.append((tokens, utility, [i]))
    return groups


def select_greedily(items: Sequence[tuple[int, float, int]], capacity: int) -> list[int]:
    """Take groups (tokens, utility, group) by utility per token while they fit; return indices.

    The best single group that fits replaces all of them when it is worth more (Dantzig 1957;
    Kellerer, Pferschy, Pisinger 2004).
    """

    def density(group: tuple[int, float, list[int]]) -> float:
        tokens, utility, _ = group
        if utility == 0:
            return 0.0
        return utility / tokens if tokens else float("inf")

    left, worth, taken = capacity, 0.0, []
    by_density = sorted(_groups(items), key=density, reverse=True)
    for tokens, utility, members in by_density:
        if tokens <= left:
            left -= tokens
            worth += utility
            taken += members
    single = max(
        (group for group in by_density if group[0] <= capacity),
        key=lambda group: group[1],
        default=None,
    )
    if single is not None and single[1] > worth:
        taken = single[2]
    return sorted(taken)


def select_newest(items: Sequence[tuple[int, float, int]], capacity: int) -> list[int]:
    """Take groups (tokens, utility, group) by their last members, from the last one on."""
    taken: list[int] = []
    for tokens, _, members in sorted(_groups(items), key=lambda group: max(group[2]), reverse=True):
        capacity -= tokens
        if capacity < 0:
            break
        taken += members
    return sorted(taken)


def best_selection(items: Sequence[tuple[int, float, int]], capacity: int) -> float:
    """Return the largest utility that any choice of groups reaches; tries all of them."""
    groups = _groups(items)
    return max(
        sum(group[1] for group in choice)
        for size in range(len(groups) + 1)
        for choice in combinations(groups, size)
        if sum(group[0] for group in choice) <= capacity
    )
