"""What goes into the context window, what is left out, and why.

:func:`plan` takes everything that a request would like to send (system prompt, tools, retrieved
chunks, the conversation) and returns a :class:`Plan`: the messages that fit, token-exact and never
over the window, with each section's share and every item that was dropped.

How it decides:

1. **Kept in any case**: the template's own tokens, the system prompt, the tools, the last turn
   (from the last user message on) and pinned items. When these alone are too large, the call
   raises :class:`~ctxengine.errors.BudgetExceeded` with the numbers.
2. **Shared by water-filling**: the rest of the window goes to the history before the last turn and
   to the item sections, by `priority` levels, and within a level by `weight`, each section between
   its `min_tokens` and the smaller of its `max_tokens` and what it can use.
3. **Filled**: the history keeps its newest turns, cut only between turns (so a tool call and its
   results stay together); item sections take the best utility per token. What one section leaves
   unused flows to the next.
4. **Proved**: the chosen prompt is rendered and counted again; should tokens that merge across a
   border have made it larger than the sum of its parts, it is planned again with less room.
"""

from __future__ import annotations

import copy
import dataclasses
import html
import math
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ctxengine import _core
from ctxengine.chat import (
    Template,
    _convert_messages,
    _convert_tools,
    _Converted,
    _field,
    _resolve,
    _table,
)
from ctxengine.errors import ArgumentError, BudgetExceeded

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ctxengine.tokenize import Encoding

__all__ = [
    "Budget",
    "Dropped",
    "Duplicate",
    "Item",
    "Plan",
    "Predicted",
    "Section",
    "SectionUse",
    "plan",
]


@dataclass(frozen=True, slots=True)
class Budget:
    """The size of the context window.

    Parameters
    ----------
    window : int
        Tokens that the model can attend to, prompt and output together; 0 to 2**63 - 1.
    reserve_output : int
        Tokens of the window kept free for the answer; at most `window`.
    """

    window: int
    reserve_output: int = 0


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
        Granted before anything is shared by weight.
    max_tokens : int, optional
        Never exceeded by what is not pinned.
    weight : float
        Share relative to the other sections of the same priority; finite and positive. Ratios
        finer than 2**-40 of the largest weight are rounded.
    priority : int, optional
        A higher level is served in full before a lower one gets more than its minimum. By default
        1 for the history, so that its cut does not move with the retrieved chunks, 0 for all else.
    """

    name: str
    items: Sequence[Item | str | tuple[str, float]] = ()
    min_tokens: int = 0
    max_tokens: int | None = None
    weight: float = 1.0
    priority: int | None = None


class SectionUse(NamedTuple):
    """Tokens that one section of a plan takes, and their share of the window."""

    name: str
    tokens: int
    share: float


@dataclass(frozen=True, slots=True)
class Dropped:
    """Something that was left out: `item` is the caller's own object, at `index` of `section`."""

    section: str
    index: int
    item: Any
    tokens: int
    reason: str


class Duplicate(NamedTuple):
    """The same text at several `places` of the plan, such as ``"retrieval[3]"``."""

    places: tuple[str, ...]
    tokens: int


