"""Block tables beside the plain Python model: a prompt's look-up, and a decode step.

Run with ``pytest bench/bench_kv_acquire.py``.
"""

from __future__ import annotations

import numpy as np
import pytest
from ctxengine import KVCacheManager
from ctxengine.reference.kv_manager import KVCacheModel

BLOCK_SIZE = 16
NUM_ROWS = 256


def compute(manager, token_ids):
    """Acquire a prompt and settle all of it; the model wants a list for every argument."""
    row, num_cached = manager.acquire(token_ids)
    rest = len(token_ids) - num_cached
    manager.reserve([row], [rest])
    manager.settle([row], [rest], [])
    return row


def acquire_and_free(manager, token_ids):
    row, num_cached = manager.acquire(token_ids)
    manager.free([row])
    return num_cached


@pytest.mark.parametrize("name", ["ctxengine", "python"])
def test_acquire_a_cached_prompt(benchmark, name):
    # The model's cost grows with the square of the prompt; it gets a small one.
    tokens = list(range(1024))
    managers = {
        "ctxengine": KVCacheManager(256, BLOCK_SIZE),
        "python": KVCacheModel(256, BLOCK_SIZE),
    }
    for manager in managers.values():
        compute(manager, tokens)
    answers = [acquire_and_free(manager, tokens) for manager in managers.values()]
    assert answers == [1008, 1008]
    assert managers["ctxengine"].snapshot() == managers["python"].snapshot()
    benchmark.group = "acquire and free a cached prompt of 1024 tokens"
    benchmark(acquire_and_free, managers[name], tokens)


@pytest.mark.parametrize("cached", ["nothing cached", "all cached"])
def test_acquire_32k(benchmark, cached):
    tokens = np.random.default_rng(0).integers(0, 128_000, 32_768, dtype=np.uint32)
    manager = KVCacheManager(4096, BLOCK_SIZE, max_rows=4)
    if cached == "all cached":
        compute(manager, tokens)
    assert acquire_and_free(manager, tokens) == (32_752 if cached == "all cached" else 0)
    benchmark.group = "acquire and free a prompt of 32k tokens"
    benchmark(acquire_and_free, manager, tokens)


@pytest.mark.parametrize("name", ["ctxengine", "python"])
def test_decode_step(benchmark, name):
    """One token for each of 256 sequences; every step is taken back, so that all are alike."""
    managers = {
        "ctxengine": KVCacheManager(1024, BLOCK_SIZE),
        "python": KVCacheModel(1024, BLOCK_SIZE),
    }
    for manager in managers.values():
        for i in range(NUM_ROWS):
            compute(manager, [i] * 32)
    rows = list(range(NUM_ROWS))
    steps = [manager.reserve(rows, [1] * NUM_ROWS) for manager in managers.values()]
    assert [part.tolist() for part in steps[0][:3]] == list(steps[1][:3])
    for manager in managers.values():
        manager.settle(rows, [0] * NUM_ROWS, [])
    assert managers["ctxengine"].snapshot() == managers["python"].snapshot()

    if name == "ctxengine":
        rows, ones = np.arange(NUM_ROWS), np.ones(NUM_ROWS, np.int64)
        zeros, nothing = np.zeros(NUM_ROWS, np.int64), np.zeros(0, np.uint32)
    else:
        ones, zeros, nothing = [1] * NUM_ROWS, [0] * NUM_ROWS, []

    def step(manager):
        manager.reserve(rows, ones)
        manager.settle(rows, zeros, nothing)

    benchmark.group = "reserve and settle one token of 256 sequences"
    if name == "python":
        benchmark.pedantic(step, (managers[name],), rounds=2)
    else:
        benchmark(step, managers[name])
