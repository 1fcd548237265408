"""truncate, fits and split against trying every length."""

from __future__ import annotations

import importlib.util
import random
import time
from itertools import pairwise
from pathlib import Path

import ctxengine
import numpy as np
import pytest
from ctxengine.reference import cuts
from families import FAMILIES as HOSTILE
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenize_support import SINGLE_BYTES, any_text, repaired, tiny
from vocabulary_families import FAMILIES, family

CL100K = ctxengine.get_encoding("cl100k_base")
NAMES = ("r50k_base", "cl100k_base", "o200k_base", "qwen3")

# Texts in which a cut changes much: blanks, contractions, runs of digits, capitals, marks, symbols.
hostile = st.lists(
    st.sampled_from(
        [
            "a",
            "b",
            "ab",
            "A",
            "Ab",
            "zz",
            " ",
            "  ",
            "\n",
            "\r\n",
            "\t",
            "'",
            "'l",
            "'ll",
            "1",
            "12",
        ]
    )
    | st.sampled_from(
        ["é", "e\u0301", "中文", "🦜", "👨\u200d👩", "\u00a0", "!", "!!", "/", "._", "ſ"]
    ),
    max_size=40,
).map("".join)


def overlapping_tokens(seed: int, letters: str, num_tokens: int) -> ctxengine.Encoding:
    """Make an encoding whose tokens merge far into each other: one letter more changes much."""
    rng = random.Random(seed)
    ranks = dict(SINGLE_BYTES)
    for _ in range(num_tokens):
        token = "".join(rng.choices(letters, k=rng.randint(2, 7))).encode()
        ranks.setdefault(token, len(ranks))
    return tiny(ranks)


def check_truncate(encoding, text, limit):
    right = encoding.truncate(text, limit)
    assert right == cuts.longest_prefix(encoding.count, text, limit), (text, limit)
    left = encoding.truncate(text, limit, side="left")
    assert left == cuts.longest_suffix(encoding.count, text, limit), (text, limit)


@pytest.mark.parametrize("name", NAMES)
@given(text=hostile, limit=st.integers(-1, 30))
@settings(max_examples=150, deadline=None)
def test_truncate_keeps_the_longest_part_that_fits(name, text, limit):
    check_truncate(ctxengine.get_encoding(name), text, limit)


@given(any_text, st.integers(0, 40))
def test_truncate_any_text(text, limit):
    check_truncate(CL100K, repaired(text), limit)
    assert CL100K.truncate(text, limit) == CL100K.truncate(repaired(text), limit)