class Predicted(NamedTuple):
    """Prompt tokens that a prefix cache holds already, and those left to compute."""

    cached: int
    uncached: int


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """What :func:`plan` decided. Immutable; the token ids are made when first asked for.

    Attributes
    ----------
    messages : tuple
        The messages to send: the caller's own objects, but for the last user message when item
        texts were put into it (a copy then; the caller's object is not changed).
    tools : tuple
        The tools to send, the caller's own objects.
    budget : Budget
        The window that was planned for.
    sections : tuple of SectionUse
        Tokens per section, in the order template, system, tools, history, item sections, turn;
        they add up to `used`.
    used, left : int
        Tokens of the whole rendered prompt, and tokens of the window that neither the prompt nor
        the reserved output takes.
    dropped : tuple of Dropped
        What was left out, with the reason.
    duplicates : tuple of Duplicate
        Texts of 16 tokens or more that the plan holds more than once.
    summarize_span : tuple of int, optional
        Half-open index range of `history` that was cut: what a summary would have to replace.
    predicted : Predicted
        From `cached_tokens`.
    exact : bool
        False only for a template that was told to estimate.
    template, encoding
        What the prompt was rendered and counted with.
    """

    messages: tuple[Any, ...]
    tools: tuple[Any, ...]
    budget: Budget
    sections: tuple[SectionUse, ...]
    used: int
    left: int
    dropped: tuple[Dropped, ...]
    duplicates: tuple[Duplicate, ...]
    summarize_span: tuple[int, int] | None
    predicted: Predicted
    exact: bool
    template: Template
    encoding: Encoding
    _ids: list[npt.NDArray[np.uint32]] = field(default_factory=list, compare=False)

    @property
    def token_ids(self) -> npt.NDArray[np.uint32]:
        """Token ids of the rendered prompt, uint32[used]; read-only, made on first use.

        Raises
        ------
        ArgumentError
            For the template ``openai``, whose rendering is not published.
        """
        if not self._ids:
            ids = self.template._native.encode(
                _convert_messages(self.messages),
                _convert_tools(self.tools),
                True,
                self.encoding._native,
            )
            ids.flags.writeable = False
            self._ids.append(ids)
        return self._ids[0]

    def to_dict(self) -> dict[str, Any]:
        """Return the plan's numbers as JSON-ready data, without messages and token ids."""
        return {
            "window": self.budget.window,
            "reserve_output": self.budget.reserve_output,
            "encoding": self.encoding.name,
            "template": self.template.name,
            "exact": self.exact,
            "used": self.used,
            "left": self.left,
            "sections": [section._asdict() for section in self.sections],
            "dropped": [
                {"section": d.section, "index": d.index, "tokens": d.tokens, "reason": d.reason}
                for d in self.dropped
            ],
            "duplicates": [
                {"places": list(duplicate.places), "tokens": duplicate.tokens}
                for duplicate in self.duplicates
            ],
            "summarize_span": None if self.summarize_span is None else list(self.summarize_span),
            "predicted": self.predicted._asdict(),
        }

    def _rows(self) -> list[SectionUse]:
        window = self.budget.window
        reserved = self.budget.reserve_output
        return [
            *self.sections,
            SectionUse("(output)", reserved, _share(reserved, window)),
            SectionUse("(left)", self.left, _share(self.left, window)),
        ]

    def _title(self) -> str:
        kind = "tokens" if self.exact else "tokens (estimated)"
        return (
            f"Plan: {self.used:,} of {self.budget.window:,} {kind}, "
            f"{len(self.messages)} messages, {len(self.dropped)} dropped"
        )

    def __repr__(self) -> str:
        rows = self._rows()
        name_width = max(len(row.name) for row in rows)
        number_width = max(len(f"{row.tokens:,}") for row in rows)
        lines = [self._title()]
        for row in rows:
            bar = "█" * round(row.share * _BAR_WIDTH)
            lines.append(
                f"  {row.name:<{name_width}}  {row.tokens:>{number_width},}  "
                f"{row.share:>6.1%}  {bar}".rstrip()
            )
        return "\n".join(lines)

    def __rich__(self) -> Any:
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        table = Table(title=self._title(), title_justify="left")
        table.add_column("section")
        table.add_column("tokens", justify="right")
        table.add_column("share", justify="right")
        table.add_column("", width=_BAR_WIDTH)
        for row in self._rows():
            table.add_row(
                row.name,
                f"{row.tokens:,}",
                f"{row.share:.1%}",
                ProgressBar(total=1.0, completed=row.share, width=_BAR_WIDTH),
            )
        return table

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(row.name)}</td><td style='text-align:right'>{row.tokens:,}</td>"
            f"<td style='text-align:right'>{row.share:.1%}</td><td><div style='background:#4878a8;"
            f"height:0.8em;width:{row.share * 20:.2f}em'></div></td></tr>"
            for row in self._rows()
        )
        return (
            f"<table><caption>{html.escape(self._title())}</caption><tr><th>section</th>"
            f"<th>tokens</th><th>share</th><th></th></tr>{rows}</table>"
        )


_BAR_WIDTH = 40
_INT64_MAX = 2**63 - 1
_MIN_DUPLICATE_TOKENS = 16
_SECTION_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_KEPT_SECTIONS = frozenset(("system", "tools", "turn", "template"))


def _share(tokens: int, window: int) -> float:
    return tokens / window if window else 0.0


