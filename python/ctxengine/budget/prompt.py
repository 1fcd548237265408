"""The parts of a prompt, how they are written, and their exact counts."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ctxengine import _core
from ctxengine.budget.request import Bounds, Section, check_item, item_list, section_bounds
from ctxengine.budget.result import SectionUse, share
from ctxengine.chat.convert import Converted, convert_messages, field_of
from ctxengine.chat.table import count_table
from ctxengine.errors import ArgumentError

if TYPE_CHECKING:
    from ctxengine.chat import Template
    from ctxengine.tokenize import Encoding


class ItemSection:
    """The texts of one section: what is pinned, what each costs, how the chosen are written."""

    def __init__(self, section: Section, items: list[Any], path: str) -> None:
        self.name = section.name
        self.bounds = section_bounds(section, 0)
        self.sources = items
        self.items = [check_item(source, f"{path}[{i}]") for i, source in enumerate(self.sources)]
        groups = {item.group for item in self.items if item.pinned and item.group is not None}
        self.pinned = [item.pinned or item.group in groups for item in self.items]
        self.costs: list[int] = []
        self.overhead = 0

    def count(self, encoding: Encoding) -> None:
        """Count each text as written, and the lines around them."""
        lines = [f"{self._entry(i)}\n\n" for i in range(len(self.items))]
        *self.costs, self.overhead = _core.count_texts(
            [*lines, f"<{self.name}>\n</{self.name}>\n\n"], encoding._native, count_table()
        )

    def request(self) -> tuple[Bounds, list[tuple[int, float, int]]]:
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


def _user_turn_starts(
    converted: Sequence[Converted], first: int, wraps_tool_results: bool
) -> list[int]:
    """Return the indices from `first` on of the user messages that begin a turn."""
    starts: list[int] = []
    for i, (role, content, *_) in enumerate(converted):
        # Under Qwen3's template a user message that only wraps a tool's result continues its turn.
        continues = (
            wraps_tool_results
            and len(starts) > 0
            and content.startswith("<tool_response>")
            and content.endswith("</tool_response>")
        )
        if i >= first and role == "user" and not continues:
            starts.append(i)
    return starts


def _check_tool_results(history: Sequence[Any], converted: Sequence[Converted]) -> None:
    call_ids: set[str] | None = None
    for i, (message, native) in enumerate(zip(history, converted, strict=True)):
        if native[0] != "tool":
            call_ids = None
            if native[5]:
                ids = [field_of(call, "id") for call in field_of(message, "tool_calls")]
                call_ids = {call_id for call_id in ids if isinstance(call_id, str)}
            continue
        if call_ids is None:
            raise ArgumentError(f"history[{i}]: a tool result without a tool call before it")
        call_id = field_of(message, "tool_call_id")
        if call_id is not None and call_ids and call_id not in call_ids:
            raise ArgumentError(
                f"history[{i}].tool_call_id: {call_id!r} is none of the calls before it"
            )


def _with_text_before(message: Any, block: str, path: str) -> Any:
    """Return a copy of a user message whose text begins with `block` and an empty line."""
    content = field_of(message, "content")
    new: Any = f"{block}\n{content}"
    if not isinstance(content, str):
        new = [{"type": "text", "text": block}, *content]
    if isinstance(message, Mapping):
        return {**message, "content": new}
    try:
        if hasattr(message, "model_copy"):
            return message.model_copy(update={"content": new})
        changed = copy.copy(message)
        if changed is message:
            raise TypeError("its copy is itself")
        object.__setattr__(changed, "content", new)
    except Exception as error:  # whatever a caller's own class may raise
        raise ArgumentError(
            f"{path}: {type(message).__name__} cannot be copied with other content, which item "
            f"texts need: {error}"
        ) from error
    return changed


class Prompt:
    """The parts of a prompt, and its exact count for any choice of what is optional."""

    def __init__(
        self,
        *,
        system: list[Any],
        history: list[Any],
        tools: list[str],
        item_sections: list[ItemSection],
        template: Template,
        encoding: Encoding,
    ) -> None:
        converted_system = convert_messages(system, "system")
        converted = convert_messages(history, "history")
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
        starts = _user_turn_starts(converted, self.lead, template._native.wraps_tool_results)
        self.carries_items = bool(starts)
        if self.lead < len(converted) and (not starts or starts[0] != self.lead):
            starts.insert(0, self.lead)
        # turn_starts[k] is where turn k begins; the last one is kept, those before it are optional.
        self.last_start = starts.pop() if starts else len(converted)
        self.turn_starts = [*starts, self.last_start]
        if item_sections and not self.carries_items:
            raise ArgumentError(
                f"{item_sections[0].name}: its texts stand in the last user message, and the "
                "history has none"
            )
        if item_sections:
            # Rather than after all has been counted.
            _with_text_before(history[self.last_start], "", f"history[{self.last_start}]")
        everything = [*self.native_head, *converted]
        try:
            per_message = self.count(everything, with_tools=False)[0]
        except ArgumentError as error:
            if everything or not str(error).startswith("messages:"):
                raise
            raise ArgumentError(
                f"history: is empty, and so is the system prompt; template {template.name!r} needs "
                "a message"
            ) from None
        self.message_tokens = per_message[len(self.native_head) :]
        self.turn_tokens = [
            sum(self.message_tokens[a:b])
            for a, b in zip(self.turn_starts, self.turn_starts[1:], strict=False)
        ]

    def count(
        self, messages: list[Converted], *, with_tools: bool = True
    ) -> tuple[list[int], int, int]:
        """Return tokens per message, tokens of the template alone, and tokens in total."""
        return self.template._native.count(
            messages, self.tools if with_tools else [], True, self.encoding._native, count_table()
        )

    def blocks(self, kept: list[list[int]]) -> list[str]:
        """Return each item section as written, for the indices that it keeps."""
        return [s.block(k) for s, k in zip(self.item_sections, kept, strict=True)]

    def native_turn(self, blocks: list[str]) -> list[Converted]:
        """Return the last turn with the blocks before the user's own text."""
        turn = self.native_history[self.last_start :]
        written = [block for block in blocks if block]
        if written:
            role, content, *rest, has_joined_parts = turn[0]
            # _with_text_before puts the blocks before a list of parts as a part of their own.
            own = field_of(self.history[self.last_start], "content")
            joined = has_joined_parts or not isinstance(own, str)
            turn[0] = (role, "\n".join([*written, content]), *rest, joined)  # type: ignore[assignment]
        return turn

    def native_messages(self, first_kept: int, blocks: list[str]) -> list[Converted]:
        """Return the whole prompt when the history begins with turn `first_kept`."""
        middle = self.native_history[self.turn_starts[first_kept] : self.last_start]
        return [*self.native_head, *middle, *self.native_turn(blocks)]

    def messages(self, first_kept: int, blocks: list[str]) -> tuple[Any, ...]:
        """Return the same prompt as the caller's own objects."""
        kept = self.history[self.turn_starts[first_kept] :]
        written = "\n".join(block for block in blocks if block)
        if written:
            at = self.last_start - self.turn_starts[first_kept]
            kept[at] = _with_text_before(kept[at], written, f"history[{self.last_start}]")
        return (*self.head, *kept)

    def sections(self, first_kept: int, blocks: list[str], window: int) -> tuple[SectionUse, ...]:
        """Return the same prompt's tokens by section; they add up to its count."""
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
        return tuple(SectionUse(name, n, share(n, window)) for name, n in rows)
