"""KV layouts and block copies on the host, against numpy indexing, and the arguments' checks."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from ctxengine import cuda
from ctxengine.cuda.arrays import memory_of, view_of
from ctxengine.errors import ArgumentError
from hypothesis import given, settings
from hypothesis import strategies as st

DIMENSIONS = ("layer", "kv", "block", "token", "head")
ORDERS = list(itertools.permutations(DIMENSIONS))


def entries(layout: cuda.KVLayout, memory: np.ndarray) -> np.ndarray:
    """``[layer, kv, block, token, head, byte]`` as a view of `memory`, by numpy's own strides."""
    shape = (
        layout.num_layers, layout.num_kv, layout.num_blocks, layout.block_size, layout.num_heads,
        layout.entry_bytes,
    )  # fmt: skip
    strides = (
        layout.layer_stride, layout.kv_stride, layout.block_stride, layout.token_stride,
        layout.head_stride, 1,
    )  # fmt: skip
    return np.lib.stride_tricks.as_strided(memory, shape, strides)


@st.composite
def layouts(draw: st.DrawFn, shape: tuple[int, ...], max_blocks: int = 6) -> cuda.KVLayout:
    """Any order, with gaps."""
    num_layers, num_kv, block_size, num_heads, entry_bytes = shape
    num_blocks = draw(st.integers(1, max_blocks))
    sizes = dict(
        zip(DIMENSIONS, (num_layers, num_kv, num_blocks, block_size, num_heads), strict=True)
    )
    stride = entry_bytes
    strides = {}
    for name in reversed(draw(st.sampled_from(ORDERS))):
        stride += draw(st.sampled_from([0, 0, 0, 1, 8, 16]))
        strides[f"{name}_stride"] = stride
        stride *= sizes[name]
    return cuda.KVLayout(
        num_layers, num_blocks, block_size, num_heads, entry_bytes, num_kv, **strides
    )


@st.composite
def two_pools(draw: st.DrawFn) -> tuple[cuda.KVLayout, cuda.KVLayout]:
    shape = (
        draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 4)),
        draw(st.integers(1, 4)), draw(st.sampled_from([1, 2, 4, 8, 16, 24, 80])),
    )  # fmt: skip
    return draw(layouts(shape)), draw(layouts(shape))


def memory_for(layout: cuda.KVLayout, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, layout.span_bytes, dtype=np.uint8)


@settings(deadline=None)
@given(two_pools(), st.data())
def test_relayout_moves_what_numpy_moves(
    both: tuple[cuda.KVLayout, cuda.KVLayout], data: st.DataObject
) -> None:
    source, target = both
    a, b = memory_for(source, 1), memory_for(target, 2)
    num_items = data.draw(st.integers(0, min(source.num_blocks, target.num_blocks)))
    from_ids = data.draw(
        st.lists(st.integers(0, source.num_blocks - 1), min_size=num_items, max_size=num_items)
    )
    to_ids = data.draw(st.permutations(range(target.num_blocks)))[:num_items]
    expected = b.copy()
    entries(target, expected)[:, :, to_ids] = entries(source, a)[:, :, from_ids]
    before = a.copy()
    cuda.relayout(
        cuda.DevicePool(source, a), cuda.DevicePool(target, b),
        source_blocks=from_ids, target_blocks=np.array(to_ids, np.int32),
    )  # fmt: skip
    assert (b == expected).all()
    assert (a == before).all()


