"""KVCacheManager, by example: what each call promises. Random calls are in tests/fuzz."""

from __future__ import annotations

import doctest
import threading

import ctxengine.kv
import ctxengine.prefix
import numpy as np
import pytest
from ctxengine import ArgumentError, CapacityError, KVCacheManager
from ctxengine.errors import StaleMatchError
from ctxengine.kv import Group, Match

NOTHING = ()


@pytest.fixture(params=[128, 8, 1], ids=lambda bits: f"{bits}bit")
def make(request):
    """Build managers; with short hashes everything collides, and nothing may change."""

    def build(num_blocks=8, block_size=4, **kwargs):
        kwargs.setdefault("max_rows", 8)
        return KVCacheManager(num_blocks, block_size, _hash_bits=request.param, **kwargs)

    return build


def prefill(manager, tokens, **identity):
    """Acquire a prompt and compute it."""
    row, num_cached = manager.acquire(tokens, **identity)
    step = manager.reserve([row], len(tokens) - num_cached)
    assert step.oom_row is None
    manager.settle([row], len(tokens) - num_cached)
    manager.check()
    return row


def decode(manager, row, *tokens):
    for token in tokens:
        assert manager.reserve([row], 1).oom_row is None
        manager.settle([row], 1, [token])
        manager.check()


def unchanged(manager, error, call, *args, **kwargs):
    before = manager.snapshot()
    with pytest.raises(error) as info:
        call(*args, **kwargs)
    assert manager.snapshot() == before
    return info.value


@pytest.mark.parametrize("module", [ctxengine.kv, ctxengine.prefix])
def test_examples_in_docstrings(module):
    assert doctest.testmod(module).failed == 0


def test_a_prefix_is_shared_once_it_is_computed(make):
    manager = make()
    first = manager.acquire(list(range(10)))
    assert first == (0, 0)
    assert manager.acquire(list(range(9))) == (1, 0)  # allocated is not computed
    manager.free([1])
    manager.reserve([0], 10)
    assert manager.acquire(list(range(9))) == (1, 0)  # reserved is not computed either
    manager.free([1])
    manager.settle([0], 10)
    assert manager.acquire(list(range(9))) == (1, 8)
    assert manager.block_tables[1, :3].tolist() == [0, 1, 3]
    assert manager.acquire([0, 1, 2, 3, 9, 9]) == (2, 4)
    manager.check()


def test_chunks_of_a_prompt_are_published_as_they_are_settled(make):
    manager = make()
    row, _ = manager.acquire(list(range(12)))
    assert manager.reserve([row], 5).slots.tolist() == [0, 1, 2, 3, 4]
    manager.settle([row], 5)
    assert manager.acquire(list(range(12)))[1] == 4
    assert manager.reserve([row], 7).slots.tolist() == list(range(5, 12))
    manager.settle([row], 7)
    assert manager.acquire(list(range(12)))[1] == 8


@pytest.mark.parametrize("length", [1, 3, 4, 5, 8])
def test_the_last_token_is_never_served(make, length):
    manager = make()
    prefill(manager, list(range(length)))
    assert manager.acquire(list(range(length)))[1] == (length - 1) // 4 * 4


def test_identities_do_not_share(make):
    manager = make(num_blocks=40, max_rows=20)
    tokens = list(range(9))
    identities = [
        {},
        {"cache_salt": "X"},
        {"cache_salt": "Y"},
        {"extra_keys": [("lora", "X", "")]},
        {"extra_keys": [("lora", "", "X")]},
        {"extra_keys": [("mm", "X", 1, 2)]},
        {"extra_keys": [("mm", "X", 1, 3)]},
        {"extra_keys": [("mm", "Y", 1, 2)]},
    ]
    for identity in identities:
        prefill(manager, tokens, **identity)
    manager.free(range(len(identities)))
    for identity in identities:
        row, num_cached = manager.acquire(tokens, **identity)
        assert num_cached == 8
        manager.free([row])
    assert manager.acquire(tokens, cache_salt="Z")[1] == 0


