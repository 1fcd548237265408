"""What a plan is asked for: the window, items of text, sections and their bounds; checked."""

from __future__ import annotations

import dataclasses
import math
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ctxengine.errors import ArgumentError

_INT64_MAX = 2**63 - 1
_SECTION_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_KEPT_SECTIONS = frozenset(("system", "tools", "turn", "template"))


def token_number(value: Any, name: str, *, at_least: int = 0) -> int:
    """Return `value` as an int from `at_least` to 2**63 - 1, or raise with its name."""
    try:
        number = operator.index(value)
    except TypeError:
        raise ArgumentError(f"{name}: must be an integer, not {type(value).__name__}") from None
    if not at_least <= number <= _INT64_MAX:
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

    Raises
    ------
    ArgumentError
        For numbers outside their domain.
    """

    window: int
    reserve_output: int = 0

    def __post_init__(self) -> None:
        window = token_number(self.window, "budget.window")
        reserve = token_number(self.reserve_output, "budget.reserve_output")
        if reserve > window:
            raise ArgumentError(
                f"budget.reserve_output: {reserve} is larger than the window of {window}"
            )
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
    """

    content: str
    utility: float = 1.0
    pinned: bool = False
    group: str | None = None


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
        Granted before anything is shared by weight. For the history also the least that its
        default cap can be, and an error when larger than its cap or than the window without the
        reserved output.
    max_tokens : int, optional
        Never exceeded by what is not pinned.
    weight : float
        Share relative to the other sections of the same priority; finite and positive. Ratios
        finer than 2**-40 of the largest weight are rounded.
    priority : int, optional
        A higher level is served in full before a lower one gets more than its minimum. By default
        1 for the history, so that its cut does not move with the retrieved chunks, 0 for all else.

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
    high = _INT64_MAX
    if section.max_tokens is not None:
        high = token_number(section.max_tokens, f"{path}.max_tokens")
    if low > high:
        raise ArgumentError(f"{path}.min_tokens: {low} is larger than max_tokens {high}")
    weight = real_number(section.weight, f"{path}.weight")
    if weight <= 0:
        raise ArgumentError(f"{path}.weight: must be positive, not {weight}")
    priority = default_priority if section.priority is None else section.priority
    if not isinstance(priority, int) or abs(priority) > _INT64_MAX:
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
    return dataclasses.replace(source, utility=utility)