@settings(deadline=None)
@given(two_pools())
def test_the_movement_is_the_same_set_of_bytes_and_cannot_be_shorter(
    both: tuple[cuda.KVLayout, cuda.KVLayout],
) -> None:
    source = both[0]
    pools = [cuda.DevicePool(layout, memory_for(layout, 3)) for layout in both]
    num_tensors, dimensions, run_bytes, vector_bytes = pools[0].movement_to(pools[1])
    assert num_tensors == 1
    pairs = np.zeros((1, 2), np.int64)
    for extent, *strides in (*dimensions, (run_bytes, 1, 1)):
        pairs = (pairs[:, None] + np.arange(extent)[:, None] * np.array(strides)).reshape(-1, 2)
    grids = np.indices((source.num_layers, source.num_kv, source.block_size, source.num_heads,
                        source.entry_bytes)).reshape(5, -1)  # fmt: skip
    offsets = [
        np.array([x.layer_stride, x.kv_stride, x.token_stride, x.head_stride, 1]) @ grids
        for x in both
    ]
    assert sorted(map(tuple, pairs.tolist())) == sorted(
        zip(*(o.tolist() for o in offsets), strict=True)
    )
    assert len(dimensions) <= 4
    for extent, *strides in dimensions:
        assert extent > 1
        assert strides != [run_bytes, run_bytes]
        assert strides not in [[s * e for s in inner] for e, *inner in dimensions]
    everything = [run_bytes, *(s for _, *both_strides in dimensions for s in both_strides)]
    everything += [pool.tensors[0].ctypes.data for pool in pools]
    everything += [layout.block_stride for layout in both]
    assert vector_bytes == max(w for w in (16, 8, 4, 1) if all(x % w == 0 for x in everything))


SIZES = {"num_layers": 3, "num_blocks": 5, "block_size": 4, "num_heads": 2, "entry_bytes": 32}
NAMED = {
    "nhd": "layer kv block token head",
    "hnd": "layer kv block head token",
    "block_kv": "layer block kv token head",
    "fused": "layer block token head kv",
    "page_first": "block layer kv token head",
    "page_head": "block head token layer kv",
}


@pytest.mark.parametrize("name", NAMED)
def test_named_layouts(name: str) -> None:
    layout = getattr(cuda.KVLayout, name)(**SIZES)
    assert layout == cuda.KVLayout.dense(NAMED[name].split(), **SIZES)
    order = NAMED[name].split()
    shape = dict(zip(DIMENSIONS, (3, 2, 5, 4, 2), strict=True))
    dense = np.empty([*(shape[d] for d in order), 32], np.uint8)
    strides = dict(zip(order, dense.strides, strict=False))
    assert [strides[d] for d in DIMENSIONS] == [getattr(layout, f"{d}_stride") for d in DIMENSIONS]
    assert layout.span_bytes == dense.nbytes == layout.block_bytes * 5


def test_mla_entries() -> None:
    for entry_bytes in (576, 656, 1152):
        layout = cuda.KVLayout.mla(
            num_layers=2, num_blocks=7, block_size=64, entry_bytes=entry_bytes
        )
        assert (layout.num_kv, layout.num_heads, layout.token_stride) == (1, 1, entry_bytes)
        assert layout.block_bytes == 2 * 64 * entry_bytes


@pytest.mark.parametrize("split", [1, 3, 6])
@pytest.mark.parametrize("name", ["nhd", "hnd"])
def test_gather_and_scatter_are_inverse_and_staging_is_dense(split: int, name: str) -> None:
    layout = getattr(cuda.KVLayout, name)(**SIZES)
    memory = memory_for(layout, 4)
    original = memory.copy()
    # One array, one for each layer, one for each layer's K and V; not in the order of addresses.
    parts = np.split(memory, split)
    copies = [part.copy() for part in parts]
    pool = cuda.DevicePool(layout, copies if split > 1 else copies[0])
    blocks = np.array([4, 0, 4, 2], np.int32)
    staging = np.full((4, 3, 2, 4, 2, 32), 99, np.uint8)
    assert cuda.gather_blocks(pool, blocks, staging) is staging
    expected = entries(layout, original)[:, :, blocks].transpose(2, 0, 1, 3, 4, 5)
    assert (staging == expected).all()
    cuda.scatter_blocks(pool, [1, 3, -1, 0], staging)
    wanted = original.copy()
    entries(layout, wanted)[:, :, [1, 3, 0]] = entries(layout, original)[:, :, [4, 0, 2]]
    assert (np.concatenate(copies) == wanted).all()