@pytest.mark.parametrize("seed", range(30))
def test_truncate_where_one_letter_changes_much(seed):
    rng = random.Random(seed)
    letters = "ab" if seed % 2 else "abc "
    encoding = overlapping_tokens(seed, letters, 40)
    for size in (10, 60, 200):
        text = "".join(rng.choices(letters, k=size))
        for limit in (1, 2, 3, 7, size // 4, size // 2):
            check_truncate(encoding, text, limit)


@pytest.mark.parametrize("seed", range(6))
def test_truncate_inside_long_pre_tokens(seed):
    rng = random.Random(seed)
    encoding = overlapping_tokens(seed, "ab", 40) if seed % 2 else CL100K
    letters = ["ab", "abcdefgh", " \n", "!-", "中文é", " "][seed]
    text = "x y " + "".join(rng.choices(letters, k=1500)) + " z"
    for limit in (2, 30, 150, 199, 400):
        check_truncate(encoding, text, limit)


@pytest.mark.parametrize("name", NAMES)
@given(
    text=hostile,
    max_tokens=st.integers(3, 20),
    overlap=st.integers(0, 12),
)
@settings(max_examples=100, deadline=None)
def test_split_covers_the_text(name, text, max_tokens, overlap):
    encoding = ctxengine.get_encoding(name)
    try:
        chunks = encoding.split(text, max_tokens)
    except ctxengine.ArgumentError:
        assert any(encoding.count(character) > max_tokens for character in text)
        return
    assert "".join(chunks) == text
    assert all(0 < encoding.count(chunk) <= max_tokens for chunk in chunks)
    # Greedy: no chunk could have taken the next one's first word as well, when it ends at a word.
    for chunk, after in pairwise(chunks):
        assert encoding.truncate(chunk + after, max_tokens).startswith(chunk)
    overlapping = encoding.split(text, max_tokens, overlap=min(overlap, max_tokens - 1))
    # Where the text repeats itself a chunk may have begun at several places: follow them all.
    ends = {0}
    for chunk in overlapping:
        assert 0 < encoding.count(chunk) <= max_tokens
        ends = {
            begin + len(chunk)
            for position in ends
            for begin in range(position + 1)
            if text[begin:].startswith(chunk)
            and begin + len(chunk) > position
            and encoding.count(text[begin:position]) <= overlap
        }
        assert ends
    assert len(text) in ends or not overlapping


def test_split_ends_between_words():
    text = "The quick brown fox jumps over the lazy dog. " * 20
    for chunk in CL100K.split(text, 17)[:-1]:
        assert chunk[-1] != " "
        assert text[text.index(chunk) + len(chunk)] in " ."
    assert CL100K.split("", 5) == []
    assert CL100K.split("a", 1) == ["a"]


def test_split_with_overlap_repeats_the_end():
    chunks = CL100K.split("one two three four five six seven", 4, overlap=2)
    assert chunks == ["one two three four", " three four five six", " five six seven"]


def test_split_of_what_cannot_be():
    for max_tokens, overlap in ((0, 0), (-1, 0), (3, 3), (3, -1), (-(2**70), 0)):
        with pytest.raises(ctxengine.ArgumentError):
            CL100K.split("text", max_tokens, overlap=overlap)
    gpt2 = ctxengine.get_encoding("gpt2")
    with pytest.raises(ctxengine.ArgumentError, match="character at byte 2 has more than 1 tokens"):
        gpt2.split("a \U0001f99c", 1)
    for wrong in (b"a", None, 5):
        with pytest.raises(TypeError):
            CL100K.split(wrong, 3)
        with pytest.raises(TypeError):
            CL100K.truncate(wrong, 3)
    with pytest.raises(TypeError):
        CL100K.truncate("a", 1.5)
    with pytest.raises(ctxengine.ArgumentError, match="side"):
        CL100K.truncate("a", 1, side="middle")


def test_limits_of_any_size():
    assert CL100K.truncate("hello world", 10**30) == "hello world"
    assert CL100K.truncate("hello world", -(10**30)) == ""
    assert CL100K.truncate("hello world", np.int64(1)) == "hello"
    assert CL100K.truncate("", 5) == CL100K.truncate("", 5, side="left") == ""
    assert CL100K.split("hello world", 10**30) == ["hello world"]


@pytest.mark.parametrize("text", ["word " * 8_000_000, "é 中 " * 8_000_000])
def test_the_cost_does_not_depend_on_the_text(text):
    CL100K.truncate(text, 10)
    begin = time.perf_counter()
    for side in ("right", "left"):
        CL100K.truncate(text, 1000, side=side)
    assert not CL100K.fits(text, 1000)
    assert time.perf_counter() - begin < 0.2  # counting takes a second and more


@pytest.mark.parametrize(
    "unit", ["a", "ab", " ", "\n", " \n", "1", "!", "é", "中", "🦜", "aB", "'ll", "a" * 30 + " "]
)
def test_hostile_text_is_cut_in_linear_time(unit):
    def seconds(size):
        text = unit * (size // len(unit))
        begin = time.process_time()
        for side in ("right", "left"):
            CL100K.truncate(text, size // 16, side=side)
        chunks = CL100K.split(text, 64)
        assert "".join(chunks) == text
        return time.process_time() - begin

    seconds(1000)
    small = min(seconds(4_000) for _ in range(2))
    large = min(seconds(16_000) for _ in range(2))
    assert large < 10 * max(small, 0.01)  # linear: 4 times, quadratic: 16 times


def test_sentencepiece_text_is_cut_as_exactly():
    spec = importlib.util.find_spec("mistral_common")
    if spec is None or spec.origin is None:
        pytest.skip("mistral_common, which carries the vocabulary, is not installed")
    data = Path(spec.origin).parent / "data"
    encoding = ctxengine.load(data / "mistral_instruct_tokenizer_240323.model.v3")
    rng = random.Random(1)
    parts = ["a", "the ", " ", "  ", "é", "中", "🦜", "ing", "\n", "I'll", "▁", "123", "[INST]"]
    for _ in range(60):
        text = "".join(rng.choices(parts, k=rng.randint(0, 30)))
        for limit in (0, 1, 3, 8, 15, 30):
            check_truncate(encoding, text, limit)
        chunks = encoding.split(text, 8)
        assert "".join(chunks) == text
        assert all(encoding.count(chunk) <= 8 for chunk in chunks)
    # "▁a" and "▁word" are tokens; a last "▁" would be one more.
    assert encoding.truncate("a word " * 50_000, 500) == "a word " * 249 + "a word"


@pytest.mark.parametrize("name", FAMILIES)
def test_families_of_vocabularies(name, tmp_path_factory):
    encoding = ctxengine.load(family(name, tmp_path_factory.mktemp("vocabulary")).path)
    rng = random.Random(name)
    for make in HOSTILE.values():
        text = make(40 + rng.randrange(40))
        for limit in (1, 3, encoding.count(text) // 2):
            check_truncate(encoding, text, limit)


def test_text_that_a_normalizer_changes():
    text = "e\u0301 cafe\u0301 " * 5 + "e\u0301\u0323x"
    qwen3 = ctxengine.get_encoding("qwen3")
    for limit in range(12):
        check_truncate(qwen3, text, limit)
    rng = random.Random(2)
    parts = ["e\u0301", "e", "\u0323", "\u1112", "\u1161", "\u11ab", " ", "\u212b", "a", "!", "\n"]
    for _ in range(100):
        text = "".join(rng.choices(parts, k=rng.randint(1, 40)))
        for limit in (1, 5, 12):
            check_truncate(qwen3, text, limit)
    text = "cafe\u0301 " * 500_000
    kept = qwen3.truncate(text, 50_000)
    assert qwen3.count(kept) <= 50_000 < qwen3.count(text[: len(kept) + 1])
