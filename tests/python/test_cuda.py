"""ctxengine.cuda without a GPU: the host backend, the argument checks, what is said about CUDA."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from ctxengine import cuda
from ctxengine.errors import ArgumentError, DeviceError
from ctxengine.kv import KVCacheManager
from ctxengine.reference import slot_mapping as reference
from hypothesis import given, settings
from hypothesis import strategies as st

INT32_MAX = 2**31 - 1


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[list[int]], list[int], list[int], int, int]:
    num_rows = draw(st.integers(1, 4))
    num_columns = draw(st.integers(1, 5))
    block_size = draw(st.one_of(st.integers(1, 40), st.sampled_from([65536, INT32_MAX])))
    ids = st.integers(0, INT32_MAX) | st.integers(0, 9) | st.just(-1)
    table = st.lists(
        st.lists(ids, min_size=num_columns, max_size=num_columns),
        min_size=num_rows,
        max_size=num_rows,
    )
    token = st.tuples(
        st.integers(-2, num_rows), st.integers(-2, min(num_columns * block_size, 2**63 - 1))
    )
    tokens = draw(st.lists(token, max_size=30))
    rows, positions = [t[0] for t in tokens], [t[1] for t in tokens]
    return draw(table), rows, positions, block_size, len(tokens) + draw(st.integers(0, 5))


@settings(deadline=None)
@given(batches())
def test_host_equals_the_reference(
    batch: tuple[list[list[int]], list[int], list[int], int, int],
) -> None:
    tables, rows, positions, block_size, num_slots = batch
    out = np.full(num_slots, 77, np.int64)
    try:
        expected = reference.slot_mapping(tables, rows, positions, block_size, num_slots)
    except ArgumentError:
        with pytest.raises(ArgumentError):
            cuda.slot_mapping(tables, rows, positions, block_size, out=out)
        assert (out == 77).all()
    else:
        assert cuda.slot_mapping(tables, rows, positions, block_size, out=out) is out
        assert out.tolist() == expected
        assert (
            cuda.slot_mapping(tables, rows, positions, block_size).tolist() == expected[: len(rows)]
        )


def test_strided_views() -> None:
    big = np.arange(2 * 3 * 4 * 5, dtype=np.int32).reshape(2 * 3, 4 * 5)
    tables = big[::-2, 1::3]  # negative row stride
    rows = np.array([0, 99, 2, 99, 1], np.int32)[::2]
    positions = np.array([5, 0, 13], np.int64)[::-1]
    out = np.full(9, 77, np.int64)
    cuda.slot_mapping(tables, rows, positions, 4, out=out[::-3])
    assert out[::-3].tolist() == reference.slot_mapping(
        tables.tolist(), rows.tolist(), positions.tolist(), 4
    )
    assert (np.delete(out, [2, 5, 8]) == 77).all()


def test_other_integer_types_are_converted_or_refused() -> None:
    slots = cuda.slot_mapping(
        np.array([[2]], np.int64), np.array([0], np.uint8), np.array([3], np.int32), 4
    )
    assert slots.dtype == np.int64
    assert slots.tolist() == [11]
    with pytest.raises(ArgumentError, match="block_tables has values outside int32"):
        cuda.slot_mapping([[2**31]], [0], [0], 4)
    with pytest.raises(ArgumentError, match="positions must hold integers, not float64"):
        cuda.slot_mapping([[1]], [0], [0.0], 4)
    assert cuda.slot_mapping([[1]], [], [], 4).tolist() == []


@pytest.mark.parametrize("block_size", [0, -1, 2**31, True, 4.0, "4", None])
def test_bad_block_size(block_size: Any) -> None:
    with pytest.raises(ArgumentError, match="block_size"):
        cuda.slot_mapping([[1]], [0], [0], block_size)


def _read_only() -> np.ndarray[Any, Any]:
    out = np.zeros(1, np.int64)
    out.flags.writeable = False
    return out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"block_tables": [1]}, "block_tables must have 2 dimension"),
        ({"rows": [[0]]}, "rows must have 1 dimension"),
        ({"positions": [0, 1]}, "rows has 1 tokens, positions has 2"),
        ({"out": [0]}, "out must be a numpy or device array, not list"),
        ({"out": np.zeros(1, np.int32)}, "out must be int64, not <i4"),
        ({"out": np.zeros(1, ">i8")}, "out must be int64, not >i8"),
        ({"out": np.zeros(0, np.int64)}, "out has 0 slots for 1 tokens"),
        ({"out": np.zeros((1, 1), np.int64)}, "out must have 1 dimension"),
        ({"out": _read_only()}, "out is read-only"),
        ({"out": np.frombuffer(b"\0" * 9, np.int64, 1, 1)}, "out is not aligned"),
        ({"positions": [16]}, r"positions\[0\] = 16 lies in block 1 of its sequence"),
        ({"rows": [1]}, r"rows\[0\] = 1, but the block tables have 1 rows"),
        ({"block_tables": [[-1]]}, r"positions\[0\] = 0: row 0 has no block in column 0"),
    ],
)
def test_bad_arrays(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"block_tables": [[1]], "rows": [0], "positions": [0]} | changes
    with pytest.raises(ArgumentError, match=message):
        cuda.slot_mapping(block_size=16, **arguments)


def test_equals_the_managers_own_mapping() -> None:
    random = np.random.default_rng(3)
    manager = KVCacheManager(200, 4, max_rows=20, max_row_tokens=64)
    lengths = {}
    for length in random.integers(1, 60, 12).tolist():
        acquired = manager.acquire(random.integers(0, 50_000, length, dtype=np.uint32))
        assert acquired is not None
        lengths[acquired.row] = length
    rows = random.choice(list(lengths), 500).astype(np.int32)
    positions = np.array([random.integers(0, lengths[row]) for row in rows.tolist()])
    rows[::9] = -1
    positions[::7] = -1
    mapped = cuda.slot_mapping(manager.block_tables, rows, positions, 4)
    assert mapped.tolist() == manager.slot_mapping(rows, positions).tolist()


class DeviceArray:
    """Memory of the host that claims to be a device's."""

    def __init__(self, array: np.ndarray[Any, Any], **changes: Any) -> None:
        self.array = array
        self.__cuda_array_interface__ = {**array.__array_interface__, "version": 3, **changes}