def test_media_distinguish_only_the_blocks_behind_their_start(make):
    manager = make(num_blocks=20)
    prefill(manager, list(range(13)), extra_keys=[("mm", "cat", 5, 2)])
    assert manager.acquire(list(range(13)), extra_keys=[("mm", "cat", 5, 2)])[1] == 12
    assert manager.acquire(list(range(13)), extra_keys=[("mm", "dog", 5, 2)])[1] == 4
    assert manager.acquire(list(range(13)))[1] == 4


def test_a_salted_row_cut_to_nothing_stays_salted(make):
    manager = make()
    row = prefill(manager, [1, 2, 3, 4, 5], cache_salt="a")
    manager.truncate(row, 0)
    decode(manager, row, 7, 7, 7, 7)
    assert manager.acquire([7, 7, 7, 7, 8])[1] == 0
    assert manager.acquire([7, 7, 7, 7, 8], cache_salt="a")[1] == 4


@pytest.mark.parametrize("forked", [False, True])
def test_text_over_a_cut_image_is_not_the_image(make, forked):
    manager = make()
    image = [("mm", "cat", 2, 1)]
    row = prefill(manager, [0, 1, 9], extra_keys=image)
    if forked:  # at the cut the block is shared; when it is written it is private again
        child = manager.fork(row)
        manager.truncate(child, 2)
        manager.free([row])
        row = child
    else:
        manager.truncate(row, 2)
    decode(manager, row, 9, 9)
    assert manager.acquire([0, 1, 9, 9, 5], extra_keys=image)[1] == 0
    assert manager.acquire([0, 1, 9, 9, 5])[1] == 4


def test_a_shortfall_is_a_result_and_changes_nothing(make):
    manager = make(num_blocks=3, max_rows=3)
    row = prefill(manager, list(range(8)))
    other = prefill(manager, [50])
    before = manager.snapshot()
    assert manager.acquire([90]) is None
    assert not manager.can_admit(1)
    assert manager.snapshot() == before
    step = manager.reserve([other, row], [1, 1])
    assert step.oom_row == row
    assert [len(part) for part in step[:3]] == [0, 0, 0]
    assert manager.snapshot() == before
    manager.free([row])
    assert manager.can_admit(8)
    assert manager.acquire([90]) is not None


def test_pinned_hits_do_not_count_as_available(make):
    manager = make(num_blocks=3)
    manager.free([prefill(manager, list(range(9)))])
    # Two idle blocks and a free one. Pinning both as hits leaves one; 13 tokens need two more.
    before = manager.snapshot()
    with pytest.raises(CapacityError):
        manager.acquire(list(range(13)))
    assert manager.snapshot() == before
    held = manager.acquire([70])
    assert manager.acquire(list(range(12))) is None
    assert manager.acquire(list(range(12, 20))) is not None  # evicts the two
    manager.free([held.row])
    manager.check()


def test_rows_run_short_too(make):
    manager = make(max_rows=1)
    row = prefill(manager, [1])
    assert manager.acquire([2]) is None
    assert manager.fork(row) is None
    assert not manager.can_admit(1)
    manager.free([row])
    assert manager.acquire([2]).row == row


def test_what_could_never_be_served_raises(make):
    manager = make(num_blocks=4, max_row_tokens=12)
    error = unchanged(manager, CapacityError, manager.acquire, list(range(13)))
    assert (error.needed, error.capacity) == (4, 3)
    unchanged(manager, CapacityError, manager.can_admit, 13)
    row = prefill(manager, list(range(12)))
    unchanged(manager, CapacityError, manager.reserve, [row], 1)
    unchanged(manager, CapacityError, manager.reserve, [row], 2**36)


def test_a_fork_copies_when_it_writes(make):
    manager = make()
    row = prefill(manager, list(range(6)))
    child = manager.fork(row)
    assert manager.block_tables[child, :2].tolist() == [0, 1]
    step = manager.reserve([row, child], 1)
    assert step.copies.tolist() == [[1, 2]]  # the last holder keeps the block
    assert step.slots.tolist() == [2 * 4 + 2, 1 * 4 + 2]
    assert step.table_patch.tolist() == [[row, 1, 2], [child, 0, 0], [child, 1, 1]]
    manager.settle([row, child], 1, [100, 200])
    manager.check()
    rows = manager.snapshot()["rows"]
    assert rows[row]["token_ids"] == [*range(6), 100]
    assert rows[child]["token_ids"] == [*range(6), 200]
    assert manager.reserve([row, child], 1).copies.shape == (0, 2)


