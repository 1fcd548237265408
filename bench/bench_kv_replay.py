"""A day's prompts in order through the managers, beside vLLM and SGLang: time and hits of each.

``CTXENGINE_BENCH_TRACE`` names a trace in Mooncake's form (``kv_traces.py``); one request is served
at a time, its prompt only. Hits must equal vLLM's, request by request. SGLang evicts by nodes of
its tree, not by blocks, so its hits differ a little: both rates are in the row.
"""

from __future__ import annotations

import itertools
import os
import time
from array import array
from pathlib import Path

import kv_rivals
import kv_traces
import numpy as np
import pytest
from ctxengine import KVCacheManager
from ctxengine.cli.rounds import on_one_processor
from report import us_each

BLOCK_SIZE = 16
CHUNK = 64  # requests that one manager serves before it is another's turn
TARGETS = {"SGLang": 3, "vLLM": 60}
VARIABLE = "CTXENGINE_BENCH_TRACE"
CAPACITIES = [2_000_000, 8_000_000, 32_000_000]


def chunks(path):
    requests = kv_traces.read_mooncake(path)
    while chunk := [request.token_ids for request in itertools.islice(requests, CHUNK)]:
        yield chunk


@pytest.mark.parametrize("num_tokens", CAPACITIES, ids=lambda n: f"{n // 10**6}M")
@pytest.mark.parametrize("rival", ["SGLang", "vLLM"])
def test_replay(report, rival, num_tokens):
    if VARIABLE not in os.environ:
        pytest.skip(f"{VARIABLE} is not set")
    num_blocks = num_tokens // BLOCK_SIZE
    ours = KVCacheManager(num_blocks, BLOCK_SIZE, max_rows=1, max_row_tokens=1 << 18)
    row, count = np.zeros(1, np.int64), np.zeros(1, np.int64)

    def serve(tokens):
        row[0], num_cached = ours.acquire(tokens)
        count[0] = len(tokens) - num_cached
        ours.reserve(row, count, slots=False)  # neither rival hands out any
        ours.settle(row, count)
        ours.free(row)
        return num_cached

    if rival == "vLLM":
        vllm = kv_rivals.make(kv_rivals.VLLM, num_blocks, BLOCK_SIZE)

        def serve_rival(token_ids):
            request = vllm.request(token_ids)
            num_cached = vllm.admit(request)
            vllm.free(request)
            return num_cached
    else:
        serve_rival = kv_rivals.make(kv_rivals.SGLangTree, num_tokens, BLOCK_SIZE).serve

    seconds = {"ctxengine": [], rival: []}
    hits = {"ctxengine": 0, rival: 0}
    num_requests = num_prompt_tokens = 0
    for number, chunk in enumerate(chunks(Path(os.environ[VARIABLE]))):
        if rival == "vLLM":
            theirs = [tokens.tolist() for tokens in chunk]
        else:
            theirs = [array("q", tokens.astype(np.int64).tobytes()) for tokens in chunk]
        answers = {}
        with on_one_processor(number):
            for name, call, inputs in (
                ("ctxengine", serve, chunk),
                (rival, serve_rival, theirs),
            ):
                begin = time.process_time()
                answers[name] = [call(tokens) for tokens in inputs]
                seconds[name].append(time.process_time() - begin)
                hits[name] += sum(answers[name])
        if rival == "vLLM":
            assert answers["ctxengine"] == answers["vLLM"]
        num_requests += len(chunk)
        num_prompt_tokens += sum(map(len, chunk))
    rates = {name: hit / num_prompt_tokens for name, hit in hits.items()}
    assert rates[rival] == pytest.approx(rates["ctxengine"], abs=0.005)
    what = (
        f"replay of {Path(os.environ[VARIABLE]).name.partition('.')[0]}, {num_tokens // 10**6}M "
        f"tokens, a request (hits {rates['ctxengine']:.2%}, {rival} {rates[rival]:.2%})"
    )
    totals = {name: [sum(times)] for name, times in seconds.items()}
    report.add_seconds(what, totals, us_each(num_requests), TARGETS[rival])
