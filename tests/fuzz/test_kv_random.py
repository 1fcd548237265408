"""The KV manager against its model and its own invariants, under random calls."""

from __future__ import annotations

import random
from collections import Counter
from itertools import accumulate

import pytest
from ctxengine import ArgumentError, CapacityError, KVCacheManager
from ctxengine.reference.kv_manager import KVCacheModel
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

# Few tokens and few salts, so that prefixes repeat.
SALTS = (None, "a", "b")
FULL = ("full", 0)


def random_groups(pick):
    """One full group mostly, else one of any kind, or a few with a full one in most cases."""
    others = [("sliding_window", pick(1, 9)), ("chunked_local", pick(1, 9)), ("linear_state", 0)]
    if pick(0, 2) == 0:
        return [FULL]
    groups = [others[pick(0, 2)] for _ in range(pick(1, 3))]
    if pick(0, 3):
        groups.insert(pick(0, len(groups)), FULL)
    return groups


class Pair:
    """One manager and one model, called alike; each answer and each state must be equal."""

    def __init__(self, num_blocks, block_size, *, hash_bits=128, **kwargs):
        self.native = KVCacheManager(num_blocks, block_size, _hash_bits=hash_bits, **kwargs)
        self.model = KVCacheModel(num_blocks, block_size, **kwargs)
        self.device_tables = {}
        self.served = Counter()  # calls that were not refused

    def call(self, name, *args, **kwargs):
        try:
            want = getattr(self.model, name)(*args, **kwargs)
        except (ArgumentError, CapacityError) as error:
            before = self.native.snapshot()
            with pytest.raises(type(error)):
                getattr(self.native, name)(*args, **kwargs)
            assert self.native.snapshot() == before
            return None
        got = getattr(self.native, name)(*args, **kwargs)
        self.served[name] += 1
        if name == "acquire" and got is not None:
            self.served["partial hit"] += got[1] % self.model.block_size > 0
        if name == "settle" and args[2] is None:
            self.served["late"] += 1
        if name in {"reserve", "begin_load"}:
            got = (*(part.tolist() for part in got[:3]), got[3])
            if len(self.model.groups) == 1:
                got = ([got[0]], *got[1:])
            assert not {s for s, _ in got[2]} & {t for _, t in got[2]}
            for row, column, block, *group in got[1]:
                self.device_tables[row, column, sum(group)] = block
        elif name in {"evict", "preempt_candidates"}:
            got = got.tolist()
        assert got == want
        return got

    def tell(self, rows, token_ids, counts):
        """Ragged arguments differ: the manager takes offsets, and none for all that is missing."""
        try:
            self.model.tell(rows, token_ids, counts)
        except ArgumentError:
            with pytest.raises(ArgumentError):
                self.native.tell(rows, token_ids, [0, *accumulate(counts)])
            return
        missing = [
            max(0, row["num_computed"] - row["num_tokens"])
            for row in map(self.native.snapshot()["rows"].get, rows)
        ]
        self.served["tell"] += sum(counts) > 0
        offsets = None if counts == missing else [0, *accumulate(counts)]
        self.native.tell(rows, token_ids, offsets)

    def check(self):
        assert self.native.snapshot() == self.model.snapshot()
        self.native.check()
        self.model.check()
        tables = self.native.block_tables
        tables = tables.reshape(len(self.model.groups), *tables.shape[-2:])
        for row_id, row in self.model.rows.items():
            for group, table in enumerate(row.tables):
                blocks = [table.blocks.get(c, -1) for c in range(tables.shape[2])]
                assert tables[group, row_id].tolist() == blocks
                # What the patches told the device holds for all that the step may touch.
                for column, block in table.blocks.items():
                    if column < table.num_patched:
                        assert self.device_tables[row_id, column, group] == block
                is_full = self.model.groups[group] == FULL
                count = max(len(row.token_ids) if is_full else 0, row.num_reserved)
                slots = self.native.slot_mapping([row_id] * count, range(count), group=group)
                assert slots.tolist() == [self.model.slot(row_id, p, group) for p in range(count)]