def test_a_published_block_is_copied_too(make):
    manager = make()
    row = prefill(manager, list(range(8)))
    manager.truncate(row, 6)
    step = manager.reserve([row], 1)
    assert step.copies.tolist() == [[1, 2]]
    manager.settle([row], 1, [99])
    manager.check()
    assert manager.acquire(list(range(9)))[1] == 8  # the old block still serves the old tokens


def test_rejected_drafts_give_their_slots_back(make):
    manager = make()
    row = prefill(manager, [1, 2, 3])
    step = manager.reserve([row], 6)
    assert step.slots.tolist() == list(range(3, 9))
    manager.settle([row], 2, [4, 5])
    assert manager.block_tables[row].tolist() == [0, 1, -1, -1, -1, -1, -1, -1]
    assert manager.reserve([row], 1).slots.tolist() == [5]
    manager.check()


def test_steps_may_overlap(make):
    manager = make()
    row = prefill(manager, [1, 2])
    assert manager.reserve([row], 1).slots.tolist() == [2]
    assert manager.reserve([row], 2).slots.tolist() == [3, 4]
    unchanged(manager, ArgumentError, manager.settle, [row], 0)
    manager.settle([row], 1, [3])
    manager.settle([row], 2, [4, 5])
    manager.check()
    assert manager.acquire([1, 2, 3, 4, 9])[1] == 4


def test_settle_takes_ids_ragged(make):
    manager = make()
    a, b = prefill(manager, [1]), prefill(manager, [2])
    manager.reserve([a, b], [3, 1])
    for indptr in ([0, 1, 3], [1, 2, 3], [0, 3], [], [0, 2, 4]):
        unchanged(manager, ArgumentError, manager.settle, [a, b], [2, 1], [7, 8, 9], indptr)
    unchanged(manager, ArgumentError, manager.settle, [a, b], [2, 1], [7, 8])
    manager.settle([a, b], np.array([2, 1]), np.array([7, 8, 9], np.uint32), [0, 2, 3])
    rows = manager.snapshot()["rows"]
    assert rows[a]["token_ids"] == [1, 7, 8]
    assert rows[b]["token_ids"] == [2, 9]


def test_leaves_are_evicted_first_and_oldest_first(make):
    manager = make(num_blocks=6)
    a = prefill(manager, list(range(9)))  # blocks 0 1 2, the last one not full
    b = prefill(manager, [0, 1, 2, 3, 70, 71, 72, 73, 74])  # blocks 0 3 4
    manager.free([a])
    manager.free([b])
    assert manager.snapshot()["idle"] == [1, 3, 0]
    assert manager.evict(2).tolist() == [1, 3]
    manager.check()
    assert manager.acquire(list(range(9)))[1] == 4
    assert manager.evict(9).tolist() == []


def test_equal_content_computed_twice_is_kept_twice(make):
    manager = make()
    rows = [manager.acquire(list(range(6))).row for _ in range(2)]
    manager.reserve(rows, 6)
    manager.settle(rows, 6)
    manager.check()
    assert manager.stats().num_duplicates == 1
    assert manager.acquire(list(range(6))).num_cached_tokens == 4
    assert manager.block_tables[2, 0] == 0  # the copy published first
    manager.free([0, 2])
    assert manager.evict(1).tolist() == [0]
    assert manager.acquire(list(range(6))).num_cached_tokens == 4  # the other copy serves
    manager.check()


def test_freeing_twice_raises(make):
    manager = make()
    row = prefill(manager, [1])
    unchanged(manager, ArgumentError, manager.free, [row, row])
    manager.free([row])
    unchanged(manager, ArgumentError, manager.free, [row])
    manager.free([])


@pytest.mark.parametrize("row", [-1, 1, 7, 8, 2**31, 2**63 - 1])
def test_rows_that_are_not_in_use_are_named(make, row):
    manager = make()
    live = prefill(manager, [1])
    calls = [
        (manager.free, [live, row]),
        (manager.reserve, [live, row], 1),
        (manager.settle, [row], 1),
        (manager.fork, row),
        (manager.truncate, row, 0),
    ]
    for call, *args in calls:
        assert f"row {row} is not in use" in str(unchanged(manager, ArgumentError, call, *args))


