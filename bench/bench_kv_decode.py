"""A decode step of 256 sequences, one token each, beside vLLM's manager.

With one group of layers, and with two, the other one attending to a sliding window.

Ours is reserve and settle; vLLM's is to append each token, which hashes full blocks, and to
allocate its slot.
"""

from __future__ import annotations

import kv_rivals
import numpy as np
import pytest
from ctxengine.kv import Group, KVCacheManager
from report import us_each

BLOCK_SIZE = 16
NUM_ROWS = 256
PROMPT = 100
STEPS = 64  # in one run: four blocks of each sequence
MAX_TOKENS = 16_384
WINDOW = 256
TARGETS = {None: 80, WINDOW: 50}


@pytest.mark.parametrize("window", TARGETS)
def test_decode_step(report, window):
    groups = [Group("full")] if window is None else [Group("full"), Group("sliding_window", window)]
    rng = np.random.default_rng(0)
    prompts = rng.integers(0, 128_000, (NUM_ROWS, PROMPT), dtype=np.uint32)
    num_blocks = len(groups) * NUM_ROWS * MAX_TOKENS // BLOCK_SIZE
    ours = KVCacheManager(
        num_blocks, BLOCK_SIZE, max_rows=NUM_ROWS, max_row_tokens=MAX_TOKENS, groups=groups
    )
    vllm = kv_rivals.make(kv_rivals.VLLM, num_blocks, BLOCK_SIZE, sliding_window=window)
    rows = np.zeros(NUM_ROWS, np.int64)
    for i, prompt in enumerate(prompts):
        rows[i] = ours.acquire(prompt).row
        ours.reserve(rows[i : i + 1], PROMPT)
        ours.settle(rows[i : i + 1], PROMPT)
    requests = [vllm.admitted(prompt.tolist()) for prompt in prompts]
    ones = np.ones(NUM_ROWS, np.int64)
    tokens = rng.integers(0, 128_000, (STEPS, NUM_ROWS), dtype=np.uint32)
    lists = tokens.tolist()

    def decode():
        for ids in tokens:
            ours.reserve(rows, ones)
            ours.settle(rows, ones, ids)

    def decode_vllm():
        for ids in lists:
            for request, token in zip(requests, ids, strict=True):
                vllm.append(request, token)
                vllm.decode(request)

    for _ in range(4):
        decode()
        decode_vllm()
    tables = ours.block_tables if window is not None else ours.block_tables[None]
    for group, ours_of_group in enumerate(tables):
        for row, request in zip(rows, requests, strict=True):
            table = vllm.table(request, group)
            assert ours_of_group[row, : len(table) + 1].tolist() == [*table, -1]
    runs = {"ctxengine": decode, "vLLM": decode_vllm}
    what = f"decode step of {NUM_ROWS} sequences, {len(groups)} group" + "s" * (len(groups) > 1)
    kv_rivals.add_rows(report, what, runs, us_each(STEPS), {"vLLM": TARGETS[window]})
