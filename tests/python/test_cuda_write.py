"""kv_write on the host: every 16-bit value against ml_dtypes, every format against numpy."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from ctxengine import cuda
from ctxengine.errors import ArgumentError

F32 = np.float32
E4M3 = ml_dtypes.float8_e4m3fn
ORDERS = ("nhd", "hnd", "block_kv", "fused", "page_first", "page_head")


def to_e4m3(values: np.ndarray) -> np.ndarray:
    """As bytes; ml_dtypes makes NaN of what is too large, the pool takes 448."""
    return np.clip(values.astype(F32), F32(-448), F32(448)).astype(E4M3).view(np.uint8)


def same_bytes(found: np.ndarray, expected: np.ndarray) -> bool:
    """Equal but for the sign of NaN."""
    nan = (expected & 0x7F) == 0x7F
    return bool((((found & 0x7F) == 0x7F) == nan).all() and (found[~nan] == expected[~nan]).all())


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16])
def test_e4m3_of_every_16_bit_value(dtype: Any) -> None:
    values = np.arange(65536, dtype=np.uint16).view(dtype).reshape(256, 1, 256)
    layout = cuda.KVLayout.nhd(
        num_layers=1, num_blocks=16, block_size=16, num_heads=1, entry_bytes=256
    )
    for scale in (1.0, 0.5, 3.0, 1e-3):
        memory = np.full((2, 256, 256), 0xAA, np.uint8)
        scales = np.array([scale], F32)
        cuda.kv_write(
            cuda.DevicePool(layout, memory),
            0,
            values,
            values,
            np.arange(256),
            k_scale=scales,
            v_scale=scales,
        )
        with np.errstate(over="ignore", invalid="ignore"):
            expected = to_e4m3(values.astype(F32) * (F32(1) / scales)).reshape(256, 256)
        assert same_bytes(memory[0], expected), scale
        assert (memory[0] == memory[1]).all()


def entry(layout: cuda.KVLayout, memory: np.ndarray, *place: int) -> np.ndarray:
    kv, slot, head, layer = place
    block, token = divmod(slot, layout.block_size)
    start = (
        layer * layout.layer_stride + kv * layout.kv_stride + block * layout.block_stride
        + token * layout.token_stride + head * layout.head_stride
    )  # fmt: skip
    return memory[start : start + layout.entry_bytes]


SLOTS = np.array([7, -1, 0, 11, -2, 3, 8])


def tokens(head_size: int, seed: int, dtype: Any = ml_dtypes.bfloat16) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (random.standard_normal((len(SLOTS), 3, head_size)) * 5).astype(dtype)


def sizes(entry_bytes: int) -> dict[str, int]:
    return {
        "num_layers": 2,
        "num_blocks": 4,
        "block_size": 3,
        "num_heads": 3,
        "entry_bytes": entry_bytes,
    }


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("head_size", [64, 80, 96, 128, 256, 576, 5])
def test_copy_writes_the_entries_and_nothing_else(order: str, head_size: int) -> None:
    layout = getattr(cuda.KVLayout, order)(**sizes(2 * head_size))
    memory = np.full(layout.span_bytes, 0xAA, np.uint8)
    expected = memory.copy()
    key, value = tokens(head_size, 1), tokens(2 * head_size, 2)[..., :head_size]  # a view with gaps
    for i, slot in enumerate(SLOTS.tolist()):
        if slot >= 0:
            for head in range(3):
                entry(layout, expected, 0, slot, head, 1)[:] = key[i, head].view(np.uint8)
                entry(layout, expected, 1, slot, head, 1)[:] = value[i, head].view(np.uint8)
    cuda.kv_write(cuda.DevicePool(layout, memory), 1, key, value, SLOTS)
    assert (memory == expected).all()


@pytest.mark.parametrize("order", ["nhd", "hnd"])
@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16])
def test_e4m3_with_a_scale_for_each_head(order: str, dtype: Any) -> None:
    layout = getattr(cuda.KVLayout, order)(**sizes(80))
    memory = np.full(layout.span_bytes, 0xAA, np.uint8)
    expected = memory.copy()
    key, value = tokens(80, 3, dtype), tokens(80, 4, dtype)
    k_scale, v_scale = np.array([0.25, 0.7, 3], F32), np.array([0.01, 1, 2], F32)
    for i, slot in enumerate(SLOTS.tolist()):
        if slot >= 0:
            for head in range(3):
                for kv, (x, scale) in enumerate(((key, k_scale), (value, v_scale))):
                    scaled = x[i, head].astype(F32) * (F32(1) / scale[head])
                    entry(layout, expected, kv, slot, head, 0)[:] = to_e4m3(scaled)
    cuda.kv_write(
        cuda.DevicePool(layout, memory), 0, key, value, SLOTS, k_scale=k_scale, v_scale=v_scale
    )
    assert (memory == expected).all()


def test_int8_with_a_scale_for_each_token_and_head() -> None:
    layout = cuda.KVLayout.hnd(**sizes(96))
    memory = np.full(layout.span_bytes, 0xAA, np.uint8)
    key, value = tokens(96, 5), tokens(96, 6)
    key[0, 0] = 0
    outs = [np.full((4, 3, 3), np.nan, F32) for _ in range(2)]
    cuda.kv_write(
        cuda.DevicePool(layout, memory),
        0,
        key,
        value,
        SLOTS,
        k_scale_out=outs[0],
        v_scale_out=outs[1],
    )
    written = np.zeros(12, bool)
    for i, slot in enumerate(SLOTS.tolist()):
        if slot < 0:
            continue
        written[slot] = True
        for head in range(3):
            for kv, x in enumerate((key, value)):
                numbers = x[i, head].astype(F32)
                scale = max(np.abs(numbers).max() / F32(127), F32(2) ** F32(-126))
                assert outs[kv][slot // 3, slot % 3, head] == scale
                found = entry(layout, memory, kv, slot, head, 0).view(np.int8)
                assert (found == np.rint(np.clip(numbers * (F32(1) / scale), -127, 127))).all()
                # What it is for: half a step of error at most.
                assert np.abs(found * scale - numbers).max() <= scale * F32(0.5001)
    for out in outs:
        assert (np.isnan(out).reshape(12, 3) == ~written[:, None]).all()


def test_mla_entries() -> None:
    random = np.random.default_rng(7)
    latent = (random.standard_normal((7, 512)) * 40).astype(ml_dtypes.bfloat16)
    rope = random.standard_normal((7, 64)).astype(ml_dtypes.bfloat16)
    written = {slot: i for i, slot in enumerate(SLOTS.tolist()) if slot >= 0}
    pools = {}
    for entry_bytes in (1152, 576, 656):
        layout = cuda.KVLayout.mla(
            num_layers=2, num_blocks=4, block_size=3, entry_bytes=entry_bytes
        )
        memory = np.full((2, 12, entry_bytes), 0xAA, np.uint8)
        scale = np.array([0.5], F32) if entry_bytes == 576 else None
        cuda.kv_write_mla(cuda.DevicePool(layout, memory), 1, latent, rope, SLOTS, scale=scale)
        pools[entry_bytes] = memory
        assert (memory[0] == 0xAA).all()
        assert all((memory[1, slot] == 0xAA).all() for slot in set(range(12)) - set(written))
    for slot, i in written.items():
        both = np.concatenate([latent[i], rope[i]])
        assert (pools[1152][1, slot].view(ml_dtypes.bfloat16) == both).all()
        assert (pools[576][1, slot] == to_e4m3(both.astype(F32) * F32(2))).all()
        found = pools[656][1, slot]
        numbers = latent[i].astype(F32).reshape(4, 128)
        scales = np.abs(numbers).max(axis=1) / F32(448)
        assert (found[512:528].view(F32) == scales).all()
        assert (found[:512] == to_e4m3(numbers * (F32(1) / scales)[:, None]).reshape(512)).all()
        assert (found[528:].view(ml_dtypes.bfloat16) == rope[i]).all()


def test_mistakes_are_named() -> None:
    layout = cuda.KVLayout.nhd(**sizes(16))
    memory = np.full(layout.span_bytes, 0xAA, np.uint8)
    pool = cuda.DevicePool(layout, memory)
    key = tokens(8, 8)
    one = np.ones(1, F32)
    mla = cuda.DevicePool(
        cuda.KVLayout.mla(num_layers=1, num_blocks=4, block_size=3, entry_bytes=656),
        np.zeros(9000, np.uint8),
    )
    write = cuda.kv_write
    flat = key[:, 0]
    cases: list[tuple[str, Any]] = [
        (r"slots\[2\] = 12, but the pool has 12 slots", lambda: write(pool, 0, key, key, [7, -1, 12, 1, 2, 3, 4])),
        ("slots has 2 tokens, not 7", lambda: write(pool, 0, key, key, [1, 2])),
        ("slots must hold integers", lambda: write(pool, 0, key, key, [1.5] * 7)),
        ("layer = 2 of a pool with 2", lambda: write(pool, 2, key, key, SLOTS)),
        ("a head of 8 elements takes 8 bytes, the pool's entries have 16", lambda: write(pool, 0, key, key, SLOTS, k_scale=one, v_scale=one)),
        ("the input has 2 heads, the pool 3", lambda: write(pool, 0, key[:, :2], key[:, :2], SLOTS)),
        ("value has 6 tokens, not 7", lambda: write(pool, 0, key, key[:6], SLOTS)),
        ("one input is float16, the other is not", lambda: write(pool, 0, key, key.astype(np.float16), SLOTS)),
        ("key must be float16 or bfloat16", lambda: write(pool, 0, key.astype(F32), key, SLOTS)),
        ("key must have 3 dimension", lambda: write(pool, 0, flat, flat, SLOTS)),
        ("the last dimension of key must be contiguous", lambda: write(pool, 0, tokens(16, 1)[..., ::2], key, SLOTS)),
        ("scales of K and V are given together", lambda: write(pool, 0, key, key, SLOTS, k_scale=one)),
        ("both were given", lambda: write(pool, 0, key, key, SLOTS, k_scale=one, v_scale=one, k_scale_out=one, v_scale_out=one)),
        ("k_scale has 2 scales; 1 or 3 are needed", lambda: write(pool, 0, key, key, SLOTS, k_scale=np.ones(2, F32), v_scale=one)),
        (r"k_scale_out has shape \(1, 1, 1\), not \(4, 3, 3\)", lambda: write(pool, 0, key, key, SLOTS, k_scale_out=one.reshape(1, 1, 1), v_scale_out=one.reshape(1, 1, 1))),
        ("kv_write is for pools of K and V", lambda: write(mla, 0, key, key, SLOTS)),
        ("kv_write_mla is for pools with one KV", lambda: cuda.kv_write_mla(pool, 0, flat, flat, SLOTS)),
        ("the two parts take", lambda: cuda.kv_write_mla(mla, 0, tokens(512, 1)[:, 0], tokens(32, 1)[:, 0], SLOTS)),
        ("the latent part has 100 elements, not a multiple of 128", lambda: cuda.kv_write_mla(mla, 0, tokens(100, 1)[:, 0], flat, SLOTS)),
        ("skipped counts on a device", lambda: write(pool, 0, key, key, SLOTS, skipped=np.zeros(1, np.int32))),
        ("key and the pool must both be on the device", lambda: write(pool, 0, cuda.DeviceArray(64, (7, 3, 8), "bfloat16"), key, SLOTS)),
    ]  # fmt: skip
    for message, call in cases:
        with pytest.raises(ArgumentError, match=message):
            call()
    assert (memory == 0xAA).all()
    write(pool, 0, key[:0], key[:0], [])
    assert (memory == 0xAA).all()