def test_calls_out_of_place_raise(make):
    manager = make()
    row, _ = manager.acquire([1, 2])
    unchanged(manager, ArgumentError, manager.acquire, [])
    unchanged(manager, ArgumentError, manager.acquire, [-1])
    unchanged(manager, ArgumentError, manager.acquire, [1], cache_salt="")
    unchanged(manager, ArgumentError, manager.acquire, [1], extra_keys=[("mm", "x", 0, 2)])
    unchanged(manager, ArgumentError, manager.acquire, [1], extra_keys=[("mm", "x", -1, 2)])
    unchanged(manager, ArgumentError, manager.can_admit, 0)
    unchanged(manager, ArgumentError, manager.reserve, [row], 0)
    unchanged(manager, ArgumentError, manager.reserve, [row], [1, 1])
    unchanged(manager, ArgumentError, manager.settle, [row], 0)
    unchanged(manager, ArgumentError, manager.fork, row)  # not computed yet
    unchanged(manager, ArgumentError, manager.truncate, row, 3)
    unchanged(manager, ArgumentError, manager.truncate, row, -1)
    unchanged(manager, ArgumentError, manager.evict, -1)
    manager.reserve([row], 2)
    unchanged(manager, ArgumentError, manager.truncate, row, 1)
    unchanged(manager, ArgumentError, manager.settle, [row], 3)
    unchanged(manager, ArgumentError, manager.settle, [row], -1)


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((0, 4), {}, "num_blocks is 0; it must be in 1"),
        ((2**31, 4), {}, "num_blocks is 2147483648"),
        ((4, 0), {}, "block_size is 0"),
        ((2**28, 2**30), {}, "is more than 68719476736 tokens"),
        ((4, 4), {"max_rows": 0}, "max_rows is 0"),
        ((4, 4), {"max_rows": 2**31}, "max_rows is 2147483648"),
        ((4, 4), {"max_row_tokens": 0}, "max_row_tokens is 0"),
        ((2**20, 16), {"max_rows": 2**20}, "lower max_rows or set max_row_tokens"),
    ],
)
def test_sizes_that_cannot_be_are_named(args, kwargs, message):
    with pytest.raises(ArgumentError, match=message):
        KVCacheManager(*args, **kwargs)


def test_slot_mapping(make):
    manager = make()
    prefill(manager, [1])
    row = prefill(manager, list(range(6)))
    got = manager.slot_mapping([row, row, -1, row, 0], [0, 5, 3, -1, 0])
    assert got.dtype == np.int64
    assert got.tolist() == [4, 9, -1, -1, 0]
    out = np.full(2, 77, np.int64)
    assert manager.slot_mapping([row, row], [4, 1], out) is out
    assert out.tolist() == [8, 5]
    for rows, positions in (([row], [6]), ([5], [0]), ([2**40], [0])):
        with pytest.raises(ArgumentError):
            manager.slot_mapping(rows, positions, out[:1])
    assert out.tolist() == [8, 5]
    for bad in (np.zeros(3, np.int64), np.zeros(2, np.int32), np.zeros(4, np.int64)[::2], [0, 0]):
        with pytest.raises(ArgumentError):
            manager.slot_mapping([row, row], [0, 1], bad)
    with pytest.raises(ArgumentError):
        manager.slot_mapping([row, row], [0])


def test_block_tables_is_a_read_only_view(make):
    manager = make(max_rows=3)
    view = manager.block_tables
    assert view.shape == (3, 8)
    assert view.dtype == np.int32
    assert (view == -1).all()
    with pytest.raises(ValueError, match="read-only"):
        view[0, 0] = 5
    manager.acquire([1])
    assert view[0, 0] == 0
    del manager
    assert view[0, 0] == 0


def test_many_rows_cost_what_they_use():
    manager = KVCacheManager(2**27, 16, max_rows=1000, max_row_tokens=4096)
    assert manager.acquire(list(range(100))).row == 0