class Driver:
    """Chooses calls; `pick(low, high)` makes the choices (random.Random or hypothesis)."""

    def __init__(self, pair, pick):
        self.pair, self.pick = pair, pick
        self.prompts = [[0]]

    def rows(self, eligible=lambda _row: True):
        live = [r for r, row in sorted(self.pair.model.rows.items()) if eligible(row)]
        count = min(len(live), self.pick(1, 3))
        return [live.pop(self.pick(0, len(live) - 1)) for _ in range(count)]

    def row(self, eligible=lambda _row: True):
        """A live row mostly, else any number."""
        live = self.rows(eligible)
        return live[0] if live and self.pick(0, 9) else self.pick(-1, self.pair.model.max_rows)

    def tokens(self, low, high):
        return [self.pick(0, 1) for _ in range(self.pick(low, high))]

    def acquire(self):
        # Mostly what some row holds, or held, and a little more: the next turn of a conversation.
        prompts = [row.token_ids for row in self.pair.model.rows.values()] + self.prompts[-4:]
        tokens = prompts[self.pick(0, len(prompts) - 1)]
        tokens = tokens[: self.pick(max(0, len(tokens) - 3), len(tokens))] + self.tokens(0, 5)
        extra = ()
        if self.pick(0, 5) == 0 and len(tokens) > 2:
            length = self.pick(1, len(tokens) - 1)
            extra = (("mm", "xy"[self.pick(0, 1)], self.pick(0, len(tokens) - length), length),)
        if self.pick(0, 9) == 0:
            extra = (("lora", "a", "b"), *extra)
        salt = SALTS[max(0, self.pick(-4, 2))]
        self.prompts.append(tokens)
        acquired = self.pair.call("acquire", tokens, cache_salt=salt, extra_keys=extra)
        if acquired is not None and self.pick(0, 3) == 0:
            self.resume(tokens, salt, extra)

    def resume(self, tokens, salt, extra):
        """A prompt told in two parts is the prompt: matched, and taken by one that has it whole."""
        native = self.pair.native
        identity = {"cache_salt": salt, "extra_keys": extra}
        whole = native.match(tokens, **identity)
        cut = self.pick(1, len(tokens))
        media_end = max((key[2] + key[3] for key in extra if key[0] == "mm"), default=0)
        if cut >= media_end:
            first = native.match(tokens[:cut], **identity)
            assert native.match(tokens[first.num_tokens :], resume=first, **identity) == whole
        rest = tokens[whole.num_tokens :]
        if self.pair.model.partial_hits and self.pick(0, 1):
            return
        got = native.acquire(rest, resume=whole, **identity)
        assert got == self.pair.model.acquire(tokens, **identity)

    def reserve(self):
        rows = self.rows()
        self.pair.call("reserve", rows, [self.pick(0, 4) or 1 for _ in rows])

    def finish_prompts(self):
        rows = self.rows(lambda row: row.num_reserved < len(row.token_ids))
        state = self.pair.model.rows
        missing = [len(state[r].token_ids) - state[r].num_reserved for r in rows]
        self.pair.call("reserve", rows, missing)

    def settle(self):
        rows = self.rows(lambda row: row.reservations)
        accepted, num_ids = [], 0
        for row_id in rows:
            row = self.pair.model.rows[row_id]
            whole = len(row.reservations) > 1 or self.pick(0, 2)
            kept = row.reservations[0] if whole else self.pick(0, row.reservations[0])
            accepted.append(kept)
            num_ids += max(0, row.num_computed + kept - len(row.token_ids))
        late = self.pick(0, 2) == 0
        ids = None if late else [self.pick(0, 1) for _ in range(num_ids)]
        self.pair.call("settle", rows, accepted, ids)

    def tell(self):
        rows = self.rows(lambda row: row.num_computed > len(row.token_ids))
        counts = []
        for row_id in rows:
            row = self.pair.model.rows[row_id]
            missing = row.num_computed - len(row.token_ids)
            counts.append(self.pick(0, missing + 1) if self.pick(0, 3) == 0 else missing)
        self.pair.tell(rows, [self.pick(0, 1) for _ in range(sum(counts))], counts)

    def begin_load(self):
        row_id = self.row(lambda row: not row.reservations)
        row = self.pair.model.rows.get(row_id)
        most = len(row.token_ids) - row.num_computed if row else 1
        self.pair.call("begin_load", row_id, self.pick(0, max(most, 1)))

    def end_load(self):
        row_id = self.row(lambda row: row.is_loading)
        if self.pick(0, 1):
            self.pair.call("finish_load", row_id)
        else:
            self.pair.call("fail_load", row_id, self.pick(-1, 6))

    def settle_wrongly(self):
        rows = [*self.rows(), self.row()]
        self.pair.call("settle", rows, [self.pick(-1, 3) for _ in rows], self.tokens(0, 2))

    def fork(self):
        self.pair.call("fork", self.row(lambda row: row.num_computed == len(row.token_ids)))

    def truncate(self):
        row_id = self.row(lambda row: not row.reservations)
        row = self.pair.model.rows.get(row_id)
        length = len(row.token_ids) if row else 3
        self.pair.call("truncate", row_id, self.pick(max(-1, length - 6), length + 1))

    def free(self):
        fence = None
        if self.pick(0, 2) == 0:
            fence = max(0, self.pair.model.passed_fence) + self.pick(0, 3)
        self.pair.call("free", self.rows(), fence=fence)

    def advance_fence(self):
        self.pair.call("advance_fence", self.pair.model.passed_fence + self.pick(-1, 3))

    def preempt_candidates(self):
        self.pair.call("preempt_candidates", self.pick(0, self.pair.model.num_blocks + 1))

    def free_wrongly(self):
        self.pair.call("free", [*self.rows(), self.pick(-1, 6), *self.rows()])

    def evict(self):
        self.pair.call("evict", self.pick(0, 2))

    def can_admit(self):
        self.pair.call("can_admit", self.pick(0, 30))


