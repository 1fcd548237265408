"""A KV block manager of dicts and lists: the model of `ctxengine.kv.KVCacheManager`.

Where the native manager keeps counters and links, the model counts and searches. Contents are not
hashed: a published block is known by everything from the start of its prefix to its end, written
out. A call that could fall short runs on a copy, which replaces the state if it succeeds.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ctxengine.errors import ArgumentError, CapacityError

__all__ = ["KVCacheModel"]

# One entry per block from the start of the prefix: (identity of the block, its token ids).
Content = tuple[tuple[Any, tuple[int, ...]], ...]
ExtraKeys = tuple[tuple[Any, ...], ...]
Key = tuple[int, Content]  # group and content


@dataclass
class Table:
    """The blocks of a row in one group, by column; the gaps are what the group does not need."""

    blocks: dict[int, int] = field(default_factory=dict)
    begin: int = 0
    end: int = 0
    num_patched: int = 0


@dataclass
class Row:
    """A sequence. Tokens [0, num_computed) have KV, [num_computed, num_reserved) have slots."""

    token_ids: list[int]
    cache_salt: str | None
    extra_keys: ExtraKeys
    tables: list[Table]
    num_computed: int = 0
    exact_at: int = 0  # the last block boundary at which a pass ended
    age: int = 0  # the youngest row has the highest
    is_loading: bool = False
    reservations: list[int] = field(default_factory=list)

    @property
    def num_reserved(self) -> int:
        """Slots handed out, from 0 on."""
        return self.num_computed + sum(self.reservations)

    def num_published(self, block_size: int) -> int:
        """Whole blocks with KV whose ids are known."""
        return min(self.num_computed, len(self.token_ids)) // block_size


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
        groups: Sequence[tuple[str, int]] = (("full", 0),),
        watermark_blocks: int = 0,
        partial_hits: bool = False,
    ) -> None:
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.max_rows = max_rows
        self.groups = tuple(groups)
        num_full = sum(kind == "full" for kind, _ in groups)
        self.max_row_blocks = max(1, num_blocks // max(1, num_full))
        if max_row_tokens is not None:
            columns = -(-max_row_tokens // block_size)
            self.max_row_blocks = min(self.max_row_blocks, columns) if num_full else columns
        self.rows: dict[int, Row] = {}
        self.num_touched = 0  # blocks from here on were never used
        self.free_stack: list[int] = []  # top at the end
        self.idle: list[int] = []  # oldest first
        self.key_of: dict[int, Key] = {}  # published blocks
        self.copies_of: dict[Key, list[int]] = {}  # in the order of publication
        self.chain_of: dict[Content, int] = {(): 0}  # numbers in order of first publication
        self.last_chain = 0
        self.children_of: dict[Content, list[Content]] = {}  # in the order they are tried
        self.watermark_blocks = watermark_blocks
        self.partial_hits = partial_hits
        self.deferred: list[tuple[int, list[int]]] = []  # fence; blocks of a row and group
        self.passed_fence = -1
        self.last_age = 0

    # --- calls ---

    def acquire(
        self, token_ids: list[int], *, cache_salt: str | None = None, extra_keys: ExtraKeys = ()
    ) -> tuple[int, int] | None:
        """Look up, pin and allocate."""
        if not token_ids:
            raise ArgumentError("empty prompt")
        self._check_fits(len(token_ids))
        trial = copy.deepcopy(self)
        row = Row(list(token_ids), cache_salt, extra_keys, [Table() for _ in self.groups])
        row_id = trial._new_row(row)
        if row_id is None:
            return None
        # Whole blocks, and never the one with the last token.
        num_hits = trial._longest_hit(row, (len(token_ids) - 1) // self.block_size)
        row.num_computed = num_hits * self.block_size
        for group, table in enumerate(row.tables):
            table.begin = min(self._first_needed(group, row.num_computed), num_hits)
            table.end = num_hits
            for column in range(table.begin, num_hits):
                block = trial.copies_of[group, trial._content(row, column)][0]
                table.blocks[column] = block
                if block in trial.idle:
                    trial.idle.remove(block)
        partial, length = trial._partial_hit(row, num_hits)
        row.num_computed += length
        for group, table in enumerate(row.tables if length else ()):
            table.blocks[num_hits] = trial.copies_of[group, partial][0]
            if table.blocks[num_hits] in trial.idle:
                trial.idle.remove(table.blocks[num_hits])
        num_columns = self._blocks_for(len(token_ids))
        if self._num_needed(num_columns - num_hits) + self._watermark() > trial._num_available():
            return None
        for (kind, _), table in zip(self.groups, row.tables, strict=True):
            if kind == "full":
                for column in range(num_hits + bool(length), num_columns):
                    table.blocks[column] = trial._allocate()
                table.end = num_columns
        self.__dict__ = trial.__dict__
        return row_id, row.num_computed

    def can_admit(self, num_tokens: int) -> bool:
        """Whether a prompt with nothing cached fits now."""
        if num_tokens < 1:
            raise ArgumentError("empty prompt")
        self._check_fits(num_tokens)
        needed = self._num_needed(self._blocks_for(num_tokens)) + self._watermark()
        return len(self.rows) < self.max_rows and needed <= self._num_available()

    def reserve(
        self, rows: list[int], num_new: list[int]
    ) -> tuple[list[list[int]], list[list[int]], list[list[int]], int | None]:
        """Slots of each group, table patch, copies, first row that fell short."""
        self._live(rows, ready=True)
        for row_id, count in zip(rows, num_new, strict=True):
            if count < 1:
                raise ArgumentError("nothing to reserve")
            self._check_fits(self.rows[row_id].num_reserved + count)
        trial = copy.deepcopy(self)
        slots: list[list[int]] = [[] for _ in self.groups]
        patch: list[list[int]] = []
        copies: list[list[int]] = []
        for row_id, count in zip(rows, num_new, strict=True):
            row = trial.rows[row_id]
            begin, end = row.num_reserved, row.num_reserved + count
            for group, table in enumerate(row.tables):
                first = min(self._first_needed(group, row.num_computed), table.end)
                trial._release(table, range(table.begin, first))
                table.begin = max(table.begin, first)
            try:
                for group in range(len(self.groups)):
                    trial._extend(row_id, group, range(begin, end), patch, copies)
            except OutOfBlocks:
                return [[] for _ in self.groups], [], [], row_id
            for group in range(len(self.groups)):
                slots[group] += [trial.slot(row_id, p, group) for p in range(begin, end)]
            row.reservations.append(count)
        for source, _ in copies:  # a copied block is reused after the step at the earliest
            trial._place(source)
        self.__dict__ = trial.__dict__
        return slots, patch, copies, None

    def settle(self, rows: list[int], num_accepted: list[int], token_ids: list[int] | None) -> None:
        """Take over the accepted tokens; publish the blocks that became full."""
        self._live(rows, ready=True)
        num_unknown = []
        for row_id, accepted in zip(rows, num_accepted, strict=True):
            row = self.rows[row_id]
            if not row.reservations or not 0 <= accepted <= row.reservations[0]:
                raise ArgumentError("not what was reserved")
            if accepted < row.reservations[0] and len(row.reservations) > 1:
                raise ArgumentError("a younger reservation is out")
            num_unknown.append(max(0, row.num_computed + accepted - len(row.token_ids)))
        if token_ids is None:  # they come later
            num_unknown, token_ids = [0] * len(rows), []
        if sum(num_unknown) != len(token_ids):
            raise ArgumentError("wrong number of ids")
        for row_id, accepted, unknown in zip(rows, num_accepted, num_unknown, strict=True):
            row = self.rows[row_id]
            first = row.num_published(self.block_size)
            row.token_ids += token_ids[:unknown]
            token_ids = token_ids[unknown:]
            all_accepted = row.reservations.pop(0) == accepted
            row.num_computed += accepted
            if row.num_computed % self.block_size == 0:
                row.exact_at = row.num_computed
            if accepted and not all_accepted:
                self._pull_states(row)
            for column in range(first, row.num_published(self.block_size)):
                self._publish(row, column)
            if not all_accepted:
                self._shrink_to_fit(row)

    def tell(self, rows: list[int], token_ids: list[int], counts: list[int]) -> None:
        """Take the ids of tokens that were settled without them."""
        self._live(rows)
        for row_id, count in zip(rows, counts, strict=True):
            row = self.rows[row_id]
            if not 0 <= count <= max(0, row.num_computed - len(row.token_ids)):
                raise ArgumentError("too many ids")
        if sum(counts) != len(token_ids):
            raise ArgumentError("wrong number of ids")
        for row_id, count in zip(rows, counts, strict=True):
            row = self.rows[row_id]
            first = row.num_published(self.block_size)
            row.token_ids += token_ids[:count]
            token_ids = token_ids[count:]
            for column in range(first, row.num_published(self.block_size)):
                self._publish(row, column)

    def begin_load(
        self, row_id: int, num_tokens: int
    ) -> tuple[list[list[int]], list[list[int]], list[list[int]], int | None]:
        """Reserve prompt tokens that come from elsewhere."""
        self._live([row_id], ready=True)
        row = self.rows[row_id]
        if row.reservations or not 1 <= num_tokens < len(row.token_ids) - row.num_computed:
            raise ArgumentError("cannot load that")
        step = self.reserve([row_id], [num_tokens])
        self.rows[row_id].is_loading = step[3] is None
        return step

    def finish_load(self, row_id: int) -> None:
        """Count them as computed."""
        self._live([row_id])
        self.fail_load(row_id, sum(self.rows[row_id].reservations))

    def fail_load(self, row_id: int, num_loaded: int) -> None:
        """Count some of them as computed."""
        self._live([row_id])
        row = self.rows[row_id]
        if not row.is_loading or not 0 <= num_loaded <= row.reservations[0]:
            raise ArgumentError("is not loading that")
        row.is_loading = False
        self.settle([row_id], [num_loaded], [])

    def fork(self, row_id: int) -> int | None:
        """Return a second row over the same blocks."""
        self._live([row_id], ready=True)
        if len(self.rows) == self.max_rows:
            return None
        row = self.rows[row_id]
        if row.reservations or row.num_computed != len(row.token_ids):
            raise ArgumentError("unsettled")
        child = copy.deepcopy(row)
        for table in child.tables:
            table.num_patched = 0
        return self._new_row(child)

    def truncate(self, row_id: int, num_tokens: int) -> None:
        """Cut a row, and the media that its extra keys speak of."""
        self._live([row_id], ready=True)
        row = self.rows[row_id]
        if not 0 <= num_tokens <= len(row.token_ids) or row.reservations:
            raise ArgumentError("cannot cut there or now")
        num_computed = min(row.num_computed, num_tokens)
        for group, ((kind, _), table) in enumerate(zip(self.groups, row.tables, strict=True)):
            if num_computed == 0:
                continue
            if kind == "linear_state" and num_computed != row.num_computed:
                raise ArgumentError("the state stands for more")
            if self._first_needed(group, num_computed) < table.begin:
                raise ArgumentError("what comes before is gone")
        del row.token_ids[num_tokens:]
        row.num_computed = num_computed
        row.exact_at = min(row.exact_at, num_computed)
        row.extra_keys = tuple(
            (*key[:3], min(key[3], num_tokens - key[2])) if key[0] == "mm" else key
            for key in row.extra_keys
            if key[0] != "mm" or key[2] < num_tokens
        )
        self._shrink_to_fit(row)

    def free(self, rows: list[int], fence: int | None = None) -> None:
        """Let rows go, tail first."""
        self._live(rows)
        if fence is not None and fence > self.passed_fence:
            for row_id in rows:
                for table in self.rows[row_id].tables:
                    blocks = [table.blocks[column] for column in sorted(table.blocks)]
                    self.deferred.append((fence, blocks))
        for row_id in rows:
            for table in self.rows[row_id].tables:
                self._release(table, range(table.begin, table.end))
            del self.rows[row_id]
            self._forget_chains()

    def advance_fence(self, fence: int) -> None:
        """Release what waited for it, in the order of freeing."""
        if fence < max(0, self.passed_fence):
            raise ArgumentError("passed already")
        self.passed_fence = fence
        while due := [entry for entry in self.deferred if entry[0] <= fence]:
            self.deferred.remove(due[0])
            self._release(Table(dict(enumerate(due[0][1]))), range(len(due[0][1])))

    def preempt_candidates(self, num_blocks: int) -> list[int]:
        """Return as few of the youngest rows as make so many blocks available."""
        youngest = sorted(self.rows, key=lambda row_id: -self.rows[row_id].age)
        for count in range(len(youngest) + 1):
            kept = {
                b for r in youngest[count:] for t in self.rows[r].tables for b in t.blocks.values()
            }
            if self.num_blocks - len(kept) >= num_blocks:
                return youngest[:count]
        return youngest

    def evict(self, num_blocks: int) -> list[int]:
        """Evict idle blocks, oldest first."""
        evicted: list[int] = []
        while self.idle and len(evicted) < num_blocks:
            evicted.append(self.idle[0])
            self._unpublish(self.idle.pop(0))
            self.free_stack.append(evicted[-1])
        return evicted

    def slot(self, row_id: int, position: int, group: int = 0) -> int:
        """Return where the KV of a token lies, -1 for nowhere."""
        block = self.rows[row_id].tables[group].blocks.get(position // self.block_size)
        return -1 if block is None else block * self.block_size + position % self.block_size

    def snapshot(self) -> dict[str, Any]:
        """Return what `KVCacheManager.snapshot` does."""
        return {
            "rows": {
                row_id: {
                    "num_tokens": len(row.token_ids),
                    "num_computed": row.num_computed,
                    "num_reserved": row.num_reserved,
                    "is_loading": row.is_loading,
                    "reservations": row.reservations,
                    "groups": [
                        {
                            "begin": table.begin,
                            "end": table.end,
                            "num_patched": table.num_patched,
                            "blocks": [
                                table.blocks.get(c, -1) for c in range(table.begin, table.end)
                            ],
                        }
                        for table in row.tables
                    ],
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
                    "group": group,
                    "token_ids": list(content[-1][1]),
                }
                for block, (group, content) in sorted(self.key_of.items())
            },
            "deferred": [blocks for _, blocks in self.deferred],
            "ref_counts": [self._num_references(b) for b in range(self.num_touched)],
        }

    def check(self) -> None:
        """Assert what must always hold."""
        held = self._held()
        fresh = set(range(self.num_touched, self.num_blocks))
        places = [*held, *fresh, *self.free_stack, *self.idle]
        assert sorted(places) == list(range(self.num_blocks)), "every block is in one place"
        assert set(self.idle) <= set(self.key_of), "idle blocks can be found"
        assert not set(self.free_stack) & set(self.key_of), "free blocks cannot"
        for row in self.rows.values():
            blocks = [b for table in row.tables for b in table.blocks.values()]
            assert len(set(blocks)) == len(blocks)
            for group, table in enumerate(row.tables):
                self._check_table(row, group, table)
        for block, (group, content) in self.key_of.items():
            assert block in self.copies_of[group, content]
            if self.groups[group][0] != "full" or not content[:-1]:
                continue
            parents = self.copies_of[group, content[:-1]]
            age = self.idle.index(block) if block in self.idle else len(self.idle)
            assert any(p in held or self.idle.index(p) > age for p in parents), "leaves go first"

    def _check_table(self, row: Row, group: int, table: Table) -> None:
        kind = self.groups[group][0]
        depth = row.num_published(self.block_size)
        covered = max(len(row.token_ids), row.num_reserved) if kind == "full" else row.num_reserved
        assert table.end == self._blocks_for(covered)
        needed = range(self._first_needed(group, row.num_computed), table.end)
        if kind == "linear_state":  # of the state's block and those that a pass will fill, the ends
            needed = range(max(0, table.end - 1), table.end)
        assert set(needed) <= set(table.blocks), "a group has what it needs"
        for column, block in table.blocks.items():
            if column < depth:
                published = self.key_of.get(block) == (group, self._content(row, column))
                assert published or kind == "linear_state", "KV is what the row says"
            elif kind != "linear_state" or column == table.end - 1:
                tail = column == depth and not row.reservations
                assert tail or self._writable(block)

    # --- parts ---

    def _blocks_for(self, num_tokens: int) -> int:
        return -(-num_tokens // self.block_size)

    def _num_needed(self, num_columns: int) -> int:
        """Blocks of all groups for the last columns of a prompt that is computed in chunks."""
        needed = 0
        for kind, window in self.groups:
            held = {
                "full": num_columns,
                "sliding_window": self._blocks_for(window - 1) + 1,
                "chunked_local": self._blocks_for(window) + 1,
                "linear_state": 2,
            }[kind]
            needed += min(held, num_columns)
        return needed

    def _held(self) -> set[int]:
        held = {b for row in self.rows.values() for t in row.tables for b in t.blocks.values()}
        return held | {b for _, blocks in self.deferred for b in blocks}

    def _num_available(self) -> int:
        return self.num_blocks - len(self._held())

    def _watermark(self) -> int:
        return self.watermark_blocks if self.rows else 0

    def _partial_hit(self, row: Row, num_hits: int) -> tuple[Content, int]:
        """Return the published block that begins most like what follows the hits."""
        before = self._content(row, num_hits - 1) if num_hits else ()
        begin = num_hits * self.block_size
        wanted = row.token_ids[begin:-1][: self.block_size - 1]
        best: tuple[Content, int] = ((), 0)
        for child in self.children_of.get(before, ())[:16] if self.partial_hits else ():
            identity, tokens = child[-1]
            length = 0
            while length < len(wanted) and tokens[length] == wanted[length]:
                length += 1
            if length > best[1] and identity == self._identity(row, num_hits):
                best = (child, length)
        if not all((group, best[0]) in self.copies_of for group in range(len(self.groups))):
            return (), 0
        return best

    def _check_fits(self, num_tokens: int) -> None:
        needed = self._blocks_for(num_tokens)
        if needed > self.max_row_blocks:
            raise CapacityError("never", needed, self.max_row_blocks)
        if self._num_needed(needed) > self.num_blocks:
            raise CapacityError("never", self._num_needed(needed), self.num_blocks)

    def _live(self, rows: list[int], *, ready: bool = False) -> None:
        for i, row_id in enumerate(rows):
            if row_id not in self.rows or row_id in rows[:i]:
                raise ArgumentError(f"row {row_id}")
            if ready and self.rows[row_id].is_loading:
                raise ArgumentError(f"row {row_id} is loading")

    def _new_row(self, row: Row) -> int | None:
        row_id = next((i for i in range(self.max_rows) if i not in self.rows), None)
        if row_id is not None:
            self.rows[row_id] = row
            self.last_age += 1
            row.age = self.last_age
        return row_id

    def _first_needed(self, group: int, num_computed: int) -> int:
        """Return the first column that a token from num_computed on still needs."""
        kind, window = self.groups[group]
        first_token = {
            "full": 0,
            "sliding_window": num_computed - window + 1,
            "chunked_local": num_computed - num_computed % window if window else 0,
            "linear_state": num_computed - 1,
        }[kind]
        return max(0, first_token) // self.block_size

    def _longest_hit(self, row: Row, max_columns: int) -> int:
        """Return the most columns of which every group has what tokens behind them need."""
        for num_columns in range(max_columns, 0, -1):
            if self._content(row, num_columns - 1) not in self.chain_of:
                continue  # nobody knows a prefix that begins like this
            if all(
                (group, self._content(row, column)) in self.copies_of
                for group in range(len(self.groups))
                for column in range(
                    self._first_needed(group, num_columns * self.block_size), num_columns
                )
            ):
                return num_columns
        return 0

    def _extend(
        self,
        row_id: int,
        group: int,
        tokens: range,
        patch: list[list[int]],
        copies: list[list[int]],
    ) -> None:
        """Give a row the blocks of one group for writing these tokens."""
        table = self.rows[row_id].tables[group]
        of_group = [group] if len(self.groups) > 1 else []
        num_columns = self._blocks_for(tokens.stop)
        columns = range(table.end, num_columns)
        first = written = tokens.start // self.block_size
        if self.groups[group][0] == "linear_state":
            columns = columns[-1:]
            written = num_columns - 1
        if written == first and written in table.blocks:
            source = table.blocks[written]
            if not self._writable(source):
                table.blocks[written] = self._allocate()
                copies.append([source, table.blocks[written]])
                if written < table.num_patched:
                    patch.append([row_id, written, table.blocks[written], *of_group])
        for column in columns:
            table.blocks[column] = self._allocate()
        table.end = max(table.end, num_columns)
        patch += [
            [row_id, column, table.blocks[column], *of_group]
            for column in range(table.num_patched, table.end)
            if column in table.blocks
        ]
        table.num_patched = table.end

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
        of_rows = sum(
            held == block
            for row in self.rows.values()
            for table in row.tables
            for held in table.blocks.values()
        )
        return of_rows + sum(blocks.count(block) for _, blocks in self.deferred)

    def _writable(self, block: int) -> bool:
        return block not in self.key_of and self._num_references(block) == 1

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
        (self.idle if block in self.key_of else self.free_stack).append(block)

    def _release(self, table: Table, columns: range) -> None:
        """Let columns go, tail first; of unpublished blocks the last one is reused first."""
        released = [table.blocks.pop(c) for c in reversed(columns) if c in table.blocks]
        published: Callable[[int], bool] = self.key_of.__contains__
        for block in [b for b in released if published(b)]:
            self._place(block)
        for block in [b for b in released[::-1] if not published(b)]:
            self._place(block)

    def _pull_states(self, row: Row) -> None:
        """Move states from where a pass ended to where its accepted tokens end."""
        column = self._blocks_for(row.num_computed) - 1
        for (kind, _), table in zip(self.groups, row.tables, strict=True):
            if kind == "linear_state" and column < table.end - 1:
                self._release(table, range(column, column + 1))
                table.blocks[column] = table.blocks.pop(table.end - 1)
                table.num_patched = min(table.num_patched, column)

    def _shrink_to_fit(self, row: Row) -> None:
        for (kind, _), table in zip(self.groups, row.tables, strict=True):
            covered = row.num_reserved
            if kind == "full":
                covered = max(covered, len(row.token_ids))
            end = self._blocks_for(covered)
            if end >= table.end:
                continue
            self._release(table, range(end, table.end))
            table.end = end
            table.begin = min(table.begin, end)
            table.num_patched = min(table.num_patched, end)
        self._forget_chains()

    def _publish(self, row: Row, column: int) -> None:
        content = self._content(row, column)
        if content not in self.chain_of:
            self.last_chain += 1
            self.chain_of[content] = self.last_chain
            self.children_of.setdefault(content[:-1], []).insert(1, content)
        for group, ((kind, _), table) in enumerate(zip(self.groups, row.tables, strict=True)):
            block = table.blocks.get(column)
            exact = row.exact_at == (column + 1) * self.block_size
            if block is not None and (kind != "linear_state" or exact):
                self.key_of[block] = (group, content)
                self.copies_of.setdefault((group, content), []).append(block)

    def _unpublish(self, block: int) -> None:
        key = self.key_of.pop(block)
        self.copies_of[key].remove(block)
        if not self.copies_of[key]:
            del self.copies_of[key]
        self._forget_chains()

    def _forget_chains(self) -> None:
        """Keep the number of a content while a published block or a row goes on from it."""
        ends = [content for _, content in self.copies_of]
        ends += [
            self._content(row, row.num_published(self.block_size) - 1)
            for row in self.rows.values()
            if row.num_published(self.block_size)
        ]
        kept = {content[:i] for content in ends for i in range(len(content) + 1)} | {()}
        self.chain_of = {c: n for c, n in self.chain_of.items() if c in kept}
        self.children_of = {
            c: [child for child in children if child in kept]
            for c, children in self.children_of.items()
        }
