"""A decode step of 256 sequences, one token each, beside vLLM's manager.

Ours is reserve and settle; vLLM's is to append each token, which hashes full blocks, and to
allocate its slot.
"""

from __future__ import annotations

import kv_rivals
import numpy as np
from ctxengine import KVCacheManager
from report import us_each

BLOCK_SIZE = 16
NUM_ROWS = 256
PROMPT = 100
STEPS = 64  # in one run: four blocks of each sequence
MAX_TOKENS = 16_384


def test_decode_step(report):
    rng = np.random.default_rng(0)
    prompts = rng.integers(0, 128_000, (NUM_ROWS, PROMPT), dtype=np.uint32)
    num_blocks = NUM_ROWS * MAX_TOKENS // BLOCK_SIZE
    ours = KVCacheManager(num_blocks, BLOCK_SIZE, max_rows=NUM_ROWS, max_row_tokens=MAX_TOKENS)
    vllm = kv_rivals.make(kv_rivals.VLLM, num_blocks, BLOCK_SIZE)
    rows = np.array([ours.acquire(prompt).row for prompt in prompts])
    for row in rows:  # one by one, as vLLM does
        ours.reserve([row], PROMPT)
        ours.settle([row], PROMPT)
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

    decode()
    decode_vllm()
    for row, request in zip(rows, requests, strict=True):
        table = vllm.table(request)
        assert ours.block_tables[row, : len(table) + 1].tolist() == [*table, -1]
    runs = {"ctxengine": decode, "vLLM": decode_vllm}
    what = f"decode step of {NUM_ROWS} sequences"
    kv_rivals.add_rows(report, what, runs, us_each(STEPS), {"vLLM": 80})
