"""Sections of item texts: what each text costs, and how the chosen ones are written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ctxengine import _core
from ctxengine.budget.request import (
    INT64_MAX,
    Bounds,
    Section,
    check_item,
    item_list,
    section_bounds,
)
from ctxengine.chat.table import count_table
from ctxengine.errors import ArgumentError

if TYPE_CHECKING:
    from ctxengine.tokenize import Encoding

GAP = "[...]"  # stands where a text was cut

# The chosen texts of a section by their index.
Texts = dict[int, str]


class ItemSection:
    """The texts of one section: what is pinned, what each costs, how the chosen are written."""

    def __init__(self, section: Section, items: list[Any], path: str) -> None:
        self.name = section.name
        self.bounds = section_bounds(section, 0)
        self.newest_first = section.fit == "drop_oldest"
        self.sources = items
        self.items = [check_item(source, f"{path}[{i}]") for i, source in enumerate(self.sources)]
        groups = {item.group for item in self.items if item.pinned and item.group is not None}
        self.pinned = [item.pinned or item.group in groups for item in self.items]
        self.truncates = section.fit == "truncate"
        self.costs: list[int] = []
        self.overhead = 0
        # Tokens that counting the whole section found above its `max_tokens`.
        self._excess = 0

    def count(self, encoding: Encoding, *, trust: bool) -> None:
        """Count each text as written, and the lines around them; `trust` takes given numbers."""
        known = [item.tokens if trust else None for item in self.items]
        lines = [
            f"{self._entry(i, item.content) if known[i] is None else self._entry(i, '')}\n\n"
            for i, item in enumerate(self.items)
        ]
        *costs, self.overhead = _core.count_texts(
            [*lines, f"<{self.name}>\n</{self.name}>\n\n"], encoding._native, count_table()
        )
        self.costs = [
            min(cost + (given or 0), INT64_MAX) for cost, given in zip(costs, known, strict=True)
        ]

    @property
    def trusts(self) -> bool:
        """Whether some texts came with their token numbers."""
        return any(item.tokens is not None for item in self.items)

    def lower(self, tokens: int) -> None:
        """Plan for fewer tokens: by so many more than expected the section was counted."""
        self._excess += tokens

    def request(self) -> tuple[Bounds, int, bool, list[tuple[int, float, int]]]:
        """Return bounds, overhead and items of what is not pinned, as the planner takes them."""
        overhead = self.overhead
        taken = self._excess
        if any(self.pinned):
            taken += overhead + sum(
                c for c, pinned in zip(self.costs, self.pinned, strict=True) if pinned
            )
            overhead = 0
        high = max(0, self.bounds.max_tokens - taken)
        low = min(max(0, self.bounds.min_tokens - taken), high)
        numbers: dict[str, int] = {}
        optional = []
        for item, tokens, pinned in zip(self.items, self.costs, self.pinned, strict=True):
            if not pinned:
                group = -1
                if item.group is not None:
                    group = numbers.setdefault(item.group, len(numbers))
                optional.append((tokens, item.utility, group))
        bounds = self.bounds._replace(min_tokens=low, max_tokens=high)
        return bounds, overhead, self.newest_first, optional

    def kept(self, taken: Iterable[bool] | None) -> Texts:
        """Return the texts of the pinned items and of the optional ones that were taken."""
        choice = iter(taken) if taken is not None else None
        return {
            i: self.items[i].content
            for i, pinned in enumerate(self.pinned)
            if pinned or (choice is not None and next(choice))
        }

    def block(self, texts: Texts) -> str:
        """Return the text to stand before the user's own, empty when nothing is kept."""
        if not texts:
            return ""
        entries = "\n\n".join(self._entry(i, texts[i]) for i in sorted(texts))
        return f"<{self.name}>\n{entries}\n</{self.name}>\n"

    def divisible(self, kept: Texts) -> list[int]:
        """Return the texts that may go in cut and were left out, the most useful for a token first.

        Ties go to the earlier text.
        """

        def density(i: int) -> float:
            return self.items[i].utility / max(1, self.costs[i])

        return sorted(
            (
                i
                for i, item in enumerate(self.items)
                if i not in kept
                and item.utility > 0
                and (item.partial is not None or (self.truncates and item.group is None))
            ),
            key=lambda i: (-density(i), i),
        )

    def part(self, i: int, tokens: int, encoding: Encoding) -> str:
        """Return what of a text fits into `tokens`, cut between characters; empty for nothing."""
        text, kept = self.items[i].content, self.items[i].partial or "head"
        room = {"head": (tokens, 0), "tail": (0, tokens)}.get(
            kept, (tokens - tokens // 2, tokens // 2)
        )
        head = encoding.truncate(text, room[0])
        if head == text:
            return text
        tail = encoding.truncate(text[len(head) :], room[1], side="left")
        if len(head) + len(tail) == len(text):
            return text
        if not (head or tail) or (room[0] and not head) or (room[1] and not tail):
            return ""
        return "\n".join(filter(None, (head, GAP, tail)))

    def reason(self, i: int, room: int) -> str:
        """Return why a text was left out when `room` tokens were left for all optional texts."""
        item = self.items[i]
        members = [i]
        if item.group is not None:
            members = [k for k, other in enumerate(self.items) if other.group == item.group]
        bounds, overhead, newest_first, _ = self.request()
        tokens = sum(self.costs[k] for k in members) + overhead
        what = "larger" if len(members) == 1 else "its group is larger"
        if tokens > bounds.max_tokens:
            limit = self.bounds.max_tokens
            return f"{what} than what max_tokens of {self.name}, {limit:,}, leaves"
        if tokens > room:
            return f"{what} than the {room:,} tokens left for texts"
        if newest_first:
            return "older than the newest that fit"
        return "more useful texts took the room"

    def _entry(self, i: int, text: str) -> str:
        return f"[{i + 1}] {text}"


def split_sections(
    sections: Sequence[Section] | None, retrieval: Iterable[Any]
) -> tuple[Section, list[ItemSection]]:
    """Return the history's section and the item sections in prompt order, all checked."""
    retrieval = item_list(retrieval, "retrieval")
    history = Section("history")
    found: list[ItemSection] = []
    names = set()
    for i, section in enumerate(sections or ()):
        if not isinstance(section, Section):
            raise ArgumentError(f"sections[{i}]: must be Section, not {type(section).__name__}")
        name = section.name
        if name in names:
            raise ArgumentError(f"sections[{i}].name: {name!r} occurs twice")
        names.add(name)
        items = list(section.items)
        if name == "history":
            history = section
        elif name == "retrieval":
            if items and retrieval:
                raise ArgumentError(f"sections[{i}].items: retrieval is given twice")
            found.insert(0, ItemSection(section, items or retrieval, "retrieval"))
        else:
            found.append(ItemSection(section, items, f"sections[{i}].items"))
    if "retrieval" not in names:
        found.insert(0, ItemSection(Section("retrieval"), retrieval, "retrieval"))
    return history, [section for section in found if section.items]
