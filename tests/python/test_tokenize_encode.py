"""Text to ids and counts: what the calls return, refuse and promise."""

from __future__ import annotations

import asyncio
import random
import threading
import time

import ctxengine
import numpy as np
import pytest
import tokenizers
from ctxengine.reference import bpe
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenize_support import SINGLE_BYTES, any_text, repaired, tiny

CL100K = ctxengine.get_encoding("cl100k_base")
QWEN3 = ctxengine.get_encoding("qwen3")


@given(any_text)
def test_round_trip(text):
    for name in ("gpt2", "cl100k_base", "o200k_base", "qwen2"):
        encoding = ctxengine.get_encoding(name)
        ids = encoding.encode_ordinary(text)
        # Qwen's ids are those of the text in NFC.
        expected = (
            tokenizers.normalizers.NFC().normalize_str(repaired(text))
            if name == "qwen2"
            else repaired(text)
        )
        assert encoding.decode(ids) == expected
        assert encoding.count(text) == len(ids)


@given(st.binary(max_size=60))
def test_bytes_round_trip(data):
    for name in ("gpt2", "cl100k_base", "o200k_base"):  # Qwen normalizes
        encoding = ctxengine.get_encoding(name)
        assert encoding.decode_bytes(encoding.encode_bytes(data)) == data


@given(
    st.lists(st.text("abc", min_size=2, max_size=6), max_size=40, unique=True),
    st.text("abc", min_size=1, max_size=200),
)
@settings(deadline=None)
def test_merging_agrees_with_the_reference(tokens, text):
    ranks = dict(SINGLE_BYTES)
    for token in tokens:
        ranks[token.encode()] = len(ranks)
    encoding = tiny(ranks)
    assert encoding._encode_single_piece(text) == bpe.encode_pre_token(ranks, text.encode())
    assert encoding.encode_ordinary(text) == bpe.encode_pre_token(ranks, text.encode())
    assert encoding._native.merge_bytes(text.encode()) == bpe.merge(ranks, text.encode())


@given(
    st.lists(st.text("ab<>", min_size=1, max_size=4), max_size=8, unique=True),
    st.text("ab<> \n", max_size=40),
)
def test_special_tokens_are_cut_out_as_the_reference_does(spellings, text):
    encoding = tiny(SINGLE_BYTES, {s: 1000 + i for i, s in enumerate(spellings)})
    expected = []
    for part, special in bpe.split_special(text, spellings):
        expected += [encoding._special_tokens[part]] if special else encoding.encode_ordinary(part)
    assert encoding.encode(text, allowed_special="all") == expected


def test_special_spellings_are_an_error_unless_said_otherwise():
    text = "a<|endoftext|>"
    with pytest.raises(ctxengine.SpecialTokenError, match=r"'<\|endoftext\|>'"):
        CL100K.encode(text)
    with pytest.raises(ValueError, match="disallowed special token"):
        CL100K.encode_to_numpy(text)
    assert CL100K.encode(text, allowed_special="all") == [64, 100257]
    plain = CL100K.encode_ordinary(text)
    assert 100257 not in plain
    assert CL100K.encode(text, disallowed_special=()) == plain
    assert CL100K.count(text) == len(plain)
    assert CL100K.fits(text, len(plain))
    assert CL100K.encode("a", disallowed_special={"b"}) == [64]
    with pytest.raises(ctxengine.SpecialTokenError):
        CL100K.encode("abc", disallowed_special={"b"})


@pytest.mark.parametrize(
    "text", ["\x00", "a\x00b", "\ufffe", "\U0010ffff", "\ud800", "\udfff\ud800x"]
)
def test_odd_characters(text):
    assert CL100K.decode(CL100K.encode(text)) == repaired(text)


def test_surrogates_count_as_what_they_spell_everywhere():
    text, same = "x\ud83d\udc4d\ud83d", "x👍\ufffd"
    expected = CL100K.encode(same)
    assert CL100K.encode(text) == expected
    assert CL100K.encode_ordinary(text) == expected
    assert CL100K.encode_to_numpy(text).tolist() == expected
    assert CL100K.encode_batch([text]) == [expected]
    assert CL100K.encode_segments([(text, False)]).tolist() == expected
    assert CL100K.count(text) == len(expected)
    assert CL100K.fits(text, len(expected))
    assert not CL100K.fits(text, len(expected) - 1)


