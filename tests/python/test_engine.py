"""The engine joins the layers: each number is checked against the layer it comes from."""

from __future__ import annotations

import doctest
import hashlib
import pickle
import random
import struct

import pytest
from ctxengine import ArgumentError, CapacityError, LoadError, engine
from ctxengine.budget import Budget, Item, Section, plan
from ctxengine.engine import ContextEngine, EnginePlan, Envelope
from ctxengine.prefix import BlockHasher
from ctxengine.pricing import PriceTable

PRICES = PriceTable.from_dict(
    {
        "currency": "USD",
        "per_million_tokens": {"input": 2, "cached_input": 1, "cache_write": 3, "output": 10},
    }
)
SYSTEM = "You are the night clerk of a small hotel and answer in one sentence. " * 4


def turns(count):
    history = []
    for i in range(count):
        history.append(
            {"role": "user", "content": f"Question {i}: is room {i} free on day {i * i}?"}
        )
        history.append({"role": "assistant", "content": f"Room {i} is free, and so is the next."})
    return [*history, {"role": "user", "content": "And breakfast?"}]


def make(**options):
    return ContextEngine("qwen3", **({"window": 2048, "prices": PRICES} | options))


def test_the_examples_of_the_module_are_true():
    assert doctest.testmod(engine).failed == 0


def test_a_plan_is_the_planners_plan_with_hashes():
    e = make(window=Budget(300, 50))
    history = turns(20)
    planned = e.plan(system=SYSTEM, history=history)
    direct = plan(Budget(300, 50), e.encoding, system=SYSTEM, history=history, template=e.template)
    assert planned.plan.to_dict() | {"predicted": 0} == direct.to_dict() | {"predicted": 0}
    assert planned.messages == direct.messages
    assert planned.dropped
    assert planned.used + planned.left == 250
    ids = direct.token_ids.tolist()
    assert planned.token_ids.tolist() == ids
    assert list(planned.prefix) == BlockHasher(16, scheme="vllm_sha256_cbor").hash(ids)
    assert [name for name, _ in planned.stages] == ["count", "plan", "tokenize", "hash", "look up"]
    assert all(isinstance(ns, int) and ns > 0 for _, ns in planned.stages)
    assert planned.requested_tokens > planned.used
    assert planned.predicted == (0, planned.used, PRICES.cost(planned.used))


