"""Looking up a cached prompt of 32k tokens, beside vLLM's and SGLang's managers.

vLLM gets the block hashes for nothing, SGLang an array of int64 as it keeps it; how both are had
stands in ``kv_rivals.py``. Resumed: the caller knows where the look-up of the conversation's last
turn ended, 512 tokens before, which neither rival can make use of.
"""

from __future__ import annotations

from array import array

import kv_rivals
import numpy as np
from ctxengine import KVCacheManager
from report import us_each

BLOCK_SIZE = 16
NUM_TOKENS = 32_768
CACHED = NUM_TOKENS - BLOCK_SIZE  # never the block with the last token
TURN = 512
FRESH = {"SGLang": 1.5, "vLLM": 100}
RESUMED = {"SGLang": 10}


def test_match_a_cached_prompt(report):
    tokens = np.random.default_rng(0).integers(0, 128_000, NUM_TOKENS, dtype=np.uint32)
    ours = KVCacheManager(4096, BLOCK_SIZE, max_rows=4)
    row, _ = ours.acquire(tokens)
    ours.reserve([row], NUM_TOKENS)
    ours.settle([row], NUM_TOKENS)
    ours.free([row])
    vllm = kv_rivals.make(kv_rivals.VLLM, 4096, BLOCK_SIZE)
    vllm.free(vllm.admitted(tokens.tolist()))
    sglang = kv_rivals.make(kv_rivals.SGLangTree, 4096 * BLOCK_SIZE, BLOCK_SIZE)
    key = array("q", tokens.tolist())
    sglang.serve(key)

    request = vllm.request(tokens.tolist())
    usable = key[:CACHED]
    assert ours.lookup(tokens) == CACHED
    assert vllm.manager.get_computed_blocks(request)[1] == CACHED
    assert sglang.match(usable).device_prefix_len == CACHED
    before = ours.match(tokens[: NUM_TOKENS - TURN + 1])
    turn = tokens[before.num_tokens :]
    assert before.num_tokens == NUM_TOKENS - TURN
    assert ours.match(turn, resume=before).num_tokens == CACHED
    rivals = {
        "vLLM": lambda: vllm.manager.get_computed_blocks(request),
        "SGLang": lambda: sglang.match(usable),
    }
    what = "match a cached prompt of 32k tokens"
    fresh = {"ctxengine": lambda: ours.match(tokens), **rivals}
    kv_rivals.add_rows(report, what, fresh, us_each(1), FRESH)
    resumed = {"ctxengine": lambda: ours.match(turn, resume=before), **rivals}
    kv_rivals.add_rows(report, f"{what}, resumed", resumed, us_each(1), RESUMED)
