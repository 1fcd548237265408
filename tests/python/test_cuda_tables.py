"""DeviceBlockTables on the host: a long run against lists, and the arguments' checks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ctxengine import cuda
from ctxengine.errors import ArgumentError, CapacityError
from ctxengine.kv import KVCacheManager


def small(**changes: int) -> cuda.DeviceBlockTables:
    sizes = {"num_groups": 2, "max_rows": 3, "num_columns": 4, "ring_size": 8, "block_size": 2}
    return cuda.DeviceBlockTables.on_host(**{**sizes, **changes})


def test_steps_take_blocks_in_batch_order() -> None:
    random = np.random.default_rng(1)
    tables = small(max_rows=9, num_columns=50, ring_size=60, block_size=3)
    free: list[int] = []
    held: dict[int, list[list[int]]] = {row: [[], []] for row in range(9)}
    lengths = [0] * 9
    for step in range(120):
        blocks = random.integers(0, 2**31, random.integers(0, 9)).tolist()[: 60 - len(free)]
        tables.push(blocks)
        free += blocks
        rows = random.permutation(9)[: random.integers(0, 10)]
        rows[random.random(len(rows)) < 0.1] = -1
        needing = [row for row in rows.tolist() if row >= 0 and lengths[row] % 3 == 0]
        slots = tables.decode_append(rows)
        if 2 * len(needing) > len(free):
            assert tables.oom_row == needing[len(free) // 2]
            assert (slots == -1).all()
            continue
        assert tables.oom_row is None
        expected = np.full((2, len(rows)), -1)
        for i, row in enumerate(rows.tolist()):
            if row < 0:
                continue
            for group in range(2):
                if lengths[row] % 3 == 0:
                    held[row][group].append(free.pop(0))
                expected[group, i] = held[row][group][-1] * 3 + lengths[row] % 3
            lengths[row] += 1
        assert slots.tolist() == expected.tolist(), step
        assert tables.lengths.tolist() == lengths
    for row, groups in held.items():
        for group, blocks in enumerate(groups):
            assert tables.tables[group, row].tolist() == blocks + [-1] * (50 - len(blocks))


def test_patch_and_lengths_take_over_what_a_manager_has_reserved() -> None:
    manager = KVCacheManager(50, 4, max_rows=3, max_row_tokens=16)
    acquired = manager.acquire(np.arange(9, dtype=np.uint32))
    assert acquired is not None
    blocks = manager.block_tables[acquired.row]
    tables = small(num_groups=1, num_columns=4, block_size=4)
    tables.patch([[acquired.row, c, block, 0] for c, block in enumerate(blocks) if block >= 0])
    tables.lengths[acquired.row] = 9
    assert tables.decode_append([acquired.row])[0, 0] == blocks[2] * 4 + 1


def test_mistakes_are_named_and_change_nothing() -> None:
    tables = small()
    tables.push([1, 2, 3, 4])
    tables.decode_append([0])
    tables.lengths[:] = [1, 8, 3]
    state = [
        array.copy() for array in (tables.tables, tables.lengths, tables.ring, tables.counters)
    ]
    device = cuda.DeviceArray(64, (1,), "int32")
    arrays: dict[str, Any] = {
        "tables": tables.tables, "lengths": tables.lengths, "ring": tables.ring, "counters": tables.counters,
    }  # fmt: skip

    def make(**changes: Any) -> cuda.DeviceBlockTables:
        return cuda.DeviceBlockTables(**{**arrays, "block_size": 2, **changes})

    cases: list[tuple[str, Any]] = [
        (r"rows\[1\] = 3, but the block tables have 3 rows", lambda: tables.decode_append([0, 3])),
        (r"rows\[0\] = 1 has 8 tokens; the tables hold 8", lambda: tables.decode_append([1])),
        (r"rows\[0\] = 2 has 3 tokens, but no block in column 1", lambda: tables.decode_append([2])),
        ("row 0 comes twice in rows", lambda: tables.decode_append([0, -1, 0])),
        (r"slots has shape \(1, 1\), not \(2, 1\)", lambda: tables.decode_append([0], slots=np.zeros((1, 1), np.int64))),
        ("oom_row is for a device", lambda: tables.decode_append([0], oom_row=np.zeros(1, np.int32))),
        ("rows and the tables must lie in one place|rows is on a device", lambda: tables.decode_append(device)),
        (r"entries\[1\] has column 4, but there are 4", lambda: tables.patch([[0, 0, 9, 0], [0, 4, 9, 0]])),
        (r"entries\[0\] has group 2, but there are 2", lambda: tables.patch([[0, 0, 9, 2]])),
        ("entries must be contiguous lines", lambda: tables.patch([[0, 0, 9]])),
        ("skipped counts on a device", lambda: tables.patch([], skipped=np.zeros(1, np.int32))),
        ("block_size = 0", lambda: make(block_size=0)),
        ("lengths has 2 rows, the tables 3", lambda: make(lengths=np.zeros(2, np.int32))),
        ("counters must have 2 elements, not 3", lambda: make(counters=np.zeros(3, np.int64))),
        ("counters must be int64", lambda: make(counters=np.zeros(2, np.int32))),
        ("tables must have 3 dimension", lambda: make(tables=np.zeros((3, 4), np.int32))),
        ("tables is not contiguous", lambda: make(tables=np.zeros((2, 4, 3), np.int32).transpose(0, 2, 1))),
        ("tables and ring must not be empty", lambda: make(ring=np.zeros(0, np.int32))),
        ("must lie in one place", lambda: make(ring=device)),
    ]  # fmt: skip
    for message, call in cases:
        with pytest.raises(ArgumentError, match=message):
            call()
    with pytest.raises(CapacityError, match="7 blocks for a ring of 8 that has room for 6"):
        tables.push([0] * 7)
    for array, before in zip(
        (tables.tables, tables.lengths, tables.ring, tables.counters), state, strict=True
    ):
        assert (array == before).all()
    tables.patch([])
    assert tables.decode_append([]).shape == (2, 0)
