"""Item texts before the history, where the caller wants them there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

from ctxengine.budget.items import Texts
from ctxengine.budget.prompt import Draft, Prompt, with_text
from ctxengine.chat.convert import Converted, convert_messages
from ctxengine.errors import ArgumentError

Placement = Literal["turn", "history", "system"]


class HeadPrompt(Prompt, ABC):
    """A prompt whose item texts stand in its head instead of the last user message."""

    shows_texts_in_head = True
    _placement: Placement

    def draft(self, place: int, texts: Sequence[Texts]) -> Draft:
        """Return the prompt whose history is cut at a place, with these texts, counted."""
        bare = super().draft(place, [{} for _ in texts])
        rows = dict(bare.rows)
        native, used = bare.native, bare.used
        written: list[str] = []
        for section, block in zip(self.item_sections, self.blocks(texts), strict=True):
            if block:
                written.append(block)
                assert isinstance(bare.native, list)
                native = self._with(bare.native, written)
                # By the whole prompt: some templates show the head within another message.
                total = self._count(native, with_tools=bool(self.tools))[2]
                rows[section.name], used = total - used, total
        return Draft(bare.kept, native, list(rows.items()), used)

    def item_rows(self, _: Sequence[str]) -> list[tuple[str, int]]:
        """Return a row for each section; `draft` fills them."""
        return [(section.name, 0) for section in self.item_sections]

    def messages(self, kept: list[int], blocks: Sequence[str]) -> tuple[Any, ...]:
        """Return a choice as the caller's own objects."""
        messages = list(super().messages(kept, []))
        written = [block for block in blocks if block]
        if written:
            at, replaced, message = self._changed(written)
            messages[at : at + replaced] = [message]
        return tuple(messages)

    def _check_carrier(self) -> None:
        try:
            self._count(self._with([*self.native_head, *self.native_history[self.lead :]], ["x"]))
        except ArgumentError as error:
            where = f"placement: {self._placement!r}"
            raise ArgumentError(f"{where} under template {self.template.name!r}: {error}") from None

    def _with(self, native: Sequence[Converted], blocks: Sequence[str]) -> list[Converted]:
        at, replaced, message = self._changed(blocks)
        return [*native[:at], convert_messages([message], "system")[0], *native[at + replaced :]]

    @abstractmethod
    def _changed(self, blocks: Sequence[str]) -> tuple[int, int, Any]:
        """Return the place of the message with the texts, how many it replaces, and it."""


class TextsInSystem(HeadPrompt):
    """At the end of the system prompt, or as one."""

    _placement: Placement = "system"

    def _changed(self, blocks: Sequence[str]) -> tuple[int, int, Any]:
        written = "\n".join(blocks).rstrip("\n")
        if not self.head:
            return 0, 0, {"role": "system", "content": written}
        at = len(self.head) - 1
        return at, 1, with_text(self.head[at], written, f"system[{at}]", behind=True)


class TextsBeforeHistory(HeadPrompt):
    """In a user's message of their own, between the system prompt and the history."""

    _placement: Placement = "history"

    def _changed(self, blocks: Sequence[str]) -> tuple[int, int, Any]:
        return len(self.head), 0, {"role": "user", "content": "\n".join(blocks).rstrip("\n")}


PROMPTS: dict[str, type[Prompt]] = {
    "turn": Prompt,
    "history": TextsBeforeHistory,
    "system": TextsInSystem,
}
