"""Compare block tables and hits of KVCacheManager with vLLM's own manager, step by step.

Not part of the tests: vLLM's source is needed; how to get it stands in ``kv_rivals.py``. Both
managers serve the same requests under the same small scheduler, which batches, decodes, preempts
the youngest sequence when blocks are short and recomputes it. After each call the answers must be
equal: the hit, the number of blocks that could be had, and the block tables, whole when a sequence
is admitted and when it goes, the last block in between. Block ids are compared one to one; ours
start at 0, vLLM's at 1 behind its null block.

Last run: vLLM 0.33.0, Python 3.11; all of Mooncake's conversation trace with pools of 500,000,
2,000,000 and 8,000,000 tokens, 2,000 requests of it with a sliding window besides, and random
prompts, with preemptions: nothing differs. The figures stand in results/2026-11-22-kv.md.

How to run it::

    python bench/lab_vllm_blocks.py random
    python bench/lab_vllm_blocks.py trace conversation_trace.jsonl.xz
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ctxengine
import kv_rivals
import kv_traces
import numpy as np
from ctxengine.kv import Group, KVCacheManager

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class DifferenceError(Exception):
    """The managers answered differently."""


def equal(what: str, ours: Any, theirs: Any) -> None:
    """Require equal answers."""
    if ours != theirs:
        raise DifferenceError(f"{what}:\n  ctxengine {ours}\n  vLLM      {theirs}")


@dataclass
class Sequence:
    """A request: what it asks for, and where the managers hold it."""

    name: int
    token_ids: list[int]
    num_left: int  # tokens to decode
    cache_salt: str | None = None
    row: int = -1
    request: Any = None


@dataclass
class Counts:
    """What a run has compared."""

    requests: int = 0
    hit_tokens: int = 0
    prompt_tokens: int = 0
    decoded: int = 0
    preempted: int = 0
    blocks: int = 0

    def add(self, other: Counts) -> None:
        """Add the counts of another run."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


