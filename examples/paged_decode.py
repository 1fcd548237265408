"""A small transformer that decodes with the block tables of ctxengine.kv.KVCacheManager.

    python examples/paged_decode.py

A server does not keep the keys and values (the KV) of a sequence in one piece. They lie in a pool
of blocks, `block_size` tokens each, and a block table says where: token p of a row is in block
``table[row, p // block_size]`` at offset ``p % block_size``; block * block_size + offset is its
*slot*. So sequences grow without moving, and those that begin alike share the blocks of their
beginning. `KVCacheManager` decides who gets which block; this file is the other half, what a device
does with its answers. The model has random weights: the tokens mean nothing, but if one value were
read from a wrong block, the logits would differ. After each pass they are compared with those of
plain attention over the whole sequence.

Read `Transformer` (where attention is a parameter), then `Engine.run` (one forward pass), then the
five scenes below it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ctxengine.kv import KVCacheManager, Step

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Array = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    # (layer, queries, keys, values) of the tokens of a pass -> what each of them attends to
    Attention = Callable[[int, Array, Array, Array], Array]

VOCABULARY, WIDTH, LAYERS = 61, 32, 3
HEADS, KV_HEADS, HEAD_WIDTH = 4, 2, 8
BLOCK_SIZE = 4


class Transformer:
    """Three layers with rotary positions and two query heads for each head of keys and values."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)

        def matrix(rows: int, columns: int) -> Array:
            return rng.normal(0, rows**-0.5, (rows, columns))

        self.embedding = rng.normal(0, 1, (VOCABULARY, WIDTH))
        self.layers = [
            {
                "q": matrix(WIDTH, HEADS * HEAD_WIDTH),
                "k": matrix(WIDTH, KV_HEADS * HEAD_WIDTH),
                "v": matrix(WIDTH, KV_HEADS * HEAD_WIDTH),
                "out": matrix(HEADS * HEAD_WIDTH, WIDTH),
                "up": matrix(WIDTH, 4 * WIDTH),
                "down": matrix(4 * WIDTH, WIDTH),
            }
            for _ in range(LAYERS)
        ]

    def forward(self, token_ids: Ints, positions: Ints, attention: Attention) -> Array:
        """Return the logits behind each token, shape (n, VOCABULARY)."""
        x = self.embedding[token_ids]
        for number, layer in enumerate(self.layers):
            h = normed(x)
            q = rotated((h @ layer["q"]).reshape(-1, HEADS, HEAD_WIDTH), positions)
            k = rotated((h @ layer["k"]).reshape(-1, KV_HEADS, HEAD_WIDTH), positions)
            v = (h @ layer["v"]).reshape(-1, KV_HEADS, HEAD_WIDTH)
            x = x + attention(number, q, k, v).reshape(len(x), -1) @ layer["out"]
            x = x + np.maximum(normed(x) @ layer["up"], 0) @ layer["down"]
        return normed(x) @ self.embedding.T

    def dense(self, token_ids: list[int]) -> Array:
        """Return all logits of a sequence by plain attention: what the paged passes must equal."""
        positions = np.arange(len(token_ids))
        return self.forward(
            np.array(token_ids), positions, lambda _, q, k, v: attend(q, k, v, positions)
        )


def normed(x: Array) -> Array:
    """Divide by the root mean square."""
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6)


def rotated(x: Array, positions: Ints) -> Array:
    """Turn each pair of components by an angle that grows with the position."""
    half = HEAD_WIDTH // 2
    angles = positions[:, None, None] / 100.0 ** (np.arange(half) / half)
    a, b = x[..., :half], x[..., half:]
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)


