"""How the history is cut: the rule, what each rule would keep, and why messages are gone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from ctxengine import _core
from ctxengine.budget.items import ItemSection
from ctxengine.budget.prompt import Prompt
from ctxengine.budget.request import (
    INT64_MAX,
    Bounds,
    Budget,
    Section,
    real_number,
    section_bounds,
    token_number,
)
from ctxengine.budget.result import CutChoice
from ctxengine.errors import ArgumentError

Cut = Literal["grid", "tight", "keep_last"]
NativeHistory = tuple[Sequence[int], Sequence[int], Sequence[int], int, str, int]


class HistoryRule(NamedTuple):
    """How the history is to be cut."""

    cut: Cut
    bounds: Bounds
    cap: int  # of all but a tight cut without a cap of its own
    has_default_cap: bool
    step: int
    keep_last: int | None


def history_rule(
    section: Section,
    *,
    budget: Budget,
    item_sections: Sequence[ItemSection],
    history_cap: int | None,
    cut: Cut,
    grid: float,
    keep_last: int | None,
) -> HistoryRule:
    """Return the checked rule for what the caller asked for."""
    if cut not in ("grid", "tight", "keep_last"):
        raise ArgumentError(f"cut: must be 'grid', 'tight' or 'keep_last', not {cut!r}")
    grid = real_number(grid, "grid")
    if not 0 < grid <= 1:
        raise ArgumentError(f"grid: must lie above 0 and be at most 1, not {grid}")
    if keep_last is not None:
        keep_last = token_number(keep_last, "keep_last", at_least=1)
        if cut != "keep_last":
            raise ArgumentError(f"keep_last: is for cut='keep_last', not for {cut!r}")
    elif cut == "keep_last":
        raise ArgumentError("keep_last: how many turns to keep is missing")
    available = budget.window - budget.reserve_output
    bounds = section_bounds(section, 1)
    least = "sections['history'].min_tokens"
    if bounds.min_tokens > available:
        raise ArgumentError(
            f"{least}: {bounds.min_tokens} is larger than the window without the reserved output, "
            f"{available}"
        )
    if cut != "tight":
        for other in item_sections:
            if other.bounds.priority > bounds.priority:
                raise ArgumentError(
                    f"sections[{other.name!r}].priority: {other.bounds.priority} is above the "
                    f"history's {bounds.priority}, and cut={cut!r} gives way to no section; use "
                    "cut='tight', or a smaller history_cap"
                )
    cap = section.max_tokens
    if history_cap is not None:
        if cap is not None:
            raise ArgumentError("history_cap: max_tokens of the section 'history' says it already")
        cap = token_number(history_cap, "history_cap")
        if bounds.min_tokens > cap:
            raise ArgumentError(f"{least}: {bounds.min_tokens} is larger than history_cap {cap}")
    has_default_cap = cap is None
    if cap is None:
        # From what is configured only, never from what this call brings.
        room = min(available, *budget.soft_limits[:1], INT64_MAX)
        room = max(0, room - sum(other.bounds.min_tokens for other in item_sections))
        cap = max(room - room // 4, bounds.min_tokens)
    step = min(max(1, int(cap * grid)), INT64_MAX)
    # A tight cut shares the room by these bounds; the cap is kept by the cut itself.
    bounds = bounds._replace(max_tokens=INT64_MAX)
    return HistoryRule(cut, bounds, cap, has_default_cap, step, keep_last)


class Lengths(NamedTuple):
    """A history by the places where it can be cut; see ``src/cpp/budget/history_cut.h``."""

    measure: Sequence[int]
    tokens: Sequence[int]
    carried: Sequence[int]
    turns: list[int]  # places that begin a turn

    @classmethod
    def of(cls, prompt: Prompt) -> Lengths:
        """Return those of a prompt."""
        return cls(prompt.measure, prompt.tokens, prompt.carried, prompt.groups.turns)


def native_history(lengths: Lengths, rule: HistoryRule, cut: Cut) -> NativeHistory:
    """Return a history and a rule as the native planner takes them."""
    cap, amount = rule.cap, rule.step
    if cut != "grid":
        cap, amount = (INT64_MAX if rule.has_default_cap else cap), 0
    if cut == "keep_last" and rule.keep_last is not None:
        turns = lengths.turns
        amount = turns[-rule.keep_last] if rule.keep_last < len(turns) else 0
    return lengths.measure, lengths.tokens, lengths.carried, cap, cut, amount


def cut_choices(prompt: Prompt, rule: HistoryRule, room: int) -> tuple[CutChoice, ...]:
    """Return what each rule would keep in `room` tokens."""
    choices = []
    cuts: tuple[Cut, ...] = ("grid", "tight", "keep_last")
    for cut in cuts:
        if cut == "keep_last" and rule.keep_last is None:
            continue
        history = native_history(Lengths.of(prompt), rule, cut)
        first, kept, alone = _core.cut_history(history, room)
        start = prompt.start_of(first)
        pressed = cut != "tight" and first > alone
        choices.append(CutChoice(cut, start, kept, room - kept, pressed, cut == rule.cut))
    return tuple(choices)


def _cap_reason(rule: HistoryRule, limit: int) -> str:
    if rule.has_default_cap:
        return f"default history cap {rule.cap:,} of {limit:,} tokens; cut='tight' keeps more"
    return f"history cap {rule.cap:,} tokens"


def why_cut(
    prompt: Prompt, rule: HistoryRule, limit: int, used: int, place: int
) -> tuple[str, str | None]:
    """Return why the history before a place was left out, and the plan's note on it."""
    start = prompt.start_of(place)
    history = native_history(Lengths.of(prompt), rule, rule.cut)
    uncapped = (*history[:3], INT64_MAX, *history[4:])
    alone = _core.cut_history(history, INT64_MAX)[0]
    why, note = "no room for more of it", None
    if alone == place:
        why = _cap_reason(rule, limit)
        if rule.cut == "keep_last" and _core.cut_history(uncapped, INT64_MAX)[0] == place:
            why = f"the last {rule.keep_last:,} turns are kept"
    elif rule.cut != "tight":
        note = (
            f"the history is cut at history[{start}], though its rule alone would cut it at "
            f"history[{prompt.start_of(alone)}]: what is kept in any case leaves too little room"
        )
    kind = "" if rule.cut == "tight" else "stable "
    reason = f"older than the {kind}cut at history[{start}] ({why})"
    free = limit - used
    kept_tokens = sum(prompt.tokens[place:]) + prompt.carried[place]
    tight = (*history[:3], INT64_MAX, "tight", 0)
    if note is None and _core.cut_history(tight, kept_tokens + free)[0] < place:
        note = f"part of the history is left out although {free:,} tokens are free: {reason}"
    return reason, note
