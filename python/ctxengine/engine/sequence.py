"""A prompt in the pool: one row of the block tables."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from collections.abc import Sequence as Seq
from contextlib import AbstractContextManager
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ctxengine.errors import ArgumentError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ctxengine.kv import KVCacheManager

_MAX_TOKEN_ID = 2**31 - 1


class Sequence(AbstractContextManager["Sequence"]):
    """A placed prompt: one row of the block table. Release it, or use it in a ``with`` statement.

    Attributes
    ----------
    row : int
        Row of ``manager.block_tables``.
    num_tokens : int
        Tokens that the row holds.
    cached_tokens : int
        Leading tokens whose KV was there already.
    blocks_hit, blocks_allocated, blocks_evicted : int
        Blocks found, blocks newly allocated, and idle blocks that had to go for them. The last is
        the change of the pool's counter: other threads' evictions in the same moment count too.
    place_ns : int
        Duration of the step in nanoseconds.
    """

    def __init__(
        self,
        manager: KVCacheManager,
        row: int,
        *,
        num_tokens: int,
        cached_tokens: int,
        blocks_evicted: int,
        place_ns: int,
    ) -> None:
        self._manager = manager
        self._computed = cached_tokens
        self._released = False
        self._lock = Lock()
        self.row = row
        self.num_tokens = num_tokens
        self.cached_tokens = cached_tokens
        self.blocks_hit = cached_tokens // manager.block_size
        self.blocks_allocated = -(-num_tokens // manager.block_size) - self.blocks_hit
        self.blocks_evicted = blocks_evicted
        self.place_ns = place_ns

    @property
    def block_table(self) -> npt.NDArray[np.int32]:
        """Block ids of the row, int32[blocks]; a copy."""
        with self._lock:
            self._check_held()
            columns = -(-self.num_tokens // self._manager.block_size)
            table: npt.NDArray[np.int32] = self._manager.block_tables[self.row, :columns].copy()
            return table

    def __repr__(self) -> str:
        state = "released" if self._released else f"row {self.row}"
        return f"Sequence({state}, {self.num_tokens:,} tokens, {self.cached_tokens:,} cached)"

    def compute(self) -> npt.NDArray[np.int64]:
        """Mark the prompt as computed: what a server says after its forward pass.

        From then on the full blocks can be found by other requests.

        Returns
        -------
        int64[num_tokens - cached_tokens]
            The slots into which the pass writes keys and values.

        Raises
        ------
        ArgumentError
            The prompt is computed already, or the sequence is released.
        """
        with self._lock:
            self._check_held()
            if self._computed == self.num_tokens:
                raise ArgumentError("the prompt is computed already; extend() appends to it")
            slots = self._advance(self.num_tokens - self._computed, ())
            assert slots is not None  # acquire() allocated all of the prompt's blocks
            return slots

    def extend(self, token_ids: Iterable[int]) -> bool:
        """Append generated tokens; False, and nothing changed, when no block is free for them.

        Raises
        ------
        ArgumentError
            An id is not one, the prompt is not computed, or the sequence is released.
        CapacityError
            The row would become longer than the pool's block table is wide.
        """
        ids = [_token_id(value, i) for i, value in enumerate(token_ids)]
        with self._lock:
            self._check_held()
            if self._computed < self.num_tokens:
                raise ArgumentError("compute() the prompt before it is extended")
            if ids and self._advance(len(ids), ids) is None:
                return False
            self.num_tokens += len(ids)
            return True

    def _advance(self, count: int, token_ids: Seq[int]) -> npt.NDArray[np.int64] | None:
        step = self._manager.reserve([self.row], [count])
        if step.oom_row is not None:
            return None
        try:
            self._manager.settle([self.row], [count], token_ids)
        except BaseException:
            self._manager.settle([self.row], [0])  # leaves no reservation open
            raise
        self._computed += count
        return step.slots

    def release(self) -> None:
        """Let the row go; its published blocks stay in the pool until they are evicted.

        Raises
        ------
        ArgumentError
            The sequence is released already: its row may be another request's by now.
        """
        with self._lock:
            self._check_held()
            self._released = True
            self._manager.free([self.row])

    def _check_held(self) -> None:
        if self._released:
            raise ArgumentError("the sequence is released")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._released:
            self.release()


def _token_id(value: Any, index: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise ArgumentError(
            f"token_ids[{index}]: must be an integer, not {type(value).__name__}"
        ) from None
    if not 0 <= number <= _MAX_TOKEN_ID:
        raise ArgumentError(f"token_ids[{index}]: must lie between 0 and 2**31 - 1, not {number}")
    return number
