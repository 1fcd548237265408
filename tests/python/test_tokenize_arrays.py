"""The calls that take many texts or fill an array."""

from __future__ import annotations

import array
import copy
import gc
import pickle
import tracemalloc

import ctxengine
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenize_support import any_text

CL100K = ctxengine.get_encoding("cl100k_base")
QWEN3 = ctxengine.get_encoding("qwen3")


def test_encode_into_writes_ids_or_nothing():
    expected = CL100K.encode("hello world")
    buffer = np.full(4, 7, np.uint32)
    assert CL100K.encode_into("hello world", buffer) == 2
    assert buffer.tolist() == [*expected, 7, 7]
    signed = array.array("i", [0, 0])
    assert CL100K.encode_into("hello world", signed) == 2
    assert signed.tolist() == expected
    assert CL100K.encode_into("", np.empty(0, np.uint32)) == 0
    with pytest.raises(ctxengine.CapacityError) as error:
        CL100K.encode_into("hello world again", buffer[:2])
    assert (error.value.needed, error.value.capacity) == (3, 2)
    assert buffer.tolist() == [*expected, 7, 7]


@given(any_text, st.integers(0, 90))
def test_encode_into_is_encode(text, capacity):
    expected = CL100K.encode_ordinary(text)
    buffer = np.full(capacity, 7, np.uint32)
    if len(expected) <= capacity:
        assert CL100K.encode_into(text, buffer) == len(expected)
        assert buffer.tolist() == expected + [7] * (capacity - len(expected))
    else:
        with pytest.raises(ctxengine.CapacityError, match=f"has {len(expected)} tokens"):
            CL100K.encode_into(text, buffer)
        assert buffer.tolist() == [7] * capacity


def test_encode_into_knows_special_tokens():
    buffer = np.zeros(50, np.uint32)
    with pytest.raises(ctxengine.SpecialTokenError):
        CL100K.encode_into("a<|endoftext|>", buffer)
    assert buffer.tolist() == [0] * 50
    assert CL100K.encode_into("a<|endoftext|>", buffer, allowed_special="all") == 2
    assert buffer[:2].tolist() == [64, 100257]
    plain = CL100K.encode_ordinary("a<|endoftext|>")
    assert CL100K.encode_into("a<|endoftext|>", buffer, disallowed_special=()) == len(plain)


@pytest.mark.parametrize(
    "buffer",
    [
        np.zeros(9, np.int64),
        np.zeros(9, np.float32),
        np.zeros((3, 3), np.uint32),
        bytes(36),
        [0] * 9,
    ],
)
def test_encode_into_refuses_other_buffers(buffer):
    with pytest.raises((TypeError, BufferError)):
        CL100K.encode_into("hello", buffer)


def test_encode_into_refuses_gaps_and_read_only_memory():
    with pytest.raises(TypeError):
        CL100K.encode_into("hello", np.zeros(9, np.uint32)[::2])
    frozen = np.zeros(9, np.uint32)
    frozen.flags.writeable = False
    with pytest.raises((TypeError, ValueError, BufferError)):
        CL100K.encode_into("hello", frozen)


def test_batches():
    texts = ["hello world", "", "goodbye"]
    expected = [CL100K.encode(text) for text in texts]
    for num_threads in (None, 1, 2, 100):
        assert CL100K.encode_batch(texts, num_threads=num_threads) == expected
        assert CL100K.encode_ordinary_batch(tuple(texts), num_threads=num_threads) == expected
        counts = CL100K.count_batch(texts, num_threads=num_threads)
        assert counts.dtype == np.int64
        assert counts.tolist() == [len(ids) for ids in expected]
        assert CL100K.encode_ragged(texts, num_threads=num_threads).to_lists() == expected
    assert CL100K.encode_batch([]) == []
    assert CL100K.count_batch([]).tolist() == []


def test_batches_leave_garbage_collection_as_it_was():
    was_enabled = gc.isenabled()
    try:
        for switch in (gc.enable, gc.disable):
            switch()
            before = gc.isenabled()
            assert len(CL100K.encode_batch(["hello world"] * 2000)) == 2000
            assert gc.isenabled() == before
            with pytest.raises(ctxengine.SpecialTokenError):
                CL100K.encode_batch(["hello", "<|endoftext|>"])
            assert gc.isenabled() == before
    finally:
        (gc.enable if was_enabled else gc.disable)()