def test_device_arrays_are_checked_before_the_driver_is_asked() -> None:
    tables = DeviceArray(np.zeros((1, 1), np.int32))
    rows = DeviceArray(np.zeros(1, np.int32))
    positions = DeviceArray(np.zeros(1, np.int64))
    out = DeviceArray(np.zeros(1, np.int64))
    with pytest.raises(ArgumentError, match="out is required for device arrays"):
        cuda.slot_mapping(tables, rows, positions, 16)
    with pytest.raises(ArgumentError, match="rows is not a device array, but out is"):
        cuda.slot_mapping(tables, [0], positions, 16, out=out)
    with pytest.raises(ArgumentError, match="rows is on a device; out must be a device array too"):
        cuda.slot_mapping([[1]], rows, [0], 16)
    with pytest.raises(ArgumentError, match="stream must be a CUDA stream handle, not -1"):
        cuda.slot_mapping(tables, rows, positions, 16, out=out, stream=-1)
    with pytest.raises(ArgumentError, match="rows must be int32, not <i8"):
        cuda.slot_mapping(tables, positions, positions, 16, out=out)
    masked = DeviceArray(np.zeros(1, np.int32), mask=rows)
    with pytest.raises(ArgumentError, match="rows is a masked array"):
        cuda.slot_mapping(tables, masked, positions, 16, out=out)
    # Well-formed, but no driver calls this device memory (or there is no driver at all).
    with pytest.raises((ArgumentError, DeviceError)):
        cuda.slot_mapping(tables, rows, positions, 16, out=out)


def test_what_is_said_about_cuda_is_consistent() -> None:
    info = cuda.build_info()
    reason = cuda.why_not()
    assert cuda.is_available() == (reason is None)
    if info.compiler_version is None:
        assert info == (None, (), 0)
        assert reason == "this build of ctxengine was made without a CUDA compiler"
    else:
        assert set(info.architectures) == {
            "compute_80", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120",
        }  # fmt: skip
        assert 0 < info.image_bytes < 1_000_000
    if reason is None:
        assert any(device.compute_capability >= (8, 0) for device in cuda.device_info())


def run(code: str, **environment: str) -> str:
    import os

    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()[-1]


def test_import_does_not_open_the_driver() -> None:
    maps = "print('libcuda' in open('/proc/self/maps').read())"
    assert run(f"import ctxengine, ctxengine.cuda as c; c.build_info(); {maps}") == "False"


def test_a_driver_that_cannot_be_opened_is_named() -> None:
    code = "from ctxengine import cuda; print(cuda.why_not(), cuda.device_info())"
    answer = run(code, CTXENGINE_LIBCUDA="libno-such-cuda.so.7")
    if cuda.build_info().compiler_version is None:
        assert answer == "this build of ctxengine was made without a CUDA compiler []"
    else:
        assert answer.startswith(
            "the CUDA driver library could not be opened: libno-such-cuda.so.7"
        )
        assert answer.endswith(" []")