CALLS = [
    *(["acquire"] * 8 + ["reserve"] * 4 + ["finish_prompts"] * 6 + ["settle"] * 16),
    *(["fork"] * 4 + ["truncate"] * 3 + ["free"] * 6),
    *("settle_wrongly", "free_wrongly", "evict", "can_admit", "preempt_candidates"),
    *(["tell"] * 6 + ["begin_load"] * 5 + ["end_load"] * 4 + ["advance_fence"] * 2),
]


def run(seed, hash_bits, num_calls):
    """Random calls on a random small manager; returns its counters."""
    rng = random.Random(seed)
    block_size = rng.choice([1, 2, 3, 4])
    groups = random_groups(rng.randint)
    num_blocks = rng.randint(1, 40)
    pair = Pair(
        num_blocks,
        block_size,
        hash_bits=hash_bits,
        max_rows=rng.randint(1, 8),
        max_row_tokens=rng.choice([None, rng.randint(1, 10) * block_size]),
        groups=groups,
        watermark_blocks=rng.choice([0, min(3, num_blocks)]),
        partial_hits=all(group == FULL for group in groups) and rng.random() < 0.5,
    )
    driver = Driver(pair, rng.randint)
    for _ in range(num_calls):
        getattr(driver, rng.choice(CALLS))()
        pair.check()
    stats = pair.native.stats()
    pair.call("free", sorted(pair.model.rows))
    pair.call("advance_fence", pair.model.passed_fence + 9)
    pair.check()
    empty = pair.native.stats()
    assert empty.num_free + empty.num_idle == empty.num_blocks
    return pair.served + Counter(stats._asdict())


@pytest.mark.parametrize("hash_bits", [128, 8, 1])
def test_random_calls_equal_the_model(hash_bits):
    total = Counter()
    for seed in range(50):
        total += run(1000 * hash_bits + seed, hash_bits, 200)
    # The calls did reach what they are meant to test.
    for counter in ("num_hit_tokens", "num_evicted", "num_copied", "num_duplicates"):
        assert total[counter] > 10, total
    for call in ("fork", "truncate", "late", "begin_load", "advance_fence"):
        assert total[call] > 10, total
    for call in ("tell", "partial hit", "finish_load", "fail_load"):
        assert total[call] > 3, total


class Machine(RuleBasedStateMachine):
    """The same, with hypothesis choosing and shrinking."""

    @initialize(
        num_blocks=st.integers(1, 16),
        block_size=st.integers(1, 4),
        max_rows=st.integers(1, 4),
        hash_bits=st.sampled_from([128, 2]),
        partial_hits=st.booleans(),
        data=st.data(),
    )
    def start(self, num_blocks, block_size, *, max_rows, hash_bits, partial_hits, data):
        groups = random_groups(lambda low, high: data.draw(st.integers(low, high)))
        self.pair = Pair(
            num_blocks,
            block_size,
            max_rows=max_rows,
            hash_bits=hash_bits,
            groups=groups,
            partial_hits=partial_hits and all(group == FULL for group in groups),
        )
        self.driver = Driver(self.pair, None)

    @rule(name=st.sampled_from(sorted(set(CALLS)) + CALLS), data=st.data())
    def call(self, name, data):
        self.driver.pick = lambda low, high: data.draw(st.integers(low, high))
        getattr(self.driver, name)()

    @precondition(lambda self: hasattr(self, "pair"))
    @invariant()
    def states_are_equal(self):
        self.pair.check()


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestMachine = Machine.TestCase