def _token_number(value: Any, name: str, *, at_least: int = 0) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise ArgumentError(f"{name}: must be an integer, not {type(value).__name__}") from None
    if not at_least <= number <= _INT64_MAX:
        raise ArgumentError(f"{name}: must lie between {at_least} and 2**63 - 1, not {number}")
    return number


def _real_number(value: Any, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ArgumentError(f"{name}: must be a number, not {value!r}") from None
    if not math.isfinite(number):
        raise ArgumentError(f"{name}: must be finite, not {number}")
    return number


class _Bounds(NamedTuple):
    min_tokens: int
    max_tokens: int
    weight: float
    priority: int


def _bounds(section: Section, default_priority: int) -> _Bounds:
    path = f"sections[{section.name!r}]"
    low = _token_number(section.min_tokens, f"{path}.min_tokens")
    high = _INT64_MAX
    if section.max_tokens is not None:
        high = _token_number(section.max_tokens, f"{path}.max_tokens")
    if low > high:
        raise ArgumentError(f"{path}.min_tokens: {low} is larger than max_tokens {high}")
    weight = _real_number(section.weight, f"{path}.weight")
    if weight <= 0:
        raise ArgumentError(f"{path}.weight: must be positive, not {weight}")
    priority = default_priority if section.priority is None else section.priority
    if not isinstance(priority, int) or abs(priority) > _INT64_MAX:
        raise ArgumentError(f"{path}.priority: must be an integer of 64 bits, not {priority!r}")
    return _Bounds(low, high, weight, priority)


class _ItemSection:
    """The texts of one section: what is pinned, what each costs, how the chosen are written."""

    def __init__(self, section: Section, items: Iterable[Any], path: str) -> None:
        self.name = section.name
        self.bounds = _bounds(section, 0)
        self.sources = list(items)
        self.items = [_item(source, f"{path}[{i}]") for i, source in enumerate(self.sources)]
        groups = {item.group for item in self.items if item.pinned and item.group is not None}
        self.pinned = [item.pinned or item.group in groups for item in self.items]
        self.costs: list[int] = []
        self.overhead = 0

    def count(self, encoding: Encoding) -> None:
        """Count each text as written, and the lines around them."""
        lines = [f"{self._entry(i)}\n\n" for i in range(len(self.items))]
        *self.costs, self.overhead = _core.count_texts(
            [*lines, f"<{self.name}>\n</{self.name}>\n\n"], encoding._native, _table
        )

    def request(self) -> tuple[_Bounds, list[tuple[int, float, int]]]:
        """Return the bounds and items of what is not pinned, as the planner takes them."""
        pinned_tokens = sum(c for c, pinned in zip(self.costs, self.pinned, strict=True) if pinned)
        high = max(0, self.bounds.max_tokens - pinned_tokens)
        low = min(max(0, self.bounds.min_tokens - pinned_tokens), high)
        numbers: dict[str, int] = {}
        optional = []
        for item, tokens, pinned in zip(self.items, self.costs, self.pinned, strict=True):
            if not pinned:
                group = -1
                if item.group is not None:
                    group = numbers.setdefault(item.group, len(numbers))
                optional.append((tokens, item.utility, group))
        return self.bounds._replace(min_tokens=low, max_tokens=high), optional

    def kept(self, taken: Iterable[bool] | None) -> list[int]:
        """Return the indices of the pinned items and of the optional ones that were taken."""
        choice = iter(taken) if taken is not None else None
        return [
            i
            for i, pinned in enumerate(self.pinned)
            if pinned or (choice is not None and next(choice))
        ]

    def block(self, kept: list[int]) -> str:
        """Return the text to stand before the user's own, empty when nothing is kept."""
        if not kept:
            return ""
        entries = "\n\n".join(self._entry(i) for i in kept)
        return f"<{self.name}>\n{entries}\n</{self.name}>\n"

    def _entry(self, i: int) -> str:
        return f"[{i + 1}] {self.items[i].content}"


def _item(source: Any, path: str) -> Item:
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
    utility = _real_number(source.utility, f"{path}.utility")
    if utility < 0:
        raise ArgumentError(f"{path}.utility: must not be negative, not {utility}")
    return dataclasses.replace(source, utility=utility)


def _sections(
    sections: Sequence[Section] | None, retrieval: Iterable[Any]
) -> tuple[Section, list[_ItemSection]]:
    retrieval = list(retrieval)
    history = Section("history")
    found: list[_ItemSection] = []
    names = set()
    for i, section in enumerate(sections or ()):
        if not isinstance(section, Section):
            raise ArgumentError(f"sections[{i}]: must be Section, not {type(section).__name__}")
        name = section.name
        if not isinstance(name, str) or not _SECTION_NAME.fullmatch(name):
            raise ArgumentError(
                f"sections[{i}].name: must be letters, digits, '_' and '-', not {name!r}"
            )
        if name in _KEPT_SECTIONS:
            raise ArgumentError(f"sections[{i}].name: {name!r} is always kept, not bounded")
        if name in names:
            raise ArgumentError(f"sections[{i}].name: {name!r} occurs twice")
        names.add(name)
        if name == "history":
            if section.items:
                raise ArgumentError(f"sections[{i}].items: the history has no items")
            history = section
        elif name == "retrieval":
            if section.items and retrieval:
                raise ArgumentError(f"sections[{i}].items: retrieval is given twice")
            found.insert(0, _ItemSection(section, section.items or retrieval, "retrieval"))
        else:
            found.append(_ItemSection(section, section.items, f"sections[{i}].items"))
    if "retrieval" not in names:
        found.insert(0, _ItemSection(Section("retrieval"), retrieval, "retrieval"))
    return history, [section for section in found if section.items]


def _is_turn_start(message: _Converted) -> bool:
    # A user message that only wraps a tool's result continues its turn (rule of Qwen3's template).
    content = message[1]
    wrapped = content.startswith("<tool_response>") and content.endswith("</tool_response>")
    return message[0] == "user" and not wrapped


def _check_tool_results(history: Sequence[Any], converted: Sequence[_Converted]) -> None:
    call_ids: set[str] | None = None
    for i, (message, native) in enumerate(zip(history, converted, strict=True)):
        if native[0] != "tool":
            call_ids = None
            if native[5]:
                ids = [_field(call, "id") for call in _field(message, "tool_calls")]
                call_ids = {call_id for call_id in ids if isinstance(call_id, str)}
            continue
        if call_ids is None:
            raise ArgumentError(f"history[{i}]: a tool result without a tool call before it")
        call_id = _field(message, "tool_call_id")
        if call_id is not None and call_ids and call_id not in call_ids:
            raise ArgumentError(
                f"history[{i}].tool_call_id: {call_id!r} is none of the calls before it"
            )


def _with_text_before(message: Any, block: str) -> Any:
    """Return a copy of a user message whose text begins with `block` and an empty line."""
    content = _field(message, "content")
    new: Any = f"{block}\n{content}"
    if not isinstance(content, str):
        new = [{"type": "text", "text": block}, *content]
    if isinstance(message, Mapping):
        return {**message, "content": new}
    if hasattr(message, "model_copy"):
        return message.model_copy(update={"content": new})
    changed = copy.copy(message)
    object.__setattr__(changed, "content", new)
    return changed


class _Prompt:
    """The parts of a prompt, and its exact count for any choice of what is optional."""

    def __init__(
        self,
        *,
        system: list[Any],
        history: list[Any],
        tools: list[str],
        item_sections: list[_ItemSection],
        template: Template,
        encoding: Encoding,
    ) -> None:
        converted_system = _convert_messages(system, "system")
        converted = _convert_messages(history, "history")
        template._native.validate(converted_system, "system")
        template._native.validate(converted, "history")
        _check_tool_results(history, converted)
        self.template = template
        self.encoding = encoding
        self.tools = tools
        self.item_sections = item_sections
        self.history = history
        # Leading system messages of the history are kept like the system prompt.
        self.lead = 0
        while self.lead < len(converted) and converted[self.lead][0] in ("system", "developer"):
            self.lead += 1
        self.head = [*system, *history[: self.lead]]
        self.native_head = [*converted_system, *converted[: self.lead]]
        self.native_history = converted
        starts = [i for i in range(self.lead, len(converted)) if _is_turn_start(converted[i])]
        if self.lead < len(converted) and (not starts or starts[0] != self.lead):
            starts.insert(0, self.lead)
        # turn_starts[k] is where turn k begins; the last one is kept, those before it are optional.
        self.last_start = starts.pop() if starts else len(converted)
        self.turn_starts = [*starts, self.last_start]
        self.carries_items = self.last_start < len(converted) and _is_turn_start(
            converted[self.last_start]
        )
        if item_sections and not self.carries_items:
            raise ArgumentError(
                f"{item_sections[0].name}: its texts stand in the last user message, and the "
                "history has none"
            )
        everything = [*self.native_head, *converted]
        self.message_tokens: list[int] = []
        if everything:
            per_message = self.count(everything, with_tools=False)[0]
            self.message_tokens = per_message[len(self.native_head) :]
        self.turn_tokens = [
            sum(self.message_tokens[a:b])
            for a, b in zip(self.turn_starts, self.turn_starts[1:], strict=False)
        ]

    def count(
        self, messages: list[_Converted], *, with_tools: bool = True
    ) -> tuple[list[int], int, int]:
        return self.template._native.count(
            messages, self.tools if with_tools else [], True, self.encoding._native, _table
        )

    def blocks(self, kept: list[list[int]]) -> list[str]:
        return [s.block(k) for s, k in zip(self.item_sections, kept, strict=True)]

    def native_turn(self, blocks: list[str]) -> list[_Converted]:
        turn = self.native_history[self.last_start :]
        written = [block for block in blocks if block]
        if written:
            role, content, *rest = turn[0]
            turn[0] = (role, "\n".join([*written, content]), *rest)  # type: ignore[assignment]
        return turn

    def native_messages(self, first_kept: int, blocks: list[str]) -> list[_Converted]:
        middle = self.native_history[self.turn_starts[first_kept] : self.last_start]
        return [*self.native_head, *middle, *self.native_turn(blocks)]

    def messages(self, first_kept: int, blocks: list[str]) -> tuple[Any, ...]:
        kept = self.history[self.turn_starts[first_kept] :]
        written = "\n".join(block for block in blocks if block)
        if written:
            at = self.last_start - self.turn_starts[first_kept]
            kept[at] = _with_text_before(kept[at], written)
        return (*self.head, *kept)

    def sections(self, first_kept: int, blocks: list[str], window: int) -> tuple[SectionUse, ...]:
        messages = self.native_messages(first_kept, blocks)
        per_message, template_tokens, without_tools = self.count(messages, with_tools=False)
        tools_tokens = self.count(messages)[2] - without_tools if self.tools else 0
        last_turn = len(messages) - (len(self.native_history) - self.last_start)
        rows = [
            ("template", template_tokens),
            ("system", sum(per_message[: len(self.native_head)])),
            ("tools", tools_tokens),
            ("history", sum(per_message[len(self.native_head) : last_turn])),
        ]
        # What each section adds to the user message that carries them all.
        carrier_tokens = 0
        for k in range(len(blocks) + 1 if self.carries_items else 0):
            tokens = self.count(self.native_turn(blocks[:k])[:1], with_tools=False)[0][0]
            if k > 0:
                rows.append((self.item_sections[k - 1].name, tokens - carrier_tokens))
            carrier_tokens = tokens
        item_tokens = sum(tokens for _, tokens in rows[4:])
        rows.append(("turn", sum(per_message[last_turn:]) - item_tokens))
        return tuple(SectionUse(name, n, _share(n, window)) for name, n in rows)


def _duplicates(prompt: _Prompt, first_kept: int, kept: list[list[int]]) -> tuple[Duplicate, ...]:
    places: dict[str, list[str]] = {}
    num_system = len(prompt.native_head) - prompt.lead
    for i, message in enumerate(prompt.native_head[:num_system]):
        places.setdefault(message[1], []).append(f"system[{i}]")
    start = prompt.turn_starts[first_kept]
    for i, message in enumerate(prompt.native_history):
        if i < prompt.lead or i >= start:
            places.setdefault(message[1], []).append(f"history[{i}]")
    for section, indices in zip(prompt.item_sections, kept, strict=True):
        for i in indices:
            places.setdefault(section.items[i].content, []).append(f"{section.name}[{i}]")
    repeated = [(text, where) for text, where in places.items() if len(where) > 1]
    tokens = _core.count_texts([text for text, _ in repeated], prompt.encoding._native, _table)
    return tuple(
        Duplicate(tuple(where), n)
        for (_, where), n in zip(repeated, tokens, strict=True)
        if n >= _MIN_DUPLICATE_TOKENS
    )


def _as_list(messages: Any, name: str) -> list[Any]:
    if messages is None:
        return []
    if isinstance(messages, str) and name == "system":
        return [{"role": "system", "content": messages}]
    if isinstance(messages, Mapping) or not isinstance(messages, Iterable):
        # One message, as a mapping or as an object.
        return [messages]
    if isinstance(messages, (str, bytes, bytearray)):
        raise ArgumentError(f"{name}: must be a list of messages, not {type(messages).__name__}")
    return list(messages)


def plan(
    budget: Budget | int,
    encoding: Encoding,
    *,
    system: str | Any | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
    retrieval: Iterable[Item | str | tuple[str, float]] = (),
    history: Iterable[Any] = (),
    sections: Sequence[Section] | None = None,
    template: Template | str | None = None,
    history_cap: int | None = None,
    cut: Literal["grid", "tight"] = "grid",
    grid: float = 0.25,
    cached_tokens: int = 0,
) -> Plan:
    """Choose what goes into the window; the module's own text says how.

    Parameters
    ----------
    budget : Budget or int
        The window; an int is a window without reserved output.
    encoding : Encoding
        The model's encoding.
    system : str, message or list of message, optional
        Always kept, and stands first; so are the system messages that `history` begins with.
    tools : sequence of mapping, optional
        Tool definitions as in a request body; always kept.
    retrieval : iterable of Item, str or (str, float)
        Texts with their utilities, in the caller's order. Those kept stand in that order before the
        text of the last user message, numbered by their place in `retrieval`::

            <retrieval>
            [1] text of the first

            [3] text of the third
            </retrieval>

            the user's own text

    history : iterable of message
        The conversation, oldest first, ending with the turn to be answered. A turn begins at a user
        message; everything from the last one on is kept.
    sections : sequence of Section, optional
        Bounds of ``"history"`` and ``"retrieval"``, and sections of the caller's own.
    template : Template or str, optional
        By default the template of the encoding's models.
    history_cap : int, optional
        Tokens that the turns before the last one may take; the same as `max_tokens` of the section
        ``"history"``. By default three quarters of the window without the reserved output for a
        grid cut, no cap for a tight one.
    cut : {"grid", "tight"}
        ``"grid"`` cuts the history at the first multiple of ``grid * history_cap`` tokens from
        its beginning, moved up to a turn boundary, that leaves no more than the cap. The cut
        depends on the conversation and the cap alone as long as what must be kept leaves the cap
        its room: it is the same in every process, never moves backwards as turns are appended,
        and a prefix cache keeps what stands before it. ``"tight"`` keeps as many turns as fit,
        and moves with every turn.
    grid : float
        Step of the grid as a fraction of the cap, above 0 and at most 1.
    cached_tokens : int
        Prompt tokens that a prefix cache is known to hold, for `Plan.predicted`.

    Returns
    -------
    Plan
        Rendered and counted: ``plan.used <= budget.window - budget.reserve_output``.

    Raises
    ------
    BudgetExceeded
        When what must be kept is larger than the window without the reserved output; carries both
        numbers.
    ArgumentError
        For a message that the template cannot show, a tool result without its call, numbers outside
        their domain, and item texts without a user message to carry them.

    Notes
    -----
    O(text) for what was not counted before, else O(messages + items log items). Nothing that the
    caller gave is changed. Sharing: demand-capped weighted water-filling, exact in integers.
    Chunks: greedy by utility per token, never below half of the optimum for the tokens they are
    given.

    Examples
    --------
    >>> from ctxengine.tokenize import get_encoding
    >>> p = plan(
    ...     Budget(100, reserve_output=20),
    ...     get_encoding("qwen3"),
    ...     system="Be brief.",
    ...     retrieval=[("Paris is the capital of France.", 0.9), ("filler " * 90, 0.1)],
    ...     history=[{"role": "user", "content": "What is the capital of France?"}],
    ... )
    >>> p.used <= 80, [d.index for d in p.dropped]
    (True, [1])
    """
    budget = budget if isinstance(budget, Budget) else Budget(budget)
    window = _token_number(budget.window, "budget.window")
    reserve = _token_number(budget.reserve_output, "budget.reserve_output")
    if reserve > window:
        raise ArgumentError(
            f"budget.reserve_output: {reserve} is larger than the window of {window}"
        )
    available = window - reserve
    cached = _token_number(cached_tokens, "cached_tokens")
    if cut not in ("grid", "tight"):
        raise ArgumentError(f"cut: must be 'grid' or 'tight', not {cut!r}")
    grid = _real_number(grid, "grid")
    if not 0 < grid <= 1:
        raise ArgumentError(f"grid: must lie above 0 and be at most 1, not {grid}")

    history_section, item_sections = _sections(sections, retrieval)
    bounds = _bounds(history_section, 1)
    if history_cap is not None:
        if history_section.max_tokens is not None:
            raise ArgumentError("history_cap: max_tokens of the section 'history' says it already")
        cap = _token_number(history_cap, "history_cap")
        bounds = bounds._replace(min_tokens=min(bounds.min_tokens, cap), max_tokens=cap)
    elif history_section.max_tokens is None and cut == "grid":
        cap = available - available // 4
        bounds = bounds._replace(min_tokens=min(bounds.min_tokens, cap), max_tokens=cap)
    cap = bounds.max_tokens
    grid_step = max(1, int(cap * grid)) if cut == "grid" else 0

    tools_list = list(tools) if tools is not None else []
    prompt = _Prompt(
        system=_as_list(system, "system"),
        history=_as_list(history, "history"),
        tools=_convert_tools(tools_list),
        item_sections=item_sections,
        template=_resolve(template, encoding),
        encoding=encoding,
    )
    num_turns = len(prompt.turn_tokens)
    pinned = [section.kept(None) for section in item_sections]
    fixed = prompt.count(prompt.native_messages(num_turns, prompt.blocks(pinned)))[2]
    if fixed > available:
        raise BudgetExceeded(
            f"what must be kept takes {fixed} tokens, {available} are available (window {window}, "
            f"reserved for the output {reserve})",
            fixed,
            available,
        )
    for section in item_sections:
        section.count(encoding)
    # The lines around a section's texts are paid in advance, or stand in `fixed` with its pins.
    overhead = sum(
        section.overhead for section, pins in zip(item_sections, pinned, strict=True) if not pins
    )
    room = max(0, available - fixed - overhead)
    requests = [section.request() for section in item_sections]
    while True:
        first_kept, taken = _core.decide_plan(room, prompt.turn_tokens, bounds, grid_step, requests)
        kept = [s.kept(t) for s, t in zip(item_sections, taken, strict=True)]
        blocks = prompt.blocks(kept)
        used = prompt.count(prompt.native_messages(first_kept, blocks))[2]
        if used <= available:
            break
        if room == 0:
            first_kept, kept, used = num_turns, pinned, fixed
            blocks = prompt.blocks(kept)
            break
        # Tokens that merge across a border made the whole larger than its parts.
        room = max(0, room - (used - available))

    dropped = [
        Dropped(
            "history",
            i,
            prompt.history[i],
            prompt.message_tokens[i],
            f"older than the cut at history[{prompt.turn_starts[first_kept]}]",
        )
        for i in range(prompt.lead, prompt.turn_starts[first_kept])
    ]
    for section, indices in zip(item_sections, kept, strict=True):
        chosen = set(indices)
        dropped += [
            Dropped(section.name, i, source, tokens, "more useful texts per token took the room")
            for i, (source, tokens) in enumerate(zip(section.sources, section.costs, strict=True))
            if i not in chosen
        ]
    return Plan(
        messages=prompt.messages(first_kept, blocks),
        tools=tuple(tools_list),
        budget=Budget(window, reserve),
        sections=prompt.sections(first_kept, blocks, window),
        used=used,
        left=available - used,
        dropped=tuple(dropped),
        duplicates=_duplicates(prompt, first_kept, kept),
        summarize_span=((prompt.lead, prompt.turn_starts[first_kept]) if first_kept > 0 else None),
        predicted=Predicted(min(cached, used), used - min(cached, used)),
        exact=prompt.template.exact,
        template=prompt.template,
        encoding=encoding,
    )