def test_copy_blocks_within_a_pool_with_padding_and_strides() -> None:
    layout = cuda.KVLayout.hnd(**SIZES)
    memory = memory_for(layout, 5)
    expected = memory.copy()
    entries(layout, expected)[:, :, [1, 2]] = entries(layout, memory)[:, :, [0, 0]]
    wide = np.array([[0, 9, 1], [-1, 9, 3], [0, 9, 2], [4, 9, -1]], np.int32)
    cuda.copy_blocks(cuda.DevicePool(layout, memory), wide[:, ::2])
    assert (memory == expected).all()
    cuda.copy_blocks(cuda.DevicePool(layout, memory), [])
    assert (memory == expected).all()


def test_heads_of_a_rank() -> None:
    layout = cuda.KVLayout.nhd(**{**SIZES, "num_heads": 6})
    memory = memory_for(layout, 6)
    part_layout = cuda.KVLayout.page_first(**SIZES)
    part = memory_for(part_layout, 7)
    pool = cuda.DevicePool(layout, memory)
    cuda.relayout(pool.heads(2, 4), cuda.DevicePool(part_layout, part))
    assert (entries(part_layout, part) == entries(layout, memory)[..., 2:4, :]).all()
    with pytest.raises(ArgumentError, match="heads 5 to 7 of a pool with 6"):
        pool.heads(5, 7)


