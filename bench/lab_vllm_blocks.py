"""Compare block tables and hits with vLLM's own manager, on a recorded trace.

Not part of the tests: vLLM's source is needed (`lab_vllm_hashes.py` says how to get it) and a trace
in Mooncake's format: a JSON line per request, with ``input_length`` and the ids of its 512-token
prefix blocks, plain or compressed by xz. The ids become tokens; requests run one after the other
as in a server that finishes each before the next, and every ninth also decodes beside the next
two.

Last run: vLLM 0.33.0, Mooncake's conversation trace, a pool of 1,000,000 tokens, the first 500 requests,
with one full group and with a sliding window of 2,000 tokens beside: all tables and hits equal.

How to run it::

    CTXENGINE_BENCH_VLLM=PATH_OF_THE_UNPACKED_SDIST python bench/lab_vllm_blocks.py TRACE \
        [--tokens 2000000] [--requests 12031] [--window 0]
"""

from __future__ import annotations

import argparse
import json
import lzma
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ctxengine import KVCacheManager
from ctxengine.kv import Group
from vllm_core import Request, VllmManager

BLOCK_SIZE = 16
TRACE_BLOCK = 512
NUM_DECODED = 40


def prompts(path: Path) -> Iterator[np.ndarray]:
    """Yield the prompts of a trace: equal blocks become equal tokens."""
    within = np.arange(TRACE_BLOCK, dtype=np.int64)
    with lzma.open(path, "rt") if path.suffix == ".xz" else path.open() as lines:
        for line in lines:
            request = json.loads(line)
            blocks = np.array(request["hash_ids"], np.int64)[:, None]
            tokens = (blocks * TRACE_BLOCK + within).ravel()[: request["input_length"]]
            yield (tokens % (2**31 - 1)).astype(np.uint32)


class Pair:
    """Both managers, called alike."""

    def __init__(self, num_blocks: int, groups: list[Group]) -> None:
        self.theirs = VllmManager(num_blocks, BLOCK_SIZE, groups=groups)
        self.ours = KVCacheManager(num_blocks, BLOCK_SIZE, max_rows=8, groups=groups)
        self.seconds = {"vllm": 0.0, "ctxengine": 0.0}
        self.num_tokens = self.num_hits = self.num_tables = 0

    def admit(self, name: str, tokens: np.ndarray) -> tuple[Request, int]:
        """Look up, allocate and compute a prompt."""
        listed = tokens.tolist()
        start = time.thread_time()
        request = self.theirs.request(name, listed)
        cached = self.theirs.admit(request)
        middle = time.thread_time()
        acquired = self.ours.acquire(tokens)
        assert acquired is not None
        rest = len(tokens) - acquired.num_cached_tokens
        step = self.ours.reserve(acquired.row, rest)
        self.ours.settle(acquired.row, rest)
        self.seconds["vllm"] += middle - start
        self.seconds["ctxengine"] += time.thread_time() - middle
        assert step.oom_row is None
        assert acquired.num_cached_tokens == cached, (name, acquired, cached)
        self.num_tokens += len(tokens)
        self.num_hits += acquired.num_cached_tokens
        self.compare(request, acquired.row)
        return request, acquired.row

    def decode(self, request: Request, row: int, token: int) -> None:
        """Append one token."""
        assert self.theirs.decode(request, token)
        assert self.ours.reserve(row, 1).oom_row is None
        self.ours.settle(row, 1, [token])

    def compare(self, request: Request, row: int) -> None:
        """Assert that the block tables are equal."""
        tables = self.ours.block_tables
        tables = tables.reshape(-1, *tables.shape[-2:])
        for table, ids in zip(tables, self.theirs.block_ids(request), strict=True):
            assert np.array_equal(table[row, : len(ids)], ids), (request.request_id, ids)
            assert (table[row, len(ids) :] == -1).all()
            self.num_tables += 1

    def free(self, request: Request, row: int) -> None:
        """Let a sequence go."""
        start = time.thread_time()
        self.theirs.free(request)
        middle = time.thread_time()
        self.ours.free(row)
        self.seconds["vllm"] += middle - start
        self.seconds["ctxengine"] += time.thread_time() - middle


def main() -> None:
    """Compare, and say what was compared."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trace", type=Path)
    parser.add_argument("--tokens", type=int, default=2_000_000, help="capacity of the pool")
    parser.add_argument("--requests", type=int, default=10**9)
    parser.add_argument("--window", type=int, default=0, help="a sliding-window group besides")
    options = parser.parse_args()
    groups = [Group("full")]
    if options.window:
        groups.append(Group("sliding_window", options.window))
    pair = Pair(options.tokens // BLOCK_SIZE, groups)
    running: deque[tuple[Request, int]] = deque()
    num_requests = 0
    for tokens in prompts(options.trace):
        if num_requests == options.requests:
            break
        placed = pair.admit(str(num_requests), tokens)
        num_requests += 1
        if num_requests % 9 == 0:
            running.append(placed)
        else:
            pair.free(*placed)
        for sequence in running:
            for token in range(NUM_DECODED):
                pair.decode(*sequence, token)
            pair.compare(*sequence)
        if len(running) == 3:
            pair.free(*running.popleft())
    each = {name: seconds / num_requests * 1e6 for name, seconds in pair.seconds.items()}
    print(
        f"{num_requests} requests, {pair.num_tokens} tokens, {pair.num_tables} block tables equal, "
        f"hits {pair.num_hits / pair.num_tokens:.2%}; per request vllm {each['vllm']:.0f} us, "
        f"ctxengine {each['ctxengine']:.1f} us ({each['vllm'] / each['ctxengine']:.0f}x)"
    )


if __name__ == "__main__":
    main()