def test_threads_hold_every_invariant():
    manager = KVCacheManager(200, 4, max_rows=64)
    failures = []

    def work(seed):
        try:
            for i in range(300):
                tokens = [0] * 5000 if i % 50 == 0 else [seed % 2, *range(i % 9)]
                if i % 50 == 0:
                    with pytest.raises(CapacityError):  # hashed without the GIL
                        manager.acquire(tokens)
                    continue
                acquired = manager.acquire(tokens)
                if acquired is None:
                    continue
                rest = len(tokens) - acquired.num_cached_tokens
                if manager.reserve([acquired.row], rest).oom_row is None:
                    manager.settle([acquired.row], rest)
                manager.free([acquired.row])
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    manager.check()
    assert manager.stats().num_rows == 0


def test_one_row_alone_is_taken_and_an_acquired_is_refused():
    manager = KVCacheManager(8, 4, max_rows=4)
    manager.acquire([1, 2, 3])
    second = manager.acquire([4, 5, 6])
    before = manager.snapshot()
    with pytest.raises(ArgumentError, match=r"take its \.row"):
        manager.reserve(second, 1)
    assert manager.snapshot() == before
    step = manager.reserve(second.row, 3)
    assert len(step.slots) == 3
    manager.settle(np.int64(second.row), 3)
    manager.free(second.row)
    assert manager.stats().num_rows == 1
    manager.check()


def test_token_ids_without_an_order_are_refused():
    manager = KVCacheManager(8, 4, max_rows=4)
    with pytest.raises(TypeError, match="must be a sequence of integers, not set"):
        manager.acquire({1, 2})


# --- going on from a match ---


def test_a_match_goes_on_where_it_ended(make):
    manager = make(num_blocks=20)
    tokens = list(range(30))
    prefill(manager, tokens)
    first = manager.match(tokens[:11])
    assert first.num_tokens == 8
    second = manager.match(tokens[8:], resume=first)
    assert second.num_tokens == 28
    assert second == manager.match(tokens)
    acquired = manager.acquire([28, 29, 30], resume=second)
    assert acquired.num_cached_tokens == 28
    row = manager.snapshot()["rows"][acquired.row]
    assert row["token_ids"] == [*range(31)]
    # The last token is computed anew, also when nothing follows the match.
    assert manager.match([], resume=second).num_tokens == 24
    manager.check()


def test_a_match_that_was_evicted_is_refused(make):
    manager = make()
    manager.free([prefill(manager, list(range(9)))])
    match = manager.match(list(range(9)))
    manager.evict(1)
    for call in (manager.match, manager.acquire):
        unchanged(manager, StaleMatchError, call, [8, 9], resume=match)
    prefill(manager, list(range(9)))  # the same content again is another prefix
    unchanged(manager, StaleMatchError, manager.match, [8, 9], resume=match)


def test_a_match_is_no_way_into_another_tenants_cache(make):
    manager = make(num_blocks=20)
    prefill(manager, list(range(9)), cache_salt="a")
    match = manager.match(list(range(9)), cache_salt="a")
    assert match.num_tokens == 8
    for salt in (None, "b"):
        for call in (manager.match, manager.acquire):
            unchanged(manager, ArgumentError, call, [9], cache_salt=salt, resume=match)
    image = [("mm", "cat", 5, 2)]
    unchanged(manager, ArgumentError, manager.acquire, [9], extra_keys=image, resume=match)


@pytest.mark.parametrize("match", [(8, 1), (8, 0, 1), (0, 0, 0), (8, 2**40, 1), (-4, 1, 1)])
def test_made_up_matches_are_refused(make, match):
    manager = make()
    prefill(manager, list(range(9)))
    with pytest.raises((StaleMatchError, ArgumentError, TypeError)):
        manager.match([1], resume=match if len(match) < 3 else Match(*match))


def test_siblings_are_found_whichever_goes_first(make):
    manager = make(num_blocks=60, max_rows=30)
    prompts = [[7, 7, 7, 7, i, i, i, i, 0] for i in range(20)]
    rows = [prefill(manager, tokens) for tokens in prompts]
    manager.free(rows)
    for tokens in prompts:
        assert manager.lookup(tokens) == 8
    manager.evict(7)  # the oldest leaves
    assert [manager.lookup(tokens) for tokens in prompts] == [4] * 7 + [8] * 13
    manager.check()


# --- groups ---


def grouped(make, *groups, **kwargs):
    return make(groups=[Group(*group) for group in groups], **kwargs)


