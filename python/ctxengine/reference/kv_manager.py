"""A KV block manager of dicts and lists: the model of `ctxengine.kv.KVCacheManager`.

Where the native manager keeps counters and links, the model counts and searches. Contents are not
hashed: a published block is known by everything from the start of its prefix to its end, written
out. A call that could fall short runs on a copy, which replaces the state if it succeeds.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from ctxengine.errors import ArgumentError, CapacityError

__all__ = ["KVCacheModel"]

# One entry per block from the start of the prefix: (identity of the block, its token ids).
Content = tuple[tuple[Any, tuple[int, ...]], ...]
ExtraKeys = tuple[tuple[Any, ...], ...]


@dataclass
class Row:
    """A sequence. Tokens [0, num_computed) have KV, [num_computed, num_reserved) have slots."""

    token_ids: list[int]
    cache_salt: str | None
    extra_keys: ExtraKeys
    blocks: list[int] = field(default_factory=list)
    num_computed: int = 0
    reservations: list[int] = field(default_factory=list)
    num_patched: int = 0

    @property
    def num_reserved(self) -> int:
        """Slots handed out, from 0 on."""
        return self.num_computed + sum(self.reservations)


class OutOfBlocks(Exception):  # noqa: N818 - caught inside the model
    """No block is free or idle."""


class KVCacheModel:
    """Same calls and answers as `ctxengine.kv.KVCacheManager`, with lists for arrays."""

    def __init__(
        self,
        num_blocks: int,
        block_size: int,
        *,
        max_rows: int = 256,
        max_row_tokens: int | None = None,
    ) -> None:
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.max_rows = max_rows
        columns = num_blocks
        if max_row_tokens is not None:
            columns = min(columns, -(-max_row_tokens // block_size))
        self.max_row_blocks = columns
        self.rows: dict[int, Row] = {}
        self.num_touched = 0  # blocks from here on were never used
        self.free_stack: list[int] = []  # top at the end
        self.idle: list[int] = []  # oldest first
        self.content_of: dict[int, Content] = {}  # published blocks
        self.copies_of: dict[Content, list[int]] = {}  # the copy that is found comes first
        self.chain_of: dict[Content, int] = {(): 0}  # numbers in order of first publication
        self.last_chain = 0

    # --- calls ---

    def acquire(
        self, token_ids: list[int], *, cache_salt: str | None = None, extra_keys: ExtraKeys = ()
    ) -> tuple[int, int] | None:
        """Look up, pin and allocate."""
        if not token_ids:
            raise ArgumentError("empty prompt")
        self._check_fits(len(token_ids))
        trial = copy.deepcopy(self)
        row = Row(list(token_ids), cache_salt, extra_keys)
        row_id = trial._new_row(row)
        if row_id is None:
            return None
        # Whole blocks, and never the one with the last token.
        for column in range((len(token_ids) - 1) // self.block_size):
            copies = trial.copies_of.get(trial._content(row, column))
            if copies is None:
                break
            row.blocks.append(copies[0])
            if copies[0] in trial.idle:
                trial.idle.remove(copies[0])
        row.num_computed = len(row.blocks) * self.block_size
        try:
            while len(row.blocks) < self._blocks_for(len(token_ids)):
                row.blocks.append(trial._allocate())
        except OutOfBlocks:
            return None
        self.__dict__ = trial.__dict__
        return row_id, row.num_computed

    def can_admit(self, num_tokens: int) -> bool:
        """Whether a prompt with nothing cached fits now."""
        if num_tokens < 1:
            raise ArgumentError("empty prompt")
        self._check_fits(num_tokens)
        available = self.num_blocks - len({b for row in self.rows.values() for b in row.blocks})
        return len(self.rows) < self.max_rows and self._blocks_for(num_tokens) <= available

    def reserve(
        self, rows: list[int], num_new: list[int]
    ) -> tuple[list[int], list[list[int]], list[list[int]], int | None]:
        """Slots, table patch, copies, first row that fell short."""
        self._live(rows)
        for row_id, count in zip(rows, num_new, strict=True):
            if count < 1:
                raise ArgumentError("nothing to reserve")
            self._check_fits(self.rows[row_id].num_reserved + count)
        trial = copy.deepcopy(self)
        slots: list[int] = []
        patch: list[list[int]] = []
        copies: list[list[int]] = []
        for row_id, count in zip(rows, num_new, strict=True):
            row = trial.rows[row_id]
            begin, end = row.num_reserved, row.num_reserved + count
            column = begin // self.block_size
            try:
                if column < len(row.blocks) and not trial._writable(row.blocks[column]):
                    source = row.blocks[column]
                    row.blocks[column] = trial._allocate()
                    copies.append([source, row.blocks[column]])
                    if column < row.num_patched:
                        patch.append([row_id, column, row.blocks[column]])
                while len(row.blocks) < trial._blocks_for(end):
                    row.blocks.append(trial._allocate())
            except OutOfBlocks:
                return [], [], [], row_id
            patch += [[row_id, c, row.blocks[c]] for c in range(row.num_patched, len(row.blocks))]
            row.num_patched = len(row.blocks)
            slots += [trial.slot(row_id, position) for position in range(begin, end)]
            row.reservations.append(count)
        for source, _ in copies:  # a copied block is reused after the step at the earliest
            trial._place(source)
        self.__dict__ = trial.__dict__
        return slots, patch, copies, None

    def settle(self, rows: list[int], num_accepted: list[int], token_ids: list[int]) -> None:
        """Take over the accepted tokens; publish the blocks that became full."""
        self._live(rows)
        num_unknown = []
        for row_id, accepted in zip(rows, num_accepted, strict=True):
            row = self.rows[row_id]
            if not row.reservations or not 0 <= accepted <= row.reservations[0]:
                raise ArgumentError("not what was reserved")
            if accepted < row.reservations[0] and len(row.reservations) > 1:
                raise ArgumentError("a younger reservation is out")
            num_unknown.append(max(0, row.num_computed + accepted - len(row.token_ids)))
        if sum(num_unknown) != len(token_ids):
            raise ArgumentError("wrong number of ids")
        for row_id, accepted, unknown in zip(rows, num_accepted, num_unknown, strict=True):
            row = self.rows[row_id]
            row.token_ids += token_ids[:unknown]
            token_ids = token_ids[unknown:]
            first = row.num_computed // self.block_size
            row.reservations.pop(0)
            row.num_computed += accepted
            for column in range(first, row.num_computed // self.block_size):
                self._publish(row.blocks[column], self._content(row, column))
            self._shrink(row, self._blocks_for(max(len(row.token_ids), row.num_reserved)))

    def fork(self, row_id: int) -> int | None:
        """Return a second row over the same blocks."""
        self._live([row_id])
        if len(self.rows) == self.max_rows:
            return None
        row = self.rows[row_id]
        if row.reservations or row.num_computed != len(row.token_ids):
            raise ArgumentError("unsettled")
        child = copy.deepcopy(row)
        child.num_patched = 0
        return self._new_row(child)

    def truncate(self, row_id: int, num_tokens: int) -> None:
        """Cut a row, and the media that its extra keys speak of."""
        self._live([row_id])
        row = self.rows[row_id]
        if not 0 <= num_tokens <= len(row.token_ids) or row.reservations:
            raise ArgumentError("cannot cut there or now")
        del row.token_ids[num_tokens:]
        row.num_computed = min(row.num_computed, num_tokens)
        row.extra_keys = tuple(
            (*key[:3], min(key[3], num_tokens - key[2])) if key[0] == "mm" else key
            for key in row.extra_keys
            if key[0] != "mm" or key[2] < num_tokens
        )
        self._shrink(row, self._blocks_for(num_tokens))

    def free(self, rows: list[int]) -> None:
        """Let rows go, tail first."""
        self._live(rows)
        for row_id in rows:
            self._shrink(self.rows[row_id], 0)
            del self.rows[row_id]

    def evict(self, num_blocks: int) -> list[int]:
        """Evict idle blocks, oldest first."""
        evicted: list[int] = []
        while self.idle and len(evicted) < num_blocks:
            evicted.append(self.idle[0])
            self._unpublish(self.idle.pop(0))
            self.free_stack.append(evicted[-1])
        return evicted

    def slot(self, row_id: int, position: int) -> int:
        """Return where the KV of a token lies."""
        block = self.rows[row_id].blocks[position // self.block_size]
        return block * self.block_size + position % self.block_size

    def snapshot(self) -> dict[str, Any]:
        """Return what `KVCacheManager.snapshot` does."""
        return {
            "rows": {
                row_id: {
                    "num_tokens": len(row.token_ids),
                    "num_computed": row.num_computed,
                    "num_reserved": row.num_reserved,
                    "reservations": row.reservations,
                    "num_patched": row.num_patched,
                    "blocks": row.blocks,
                    "token_ids": row.token_ids,
                }
                for row_id, row in sorted(self.rows.items())
            },
            "free_stack": self.free_stack[::-1],
            "num_touched": self.num_touched,
            "idle": self.idle,
            "published": {
                block: {
                    "chain": self.chain_of[content],
                    "parent_chain": self.chain_of[content[:-1]],
                    "token_ids": list(content[-1][1]),
                }
                for block, content in sorted(self.content_of.items())
            },
            "ref_counts": [self._num_references(b) for b in range(self.num_touched)],
        }

    def check(self) -> None:
        """Assert what must always hold."""
        held = {b for row in self.rows.values() for b in row.blocks}
        fresh = set(range(self.num_touched, self.num_blocks))
        places = [*held, *fresh, *self.free_stack, *self.idle]
        assert sorted(places) == list(range(self.num_blocks)), "every block is in one place"
        assert set(self.idle) <= set(self.content_of), "idle blocks can be found"
        assert not set(self.free_stack) & set(self.content_of), "free blocks cannot"
        for row in self.rows.values():
            assert len(set(row.blocks)) == len(row.blocks)
            covered = max(len(row.token_ids), row.num_reserved)
            assert len(row.blocks) == self._blocks_for(covered)
            for column in range(row.num_computed // self.block_size):
                content = self._content(row, column)
                assert self.content_of[row.blocks[column]] == content, "KV is what the row says"
            for column in range(row.num_computed // self.block_size, len(row.blocks)):
                tail = column == row.num_computed // self.block_size and not row.reservations
                assert tail or self._writable(row.blocks[column])
        for block, content in self.content_of.items():
            assert block in self.copies_of[content]
            parents = self.copies_of[content[:-1]] if content[:-1] else []
            if block in self.idle:
                age = self.idle.index(block)
                assert not parents or any(p in held or self.idle.index(p) > age for p in parents)
            else:
                assert not parents or any(p in held for p in parents)

    # --- parts ---

    def _blocks_for(self, num_tokens: int) -> int:
        return -(-num_tokens // self.block_size)

    def _check_fits(self, num_tokens: int) -> None:
        needed = self._blocks_for(num_tokens)
        if needed > self.max_row_blocks:
            raise CapacityError("never", needed, self.max_row_blocks)

    def _live(self, rows: list[int]) -> None:
        for i, row_id in enumerate(rows):
            if row_id not in self.rows or row_id in rows[:i]:
                raise ArgumentError(f"row {row_id}")

    def _new_row(self, row: Row) -> int | None:
        row_id = next((i for i in range(self.max_rows) if i not in self.rows), None)
        if row_id is not None:
            self.rows[row_id] = row
        return row_id

    def _identity(self, row: Row, column: int) -> tuple[Any, ...]:
        begin = column * self.block_size
        first = [("salt", row.cache_salt), *(k for k in row.extra_keys if k[0] == "lora")]
        media = []
        for key in row.extra_keys:
            if key[0] == "mm":
                start, end = key[2] - begin, key[2] + key[3] - begin
                if start < self.block_size and end > 0:
                    media.append((key[1], start, min(end, self.block_size)))
        return (*(first if column == 0 else ()), *media)

    def _content(self, row: Row, column: int) -> Content:
        size = self.block_size
        return tuple(
            (self._identity(row, c), tuple(row.token_ids[c * size : (c + 1) * size]))
            for c in range(column + 1)
        )

    def _num_references(self, block: int) -> int:
        return sum(row.blocks.count(block) for row in self.rows.values())

    def _writable(self, block: int) -> bool:
        return block not in self.content_of and self._num_references(block) == 1

    def _allocate(self) -> int:
        if self.free_stack:
            return self.free_stack.pop()
        if self.num_touched < self.num_blocks:
            self.num_touched += 1
            return self.num_touched - 1
        if not self.idle:
            raise OutOfBlocks
        self._unpublish(self.idle[0])
        return self.idle.pop(0)

    def _place(self, block: int) -> None:
        if self._num_references(block) or block in self.idle:
            return
        (self.idle if block in self.content_of else self.free_stack).append(block)

    def _shrink(self, row: Row, num_blocks: int) -> None:
        while len(row.blocks) > num_blocks:
            self._place(row.blocks.pop())
        row.num_patched = min(row.num_patched, num_blocks)

    def _publish(self, block: int, content: Content) -> None:
        if content not in self.chain_of:
            self.last_chain += 1
            self.chain_of[content] = self.last_chain
        self.content_of[block] = content
        self.copies_of.setdefault(content, []).insert(1, block)

    def _unpublish(self, block: int) -> None:
        content = self.content_of.pop(block)
        self.copies_of[content].remove(block)
        if not self.copies_of[content]:
            del self.copies_of[content], self.chain_of[content]