class DLPackOnly:
    """An array that speaks nothing but DLPack."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack__(self, **arguments: Any) -> Any:
        return self.array.__dlpack__(**arguments)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()


def test_dlpack() -> None:
    for array in (
        np.arange(24, dtype=np.int32).reshape(4, 6)[1::2, ::-2],
        np.zeros((3, 0), np.int64),
        np.zeros((2, 3), np.float16),
    ):
        expected = view_of(array, "x", array.dtype.str, 2)
        found = view_of(DLPackOnly(array), "x", array.dtype.str, 2)
        assert found[1:] == expected[1:]
        assert array.size == 0 or found.address == expected.address
    layout = cuda.KVLayout.nhd(**SIZES)
    memory = memory_for(layout, 8)
    staging = np.empty(layout.block_bytes, np.uint8)
    cuda.gather_blocks(cuda.DevicePool(layout, DLPackOnly(memory)), [2], DLPackOnly(staging))
    assert (staging.reshape(3, 2, 4, 2, 32) == entries(layout, memory)[:, :, 2]).all()

    class Odd(DLPackOnly):
        def __dlpack__(self, **arguments: Any) -> Any:
            return 7

    with pytest.raises(ArgumentError, match="did not return a DLPack capsule"):
        memory_of(Odd(memory), "x")
    with pytest.raises(ArgumentError, match="x must be an array, not int"):
        memory_of(7, "x")


def test_bare_addresses() -> None:
    array = cuda.DeviceArray(4096, (2, 3), "bfloat16", strides=(12, 2), stream=9)
    view = view_of(array, "x", "<V2", 2)
    assert view == (4096, (2, 3), (6, 1), "<V2", 9)
    assert memory_of(cuda.DeviceArray(64, (2, 3), "int32"), "x") == (64, 24, None)
    with pytest.raises(ArgumentError, match="x is not contiguous"):
        memory_of(array, "x")
    with pytest.raises(ArgumentError, match="dtype must be one of int8, "):
        cuda.DeviceArray(64, (1,), "complex64")


def test_mistakes_are_named() -> None:
    layout = cuda.KVLayout.nhd(**SIZES)
    memory = memory_for(layout, 9)
    before = memory.copy()
    pool = cuda.DevicePool(layout, memory)
    staging = np.empty(layout.block_bytes, np.uint8)
    device = cuda.DeviceArray(1 << 20, (layout.span_bytes,), "uint8")
    other = cuda.DevicePool(
        cuda.KVLayout.nhd(**{**SIZES, "num_heads": 3}), np.zeros(1 << 16, np.uint8)
    )
    cases: list[tuple[str, Any]] = [
        (r"pairs\[1, 1\] = 5, but the pool has 5 blocks", lambda: cuda.copy_blocks(pool, [[0, 1], [2, 5]])),
        (r"block 1 is written twice: pairs\[0, 1\] and pairs\[1, 1\]", lambda: cuda.copy_blocks(pool, [[0, 1], [2, 1]])),
        (r"block 1 is read and written: pairs\[1, 0\] and pairs\[0, 1\]", lambda: cuda.copy_blocks(pool, [[0, 1], [1, 2]])),
        ("pairs has 3 columns", lambda: cuda.copy_blocks(pool, [[0, 1, 2]])),
        ("pairs must have 2 dimension", lambda: cuda.copy_blocks(pool, [0, 1])),
        ("pairs has values outside int32", lambda: cuda.copy_blocks(pool, [[0, 1 << 31]])),
        (r"blocks\[0\] = -2, but the pool", lambda: cuda.gather_blocks(pool, [-2], staging)),
        (r"block 3 is written twice: blocks\[0\] and blocks\[2\]", lambda: cuda.scatter_blocks(pool, [3, 1, 3], np.zeros(1 << 16, np.uint8))),
        ("out has 1536 bytes, 2 blocks are 3072", lambda: cuda.gather_blocks(pool, [0, 1], staging)),
        ("out is read-only", lambda: cuda.gather_blocks(pool, [0], np.frombuffer(bytes(9999), np.uint8))),
        ("out is not contiguous", lambda: cuda.gather_blocks(pool, [0], np.zeros(9999, np.uint8)[::2])),
        ("memory of the source and of the target overlap", lambda: cuda.gather_blocks(pool, [0], memory)),
        ("out and the pool must both be on the device", lambda: cuda.gather_blocks(pool, [0], device)),
        ("skipped counts on a device", lambda: cuda.copy_blocks(pool, [], skipped=np.zeros(1, np.int32))),
        ("the source has num_heads = 2, the target 3", lambda: cuda.relayout(pool, other)),
        ("2 source blocks, but 1 target", lambda: cuda.relayout(pool, pool, source_blocks=[0, 1], target_blocks=[2])),
        ("one pool is on a device", lambda: cuda.relayout(pool, cuda.DevicePool(layout, device))),
        (r"tensors\[0\] has 7679 bytes, the layout takes 7680", lambda: cuda.DevicePool(layout, memory[:-1])),
        ("2 tensors for 3 layers and 2 KV", lambda: cuda.DevicePool(layout, [memory, memory])),
        ("tensors is empty", lambda: cuda.DevicePool(layout, [])),
        ("partly on a device", lambda: cuda.DevicePool(layout, [memory, device, memory])),
        ("entry_bytes must be an integer, not float", lambda: cuda.KVLayout.nhd(**{**SIZES, "entry_bytes": 2.0})),
        ("does not fit in 64 bits", lambda: cuda.KVLayout.nhd(**{**SIZES, "num_heads": 1 << 62})),
        ("num_blocks = 0 is not 1 or more", lambda: cuda.KVLayout.nhd(**{**SIZES, "num_blocks": 0})),
        ("order must name each of", lambda: cuda.KVLayout.dense(["layer"], **SIZES)),
    ]  # fmt: skip
    for message, call in cases:
        with pytest.raises(ArgumentError, match=message):
            call()
    assert (memory == before).all()


def test_device_pools_want_device_ids() -> None:
    layout = cuda.KVLayout.nhd(**SIZES)
    pool = cuda.DevicePool(layout, cuda.DeviceArray(1 << 20, (layout.span_bytes,), "uint8"))
    assert pool.is_device
    with pytest.raises(ArgumentError, match="pairs is not a device array"):
        cuda.copy_blocks(pool, [[0, 1]])
    with pytest.raises(ArgumentError, match="stream must be a CUDA stream handle"):
        cuda.copy_blocks(pool, cuda.DeviceArray(64, (1, 2), "int32"), stream=-1)
    with pytest.raises(ArgumentError, match="skipped must have 1 element, not 2"):
        cuda.copy_blocks(
            pool, cuda.DeviceArray(64, (1, 2), "int32"), skipped=cuda.DeviceArray(64, (2,), "int32")
        )