@given(any_text, st.integers(-3, 70))
def test_fits_is_count_against_limit(text, limit):
    assert CL100K.fits(text, limit) == (CL100K.count(text) <= limit)


def test_fits_takes_any_integer():
    assert CL100K.fits("a", 10**30)
    assert not CL100K.fits("", -(10**30))
    assert CL100K.fits("a b", np.int64(2))
    with pytest.raises(TypeError):
        CL100K.fits("a", 1.5)


def test_fits_does_not_read_the_whole_text():
    text = "word " * 10_000_000
    CL100K.count("warm up")
    begin = time.perf_counter()
    assert not CL100K.fits(text, 1000)
    assert not CL100K.fits("é" * 10_000_000, 1000)
    # Counting 50 MB takes a good part of a second.
    assert time.perf_counter() - begin < 0.1


def test_segments_let_only_trusted_text_spell_special_tokens():
    start = "<|im_start|>"
    plain = QWEN3.encode_ordinary(start)

    def ids(*segments):
        return QWEN3.encode_segments(segments).tolist()

    assert ids((start, True)) == [151644]
    assert ids((start, False)) == plain
    assert ids(("<|im_", True), ("start|>", True)) == plain
    assert ids(("<|im_", False), ("start|>", True)) == plain
    assert ids(("user\n", True), ("\nhello", False)) == QWEN3.encode_ordinary("user\n\nhello")
    assert ids() == []
    assert QWEN3.encode_segments([]).dtype == np.uint32


@given(st.lists(st.tuples(st.text("<|im_start> \nab", max_size=14), st.just(False)), max_size=6))
def test_untrusted_segments_are_the_ordinary_joined_text(segments):
    joined = "".join(text for text, _ in segments)
    assert QWEN3.encode_segments(segments).tolist() == QWEN3.encode_ordinary(joined)


@pytest.mark.parametrize("segment", ["ab", ("a",), ("a", 1), (b"a", True), ("a", True, True), None])
def test_segments_of_other_shapes_are_refused(segment):
    with pytest.raises(TypeError):
        QWEN3.encode_segments([segment])


@pytest.mark.parametrize("text", [b"bytes", None, 5, ["a"]])
def test_what_is_no_text_is_refused(text):
    for call in (CL100K.encode, CL100K.encode_ordinary, CL100K.encode_to_numpy, CL100K.count):
        with pytest.raises(TypeError):
            call(text)


def test_unstable_ends_are_bounded():
    with pytest.raises(ctxengine.ArgumentError, match="1025 bytes, the limit is 1024"):
        CL100K.encode_with_unstable("x" * 1025)
    assert CL100K.encode_with_unstable("") == ([], [])


def test_awaitables():
    async def run():
        return await asyncio.gather(
            CL100K.acount("hello world"), CL100K.aencode("<|endoftext|>", allowed_special="all")
        )

    assert asyncio.run(run()) == [2, [100257]]


def test_one_encoding_in_many_threads():
    rng = random.Random(1)
    text = "".join(chr(rng.choice([32, 10, rng.randint(97, 122), 0x4E2D])) for _ in range(20_000))
    expected = CL100K.encode_ordinary(text)
    wrong = []

    def work():
        ids = [CL100K.encode(text) for _ in range(5)]
        wrong.extend(i for i in ids if i != expected or CL100K.decode(i) != text)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    "call",
    [
        lambda e, secret: e.count([secret]),
        lambda e, secret: e.fits([secret], 3),
        lambda e, secret: e.encode([secret]),
        lambda e, secret: e.encode_ordinary([secret]),
        lambda e, secret: e.encode_to_numpy([secret]),
        lambda e, secret: e.encode_bytes(secret),
    ],
)
def test_a_wrong_type_never_repeats_the_text(call):
    with pytest.raises(TypeError) as caught:
        call(ctxengine.get_encoding("gpt2"), "a secret prompt")
    assert "secret" not in str(caught.value)


def test_a_spelling_of_65535_bytes_is_the_longest():
    encoding = ctxengine.get_encoding("gpt2")
    with pytest.raises(ctxengine.ArgumentError, match="65536 bytes; at most 65535"):
        encoding.encode("a", disallowed_special=["a" * 65536])
    assert encoding.encode("a", disallowed_special=["a" * 65535]) == [64]
