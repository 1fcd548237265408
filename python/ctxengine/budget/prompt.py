"""The parts of a prompt, and the exact count of any choice among them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ctxengine.budget.groups import Groups
from ctxengine.budget.items import ItemSection, Texts
from ctxengine.chat.convert import Converted, convert_messages, field_of
from ctxengine.chat.table import count_table
from ctxengine.errors import ArgumentError

if TYPE_CHECKING:
    from ctxengine.chat import Template
    from ctxengine.tokenize import Encoding

# A later question, under which a template shows the messages before it as all later prompts will.
_LATER: Converted = ("user", "x", None, None, None, (), None, False)


def with_text(message: Any, block: str, path: str, *, behind: bool = False) -> Any:
    """Return a copy of a message with `block` before its text, or behind it, and an empty line."""
    content = field_of(message, "content")
    if isinstance(content, str):
        new: Any = f"{content}\n\n{block}" if behind else f"{block}\n{content}"
    else:
        part = {"type": "text", "text": block}
        new = [*content, part] if behind else [part, *content]
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


class Draft(NamedTuple):
    """One choice, rendered and counted."""

    kept: list[int]  # messages of the history after its leading system messages
    native: list[Converted]
    rows: list[tuple[str, int]]  # tokens by section, in the plan's order; they add up to `used`
    used: int


class Prompt:
    """The parts of a prompt, and its exact count for any choice of what is optional."""

    def __init__(
        self,
        *,
        system: list[Any],
        history: list[Any],
        tools: list[str],
        item_sections: list[ItemSection],
        pinned: Sequence[int],
        template: Template,
        encoding: Encoding,
    ) -> None:
        converted_system = convert_messages(system, "system", one_each=True)
        converted = convert_messages(history, "history", one_each=True)
        template._native.validate(converted_system, "system")
        template._native.validate(converted, "history")
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
        self.groups = Groups(converted, self.lead, template._native.wraps_tool_results)
        groups = self.groups
        self.carrier = groups.starts[groups.last_user] if groups.last_user >= 0 else None
        if item_sections:
            self._check_carrier()
        for i in pinned:
            if i >= len(history):
                raise ArgumentError(f"pinned: {i}, but the history has {len(history)} messages")
        self.pinned = {groups.of(i) for i in pinned if i >= self.lead}
        self.stays = self.pinned | {groups.last_user, groups.newest}
        if not converted and not converted_system:
            self._check_empty()

        self.message_tokens = self._measure()
        self.measure = groups.between_places(groups.sums(self.message_tokens))
        # An open turn may show more of a message than later prompts will, such as its reasoning.
        if len(groups) and groups.newest - max(0, groups.last_user) > 1:
            begin = groups.starts[max(0, groups.last_user)]
            shown = self._count([*self.native_head, *converted[begin:]])[0]
            self.message_tokens[begin:] = shown[len(self.native_head) :]
        tokens = [
            0 if group in self.stays else tokens
            for group, tokens in enumerate(groups.sums(self.message_tokens))
        ]
        # By the place of the cut, as the native planner takes them.
        self.tokens = groups.between_places(tokens)
        self.carried = [
            tokens[groups.heads[group]] if 0 <= groups.heads[group] < group else 0
            for group in groups.places
        ]

    def _check_carrier(self) -> None:
        """Refuse a place that the texts cannot have, rather than after all has been counted."""
        if self.carrier is None:
            raise ArgumentError(
                f"{self.item_sections[0].name}: its texts stand in the last user message, and the "
                "history has none"
            )
        with_text(self.history[self.carrier], "", f"history[{self.carrier}]")

    def _check_empty(self) -> None:
        try:
            self._count([])
        except ArgumentError as error:
            if not str(error).startswith("messages:"):
                raise
            raise ArgumentError(
                f"history: is empty, and so is the system prompt; template "
                f"{self.template.name!r} needs a message"
            ) from None

    def _measure(self) -> list[int]:
        """Return the tokens of each message of the history as all later prompts will show it.

        Equal for a message whatever is appended behind it: reasoning that a template shows in an
        open turn only is left out, and reasoning that it shows or not by other rules counts as
        shown.
        """
        messages = [*self.native_head, *self.native_history]
        if not messages:
            return []
        try:
            counted = self._count([*messages, _LATER])[0][:-1]
        except ArgumentError:  # from a template that takes no question at this place
            counted = self._count(messages)[0]
        measured = counted[len(self.native_head) :]
        for i, message in enumerate(self.native_history):
            if measured[i] == 0 and message[4] == "analysis":
                measured[i] = self._count([message])[0][0]
        return measured

    def _count(
        self, messages: list[Converted], *, with_tools: bool = False
    ) -> tuple[list[int], int, int]:
        """Return tokens per message, tokens of the template alone, and tokens in total."""
        return self.template._native.count(
            messages, self.tools if with_tools else [], True, self.encoding._native, count_table()
        )

    @property
    def last_place(self) -> int:
        """The latest place where the history can be cut."""
        return max(0, len(self.groups.places) - 1)

    def start_of(self, place: int) -> int:
        """Return the message where the kept history begins when it is cut at a place."""
        places = self.groups.places
        return self.groups.starts[places[place]] if places else self.lead

    def kept(self, place: int) -> list[int]:
        """Return the messages that stay when the history is cut at a place."""
        groups = self.groups
        if not len(groups):
            return []
        first_kept = groups.places[place]
        stays = self.stays | {groups.heads[first_kept]}
        return [
            i
            for group in range(len(groups))
            if group >= first_kept or group in stays
            for i in groups.messages(group)
        ]

    def draft(self, place: int, texts: Sequence[Texts]) -> Draft:
        """Return the prompt whose history is cut at a place, with these texts, counted."""
        blocks = self.blocks(texts)
        kept = self.kept(place)
        native = [*self.native_head, *(self.native_history[i] for i in kept)]
        if self.carrier is not None:
            native[len(self.native_head) + kept.index(self.carrier)] = self._carrier(blocks)
        per_message, template_tokens, used = self._count(native)
        tools_tokens = 0
        if self.tools:
            tools_tokens = self._count(native, with_tools=True)[2] - used
        groups = self.groups
        turn = {groups.last_user, groups.newest} - {-1}
        in_turn = {i for group in turn for i in groups.messages(group)}
        in_head = len(self.native_head)
        turn_tokens = history_tokens = 0
        for i, tokens in zip(kept, per_message[in_head:], strict=True):
            if i in in_turn:
                turn_tokens += tokens
            else:
                history_tokens += tokens
        items = self.item_rows(blocks)
        rows = [
            ("template", template_tokens),
            ("system", sum(per_message[:in_head])),
            ("tools", tools_tokens),
            ("history", history_tokens),
            *items,
            ("turn", turn_tokens - sum(tokens for _, tokens in items)),
        ]
        return Draft(kept, native, rows, used + tools_tokens)

    def item_rows(self, blocks: Sequence[str]) -> list[tuple[str, int]]:
        """Return what each item section adds to the user message that carries them all."""
        rows = []
        before = 0
        for k in range(len(blocks) + 1 if blocks else 0):
            if k > 0 and not blocks[k - 1]:
                rows.append((self.item_sections[k - 1].name, 0))
                continue
            tokens = self._count([self._carrier(blocks[:k])])[0][0]
            if k > 0:
                rows.append((self.item_sections[k - 1].name, tokens - before))
            before = tokens
        return rows

    def blocks(self, texts: Sequence[Texts]) -> list[str]:
        """Return each item section as written."""
        return [s.block(t) for s, t in zip(self.item_sections, texts, strict=True)]

    def _carrier(self, blocks: Sequence[str]) -> Converted:
        """Return the last user message with the blocks before the user's own text."""
        assert self.carrier is not None
        written = [block for block in blocks if block]
        if not written:
            return self.native_history[self.carrier]
        message = self.history[self.carrier]
        carrier = with_text(message, "\n".join(written), f"history[{self.carrier}]")
        return convert_messages([carrier], "history")[0]

    def messages(self, kept: list[int], blocks: Sequence[str]) -> tuple[Any, ...]:
        """Return a choice as the caller's own objects."""
        messages = [self.history[i] for i in kept]
        written = "\n".join(filter(None, blocks))
        if written:
            assert self.carrier is not None
            at = kept.index(self.carrier)
            messages[at] = with_text(messages[at], written, f"history[{self.carrier}]")
        return (*self.head, *messages)