def test_a_window_lets_go_of_what_it_has_passed(make):
    manager = grouped(make, ("full",), ("sliding_window", 5), num_blocks=20)
    row = manager.acquire(list(range(12))).row
    tables = manager.block_tables
    assert tables.shape == (2, 8, 20)
    assert tables[:, row, :4].tolist() == [[0, 1, 2, -1], [-1, -1, -1, -1]]
    step = manager.reserve(row, 8)
    assert step.slots.tolist() == [[0, 1, 2, 3, 4, 5, 6, 7], [12, 13, 14, 15, 16, 17, 18, 19]]
    assert step.table_patch.tolist() == [
        [row, 0, 0, 0], [row, 1, 1, 0], [row, 2, 2, 0], [row, 0, 3, 1], [row, 1, 4, 1]
    ]  # fmt: skip
    manager.settle(row, 8)
    # Token 8 needs tokens 4 to 8: the window's first block goes, but can still be found.
    manager.reserve(row, 4)
    assert tables[1, row, :4].tolist() == [-1, 4, 5, -1]
    assert manager.snapshot()["idle"] == [3]
    manager.check()


def test_a_hit_needs_the_window_before_its_end_only(make):
    manager = grouped(make, ("full",), ("sliding_window", 5), num_blocks=20)
    row = prefill(manager, list(range(13)))
    manager.reserve(row, 1)  # window blocks 0 and 1 slide out
    manager.settle(row, 1, [13])
    assert manager.evict(2).tolist() == [5, 4]
    # Window block 2 is there: good for all of 12 tokens, not for 8 or 4.
    assert manager.lookup(list(range(13))) == 12
    assert manager.lookup([*range(8), 99]) == 0
    acquired = manager.acquire(list(range(13)))
    assert manager.block_tables[1, acquired.row, :4].tolist() == [-1, -1, 6, -1]
    manager.check()


def test_chunked_attention_needs_nothing_at_a_chunk_boundary(make):
    manager = grouped(make, ("full",), ("chunked_local", 8), num_blocks=20)
    row = prefill(manager, list(range(17)))
    manager.reserve(row, 1)  # all of the first two chunks go
    manager.settle(row, 1, [17])
    manager.evict(10)
    assert manager.lookup(list(range(17))) == 16
    assert manager.lookup([*range(12), 99]) == 8
    manager.check()


def test_a_state_is_cached_where_a_pass_ended_with_its_block(make):
    manager = grouped(make, ("full",), ("linear_state", 0), num_blocks=20)
    tokens = list(range(14))
    row = manager.acquire(tokens).row
    for count in (8, 3, 3):  # passes end at 8, 11 and 14
        manager.reserve(row, count)
        manager.settle(row, count)
        manager.check()
    assert manager.lookup(tokens) == 8
    assert manager.block_tables[1, row, :5].tolist().count(-1) == 3  # the last states only
    other = manager.acquire(tokens)
    assert other.num_cached_tokens == 8
    # Its next pass ends in another block, so the shared state is read and not written.
    assert manager.reserve(other.row, 4).copies.tolist() == []
    unchanged(manager, ArgumentError, manager.truncate, row, 13)


def test_rejected_drafts_take_the_state_back(make):
    manager = grouped(make, ("linear_state", 0))
    row = prefill(manager, [1, 2, 3])
    block = manager.block_tables[row, 0]
    manager.reserve(row, 6)  # the pass ends at token 9, in column 2
    moved = manager.block_tables[row, 2]
    manager.settle(row, 2, [4, 5])
    assert manager.block_tables[row, :3].tolist() == [block, moved, -1]
    manager.reserve(row, 5)
    manager.settle(row, 0)  # nothing of the pass counts: the state is what it was
    assert manager.block_tables[row, :3].tolist() == [-1, moved, -1]
    manager.check()


