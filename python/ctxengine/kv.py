"""KV block tables on the host: which KV blocks belong to which sequence.

A sequence is a row of one block table. `KVCacheManager.acquire` puts a prompt into a row and shares
the blocks of the longest prefix whose KV is there already; `reserve` and `settle` stand before and
after each forward pass. There are no per-sequence objects: a step is a few arrays.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from ctxengine import _core
from ctxengine.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from ctxengine.prefix import ExtraKeys, TokenIds

    Ints = Sequence[int] | npt.NDArray[np.integer]

__all__ = ["Acquired", "Group", "KVCacheManager", "Match", "Stats", "Step"]


class Group(NamedTuple):
    """Layers that keep the same part of a sequence, and share a block table.

    Attributes
    ----------
    kind : str
        ``"full"``: attends to all tokens. ``"sliding_window"``: to the last ``window`` tokens, the
        current one included. ``"chunked_local"``: to the tokens since the last multiple of
        ``window``. ``"linear_state"``: keeps one state (Mamba, linear attention), which stands for
        all tokens before it; its block is the last one of the row.
    window : int
        In tokens; 0 for the kinds without one.
    """

    kind: Literal["full", "sliding_window", "chunked_local", "linear_state"]
    window: int = 0


_KINDS = ("full", "sliding_window", "chunked_local", "linear_state")


class Match(NamedTuple):
    """A cached prefix, to go on from.

    Attributes
    ----------
    num_tokens : int
        Its length: whole blocks.
    node, chain : int
        What the manager knows it by. No reference is held: once the prefix is evicted, going on
        from it raises `StaleMatchError`.
    """

    num_tokens: int
    node: int
    chain: int


class Acquired(NamedTuple):
    """A prompt that has its row.

    Attributes
    ----------
    row : int
        Row of the block table; the sequence's name until it is freed.
    num_cached_tokens : int
        Leading tokens whose KV is there already: whole blocks, and never the last token of the
        prompt. The forward pass starts behind them.
    """

    row: int
    num_cached_tokens: int


class Step(NamedTuple):
    """What the device has to do for one forward pass, in this order.

    Attributes
    ----------
    slots : numpy.ndarray
        int64, shape (num_slots,): where the KV of each reserved token goes, row after row. Slot =
        block * block_size + offset. With several groups, shape (groups, num_slots); a linear state
        has -1 for tokens before the block in which the pass ends.
    table_patch : numpy.ndarray
        int32, shape (k, 3): entries (row, column, block) to write into the device's copy of the
        block table, or (row, column, block, group) with several groups. Patches in order keep the
        copy equal to ``block_tables`` for all tokens that live rows still need, cached prefixes
        included; other entries are left as they are.
    copies : numpy.ndarray
        int32, shape (c, 2): pairs (source, target) of blocks whose KV must be copied before the
        pass writes. No source is a target.
    oom_row : int or None
        None when all rows were served. Else the first row that found no block: nothing has
        changed, and the arrays are empty.
    """

    slots: npt.NDArray[np.int64]
    table_patch: npt.NDArray[np.int32]
    copies: npt.NDArray[np.int32]
    oom_row: int | None


class Stats(NamedTuple):
    """Counters of a manager.

    Blocks are free, idle (published, in no row) or referenced; of the referenced ones,
    ``num_coming`` are held by no row any more and only wait for a fence.
    """

    num_blocks: int
    num_free: int
    num_idle: int
    num_referenced: int
    num_rows: int
    num_queried_tokens: int
    num_hit_tokens: int
    num_evicted: int
    num_copied: int
    num_duplicates: int
    num_coming: int


def _row_list(rows: int | Ints) -> Ints:
    """Return rows as the core takes them: one row alone is a list of it."""
    if isinstance(rows, Acquired):
        raise ArgumentError("rows: an Acquired is no list of rows; take its .row")
    if isinstance(rows, (list, tuple)) or getattr(rows, "ndim", 0) > 0:
        return cast("Ints", rows)
    try:
        return [operator.index(cast("int", rows))]
    except TypeError:
        return cast("Ints", rows)  # the core says what is wrong with it


class KVCacheManager:
    """Block tables with prefix sharing, copy-on-write and leaf-first LRU eviction.

    Parameters
    ----------
    num_blocks : int
        KV blocks in the pool, 1 to 2**29.
    block_size : int
        Tokens per block. ``num_blocks * block_size`` is at most 2**36.
    max_rows : int
        Sequences at the same time, 1 to 2**20.
    max_row_tokens : int, optional
        Length of the longest sequence, which sets the columns of the block table; by default as
        many tokens as the pool holds. The table takes ``4 * max_rows * columns`` bytes and may
        have 1 GiB, those of all groups together.
    groups : sequence of Group, optional
        For models whose layers differ in what they keep. Each group has its own block table, and
        all take blocks from the one pool. By default one full group.
    watermark_blocks : int, optional
        Blocks that stay available when a prompt is admitted beside others, so that those can
        grow for a while before one has to be preempted.
    partial_hits : bool, optional
        Reuse the beginning of a cached block too, where a prompt leaves it: the block is copied
        (`Step.copies`) before the row writes behind what it shares. All groups must be full.

    Raises
    ------
    ArgumentError
        A parameter is outside its domain; the message gives the numbers.
    MemoryError
        The tables do not fit; in every method too, and then nothing has changed.

    Notes
    -----
    A shortfall ("no block free now") is a result, ``None`` or ``Step.oom_row``; a request that
    could never be served raises `CapacityError`. Either leaves the state as it was.

    Every call is one step under one mutex: any number of threads may share a manager. The answers,
    block ids included, depend on the calls and their order alone.

    The lifecycle follows vLLM's ``v1/core``: reference counts, a least-recently-used list of blocks
    that no row holds, rows freed tail first so that leaves are evicted first, several copies of
    equal content allowed so that tables only grow at the end. Two things differ: a hit is
    confirmed by comparing tokens, parent and identity, so equal hashes can never share KV; and a
    row can be forked and truncated, which copies a shared block before it is written.

    A full group gets the blocks of a whole prompt at once. The others get theirs as slots are
    reserved, and `reserve` first lets go what has slid out of a row's window; so a long prompt
    is best computed in chunks. A prefix is cached as far as all groups can go on from it: full
    groups need all its blocks, the others those of the window before its end.

    Examples
    --------
    >>> manager = KVCacheManager(num_blocks=8, block_size=4, max_rows=4)
    >>> row, num_cached = manager.acquire([1, 2, 3, 4, 5, 6])
    >>> step = manager.reserve([row], 6)          # the prompt
    >>> step.slots.tolist()
    [0, 1, 2, 3, 4, 5]
    >>> manager.settle([row], 6)                  # its KV is there: block 0 can be shared now
    >>> manager.acquire([1, 2, 3, 4, 9])
    Acquired(row=1, num_cached_tokens=4)
    >>> manager.reserve([row], 1).slots.tolist()  # one decode step ...
    [6]
    >>> manager.settle([row], 1, [7])             # ... whose input was token 7
    """

    __slots__ = ("_core", "_groups")

    def __init__(
        self,
        num_blocks: int,
        block_size: int,
        *,
        max_rows: int = 256,
        max_row_tokens: int | None = None,
        groups: Sequence[Group] | None = None,
        watermark_blocks: int = 0,
        partial_hits: bool = False,
        _hash_bits: int = 128,  # tests make hash collisions common with it
    ) -> None:
        if max_row_tokens is None:
            max_row_tokens = 0
        elif max_row_tokens < 1:
            raise ArgumentError(f"max_row_tokens is {max_row_tokens}; it must be at least 1")
        self._groups = tuple(Group(*group) for group in groups or (Group("full"),))
        kinds = []
        for kind, window in self._groups:
            if kind not in _KINDS:
                raise ArgumentError(f"a group's kind is {kind!r}; it must be one of {_KINDS}")
            kinds.append((_KINDS.index(kind), operator.index(window)))
        self._core = _core.KVCacheManager(
            num_blocks,
            block_size,
            max_rows,
            max_row_tokens,
            kinds,
            watermark_blocks,
            bool(partial_hits),
            _hash_bits,
        )

    @property
    def num_blocks(self) -> int:
        """Blocks in the pool."""
        return self._core.num_blocks

    @property
    def block_size(self) -> int:
        """Tokens per block."""
        return self._core.block_size

    @property
    def max_rows(self) -> int:
        """Rows of the block table."""
        return self._core.max_rows

    @property
    def max_row_blocks(self) -> int:
        """Columns of the block table."""
        return self._core.max_row_blocks

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups of layers."""
        return self._groups

    @property
    def block_tables(self) -> npt.NDArray[np.int32]:
        """The block tables themselves, a read-only view: int32, shape (max_rows, max_row_blocks).

        With several groups, shape (groups, max_rows, max_row_blocks). -1 where a row has no block,
        or no longer has it. The view changes with every call; read it while no other
        thread calls.
        """
        return self._core.block_tables

    def acquire(
        self,
        token_ids: TokenIds,
        *,
        cache_salt: str | None = None,
        extra_keys: ExtraKeys | None = None,
        resume: Match | None = None,
    ) -> Acquired | None:
        """Put a prompt into a row: look up its longest cached prefix, pin it, allocate the rest.

        One step: no other call can come between. Blocks for all of the prompt are allocated, but
        it counts as computed only as far as it was cached; `reserve` hands out the slots of the
        rest, in one piece or in chunks.

        Parameters
        ----------
        token_ids : sequence of int or integer array, shape (n,)
            The prompt, n >= 1, ids in 0..2**31-1. A contiguous uint32 array is read where it lies.
        cache_salt : str, optional
            The tenant. Rows share blocks only under equal salts and extra keys.
        extra_keys : sequence of tuple, optional
            Adapter and media, as for `ctxengine.prefix.BlockHasher`; media within the prompt.
        resume : Match, optional
            A match of the prompt's beginning. ``token_ids`` are then only the tokens behind it,
            while salt and keys are those of the whole prompt.

        Returns
        -------
        Acquired or None
            None when blocks or rows are short now; nothing has changed then.

        Raises
        ------
        CapacityError
            The prompt needs more blocks than a row can have.
        StaleMatchError
            What ``resume`` stands for is no longer cached; ask again with the whole prompt.
        ArgumentError
            The prompt is empty, an id, the salt or a key is malformed, or salt and keys are not
            those under which ``resume`` was matched.

        Notes
        -----
        O(n): tokens are compared, not hashed, but where one prefix goes on in several ways.
        """
        acquired = self._core.acquire(token_ids, cache_salt, extra_keys, resume)
        return None if acquired is None else Acquired(*acquired)

    def match(
        self,
        token_ids: TokenIds,
        *,
        cache_salt: str | None = None,
        extra_keys: ExtraKeys | None = None,
        resume: Match | None = None,
    ) -> Match:
        """Find the prefix that `acquire` would find cached now.

        Changes nothing, not even the order of eviction. Parameters and errors as in `acquire`;
        prompts longer than a row may be asked for too.

        Notes
        -----
        O(n): with ``resume``, n are the tokens behind it.

        Examples
        --------
        >>> manager = KVCacheManager(num_blocks=8, block_size=2)
        >>> row, _ = manager.acquire([1, 2, 3, 4, 5, 6])
        >>> manager.settle(row, manager.reserve(row, 6).slots.size)
        >>> match = manager.match([1, 2, 3])              # the first turn
        >>> match.num_tokens
        2
        >>> manager.match([3, 4, 5], resume=match).num_tokens   # goes on where it ended
        4
        """
        return Match(*self._core.match(token_ids, cache_salt, extra_keys, resume))

    def lookup(
        self,
        token_ids: TokenIds,
        *,
        cache_salt: str | None = None,
        extra_keys: ExtraKeys | None = None,
    ) -> int:
        """Return how many leading tokens `acquire` would find cached now.

        Changes nothing, not even the order of eviction; prompts longer than a row may be asked for
        too. Parameters as in `acquire`.

        Raises
        ------
        ArgumentError
            The prompt is empty, or an id, the salt or a key is malformed.

        Notes
        -----
        Expected O(n).
        """
        return self._core.match(token_ids, cache_salt, extra_keys, None)[0]

    def can_admit(self, num_tokens: int) -> bool:
        """Say whether `acquire` would succeed now for a prompt of which nothing is cached.

        Raises
        ------
        CapacityError
            It never could: waiting would block the queue for ever.
        """
        return self._core.can_admit(num_tokens)

    def reserve(self, rows: int | Ints, num_new: int | Ints, *, slots: bool = True) -> Step:
        """Hand out the slots of the next tokens of each row, before a forward pass.

        All rows are served or none. A block that is shared or can be found by others is never
        written: the row gets a copy of it (`Step.copies`). More steps may be reserved before the
        first is settled.

        Parameters
        ----------
        rows : int, or sequence of int or integer array, shape (m,)
            Each row at most once.
        num_new : int, or sequence of int or integer array, shape (m,)
            Tokens of each row in this pass, at least 1: a chunk of the prompt, one token in decode,
            one more than the draft in speculative decoding.
        slots : bool, optional
            False for no ``Step.slots``: the device derives them from its copy of the tables, as
            `ctxengine.cuda.slot_mapping` does.

        Returns
        -------
        Step
            With ``oom_row`` set, nothing has changed.

        Raises
        ------
        CapacityError
            A row would become longer than the block table is wide.
        ArgumentError
            A row is not in use or named twice, or a count is less than 1.

        Notes
        -----
        O(m + tokens).
        """
        return Step(*self._core.reserve(_row_list(rows), num_new, slots))

    def settle(
        self,
        rows: int | Ints,
        num_accepted: int | Ints,
        token_ids: TokenIds | None = (),
        indptr: Ints | None = None,
    ) -> None:
        """Complete the oldest open reservation of each row, after its forward pass.

        The first ``num_accepted`` tokens of the reservation count as computed, and blocks that are
        full now become findable: here and nowhere else. The other tokens (rejected drafts) are
        given up; the next reservation takes their slots.

        Parameters
        ----------
        rows : int, or sequence of int or integer array, shape (m,)
            Each row at most once.
        num_accepted : int, or sequence of int or integer array, shape (m,)
            From 0 to the size of the reservation. Less than the whole only while the row has no
            younger reservation.
        token_ids : sequence of int or integer array, or None
            The ids of the accepted tokens which the manager does not know from `acquire`, row after
            row: none while a prompt is being computed, the pass's input tokens in decode. None
            when they are not known yet: `tell`, or the next `settle` of the row, brings them, and
            only then do blocks become findable.
        indptr : sequence of int or integer array, shape (m + 1,), optional
            Where each row's ids lie in ``token_ids``; checked when given, implied when not.

        Raises
        ------
        ArgumentError
            The numbers do not fit what was reserved; nothing has changed.

        Notes
        -----
        O(m + tokens).
        """
        self._core.settle(_row_list(rows), num_accepted, token_ids, indptr)

    def tell(self, rows: int | Ints, token_ids: TokenIds, indptr: Ints | None = None) -> None:
        """Bring ids of tokens that were settled without them.

        Parameters
        ----------
        rows : int, or sequence of int or integer array, shape (m,)
            Each row at most once.
        token_ids : sequence of int or integer array
            The next missing ids of each row, row after row; without ``indptr``, all of them.
        indptr : sequence of int or integer array, shape (m + 1,), optional
            Where each row's ids lie in ``token_ids``.

        Raises
        ------
        ArgumentError
            A row misses fewer ids than it is told; nothing has changed.
        """
        self._core.tell(_row_list(rows), token_ids, indptr)

    def begin_load(self, row: int, num_tokens: int) -> Step:
        """Hand out the slots of the next tokens of a prompt whose KV comes from elsewhere.

        Until `finish_load` or `fail_load` the row can only be freed, and nobody finds its blocks.

        Parameters
        ----------
        row : int
        num_tokens : int
            At most all but the last token of the prompt.

        Returns
        -------
        Step
            As of `reserve`: with ``oom_row`` set, nothing has changed.

        Raises
        ------
        ArgumentError
            The row is not in use, is loading, has an open reservation or fewer tokens.
        """
        return Step(*self._core.begin_load(row, num_tokens))

    def finish_load(self, row: int) -> None:
        """Count what was loading as computed; full blocks become findable.

        Raises
        ------
        ArgumentError
            The row is not loading.
        """
        self._core.finish_load(row)

    def fail_load(self, row: int, num_loaded: int = 0) -> None:
        """Give up a load of which only the first ``num_loaded`` tokens came; compute the others.

        Raises
        ------
        ArgumentError
            The row is not loading, or not so much.
        """
        self._core.fail_load(row, num_loaded)

    def fork(self, row: int) -> int | None:
        """Make a second row that shares all blocks of the first; writes copy.

        Returns
        -------
        int or None
            The new row; None when no row is free.

        Raises
        ------
        ArgumentError
            The row is not in use, or not all its tokens are settled.
        """
        return self._core.fork(row)

    def truncate(self, row: int, num_tokens: int) -> None:
        """Cut a row to its first ``num_tokens`` tokens.

        Raises
        ------
        ArgumentError
            The row is not in use, has fewer tokens, or has an open reservation.
        """
        self._core.truncate(row, num_tokens)

    def free(self, rows: int | Ints, *, fence: int | None = None) -> None:
        """Let rows go, each tail first; their published blocks stay findable until evicted.

        A row may be freed with open reservations or while it is loading. If what writes its blocks
        later on the device is not ordered behind that, as on one stream, then give a fence.

        Parameters
        ----------
        rows : int, or sequence of int or integer array, shape (m,)
        fence : int, optional
            The blocks are reused only after `advance_fence` has reached this ticket: the number of
            the last pass that touches them. Until then they count as coming (`Stats.num_coming`).

        Raises
        ------
        ArgumentError
            A row is not in use (freed already?) or named twice; nothing has changed.
        """
        self._core.free(_row_list(rows), fence)

    def advance_fence(self, ticket: int) -> None:
        """Say that the device has passed ``ticket``, and with it all lower ones.

        Raises
        ------
        ArgumentError
            It had passed a later one.
        """
        self._core.advance_fence(ticket)

    def preempt_candidates(self, num_blocks: int) -> npt.NDArray[np.int32]:
        """Name rows whose freeing makes ``num_blocks`` blocks available; changes nothing.

        Returns
        -------
        numpy.ndarray
            int32, shape (k,): the youngest rows first, as few as do. None when enough blocks are
            available or coming; all rows when even that is not enough.
        """
        return self._core.preempt_candidates(num_blocks)

    def evict(self, num_blocks: int) -> npt.NDArray[np.int32]:
        """Evict up to ``num_blocks`` idle blocks.

        Returns
        -------
        numpy.ndarray
            int32, shape (k,): the blocks evicted, least recently used first.
        """
        return self._core.evict(num_blocks)

    def slot_mapping(
        self,
        rows: Ints,
        positions: Ints,
        out: npt.NDArray[np.int64] | None = None,
        *,
        group: int = 0,
    ) -> npt.NDArray[np.int64]:
        """Compute the slot of a token of each row.

        Parameters
        ----------
        rows, positions : sequence of int or integer array, shape (m,)
            Entry i asks for token ``positions[i]`` of row ``rows[i]``; a negative value in either
            marks padding.
        out : numpy.ndarray, optional
            int64, shape (m,), contiguous: filled and returned.
        group : int, optional

        Returns
        -------
        numpy.ndarray
            int64, shape (m,): block * block_size + offset, -1 for padding and for tokens that the
            group has let go.

        Raises
        ------
        ArgumentError
            A row is not in use, or has no slot for the position yet.
        """
        return self._core.slot_mapping(rows, positions, out, group)

    def stats(self) -> Stats:
        """Return the counters, all taken at one moment."""
        return Stats(**self._core.stats())

    def snapshot(self) -> dict[str, Any]:
        """Return the whole state as plain lists and dicts, for comparing with ``==``.

        Two managers that were called alike have equal snapshots, and a call that fails leaves an
        equal one. O(state): for tests.
        """
        return self._core.snapshot()

    def check(self) -> None:
        """Test every invariant of the tables.

        Raises
        ------
        CtxEngineError
            An invariant does not hold; the message says which. O(state): for tests and debugging.
        """
        self._core.check()

    def __repr__(self) -> str:
        return (
            f"KVCacheManager({self.num_blocks}, {self.block_size}, max_rows={self.max_rows}, "
            f"max_row_tokens={self.max_row_blocks * self.block_size})"
        )