@dataclass
class Pair:
    """Both managers; every method drives both and compares."""

    num_blocks: int
    block_size: int
    max_rows: int
    window: int | None = None  # of a second group
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        groups = [Group("full")]
        if self.window is not None:
            groups.append(Group("sliding_window", self.window))
        self.ours = KVCacheManager(
            self.num_blocks,
            self.block_size,
            max_rows=self.max_rows,
            max_row_tokens=1 << 18,
            groups=groups,
        )
        tables = self.ours.block_tables
        self.tables = tables if self.window is not None else tables[None]
        self.theirs = kv_rivals.VLLM(self.num_blocks, self.block_size, sliding_window=self.window)

    def compare_table(self, sequence: Sequence) -> None:
        """Compare the whole table of a sequence in each group."""
        for group, tables in enumerate(self.tables):
            theirs = self.theirs.table(sequence.request, group)
            row = tables[sequence.row]
            what = f"of {sequence.name}, group {group}"
            equal(f"table {what}", row[: len(theirs)].tolist(), theirs)
            if len(theirs) < len(row):
                equal(f"end of the table {what}", int(row[len(theirs)]), -1)
            self.counts.blocks += len(theirs)

    def compare_pool(self) -> None:
        """Compare the number of blocks that are free or idle."""
        stats = self.ours.stats()
        theirs = self.theirs.manager.block_pool.get_num_free_blocks()
        equal("blocks to be had", stats.num_free + stats.num_idle, theirs)

    def is_tight(self, num_columns: int) -> bool:
        """Say whether so many blocks in each group could fall short; only asked with a window.

        vLLM lets go what has left the window also when it has no block then; ours changes nothing.
        """
        num_free: int = self.theirs.manager.block_pool.get_num_free_blocks()
        return self.window is not None and 2 * num_columns > num_free

    def admit(self, sequence: Sequence) -> bool:
        """Admit a sequence: its prompt is looked up, allocated, computed and published.

        With a window, only if its blocks would be there with nothing cached and no window: vLLM
        allocates a chunk (here, the whole prompt) before it lets go what has left the window,
        ours at admission only counts what a row keeps.
        """
        if self.is_tight(-(-len(sequence.token_ids) // self.block_size)):
            return False
        salt = sequence.cache_salt
        acquired = self.ours.acquire(np.array(sequence.token_ids, np.uint32), cache_salt=salt)
        request = self.theirs.request(sequence.token_ids, cache_salt=salt)
        hit = self.theirs.admit(request)
        equal(f"hit of {sequence.name}", acquired and acquired.num_cached_tokens, hit)
        if acquired is None:
            return False
        sequence.row, sequence.request = acquired.row, request
        num_new = len(sequence.token_ids) - acquired.num_cached_tokens
        self.ours.reserve([sequence.row], [num_new])
        self.ours.settle([sequence.row], [num_new])
        self.compare_table(sequence)
        self.compare_pool()
        self.counts.requests += 1
        self.counts.hit_tokens += acquired.num_cached_tokens
        self.counts.prompt_tokens += len(sequence.token_ids)
        return True

    def decode(self, batch: list[Sequence], token_ids: list[int]) -> bool:
        """Decode one token of each sequence; False when blocks are short, only for a batch of one.

        A larger batch is taken apart then, as vLLM's scheduler goes from one to the next.
        """
        rows = [sequence.row for sequence in batch]
        step = self.ours.reserve(rows, [1] * len(rows))
        if step.oom_row is not None and len(batch) > 1:
            return False
        for sequence, token in zip(batch, token_ids, strict=True):
            if sequence.request.num_tokens == len(sequence.token_ids):  # else tried before
                self.theirs.append(sequence.request, token)
            served = self.theirs.decode(sequence.request)
            equal(f"a slot for {sequence.name}", step.oom_row is None, served)
        if step.oom_row is not None:
            return False
        self.ours.settle(rows, [1] * len(rows), token_ids)
        for sequence, token in zip(batch, token_ids, strict=True):
            sequence.token_ids.append(token)
            sequence.num_left -= 1
            column = (len(sequence.token_ids) - 1) // self.block_size
            last = self.tables[:, sequence.row, column].tolist()
            equal(
                f"last blocks of {sequence.name}", last, self.theirs.last_blocks(sequence.request)
            )
            if self.window is not None:
                self.compare_table(sequence)
        self.counts.decoded += len(batch)
        return True

    def free(self, sequence: Sequence) -> None:
        """Free a sequence, whose whole table is compared once more."""
        self.compare_table(sequence)
        self.ours.free([sequence.row])
        self.theirs.free(sequence.request)
        self.compare_pool()


def serve(pair: Pair, sequences: Iterable[Sequence], rng: random.Random) -> None:
    """Serve sequences in order, as many at a time as fit."""
    waiting: deque[Sequence] = deque()
    arriving = iter(sequences)
    running: list[Sequence] = []
    while True:
        while len(running) < pair.max_rows:
            if not waiting:
                waiting.extend([s] if (s := next(arriving, None)) else [])
            if not waiting or not pair.admit(waiting[0]):
                break
            running.append(waiting.popleft())
        if not running:
            if waiting:
                raise ValueError(f"sequence {waiting[0].name} does not fit an empty pool")
            return
        for sequence in [s for s in running if s.num_left == 0]:
            running.remove(sequence)
            pair.free(sequence)
        while len(running) > 1 and pair.is_tight(len(running)):
            victim = running.pop()
            pair.free(victim)
            waiting.appendleft(victim)
            pair.counts.preempted += 1
        tokens = [rng.randrange(128_000) for _ in running]
        if not running or pair.decode(running, tokens):
            continue
        by_name = {s.name: token for s, token in zip(running, tokens, strict=True)}
        for sequence in running:  # short: one by one; the youngest makes room
            token = by_name[sequence.name]
            while sequence in running and not pair.decode([sequence], [token]):
                victim = running.pop()
                pair.free(victim)
                waiting.appendleft(victim)
                pair.counts.preempted += 1


def random_sequences(rng: random.Random, num_blocks: int, block_size: int) -> Iterator[Sequence]:
    """Make prompts that extend, repeat and branch off from earlier ones."""
    known: list[tuple[str | None, list[int]]] = [(None, [])]
    longest = num_blocks * block_size
    for name in range(rng.randint(5, 60)):
        salt, start = rng.choice(known)
        if rng.random() < 0.2:
            salt = rng.choice([None, "a", "b"])
        start = start[: rng.choice([len(start), rng.randint(0, len(start))])]
        added = [rng.randrange(3) for _ in range(rng.randint(0, 4 * block_size))]
        tokens = (start + added or [0])[: rng.randint(1, longest)]
        num_left = min(longest - len(tokens), rng.choice([0, 1, rng.randint(0, 5 * block_size)]))
        sequence = Sequence(name, tokens, num_left, salt)
        known.append((salt, sequence.token_ids))  # grows as it decodes
        yield sequence


def run_random(seconds: float, hybrid: bool) -> Counts:
    """Compare under random requests on small pools; hybrid: a second group with a window."""
    total = Counts()
    until = time.monotonic() + seconds
    seed = 0
    while time.monotonic() < until:
        rng = random.Random(seed)
        longest = rng.randint(1, 40)  # blocks
        block_size = rng.choice([1, 2, 4, 16])
        window = rng.randint(2, 6 * block_size + 1) if hybrid else None
        # A window never holds more than all blocks of a row.
        num_blocks = 2 * longest + 2 if hybrid else longest
        pair = Pair(num_blocks, block_size, rng.randint(1, 6), window)
        try:
            serve(pair, random_sequences(rng, longest, block_size), rng)
        except DifferenceError as difference:
            raise DifferenceError(f"seed {seed}, {pair}: {difference}") from None
        total.add(pair.counts)
        seed += 1
    return total


def run_trace(
    path: Path, num_tokens: int, limit: int | None, max_decode: int, window: int | None
) -> Counts:
    """Compare on a trace, with blocks of 16 tokens."""
    pair = Pair(num_tokens // 16, 16, max_rows=32, window=window)
    requests = kv_traces.read_mooncake(path, limit)
    sequences = (
        Sequence(i, request.token_ids.tolist(), min(request.num_output_tokens, max_decode))
        for i, request in enumerate(requests)
    )
    try:
        serve(pair, sequences, random.Random(0))
    except DifferenceError as difference:
        raise DifferenceError(f"{pair.counts}: {difference}") from None
    pair.ours.check()
    return pair.counts


def main() -> None:
    """Compare, and say what was compared, or what differs first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = parser.add_subparsers(dest="kind", required=True)
    at_random = kinds.add_parser("random")
    at_random.add_argument("--seconds", type=float, default=30)
    at_random.add_argument("--hybrid", action="store_true", help="a second group with a window")
    trace = kinds.add_parser("trace")
    trace.add_argument("path", type=Path)
    trace.add_argument("--tokens", type=int, nargs="+", default=[500_000, 2_000_000, 8_000_000])
    trace.add_argument("--requests", type=int)
    trace.add_argument("--decode", type=int, default=40, help="output tokens at most")
    trace.add_argument("--window", type=int, help="of a second group")
    options = parser.parse_args()
    try:
        version = kv_rivals.VLLM(1, 16).version
        print(f"ctxengine {ctxengine.__version__}, vLLM {version}, Python {sys.version.split()[0]}")
        if options.kind == "random":
            print(f"nothing differs: {run_random(options.seconds, options.hybrid)}")
        else:
            for num_tokens in options.tokens:
                counts = run_trace(
                    options.path, num_tokens, options.requests, options.decode, options.window
                )
                print(f"{num_tokens} tokens: nothing differs: {counts}", flush=True)
    except DifferenceError as difference:
        sys.exit(f"they differ. {difference}")
    except kv_rivals.Absent as absent:
        sys.exit(f"cannot compare: {absent}")


if __name__ == "__main__":
    main()