def test_groups_that_cannot_be_are_named():
    for groups, message in [
        ([("half", 0)], "a group's kind is 'half'"),
        ([("sliding_window", 0)], "window of a group is 0"),
        ([("full", 5)], "window of a group is 5"),
        ([("full", 0)] * 65, "number of groups is 65"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            KVCacheManager(4, 4, groups=groups)


def test_all_groups_count_in_what_could_never_be_served(make):
    manager = grouped(make, ("full",), ("sliding_window", 5), num_blocks=6)
    assert manager.max_row_blocks == 6
    assert manager.can_admit(16)  # four blocks, and two of the window
    unchanged(manager, CapacityError, manager.acquire, list(range(17)))


# --- the step protocol ---


def test_ids_may_come_after_their_step(make):
    manager = make()
    row = prefill(manager, [1, 2, 3])
    manager.reserve(row, 1)
    manager.settle(row, 1, None)  # the block is full, but of what is not known yet
    assert manager.lookup([1, 2, 3, 4, 9]) == 0
    unchanged(manager, ArgumentError, manager.fork, row)
    manager.reserve(row, 1)
    unchanged(manager, ArgumentError, manager.tell, row, [4, 5])
    manager.tell(row, [4])
    assert manager.lookup([1, 2, 3, 4, 9]) == 4
    manager.settle(row, 1, None)
    manager.reserve(row, 1)
    manager.settle(row, 1, [5, 6])  # the ids of both steps
    assert manager.snapshot()["rows"][row]["token_ids"] == [1, 2, 3, 4, 5, 6]
    manager.check()


def test_ids_of_several_rows_come_ragged(make):
    manager = make()
    rows = [prefill(manager, [i]) for i in range(3)]
    manager.reserve(rows, [3, 2, 1])
    manager.settle(rows, [3, 2, 1], None)
    unchanged(manager, ArgumentError, manager.tell, rows, [7, 8, 9], [0, 1, 2, 4])
    unchanged(manager, ArgumentError, manager.tell, rows, [7, 8, 9], [1, 2, 2, 3])
    unchanged(manager, ArgumentError, manager.tell, rows, [7, 8, 9], [0, 4, 2, 3])
    unchanged(manager, ArgumentError, manager.tell, [rows[0], rows[0]], [7, 8])
    manager.tell(rows, [7, 8, 9], [0, 1, 3, 3])
    manager.tell(rows, [1, 2, 3])
    state = manager.snapshot()["rows"]
    assert [state[row]["token_ids"] for row in rows] == [[0, 7, 1, 2], [1, 8, 9], [2, 3]]


def test_blocks_behind_a_fence_are_not_reused_before_it_is_passed(make):
    manager = make(num_blocks=3)
    row = prefill(manager, list(range(9)))
    manager.reserve(row, 1)
    manager.free(row, fence=7)  # the pass that was just reserved still writes block 2
    stats = manager.stats()
    assert (stats.num_rows, stats.num_referenced, stats.num_coming) == (0, 3, 3)
    assert not manager.can_admit(1)
    assert manager.preempt_candidates(3).tolist() == []  # they are coming
    unchanged(manager, ArgumentError, manager.free, row)
    assert manager.lookup(list(range(9))) == 8
    manager.advance_fence(6)
    assert not manager.can_admit(1)
    manager.advance_fence(7)
    assert manager.can_admit(9)
    assert manager.stats().num_coming == 0
    unchanged(manager, ArgumentError, manager.advance_fence, 6)
    unchanged(manager, ArgumentError, manager.free, [], fence=-1)
    manager.free(prefill(manager, [1]), fence=7)  # passed already
    assert manager.stats().num_coming == 0
    manager.check()


def test_loaded_blocks_are_found_when_they_are_there(make):
    manager = make(num_blocks=12)
    tokens = list(range(14))
    row = manager.acquire(tokens).row
    unchanged(manager, ArgumentError, manager.begin_load, row, 14)  # the last one is computed
    assert manager.begin_load(row, 12).slots.tolist() == list(range(12))
    assert manager.lookup(tokens) == 0
    for call, *args in (
        (manager.reserve, row, 1),
        (manager.settle, row, 12),
        (manager.fork, row),
        (manager.truncate, row, 0),
        (manager.begin_load, row, 1),
        (manager.fail_load, row, 13),
    ):
        unchanged(manager, ArgumentError, call, *args)
    manager.finish_load(row)
    unchanged(manager, ArgumentError, manager.finish_load, row)
    assert manager.lookup(tokens) == 12
    assert manager.reserve(row, 2).slots.tolist() == [12, 13]
    manager.check()


def test_what_did_not_load_is_computed(make):
    manager = make(num_blocks=12)
    tokens = list(range(14))
    row = manager.acquire(tokens).row
    manager.begin_load(row, 12)
    manager.fail_load(row, 6)
    assert manager.lookup(tokens) == 4
    assert manager.reserve(row, 8).slots.tolist() == list(range(6, 14))
    manager.settle(row, 8)
    assert manager.lookup(tokens) == 12
    manager.check()


def test_the_youngest_rows_are_preempted_first(make):
    manager = make(num_blocks=8)
    rows = [prefill(manager, [i] * 8) for i in range(3)]
    child = manager.fork(rows[1])  # shares both blocks: freeing it alone gives none
    assert manager.preempt_candidates(2).tolist() == []
    assert manager.preempt_candidates(3).tolist() == [child, rows[2]]
    assert manager.preempt_candidates(5).tolist() == [child, rows[2], rows[1]]
    assert manager.preempt_candidates(99).tolist() == [child, rows[2], rows[1], rows[0]]


def test_the_watermark_keeps_room_for_the_rows_that_run(make):
    manager = make(num_blocks=8, watermark_blocks=3)
    assert manager.can_admit(32)  # alone it may have all
    row = prefill(manager, [0] * 16)
    assert manager.can_admit(4)
    assert not manager.can_admit(5)
    assert manager.acquire([1] * 5) is None
    assert manager.reserve(row, 16).oom_row is None  # a row that runs may grow
    with pytest.raises(ArgumentError, match="watermark_blocks is 9"):
        make(num_blocks=8, watermark_blocks=9)


def test_the_beginning_of_a_block_is_shared_by_a_copy(make):
    manager = make(num_blocks=12, partial_hits=True)
    prefill(manager, [0, 1, 2, 3, 4, 5, 6, 7])
    acquired = manager.acquire([0, 1, 2, 3, 4, 5, 9, 9, 9])
    assert acquired.num_cached_tokens == 6
    step = manager.reserve(acquired.row, 3)
    assert step.copies.tolist() == [[1, 3]]
    assert step.slots.tolist() == [14, 15, 8]
    manager.settle(acquired.row, 3)
    manager.check()
    # Of two blocks the one that has more in common; and never the last token.
    assert manager.acquire([0, 1, 2, 3, 4, 5, 9, 7]).num_cached_tokens == 7
    assert manager.acquire([0, 1]).num_cached_tokens == 1
    assert manager.acquire([0, 1, 2, 9], cache_salt="a").num_cached_tokens == 0
    with pytest.raises(ArgumentError, match="all groups are full"):
        make(groups=[Group("linear_state")], partial_hits=True)


def test_the_state_that_is_cached_is_the_one_the_pass_left(make):
    manager = grouped(make, ("linear_state", 0))
    row = prefill(manager, [1, 2, 3])
    child = manager.fork(row)  # shares the state behind token 3
    manager.reserve(row, 4)
    newest = manager.block_tables[row, 1]
    manager.settle(row, 1, [4])  # the accepted tokens end with block 0
    manager.check()
    acquired = manager.acquire([1, 2, 3, 4, 5])
    assert acquired.num_cached_tokens == 4
    assert manager.block_tables[acquired.row, 0] == newest
    assert manager.block_tables[child, 0] != newest


@pytest.mark.parametrize("groups", [[Group("full")], [Group("full"), Group("sliding_window", 5)]])
@pytest.mark.parametrize("length", [12, 3000])
def test_slots_may_be_left_to_the_device(make, groups, length):
    managers = [make(num_blocks=2000, groups=groups) for _ in range(2)]
    rows = [manager.acquire(list(range(length))).row for manager in managers]
    given = managers[0].reserve(rows[0], length)
    left = managers[1].reserve(rows[1], length, slots=False)
    assert left.slots.size == 0
    assert left.table_patch.tolist() == given.table_patch.tolist()
    for group in range(len(groups)):
        wanted = managers[1].slot_mapping([rows[1]] * length, range(length), group=group)
        assert given.slots.reshape(len(groups), -1)[group].tolist() == wanted.tolist()
    for manager in managers:
        manager.settle(0, length)
        assert manager.reserve(0, 1, slots=manager is managers[0]).oom_row is None
    assert managers[0].snapshot() == managers[1].snapshot()
