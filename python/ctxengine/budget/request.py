"""What a plan is asked for: the window, items of text, sections and their bounds; checked."""

from __future__ import annotations

import dataclasses
import math
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from ctxengine.errors import ArgumentError

INT64_MAX = 2**63 - 1
_SECTION_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_KEPT_SECTIONS = frozenset(("system", "tools", "turn", "template"))


def token_number(value: Any, name: str, *, at_least: int = 0) -> int:
    """Return `value` as an int from `at_least` to 2**63 - 1, or raise with its name."""
    try:
        number = operator.index(value)
    except TypeError:
        raise ArgumentError(f"{name}: must be an integer, not {type(value).__name__}") from None
    if not at_least <= number <= INT64_MAX:
        raise ArgumentError(f"{name}: must lie between {at_least} and 2**63 - 1, not {number}")
    return number


def real_number(value: Any, name: str) -> float:
    """Return `value` as a finite float, or raise with its name."""
    try:
        if isinstance(value, (str, bytes, bytearray)):
            raise TypeError  # which float() would parse
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ArgumentError(f"{name}: must be a number, not {value!r}") from None
    if not math.isfinite(number):
        raise ArgumentError(f"{name}: must be finite, not {number}")
    return number


@dataclass(frozen=True, slots=True)
class Budget:
    """The size of the context window.

    Parameters
    ----------
    window : int
        Tokens that the model can attend to, prompt and output together; 0 to 2**63 - 1.
    reserve_output : int
        Tokens of the window kept free for the answer; at most `window`.
    soft_limits : sequence of int
        Prompt sizes above which the provider charges more for the whole request, such as 200,000 or
        272,000 tokens. A plan stays at or below the smallest of them that holds what must be kept.

    Raises
    ------
    ArgumentError
        For numbers outside their domain.
    """

    window: int
    reserve_output: int = 0
    soft_limits: Sequence[int] = ()

    def __post_init__(self) -> None:
        window = token_number(self.window, "budget.window")
        reserve = token_number(self.reserve_output, "budget.reserve_output")
        if reserve > window:
            raise ArgumentError(
                f"budget.reserve_output: {reserve} is larger than the window of {window}"
            )
        if isinstance(self.soft_limits, (str, bytes)) or not isinstance(self.soft_limits, Iterable):
            kind = type(self.soft_limits).__name__
            raise ArgumentError(f"budget.soft_limits: must be a list of integers, not {kind}")
        limits = {
            token_number(limit, f"budget.soft_limits[{i}]")
            for i, limit in enumerate(self.soft_limits)
        }
        object.__setattr__(self, "soft_limits", tuple(sorted(limits)))
        object.__setattr__(self, "window", window)
        object.__setattr__(self, "reserve_output", reserve)


@dataclass(frozen=True, slots=True)
class Item:
    """A piece of text that may go into the prompt, such as a retrieved chunk.

    Parameters
    ----------
    content : str
        The text.
    utility : float
        How much the text is worth, for example a retriever's score; finite and not negative.
    pinned : bool
        Kept in any case.
    group : str, optional
        Items of one section with the same group are kept or dropped together.
    tokens : int, optional
        How many tokens the text has, where the caller knows: saves counting texts that are not
        chosen. Only the choice goes by it; the plan's own numbers are always counted.
    partial : {"head", "tail", "ends"}, optional
        Which part of the text may stand for it when the whole has no room: the beginning, the end
        or both. Cut between whole characters, with a line ``[...]`` where text is missing. Not for
        an item with a group, nor for a pinned one.
    """

    content: str
    utility: float = 1.0
    pinned: bool = False
    group: str | None = None
    tokens: int | None = None
    partial: Literal["head", "tail", "ends"] | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """Bounds of a part of the prompt, and for a part of the caller's own making its items.

    Parameters
    ----------
    name : str
        ``"history"`` or ``"retrieval"`` sets the bounds of that part; any other name makes a
        section of its own, rendered like retrieval. ``"system"``, ``"tools"``, ``"turn"`` and
        ``"template"`` are always kept and cannot be bounded.
    items : sequence of Item, str or (str, float)
        The section's texts; not for ``"history"``.
    min_tokens : int
        Granted to a section of items before the others share by weight. A grid cut leaves this much
        of the window out of its default cap. For the history the least that its default cap can be,
        and under a tight cut granted like an item section's; an error when larger than its cap or
        than the window without the reserved output.
    max_tokens : int, optional
        Never exceeded by a section with items that are not pinned, by the plan's exact count, the
        lines around the texts included. For the history its cap (see `history_cap` of
        :func:`~ctxengine.budget.plan`).
    weight : float
        Share relative to the other sections of the same priority; finite and positive. Ratios
        finer than 2**-40 of the largest weight are rounded.
    priority : int, optional
        A higher level is served in full before a lower one gets more than its minimum. By default
        1 for the history, 0 for all else. Only a tight cut of the history shares with other
        sections; the stable cuts come before them, so that a higher priority than the history's is
        an error there.
    fit : {"best", "drop_oldest", "truncate"}, optional
        How items are chosen when not all fit. ``"best"``, the default: the most utility.
        ``"drop_oldest"``: the last ones in the list, up to the first that does not fit; what the
        history always does. ``"truncate"``: as ``"best"``, and then the most useful text that was
        left out goes in cut, as `Item.partial` says or else its beginning.

    Raises
    ------
    ArgumentError
        For a name that no section can have and for numbers outside their domain.
    """

    name: str
    items: Sequence[Item | str | tuple[str, float]] = ()
    min_tokens: int = 0
    max_tokens: int | None = None
    weight: float = 1.0
    priority: int | None = None
    fit: Literal["best", "drop_oldest", "truncate"] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _SECTION_NAME.fullmatch(self.name):
            raise ArgumentError(
                f"section name: must be letters, digits, '_' and '-', not {self.name!r}"
            )
        path = f"sections[{self.name!r}]"
        if self.name in _KEPT_SECTIONS:
            raise ArgumentError(f"{path}: is always kept, not bounded")
        items = tuple(item_list(self.items, f"{path}.items"))
        if self.name == "history" and items:
            raise ArgumentError(f"{path}.items: the history has no items")
        if self.fit not in (None, "best", "drop_oldest", "truncate"):
            raise ArgumentError(
                f"{path}.fit: must be 'best', 'drop_oldest' or 'truncate', not {self.fit!r}"
            )
        if self.name == "history" and self.fit not in (None, "drop_oldest"):
            raise ArgumentError(f"{path}.fit: the history can only drop its oldest messages")
        section_bounds(self, 0)
        object.__setattr__(self, "items", items)