def test_what_was_computed_is_found_again_and_priced():
    e = make()
    history = turns(6)
    first = e.plan(system=SYSTEM, history=history)
    assert first.cached_tokens == 0
    with e.place(first) as sequence:
        assert (sequence.cached_tokens, sequence.blocks_hit) == (0, 0)
        assert sequence.blocks_allocated == -(-first.used // 16)
        assert e.plan(system=SYSTEM, history=history).cached_tokens == 0  # not computed yet
        slots = sequence.compute()
        assert len(slots) == first.used
        table = sequence.block_table
        assert slots.tolist() == [int(table[i // 16]) * 16 + i % 16 for i in range(first.used)]

    history += [{"role": "assistant", "content": "From seven."}, *turns(0)]
    second = e.plan(system=SYSTEM, history=history)
    ids, again = first.token_ids.tolist(), second.token_ids.tolist()
    common = next(i for i, (a, b) in enumerate(zip([*ids, -1], again, strict=False)) if a != b)
    assert second.cached_tokens == common // 16 * 16 > 0
    assert second.predicted[:2] == (second.cached_tokens, second.used - second.cached_tokens)
    hashes = [
        i for i, (a, b) in enumerate(zip(first.prefix, second.prefix, strict=False)) if a == b
    ]
    assert len(hashes) * 16 == second.cached_tokens
    with e.place(second) as sequence:
        assert sequence.cached_tokens == second.cached_tokens
        assert sequence.blocks_hit == second.cached_tokens // 16
        assert sequence.blocks_hit + sequence.blocks_allocated == len(sequence.block_table)
        assert len(sequence.compute()) == second.used - second.cached_tokens

    # The pool is our own: what is not read is computed, and storing it costs nothing.
    expected = second.cached_tokens * 1 + (second.used - second.cached_tokens) * 2  # per million
    assert second.cost.total == second.predicted.cost.total == expected * 10**6
    assert second.cost_without_cache.total == second.used * 2 * 10**6


def test_looking_up_changes_nothing():
    e = make()
    with e.place(e.plan(history=turns(3))) as sequence:
        sequence.compute()
    before = e.manager.stats()
    for _ in range(3):
        assert e.plan(history=turns(3)).cached_tokens > 0
    assert e.manager.stats() == before


def test_a_prompt_longer_than_a_row_can_be_looked_up():
    e = make(num_blocks=8, window=128)
    with e.place(e.plan(history=[{"role": "user", "content": "x " * 70}])) as sequence:
        sequence.compute()
        ids = e.plan(history=[{"role": "user", "content": "x " * 70}]).token_ids.tolist()
    assert len(ids) >= 64
    assert e.manager.lookup(ids[:64] + [7] * 1000) == 64
    assert e.manager.lookup([7] * 1000) == 0
    assert e.manager.lookup(ids[:64]) == 48  # the block of the last token is computed anew
    assert e.manager.lookup(ids[:64], cache_salt="another tenant") == 0
    with pytest.raises(ArgumentError):
        e.manager.lookup([])


def test_a_full_pool_is_a_result_and_eviction_makes_room():
    # Room for one prompt and not for two.
    e = make(num_blocks=20, window=320)
    one = e.plan(system=SYSTEM, history=turns(3))
    other = e.plan(system="Something else altogether. " + SYSTEM, history=turns(3))
    assert 10 < -(-one.used // 16) <= 20
    held = e.place(one)
    before = e.manager.stats()
    assert e.place(other) is None
    assert e.manager.stats() == before
    held.compute()
    held.release()
    with e.place(other) as sequence:
        assert sequence.blocks_evicted > 0
        assert sequence.blocks_hit == 0


def test_a_pool_that_is_too_small_raises():
    e = make(num_blocks=4)
    planned = e.plan(system=SYSTEM, history=turns(3))
    with pytest.raises(CapacityError):
        e.place(planned)


def test_a_sequence_grows_and_is_released_once():
    e = make()
    planned = e.plan(history=turns(1))
    sequence = e.place(planned)
    with pytest.raises(ArgumentError, match="compute"):
        sequence.extend([1])
    sequence.compute()
    assert sequence.extend(range(100, 140))
    assert sequence.extend([])
    assert sequence.num_tokens == planned.used + 40
    assert len(sequence.block_table) == -(-sequence.num_tokens // 16)
    assert (sequence.block_table >= 0).all()
    sequence.release()
    assert e.manager.stats().num_rows == 0


def test_a_count_rule_can_be_planned_but_not_placed():
    e = ContextEngine("o200k_base", window=500, prices=PRICES)
    planned = e.plan(history=turns(2))
    assert planned.prefix == ()
    assert planned.cached_tokens == 0
    assert planned.cost.total == planned.used * 2 * 10**6
    with pytest.raises(ArgumentError):
        e.place(planned)


def test_unknown_names_and_numbers_are_refused():
    for wrong in ({"block_size": 0}, {"num_blocks": 0}, {"template": "klingon"}):
        with pytest.raises((ArgumentError, KeyError)):
            make(**wrong)
    with pytest.raises((ArgumentError, KeyError)):
        ContextEngine("klingon", window=10)
    with pytest.raises(AttributeError):
        _ = make().plan(history=turns(1)).nonsense


def test_without_prices_there_is_no_cost():
    planned = make(prices=None).plan(history=turns(1))
    assert isinstance(planned, EnginePlan)
    assert planned.cost is None
    assert planned.cost_without_cache is None


def test_a_providers_rules_are_the_providers():
    e = make(rules="anthropic", window=6000)
    assert e.rules.name == "anthropic"
    history = [message for i in range(60) for message in turns(1)[:2]] + turns(0)
    first = e.plan(system=SYSTEM, history=history, previous=())
    # Nothing was sent before; all but the beginning of the reply is stored at the fee for it.
    assert first.predicted == first.plan.predicted
    assert first.cache.predicted_write > 1024
    written, plain = first.cache.predicted_write, first.cache.predicted_uncached
    assert first.cost.total == (written * 3 + plain * 2) * 10**6
    with e.place(first) as sequence:
        sequence.compute()
    second = e.plan(
        system=SYSTEM,
        history=[*history, {"role": "assistant", "content": "From seven."}, *turns(0)],
        previous=first.cache.sent,
        summary_tokens=50,
    )
    # What the pool holds is another matter than what the provider has stored.
    assert second.cached_tokens > 0
    assert second.predicted.cached == second.cache.predicted_read == written
    assert second.cost.total < second.cost_without_cache.total
    assert all(choice.forecast.cost is not None for choice in second.cuts)
    assert second.compaction is not None
    with pytest.raises(KeyError, match="klingon"):
        make(rules="klingon")


def test_every_choice_reaches_the_planner():
    e = make(window=Budget(400, 20, soft_limits=[250]))
    history = turns(20)
    texts = [Item("A note on breakfast. " * 30, partial="head"), Item("A short one.")]
    options = {
        "cut": "keep_last",
        "keep_last": 3,
        "pinned": [0],
        "placement": "history",
        "sections": [Section("retrieval", fit="truncate")],
        "retrieval": texts,
    }
    planned = e.plan(history=history, **options)
    direct = plan(e.budget, e.encoding, history=history, template=e.template, **options)
    assert planned.messages == direct.messages
    assert planned.shortened == direct.shortened != ()
    assert planned.cuts == direct.cuts
    assert [c.cut for c in planned.cuts if c.chosen] == ["keep_last"]
    assert planned.messages[0]["content"].startswith("<retrieval>")
    assert planned.messages[1] is history[0]
    assert planned.used <= 250 == direct.limit


# --- the envelope ---


def sealed(body):
    return body + hashlib.sha256(body).digest()


@pytest.fixture(scope="module")
def example():
    e = make()
    planned = e.plan(system=SYSTEM, history=turns(2))
    return e, planned, e.envelope(planned)


def test_an_envelope_carries_the_plan(example):
    e, planned, data = example
    envelope = Envelope.decode(data, encoding=e.encoding)
    assert list(envelope.token_ids) == planned.token_ids.tolist()
    assert envelope.block_hashes == planned.prefix
    assert envelope.sections == tuple((use.name, use.tokens) for use in planned.sections)
    assert (envelope.block_size, envelope.scheme) == (16, "vllm_sha256_cbor")
    assert envelope.encode() == data


def test_the_bytes_are_those_of_the_document(example):
    """Read by a second reader, written from docs/request.md alone."""
    e, planned, data = example
    magic, version, s, n, b, h = struct.unpack_from("<4sHHIII", data)
    assert (magic, version, n, b, h) == (b"CTXE", 1, planned.used, 16, planned.used // 16)
    assert data[20:36].hex() == e.encoding.fingerprint
    at = 37 + data[36]
    assert data[37:at] == b"vllm_sha256_cbor"
    total = 0
    for _ in range(s):
        tokens, length = struct.unpack_from("<IB", data, at)
        at += 5 + length
        total += tokens
    assert total == n
    assert list(struct.unpack_from(f"<{n}I", data, at)) == planned.token_ids.tolist()
    at += 4 * n
    assert data[at : at + 32 * h] == b"".join(planned.prefix)
    at += 32 * h
    assert data[at:] == hashlib.sha256(data[:at]).digest()


def test_every_truncation_and_every_flipped_byte_is_refused(example):
    _, _, data = example
    rng = random.Random(7)
    for size in [*range(120), *rng.sample(range(len(data)), 50)]:
        with pytest.raises(LoadError):
            Envelope.decode(data[:size])
    for position in [*range(120), *rng.sample(range(len(data)), 50)]:
        damaged = bytearray(data)
        damaged[position] ^= 1 << rng.randrange(8)
        with pytest.raises(LoadError):
            Envelope.decode(bytes(damaged))


@pytest.mark.parametrize(
    ("offset", "value", "complaint"),
    [
        (4, struct.pack("<H", 2), "version 2"),
        (6, struct.pack("<H", 65535), "ends inside|not UTF-8"),
        (8, struct.pack("<I", 2**32 - 1), "ends inside token ids"),
        (12, struct.pack("<I", 0), "blocks of 0"),
        (12, struct.pack("<I", 8), "in blocks of 8"),
        (16, struct.pack("<I", 2**32 - 1), "ends inside block hashes"),
        (16, struct.pack("<I", 0), "bytes too many"),
    ],
)
def test_a_sealed_lie_is_refused(example, offset, value, complaint):
    body = bytearray(example[2][:-32])
    body[offset : offset + len(value)] = value
    with pytest.raises(LoadError, match=complaint):
        Envelope.decode(sealed(bytes(body)))


def test_sections_that_do_not_add_up_and_foreign_ids_are_refused(example):
    _, _, data = example
    wrong = Envelope.decode(data)
    lie = Envelope(
        fingerprint=wrong.fingerprint,
        block_size=16,
        scheme=wrong.scheme,
        sections=(("all", len(wrong.token_ids) - 1),),
        token_ids=wrong.token_ids,
        block_hashes=wrong.block_hashes,
    )
    with pytest.raises(LoadError, match="do not add up"):
        Envelope.decode(lie.encode())
    with pytest.raises(LoadError, match="not those of encoding 'qwen2'"):
        Envelope.decode(data, encoding=ContextEngine("qwen2", window=10).encoding)
    with pytest.raises(ArgumentError, match="longer than 255"):
        Envelope("0" * 32, 16, "x", (("n" * 256, 0),), (), ()).encode()


# --- misuse leaves nothing behind ---


def test_a_released_sequence_never_touches_its_row_again():
    e = make()
    stale = e.place(e.plan(history=turns(1)))
    stale.compute()
    stale.release()
    with e.place(e.plan(system=SYSTEM, history=turns(2))) as other:
        assert other.row == stale.row
        other.compute()
        before = e.manager.snapshot()
        for misuse in (
            lambda: stale.extend([1]),
            stale.compute,
            stale.release,
            lambda: stale.block_table,
        ):
            with pytest.raises(ArgumentError, match="the sequence is released"):
                misuse()
        assert e.manager.snapshot() == before
        assert repr(stale).startswith("Sequence(released")


@pytest.mark.parametrize("bad", [[7, -1], [2**31], [1.0], ["1"], [7, None]])
def test_ids_that_are_none_leave_the_pool_as_it_was(bad):
    e = make()
    with e.place(e.plan(history=turns(1))) as sequence:
        sequence.compute()
        before = e.manager.snapshot()
        with pytest.raises(ArgumentError, match=rf"token_ids\[{len(bad) - 1}\]"):
            sequence.extend(bad)
        assert e.manager.snapshot() == before
        assert sequence.extend(iter([7, 8]))
        e.manager.check()


def test_a_row_that_cannot_grow_stays_usable():
    e = make(num_blocks=8, window=128)
    with e.place(e.plan(history=turns(1))) as sequence:
        sequence.compute()
        before = e.manager.snapshot()
        with pytest.raises(CapacityError):
            sequence.extend([1] * 1000)
        assert e.manager.snapshot() == before
        assert sequence.extend([1])


def test_a_prompt_is_computed_once():
    with (e := make()).place(e.plan(history=turns(1))) as sequence:
        sequence.compute()
        with pytest.raises(ArgumentError, match="computed already"):
            sequence.compute()


def test_iterators_and_single_messages_are_read_once():
    e = make()
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    lists = e.plan(system=SYSTEM, tools=tools, history=turns(2), retrieval=[("text", 0.5)])
    iterators = e.plan(
        system=iter([{"role": "system", "content": SYSTEM}]),
        tools=iter(tools),
        history=iter(turns(2)),
        retrieval=iter([("text", 0.5)]),
    )
    assert iterators == lists
    assert iterators.requested_tokens == lists.requested_tokens
    assert e.plan(history=turns(0)[0]) == e.plan(history=turns(0))
    for wrong in ({"tools": tools[0]}, {"tools": "f"}, {"history": "Hello"}, {"tools": 3}):
        with pytest.raises(ArgumentError, match=r"^(tools|history): must be a list"):
            e.plan(**({"history": turns(0)} | wrong))


def test_a_complaint_names_the_message_as_it_was_given():
    e = ContextEngine("o200k_base", window=500)
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    history = [*turns(1), {"role": "assistant", "content": None, "tool_calls": [call]}]
    with pytest.raises(ArgumentError, match=r"^history\[3\]"):
        e.plan(system=SYSTEM, history=[*history, *turns(0)])
    with pytest.raises(TypeError, match="messages"):
        e.plan(messages=history)


def test_another_engines_plan_is_refused():
    e, other = make(), make(block_size=32)
    planned = other.plan(history=turns(1))
    before = e.manager.snapshot()
    with pytest.raises(ArgumentError, match="another engine"):
        e.place(planned)
    with pytest.raises(ArgumentError, match="another engine"):
        e.envelope(planned)
    assert e.manager.snapshot() == before


def test_window_sizes_at_both_ends():
    assert ContextEngine("qwen3", window=0).manager.num_blocks == 1
    for huge in (100_000_000, 2**63 - 1):
        with pytest.raises(ArgumentError, match=r"^window: .*num_blocks"):
            ContextEngine("qwen3", window=huge)
        assert ContextEngine("qwen3", window=huge, num_blocks=1).plan(history=turns(1)).used
    wide = ContextEngine("qwen3", window=2**24)
    assert wide.manager.max_rows * wide.manager.max_row_blocks <= 2**24


def test_plans_are_compared_shown_and_not_pickled():
    e = make(window=Budget(300, 50))
    planned = e.plan(system=SYSTEM, history=turns(20))
    assert planned == e.plan(system=SYSTEM, history=turns(20))
    assert planned != e.plan(system=SYSTEM, history=turns(19))
    assert repr(planned) == (
        f"EnginePlan({planned.used} tokens of 300, 0 cached, {len(planned.messages)} messages, "
        f"{len(planned.dropped)} dropped)"
    )
    assert repr(e) == "ContextEngine('qwen3', window=300, template='qwen3', 19 blocks of 16)"
    with pytest.raises(TypeError, match=r"pickle its \.plan"):
        pickle.dumps(planned)
    envelope = Envelope.decode(e.envelope(planned), encoding="qwen3")
    assert len(repr(envelope)) < 200
    with pytest.raises(ArgumentError, match="data: must be bytes, not str"):
        Envelope.decode("x")
