"""The KV manager beside the block managers of vLLM and SGLang.

Run with ``pytest bench/bench_kv_manager.py``. vLLM's is run from its sdist, whose unpacked folder
is named by ``CTXENGINE_BENCH_VLLM``, SGLang's tree core from its wheel, whose unpacked folder is
named by ``CTXENGINE_BENCH_SGLANG`` (it needs torch). What is not named is left out.
"""

from __future__ import annotations

import importlib.util
import os
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ctxengine import KVCacheManager
from ctxengine.kv import Group
from report import us_each
from vllm_core import VllmManager

BLOCK_SIZE = 16
NUM_ROWS = 256
GROUPS = {
    "one group": [Group("full")],
    "full and sliding window": [Group("full"), Group("sliding_window", 1024)],
}


def random_ids(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 128_000, count, dtype=np.uint32)


def compute(manager: KVCacheManager, ids: np.ndarray) -> int:
    """Acquire a prompt and settle all of it."""
    acquired = manager.acquire(ids)
    assert acquired is not None
    rest = len(ids) - acquired.num_cached_tokens
    manager.reserve(acquired.row, rest)
    manager.settle(acquired.row, rest)
    return acquired.row


def vllm_manager(num_blocks: int, groups: list[Group]) -> VllmManager:
    try:
        return VllmManager(num_blocks, BLOCK_SIZE, groups=groups)
    except ImportError as error:
        pytest.skip(str(error))


def sglang_core() -> Any:
    """Return the module of SGLang's tree core, or None."""
    folder = os.environ.get("CTXENGINE_BENCH_SGLANG")
    if folder is None or importlib.util.find_spec("torch") is None:
        return None
    importlib.import_module("torch")  # makes its libraries resident
    found = [*Path(folder).glob("sglang/srt/mem_cache/rust_tree_core/mem_cache*.so")]
    spec = importlib.util.spec_from_file_location("mem_cache", found[0])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", GROUPS)
def test_decode_step(report, name):
    """One token more for each of 256 sequences; the block tables are equal before and after."""
    groups = GROUPS[name]
    num_blocks = 100_000
    theirs = vllm_manager(num_blocks, groups)
    ours = KVCacheManager(num_blocks, BLOCK_SIZE, groups=groups, max_row_tokens=8192)
    requests = []
    for i in range(NUM_ROWS):
        ids = random_ids(1000 + i % BLOCK_SIZE, i)
        requests.append(theirs.request(str(i), ids.tolist()))
        assert theirs.admit(requests[-1]) == 0
        assert compute(ours, ids) == i
    rows, ones = np.arange(NUM_ROWS), np.ones(NUM_ROWS, np.int64)
    sampled = np.arange(NUM_ROWS, dtype=np.uint32)

    def their_step():
        for i, request in enumerate(requests):
            theirs.decode(request, i)

    def our_step():
        ours.reserve(rows, ones)
        ours.settle(rows, ones, sampled)

    def compare():
        tables = ours.block_tables.reshape(len(groups), NUM_ROWS, -1)
        for i, request in enumerate(requests):
            for table, ids in zip(tables, theirs.block_ids(request), strict=True):
                assert np.array_equal(table[i, : len(ids)], ids)

    for _ in range(100):
        their_step()
        our_step()
    compare()
    target = 80 if len(groups) == 1 else 50
    report.time(
        f"decode step of {NUM_ROWS} sequences, {name}",
        {"ctxengine": our_step, "vllm": their_step},
        us_each(1),
        target,
        min_seconds=0.004,
    )


def test_match_a_cached_prompt(report):
    """Find a prompt of 32k tokens that is all cached; ours also from where the last turn ended."""
    ids = random_ids(32_768, 0)
    ours = KVCacheManager(4096, BLOCK_SIZE, max_rows=4)
    compute(ours, ids)
    num_cached = len(ids) - BLOCK_SIZE
    assert ours.match(ids).num_tokens == num_cached
    turn = ours.match(ids[:-64])
    rest = ids[turn.num_tokens :]
    assert ours.match(rest, resume=turn) == ours.match(ids)

    fresh = {"ctxengine": lambda: ours.match(ids)}
    resumed = {"ctxengine": lambda: ours.match(rest, resume=turn)}
    core = sglang_core()
    if core is not None:
        torch = importlib.import_module("torch")
        tree = core.RustUnifiedTreeCoreBinding(
            core.TreeCoreInitParamsBinding(
                eviction_policy="lru", page_size=BLOCK_SIZE, device="cpu"
            ),
            [0],
        )
        key = array("q", ids.tolist())
        tree.insert(core.InsertParamsBinding(key=key, value=torch.arange(len(ids))))

        def match():
            return tree.match_prefix(core.MatchParamsBinding(key=key))

        assert match().device_prefix_len == len(ids)
        fresh["sglang"] = resumed["sglang"] = match
    if "CTXENGINE_BENCH_VLLM" in os.environ:
        theirs = vllm_manager(4096, GROUPS["one group"])
        request = theirs.request("a", ids.tolist())
        theirs.admit(request)
        assert theirs.core.get_computed_blocks(request)[1] == num_cached
        report.time(
            "match a cached prompt of 32k tokens, hashed before",
            {
                "ctxengine": fresh["ctxengine"],
                "vllm": lambda: theirs.core.get_computed_blocks(request),
            },
            us_each(1),
            100,
        )
    if len(fresh) > 1:
        report.time("match a cached prompt of 32k tokens", fresh, us_each(1), 1.5)
        report.time("the same, from the last turn on", resumed, us_each(1), 10)


def test_admit_and_free(report):
    """A prompt of 4k tokens that nobody has seen; vLLM's are hashed before."""
    num_blocks = 2000
    prompts = [random_ids(4096, seed) for seed in range(40)]
    theirs = vllm_manager(num_blocks, GROUPS["one group"])
    requests = [theirs.request(str(i), ids.tolist()) for i, ids in enumerate(prompts)]
    ours = KVCacheManager(num_blocks, BLOCK_SIZE, max_rows=4)

    def their_run():
        for request in requests:
            request.num_computed_tokens = 0
            assert theirs.admit(request) == 0
            theirs.free(request)

    def our_run():
        for ids in prompts:
            ours.free(compute(ours, ids))

    report.time(
        "admit and free a prompt of 4k tokens",
        {"ctxengine": our_run, "vllm": their_run},
        us_each(len(prompts)),
        15,
    )