class Bounds(NamedTuple):
    """A section's bounds as the native planner takes them."""

    min_tokens: int
    max_tokens: int
    weight: float
    priority: int


def section_bounds(section: Section, default_priority: int) -> Bounds:
    """Return the checked bounds of a section."""
    path = f"sections[{section.name!r}]"
    low = token_number(section.min_tokens, f"{path}.min_tokens")
    high = INT64_MAX
    if section.max_tokens is not None:
        high = token_number(section.max_tokens, f"{path}.max_tokens")
    if low > high:
        raise ArgumentError(f"{path}.min_tokens: {low} is larger than max_tokens {high}")
    weight = real_number(section.weight, f"{path}.weight")
    if weight <= 0:
        raise ArgumentError(f"{path}.weight: must be positive, not {weight}")
    priority = default_priority if section.priority is None else section.priority
    if not isinstance(priority, int) or abs(priority) > INT64_MAX:
        raise ArgumentError(f"{path}.priority: must be an integer of 64 bits, not {priority!r}")
    return Bounds(low, high, weight, priority)


def item_list(items: Any, path: str) -> list[Any]:
    """Return what the caller gave for several texts as a list, or raise: one text is no list."""
    if isinstance(items, (str, bytes, bytearray, Mapping)) or not isinstance(items, Iterable):
        raise ArgumentError(
            f"{path}: must be a list of Item, str or (str, float), not {type(items).__name__}"
        )
    return list(items)


def check_item(source: Any, path: str) -> Item:
    """Return what the caller gave as an `Item`, checked."""
    if isinstance(source, str):
        return Item(source)
    if isinstance(source, tuple) and len(source) == 2:
        source = Item(source[0], utility=source[1])
    if not isinstance(source, Item):
        raise ArgumentError(
            f"{path}: must be Item, str or (str, float), not {type(source).__name__}"
        )
    if not isinstance(source.content, str):
        raise ArgumentError(f"{path}.content: must be str, not {type(source.content).__name__}")
    if source.group is not None and not isinstance(source.group, str):
        raise ArgumentError(f"{path}.group: must be str, not {type(source.group).__name__}")
    utility = real_number(source.utility, f"{path}.utility")
    if utility < 0:
        raise ArgumentError(f"{path}.utility: must not be negative, not {utility}")
    tokens = source.tokens
    if tokens is not None:
        tokens = token_number(tokens, f"{path}.tokens")
    if source.partial not in (None, "head", "tail", "ends"):
        raise ArgumentError(
            f"{path}.partial: must be 'head', 'tail' or 'ends', not {source.partial!r}"
        )
    if source.partial is not None and (source.group is not None or source.pinned):
        why = "a group" if source.group is not None else "a pinned item"
        raise ArgumentError(f"{path}.partial: {why} is kept whole")
    return dataclasses.replace(source, utility=utility, tokens=tokens)
