"""The parts of a prompt, and the exact count of any choice among them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ctxengine import _core
from ctxengine.budget.groups import Groups
from ctxengine.budget.items import ItemSection, Texts
from ctxengine.chat.convert import Converted, convert_messages, field_of
from ctxengine.chat.table import count_table, message_memory
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
    """One choice, counted."""

    kept: list[int]  # messages of the history after its leading system messages
    native: list[Converted] | _core.ChosenMessages
    rows: list[tuple[str, int]]  # tokens by section, in the plan's order; they add up to `used`
    used: int


class _KeptTokens(NamedTuple):
    template: int
    system: int
    tools: int
    history: int
    turn: int


class Prompt:
    """The parts of a prompt, and its exact count for any choice of what is optional.

    For templates whose prompts are the sums of their messages, and histories of plain messages, the
    tokens of each message are known or counted once (`known`). Else the history is converted, and
    every choice is rendered as a whole.
    """

    shows_texts_in_head = False

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
        self.template = template
        self.encoding = encoding
        self.tools = tools
        self.item_sections = item_sections
        self.history = history
        converted_system = convert_messages(system, "system", one_each=True)
        template._native.validate(converted_system, "system")
        self.known: _core.History | None = None
        is_native = isinstance(template._native, _core.ChatTemplate)
        if history and is_native and not (item_sections and self.shows_texts_in_head):
            self.known = _core.History.read(
                history,
                template._native,
                bool(tools),
                encoding._native,
                count_table(),
                message_memory(),
            )
        self.native_history: list[Converted] = []
        if self.known is None:
            self.native_history = convert_messages(history, "history", one_each=True)
            template._native.validate(self.native_history, "history")
            self.groups = Groups(
                _core.Groups(self.native_history, template._native.wraps_tool_results, "history")
            )
        else:
            self.groups = Groups(self.known.groups)
        groups = self.groups
        # Leading system messages of the history are kept like the system prompt.
        self.lead = groups.lead
        self.head = [*system, *history[: self.lead]]
        self.native_head = [*converted_system, *self._tuples(range(self.lead))]
        self.carrier = groups.starts[groups.last_user] if groups.last_user >= 0 else None
        if item_sections:
            self._check_carrier()
        for i in pinned:
            if i >= len(history):
                raise ArgumentError(f"pinned: {i}, but the history has {len(history)} messages")
        self.pinned = {groups.of(i) for i in pinned if i >= self.lead}
        self.stays = (self.pinned | {groups.last_user, groups.newest}) - {-1}
        # By the place of the cut, as the native planner takes them.
        self.message_tokens: Sequence[int]
        self.measure: Sequence[int]
        self.tokens: Sequence[int]
        self.carried: Sequence[int]
        if self.known is None:
            self._measure_all(has_system=bool(converted_system))
        else:
            self.message_tokens = self.known.shown
            self.measure, self.tokens, self.carried = self.known.place_tokens(sorted(self.stays))
            self._least: dict[tuple[str, ...], tuple[_KeptTokens, list[int]]] = {}

    def _tuples(self, indices: Iterable[int]) -> list[Converted]:
        if self.known is not None:
            return self.known.tuples(list(indices))
        return [self.native_history[i] for i in indices]

    def _measure_all(self, *, has_system: bool) -> None:
        groups, converted = self.groups, self.native_history
        if not converted and not has_system:
            self._check_empty()
        message_tokens = self._measure()
        self.measure = groups.between_places(groups.sums(message_tokens))
        # An open turn may show more of a message than later prompts will, such as its reasoning.
        if len(groups) and groups.newest - max(0, groups.last_user) > 1:
            begin = groups.starts[max(0, groups.last_user)]
            shown = self._count([*self.native_head, *converted[begin:]])[0]
            message_tokens[begin:] = shown[len(self.native_head) :]
        self.message_tokens = message_tokens
        tokens = [
            0 if group in self.stays else tokens
            for group, tokens in enumerate(groups.sums(message_tokens))
        ]
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
        messages = [*self.native_head, *self.native_history[self.lead :]]
        if not messages:
            return []
        try:
            counted = self._count([*messages, _LATER])[0][:-1]
        except ArgumentError:  # from a template that takes no question at this place
            counted = self._count(messages)[0]
        measured = counted[len(self.native_head) - self.lead :]
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
        before = [group for group in sorted(stays) if 0 <= group < first_kept]
        return [
            *(i for group in before for i in groups.messages(group)),
            *range(groups.starts[first_kept], groups.starts[-1]),
        ]

    def draft(self, place: int, texts: Sequence[Texts]) -> Draft:
        """Return the prompt whose history is cut at a place, with these texts, counted."""
        blocks = self.blocks(texts)
        kept = self.kept(place)
        if self.known is None:
            native = [*self.native_head, *(self.native_history[i] for i in kept)]
            if self.carrier is not None:
                native[len(self.native_head) + kept.index(self.carrier)] = self._carrier(blocks)
            return Draft(kept, native, *self._rows(self._kept_tokens(native, kept)[0], blocks))
        counted, _ = self._kept_in_any_case(blocks)
        optional = sum(self.tokens[place:]) + self.carried[place]
        counted = counted._replace(history=counted.history + optional)
        others = {} if self.carrier is None else {self.carrier: self._carrier(blocks)}
        chosen = self.known.choose(self.native_head, kept, others)
        return Draft(kept, chosen, *self._rows(counted, blocks))

    def per_message(self, draft: Draft, texts: Sequence[Texts]) -> list[int]:
        """Return the tokens of each message of a draft."""
        if self.known is None:
            assert isinstance(draft.native, list)
            return self._count(draft.native)[0]
        stay = self._staying()
        per_message = self._kept_in_any_case(self.blocks(texts))[1]
        in_head = len(self.native_head)
        of_staying = dict(zip(stay, per_message[in_head:], strict=True))
        shown = self.message_tokens
        tokens = [of_staying[i] if i in of_staying else shown[i] for i in draft.kept]
        if not in_head and draft.kept[0] != stay[0]:
            # What stands before the first message of a prompt belongs to it.
            first = self._tuples([draft.kept[0]])
            more = self._count([*first, _LATER])[0][0] - tokens[0]
            tokens[0] += more
            tokens[draft.kept.index(stay[0])] -= more
        return [*per_message[:in_head], *tokens]

    def _staying(self) -> list[int]:
        return [i for group in sorted(self.stays) for i in self.groups.messages(group)]

    def _kept_in_any_case(self, blocks: Sequence[str]) -> tuple[_KeptTokens, list[int]]:
        """Return the tokens of a prompt of what is kept in any case, and of its messages."""
        key = tuple(blocks)
        if key not in self._least:
            stay = self._staying()
            messages = self._tuples(stay)
            if self.carrier is not None:
                messages[stay.index(self.carrier)] = self._carrier(blocks)
            self._least[key] = self._kept_tokens([*self.native_head, *messages], stay)
        return self._least[key]

    def _kept_tokens(
        self, native: list[Converted], kept: Sequence[int]
    ) -> tuple[_KeptTokens, list[int]]:
        """Return the tokens of a prompt of these messages, by what they are and by message."""
        per_message, template_tokens, total = self._count(native)
        tools = self._count(native, with_tools=True)[2] - total if self.tools else 0
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
        system = sum(per_message[:in_head])
        counted = _KeptTokens(template_tokens, system, tools, history_tokens, turn_tokens)
        return counted, per_message

    def _rows(
        self, counted: _KeptTokens, blocks: Sequence[str]
    ) -> tuple[list[tuple[str, int]], int]:
        items = self.item_rows(blocks)
        rows = [
            ("template", counted.template),
            ("system", counted.system),
            ("tools", counted.tools),
            ("history", counted.history),
            *items,
            ("turn", counted.turn - sum(tokens for _, tokens in items)),
        ]
        return rows, sum(counted)

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
            return self._tuples([self.carrier])[0]
        message = self.history[self.carrier]
        carrier = with_text(message, "\n".join(written), f"history[{self.carrier}]")
        return convert_messages([carrier], "history")[0]

    def texts(self, kept: Sequence[int], texts: Sequence[Texts]) -> dict[str, list[str]]:
        """Return where in a choice each text stands; not all of those that stand once."""
        in_head = [message[1] for message in self.native_head[: -self.lead or None]]
        of_items = [
            (text, f"{section.name}[{i}]")
            for section, chosen in zip(self.item_sections, texts, strict=True)
            for i, text in chosen.items()
        ]
        of_history = [*range(self.lead), *kept]
        if self.known is not None:
            others = [*in_head, *(text for text, _ in of_items)]
            of_history = self.known.repeated(of_history, others)
        places: dict[str, list[str]] = {}
        for i, text in enumerate(in_head):
            places.setdefault(text, []).append(f"system[{i}]")
        for i, message in zip(of_history, self._tuples(of_history), strict=True):
            places.setdefault(message[1], []).append(f"history[{i}]")
        for text, where in of_items:
            places.setdefault(text, []).append(where)
        return places

    def messages(self, kept: list[int], blocks: Sequence[str]) -> tuple[Any, ...]:
        """Return a choice as the caller's own objects."""
        messages = [self.history[i] for i in kept]
        written = "\n".join(filter(None, blocks))
        if written:
            assert self.carrier is not None
            at = kept.index(self.carrier)
            messages[at] = with_text(messages[at], written, f"history[{self.carrier}]")
        return (*self.head, *messages)
