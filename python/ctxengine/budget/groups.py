"""The history as groups of messages that are kept or cut together."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ctxengine import _core


class Groups:
    """Where the groups of a history begin, and which of them stay in any case.

    ``src/cpp/chat/groups.h`` says what a group is, and where the history may be cut. The newest
    group and the user's message of its turn always stay; so does the user's message of a turn that
    is cut inside.
    """

    def __init__(self, native: _core.Groups) -> None:
        self.lead = native.lead
        self.starts: list[int] = [*native.starts, native.num_messages]
        self.heads = native.heads  # group of the user's message that began the turn, or -1
        self.places = native.places  # groups before which the history may be cut
        self.turns = native.turns  # the places that begin turns, and the first
        self.newest = len(self.heads) - 1
        self.last_user = native.last_user

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