def attend(q: Array, k: Array, v: Array, positions: Ints) -> Array:
    """Let queries at these positions see the keys 0 .. position."""
    k, v = (np.repeat(array, HEADS // KV_HEADS, axis=1) for array in (k, v))
    scores = np.einsum("qhd,khd->hqk", q, k) / HEAD_WIDTH**0.5
    scores[:, np.arange(len(k)) > positions[:, None]] = -np.inf
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("hqk,khd->qhd", weights / weights.sum(-1, keepdims=True), v)


@dataclass
class Sequence:
    """A sequence that is being served.

    Attributes
    ----------
    row : int
        Its row of the block table: its name in every call.
    token_ids : list of int
        Prompt and what was sampled since.
    num_known : int
        Tokens that the manager knows; it is told others when their KV is there.
    num_computed : int
        Tokens that have KV. The rest has to go through the model.
    """

    row: int
    token_ids: list[int]
    num_known: int
    num_computed: int


class OutOfBlocksError(Exception):
    """No block is free for a row: the scheduler has to preempt somebody."""


class Engine:
    """A model with a pool of blocks and a block table, as a device holds them, and the manager."""

    def __init__(self, num_blocks: int, max_rows: int = 8) -> None:
        self.model = Transformer(seed=1)
        self.manager = KVCacheManager(num_blocks, BLOCK_SIZE, max_rows=max_rows)
        # NaN: whoever reads a slot that was not written is found out.
        shape = (LAYERS, 2, num_blocks, BLOCK_SIZE, KV_HEADS, HEAD_WIDTH)
        self.blocks = np.full(shape, np.nan)
        self.slots = self.blocks.reshape(LAYERS, 2, -1, KV_HEADS, HEAD_WIDTH)  # the same memory
        self.table = np.full((max_rows, self.manager.max_row_blocks), -1)
        self.num_run = 0  # tokens that went through the model
        self.num_copied = 0  # blocks

    def admit(self, token_ids: list[int]) -> Sequence | None:
        """Give a prompt a row; its cached prefix needs no pass. None when blocks are short."""
        acquired = self.manager.acquire(token_ids)
        if acquired is None:
            return None
        return Sequence(acquired.row, list(token_ids), len(token_ids), acquired.num_cached_tokens)

    def reserve(self, batch: list[Sequence], counts: list[int]) -> Ints:
        """Get slots for the next tokens of each sequence."""
        return self.follow(self.manager.reserve([sequence.row for sequence in batch], counts))

    def follow(self, step: Step) -> Ints:
        """Do what a step asks of the device; return its slots."""
        if step.oom_row is not None:
            raise OutOfBlocksError(f"row {step.oom_row}")
        for row, column, block in step.table_patch:
            self.table[row, column] = block
        # Shared blocks that this pass writes: the writer gets its own copy ("copy-on-write").
        for source, target in step.copies:
            self.blocks[:, :, target] = self.blocks[:, :, source]
        self.num_copied += len(step.copies)
        return step.slots

    def forward(self, batch: list[Sequence], counts: list[int]) -> list[Array]:
        """Do one pass over the next tokens of each sequence; return the logits behind them.

        A chunk of a prompt, one sampled token, a few guessed ones: all are the same to it.
        """
        new_slots = self.reserve(batch, counts)
        spans = [s.num_computed + np.arange(count) for s, count in zip(batch, counts, strict=True)]
        ends = np.cumsum(counts)[:-1]  # where the parts of the batch meet

        def through_the_table(layer: int, q: Array, k: Array, v: Array) -> Array:
            self.slots[layer, 0, new_slots] = k
            self.slots[layer, 1, new_slots] = v
            seen = []
            for sequence, span, queries in zip(batch, spans, np.split(q, ends), strict=True):
                slots = self.slots_of(sequence, int(span[-1]) + 1)
                keys, values = self.slots[layer][:, slots]
                seen.append(attend(queries, keys, values, span))
            return np.concatenate(seen)

        tokens = [np.array(s.token_ids)[span] for s, span in zip(batch, spans, strict=True)]
        logits = self.model.forward(
            np.concatenate(tokens), np.concatenate(spans), through_the_table
        )
        self.num_run += len(logits)
        answers = np.split(logits, ends)
        for sequence, span, answer in zip(batch, spans, answers, strict=True):
            dense = self.model.dense(sequence.token_ids[: span[-1] + 1])
            np.testing.assert_allclose(answer, dense[span], rtol=1e-9, atol=1e-9)
        return answers

    def slots_of(self, sequence: Sequence, num_tokens: int) -> Ints:
        """Return where the KV of the first tokens lies, by the device's own table."""
        positions = np.arange(num_tokens)
        blocks = self.table[sequence.row, positions // BLOCK_SIZE]
        return blocks * BLOCK_SIZE + positions % BLOCK_SIZE

    def settle(self, batch: list[Sequence], counts: list[int]) -> None:
        """Tell the manager how many tokens of the pass count: full blocks can be shared now."""
        unknown: list[int] = []
        for sequence, count in zip(batch, counts, strict=True):
            sequence.num_computed += count
            unknown += sequence.token_ids[sequence.num_known : sequence.num_computed]
            sequence.num_known = max(sequence.num_known, sequence.num_computed)
        self.manager.settle([sequence.row for sequence in batch], counts, unknown)

    def run(self, batch: list[Sequence]) -> list[Array]:
        """Compute all tokens that wait; return the logits behind the last of each sequence."""
        counts = [len(sequence.token_ids) - sequence.num_computed for sequence in batch]
        answers = self.forward(batch, counts)
        self.settle(batch, counts)
        return [answer[-1] for answer in answers]

    def decode(self, batch: list[Sequence], num_tokens: int) -> None:
        """Sample tokens, always the likeliest."""
        for _ in range(num_tokens):
            for sequence, logits in zip(batch, self.run(batch), strict=True):
                sequence.token_ids.append(int(logits.argmax()))

    def forget(self, num_blocks: int) -> None:
        """Evict blocks, and make sure that what was in them is gone."""
        self.blocks[:, :, self.manager.evict(num_blocks)] = np.nan


def prompt(seed: int, num_tokens: int) -> list[int]:
    """Make up a prompt."""
    return np.random.default_rng(seed).integers(0, VOCABULARY, num_tokens).tolist()


def greedy(model: Transformer, token_ids: list[int], num_tokens: int) -> list[int]:
    """Decode without any cache: the answer that every scene must give."""
    token_ids = list(token_ids)
    for _ in range(num_tokens):
        token_ids.append(int(model.dense(token_ids)[-1].argmax()))
    return token_ids


def share_a_prefix() -> str:
    """Two users with one system prompt: the second one's pass is shorter."""
    engine = Engine(num_blocks=32)
    system = prompt(0, 18)
    first = engine.admit(system + prompt(1, 5))
    assert first is not None
    engine.decode([first], 3)
    num_run = engine.num_run
    second = engine.admit(system + prompt(2, 7))
    assert second is not None
    assert second.num_computed == 16  # four full blocks; the fifth holds other tokens too
    engine.decode([second, first], 6)  # chunk of a prompt and decode in one batch
    assert engine.num_run == num_run + (25 - 16) + 5 + 6
    assert first.token_ids == greedy(engine.model, system + prompt(1, 5), 9)
    assert second.token_ids == greedy(engine.model, system + prompt(2, 7), 6)
    return "16 of 25 tokens of the second prompt were never computed"


def fork_and_copy() -> str:
    """Three answers to one prompt: its KV is there once, and a write to shared KV copies."""
    engine = Engine(num_blocks=32)
    tokens = prompt(3, 10)  # two full blocks and a half: the half is what has to be copied
    parent = engine.admit(tokens)
    assert parent is not None
    logits = engine.run([parent])[0]
    branches = [parent]
    for _ in range(2):
        row = engine.manager.fork(parent.row)
        assert row is not None
        branches.append(Sequence(row, list(tokens), len(tokens), len(tokens)))
    for branch, token in zip(branches, np.argsort(-logits), strict=False):
        branch.token_ids.append(int(token))  # the likeliest, the second, the third
    starts = [list(branch.token_ids) for branch in branches]
    engine.decode(branches, 8)
    for branch, start in zip(branches, starts, strict=True):
        assert branch.token_ids == greedy(engine.model, start, 8)
    assert engine.num_copied == 2  # the last writer has the block for itself
    stats = engine.manager.stats()
    return f"{stats.num_referenced} blocks for three sequences of 19 tokens, 2 copies"


def guess_ahead() -> str:
    """Speculative decoding: several guessed tokens in one pass; wrong ones are given up."""
    engine = Engine(num_blocks=32)
    tokens = prompt(4, 9)
    answer = greedy(engine.model, tokens, 12)
    sequence = engine.admit(tokens)
    assert sequence is not None
    engine.decode([sequence], 1)
    passes = 0
    while len(sequence.token_ids) < len(answer):
        # A draft model would guess; here two guesses are right and the third is wrong.
        begin = len(sequence.token_ids)
        draft = [*answer[begin : begin + 2], (answer[min(begin + 2, len(answer) - 1)] + 1) % 61]
        sequence.token_ids += draft
        logits = engine.forward([sequence], [1 + len(draft)])[0]
        sampled = logits.argmax(-1).tolist()  # behind the last token, and behind each guess
        right = next((i for i, t in enumerate(draft) if t != sampled[i]), len(draft))
        sequence.token_ids[begin:] = sampled[: right + 1]
        engine.settle([sequence], [1 + right])
        passes += 1
    assert sequence.token_ids[: len(answer)] == answer
    return f"12 tokens in {1 + passes} passes"


def preempt_and_return() -> str:
    """Blocks run out: the youngest sequence goes, comes back later and is computed again."""
    engine = Engine(num_blocks=17)
    prompts = [prompt(seed, 8) for seed in (5, 6, 7)]
    running = [s for s in map(engine.admit, prompts) if s is not None]
    waiting: list[list[int]] = []
    finished: list[list[int]] = []
    num_preempted = num_kept = 0
    while running or waiting:
        if waiting and (back := engine.admit(waiting[0])) is not None:
            waiting.pop(0)
            running.append(back)
            num_kept += back.num_computed  # what nobody has evicted meanwhile is still there
        while True:
            try:
                engine.decode(running, 1)
                break
            except OutOfBlocksError:  # nothing has changed: a smaller batch can be tried
                victim = running.pop()
                engine.manager.free(victim.row)
                waiting.append(victim.token_ids)
                num_preempted += 1
        for sequence in [s for s in running if len(s.token_ids) == 8 + 18]:
            running.remove(sequence)
            engine.manager.free(sequence.row)
            finished.append(sequence.token_ids)
    assert num_preempted > 0
    assert num_kept > 0
    assert sorted(finished) == sorted(greedy(engine.model, p, 18) for p in prompts)
    return f"{num_preempted} preemptions; {num_kept} tokens were still there at the return"


def store_and_load() -> str:
    """KV that went to host memory comes back into other blocks, and is not computed again."""
    engine = Engine(num_blocks=32)
    sequence = engine.admit(prompt(8, 11))
    assert sequence is not None
    engine.decode([sequence], 6)
    stored = engine.slots[:, :, engine.slots_of(sequence, sequence.num_computed)]
    engine.manager.free(sequence.row)
    engine.forget(32)
    other = engine.admit(prompt(9, 20))  # takes the first blocks
    assert other is not None
    engine.run([other])

    num_run, count = engine.num_run, sequence.num_computed
    back = engine.admit(sequence.token_ids)
    assert back is not None
    assert back.num_computed == 0  # nothing is cached
    step = engine.manager.begin_load(back.row, count)  # nobody finds these blocks yet
    engine.slots[:, :, engine.follow(step)] = stored
    engine.manager.finish_load(back.row)
    back.num_computed = count
    engine.decode([back], 4)
    assert engine.num_run == num_run + 4
    assert back.token_ids == greedy(engine.model, prompt(8, 11), 10)
    return f"{count} tokens came back from the host"


SCENES = (share_a_prefix, fork_and_copy, guess_ahead, preempt_and_return, store_and_load)


def main() -> None:
    """Play all scenes."""
    for scene in SCENES:
        sys.stdout.write(f"{scene.__name__}: {scene()}\n")


if __name__ == "__main__":
    main()
