"""Admitting and freeing prompts of 4k tokens of which nothing is cached, beside vLLM and SGLang.

The pool is full of what nobody holds, so that every block has to be evicted first. Ours looks up,
allocates, publishes; vLLM is measured with its hashing and, as it could be done elsewhere, without.
"""

from __future__ import annotations

import itertools
from array import array

import kv_rivals
import numpy as np
from ctxengine import KVCacheManager
from report import us_each

BLOCK_SIZE = 16
NUM_TOKENS = 4096
NUM_BLOCKS = 1024
TARGETS = {"vLLM, hashed before": 15}


def test_admit_and_free(report):
    rng = np.random.default_rng(0)
    prompts = [rng.integers(0, 128_000, NUM_TOKENS, dtype=np.uint32) for _ in range(16)]
    lists = [tokens.tolist() for tokens in prompts]
    keys = [array("q", tokens) for tokens in lists]
    ours = KVCacheManager(NUM_BLOCKS, BLOCK_SIZE, max_rows=4)
    vllm = kv_rivals.make(kv_rivals.VLLM, NUM_BLOCKS, BLOCK_SIZE)
    sglang = kv_rivals.make(kv_rivals.SGLangTree, NUM_BLOCKS * BLOCK_SIZE, BLOCK_SIZE)
    one, all_of_it = np.zeros(1, np.int64), np.full(1, NUM_TOKENS)

    def serve(tokens):
        one[0], num_cached = ours.acquire(tokens)
        ours.reserve(one, all_of_it)
        ours.settle(one, all_of_it)
        ours.free(one)
        return num_cached

    def serve_vllm(tokens):
        return serve_hashed(vllm.request(tokens))

    def serve_hashed(request):
        num_cached = vllm.admit(request)
        vllm.free(request)
        return num_cached

    requests = [vllm.request(tokens) for tokens in lists]
    cases = {
        "ctxengine": (serve, prompts),
        "vLLM": (serve_vllm, lists),
        "vLLM, hashed before": (serve_hashed, requests),
        "SGLang": (sglang.serve, keys),
    }
    runs = {}
    for name, (call, inputs) in cases.items():
        assert [call(value) for value in (*inputs, *inputs)] == [0] * 32, name
        turns = itertools.cycle(inputs)
        runs[name] = lambda call=call, turns=turns: call(next(turns))
    what = "admit and free a prompt of 4k tokens, nothing cached"
    kv_rivals.add_rows(report, what, runs, us_each(1), TARGETS)