def test_batches_of_many_threads():
    texts = [f"{'word ' * (i % 977)}{i}" for i in range(2000)]
    expected = [CL100K.encode_ordinary(text) for text in texts]
    for num_threads in (None, 1, 7):
        assert CL100K.encode_batch(texts, num_threads=num_threads) == expected
        assert CL100K.encode_ragged(texts, num_threads=num_threads).to_lists() == expected


@given(st.lists(any_text, max_size=8))
@settings(max_examples=50)
def test_ragged_rows_are_what_encode_gives(texts):
    ragged = CL100K.encode_ragged(texts, disallowed_special=())
    assert ragged.to_lists() == [CL100K.encode(text, disallowed_special=()) for text in texts]
    assert len(ragged) == len(texts)
    assert (ragged.ids.dtype, ragged.offsets.dtype) == (np.uint32, np.int64)
    assert ragged.offsets[0] == 0
    assert ragged.offsets[-1] == len(ragged.ids)


def test_ragged_is_a_sequence_of_views():
    ragged = CL100K.encode_ragged(["hello world", "", "hello"])
    assert ragged[0].base is not None
    assert ragged[-1].tolist() == ragged[2].tolist() == [15339]
    assert [row.tolist() for row in ragged] == ragged.to_lists()
    for row in (3, -4):
        with pytest.raises(IndexError):
            ragged[row]
    assert len(CL100K.encode_ragged([])) == 0
    assert CL100K.encode_ragged([]).offsets.tolist() == [0]
    for other in (copy.deepcopy(ragged), pickle.loads(pickle.dumps(ragged))):
        assert other.to_lists() == ragged.to_lists()
    assert repr(ragged) == "<Ragged: 3 rows, 3 ids>"


def test_ragged_knows_special_tokens():
    texts = ["<|im_start|>", "a"]
    with pytest.raises(ctxengine.SpecialTokenError):
        QWEN3.encode_ragged(texts)
    with pytest.raises(ctxengine.SpecialTokenError):
        QWEN3.encode_batch(texts)
    assert QWEN3.encode_ragged(texts, allowed_special="all").to_lists() == [[151644], [64]]
    plain = QWEN3.encode_ragged(texts, disallowed_special=()).to_lists()
    assert plain == [QWEN3.encode_ordinary(text) for text in texts]


def test_ragged_makes_no_python_object_for_a_text():
    texts = [str(i) for i in range(20_000)]
    CL100K.encode_ragged(texts[:10])
    tracemalloc.start()
    ragged = CL100K.encode_ragged(texts)
    num_blocks = sum(stat.count for stat in tracemalloc.take_snapshot().statistics("filename"))
    tracemalloc.stop()
    assert len(ragged) == 20_000
    assert num_blocks < 100


@pytest.mark.parametrize("texts", ["a string", [1], ["a", None], 5, [b"a"]])
def test_batches_of_other_things_are_refused(texts):
    calls = (CL100K.encode_batch, CL100K.encode_ordinary_batch, CL100K.count_batch)
    for call in (*calls, CL100K.encode_ragged):
        with pytest.raises(TypeError):
            call(texts)


@pytest.mark.parametrize("num_threads", [0, -1])
def test_no_threads_are_refused(num_threads):
    calls = (CL100K.encode_batch, CL100K.count_batch, CL100K.decode_batch, CL100K.encode_ragged)
    for call in calls:
        with pytest.raises(ctxengine.ArgumentError, match="num_threads"):
            call([], num_threads=num_threads)


@pytest.mark.parametrize("name", ["encode_batch", "encode_ragged", "count_batch", "encode_into"])
def test_a_wrong_type_never_repeats_the_text(name):
    with pytest.raises(TypeError) as caught:
        getattr(CL100K, name)([["a secret prompt"]], *([bytearray(9)] * (name == "encode_into")))
    assert "secret" not in str(caught.value)
