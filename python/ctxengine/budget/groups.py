"""The history as groups of messages that are kept or cut together."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from ctxengine.chat.convert import Converted
from ctxengine.errors import ArgumentError


class Groups:
    """Where the groups of a history begin, and which of them stay in any case.

    A group is a user's message; or an assistant's message with the results of its calls and the
    reasoning before it. Whatever else stands behind one of them, such as a system message, belongs
    to it. A turn begins at a user's message that is more than a tool's result. The newest group and
    the user's message of its turn always stay. The history may be cut before each group but the one
    behind a user's message: the user's message of a turn that is cut inside stays, so that nothing
    would be gone there.
    """

    def __init__(
        self,
        converted: Sequence[Converted],
        lead: int,
        wraps_tool_results: bool,
    ) -> None:
        self.starts: list[int] = []  # and the end of the history
        self.heads: list[int] = []  # group of the user's message that began the turn, or -1
        open_calls: _OpenCalls | None = None
        head = -1
        for i in range(lead, len(converted)):
            role, content, *_ = converted[i]
            is_result = role == "tool" or (
                role == "user"
                and wraps_tool_results
                and head >= 0
                and content.startswith("<tool_response>")
                and content.endswith("</tool_response>")
            )
            if is_result:
                if open_calls is not None:
                    open_calls.answer(converted[i], i)
                elif role == "tool":
                    raise ArgumentError(
                        f"history[{i}]: a tool result without a tool call before it"
                    )
            else:
                if open_calls is not None:
                    open_calls.close()
                open_calls = _OpenCalls(converted[i], i) if converted[i][5] else None
            if not self.starts or (
                not is_result
                and role in ("user", "assistant")
                and not _leads_to(converted[i - 1], role)
            ):
                if role == "user":
                    head = len(self.starts)
                self.starts.append(i)
                self.heads.append(head)
        self.newest = len(self.starts) - 1
        self.last_user = head
        self.starts.append(len(converted))
        # Groups before which the history may be cut, and which of those begin turns.
        self.places = [g for g, h in enumerate(self.heads) if h < 0 or h != g - 1]
        self.turns = [p for p, g in enumerate(self.places) if g in (0, self.heads[g])]

    def __len__(self) -> int:
        return len(self.heads)

    def of(self, index: int) -> int:
        """Return the group of a message."""
        return bisect_right(self.starts, index) - 1

    def messages(self, group: int) -> range:
        """Return the indices of a group's messages."""
        return range(self.starts[group], self.starts[group + 1])

    def sums(self, per_message: Sequence[int]) -> list[int]:
        """Return the groups' sums of numbers that the messages have."""
        return [sum(per_message[a:b]) for a, b in zip(self.starts, self.starts[1:], strict=False)]

    def between_places(self, per_group: Sequence[int]) -> list[int]:
        """Return the sums from each place to the next of numbers that the groups have."""
        ends = [*self.places[1:], len(self)]
        return [sum(per_group[a:b]) for a, b in zip(self.places, ends, strict=False)]


def _leads_to(message: Converted, next_role: str) -> bool:
    """Return whether a message is nothing but the reasoning that leads to the next one."""
    role, content, _, reasoning, channel, calls, *_ = message
    return (
        role == next_role == "assistant"
        and not calls
        and (channel == "analysis" or (bool(reasoning) and not content))
    )


class _OpenCalls:
    """The calls of one message, while their results come in."""

    def __init__(self, message: Converted, index: int) -> None:
        ids = [call_id for *_, call_id in message[5]]
        self.index = index
        self.num_open = len(ids)
        self.ids = {call_id for call_id in ids if call_id is not None}
        self.has_ids = bool(self.ids)

    def answer(self, message: Converted, i: int) -> None:
        call_id = message[6][0] if message[6] is not None else None
        if self.num_open == 0:
            raise ArgumentError(
                f"history[{i}]: a tool result too many for the calls of history[{self.index}]"
            )
        if call_id is not None and self.has_ids:
            if call_id not in self.ids:
                raise ArgumentError(
                    f"history[{i}].tool_call_id: {call_id!r} is none of the calls before it, or "
                    "answered already"
                )
            self.ids.remove(call_id)
        self.num_open -= 1

    def close(self) -> None:
        if self.num_open:
            raise ArgumentError(
                f"history[{self.index}].tool_calls: {self.num_open} of them have no result; only "
                "the newest message may have open calls"
            )
