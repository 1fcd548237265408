"""The scanners cut text where tiktoken's regular expressions cut it.

tiktoken does not say where it cuts, but can be made to: a pre-token that is a token itself is never
split. So it is given a vocabulary of the pre-tokens that are expected, and, so that a missing cut
shows, of every two neighbours joined.
"""

from __future__ import annotations

import argparse
import inspect
import itertools
import random
import sys
import typing
from collections.abc import Callable, Iterable

import ctxengine
import numpy as np
import pytest
import tiktoken
from code_points import ALL_CODE_POINTS, is_sampled
from ctxengine import _core
from ctxengine.reference import pretokenize as reference

# Those of tiktoken itself are equal to tiktoken's: tests/python/test_pretokenize.py.
PATTERNS = {name: regexes[0] for name, regexes in reference.PATTERNS.items() if len(regexes) == 1}
SINGLE_BYTES = {bytes([byte]): byte for byte in range(256)}


def encoding_of(pattern: str, tokens: Iterable[bytes]) -> tiktoken.Encoding:
    ranks = dict(SINGLE_BYTES)
    for token in tokens:
        ranks.setdefault(token, len(ranks))
    return tiktoken.Encoding("scanning", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})


def native(pattern: str, text: str) -> list[bytes]:
    data = text.encode()
    ends = _core.pretokenize(pattern, text)
    return [data[i:j] for i, j in zip([0, *ends], ends, strict=False)]


def assert_same_cuts(pattern: str, text: str, spelling: str | None = None) -> None:
    pieces = native(pattern, text)
    joined = [left + right for left, right in itertools.pairwise(pieces)]
    encoding = encoding_of(spelling or PATTERNS[pattern], pieces + joined)
    ranks = encoding._mergeable_ranks
    tokens = encoding.encode_ordinary(text)
    if tokens != [ranks[piece] for piece in pieces]:
        cut = [encoding.decode_single_token_bytes(token) for token in tokens]
        pairs = enumerate(itertools.zip_longest(pieces, cut))
        index = next(i for i, (ours, theirs) in pairs if ours != theirs)
        window = slice(max(0, index - 2), index + 3)
        pytest.fail(f"pre-token {index}: {pieces[window]} is {cut[window]} in tiktoken")


@pytest.mark.parametrize(
    ("bits", "pattern"),
    [
        (0x01, r"[\p{Lu}\p{Lt}]"),
        (0x02, r"\p{Ll}"),
        (0x04, r"[\p{Lm}\p{Lo}]"),
        (0x07, r"\p{L}"),
        (0x08, r"\p{M}"),
        (0x10, r"\p{N}"),
        (0x20, r"\s"),
        (0x40, r"[\p{P}\p{S}]"),
        (0xC8, r"[^\s\p{L}\p{N}]"),
        (0x100, r"[\r\n]"),
        (0x200, "[一-龥぀-ゟ゠-ヿ]"),
    ],
)
def test_every_code_point_has_the_class_that_tiktoken_gives_it(bits: int, pattern: str) -> None:
    # What a pattern does not match, tiktoken drops.
    matched = encoding_of(pattern, []).encode_ordinary("".join(map(chr, ALL_CODE_POINTS)))
    classes = memoryview(_core.char_classes()).cast("H")
    assert bytes(matched).decode() == "".join(chr(c) for c in ALL_CODE_POINTS if classes[c] & bits)


def test_surrogates_are_in_no_class() -> None:
    classes = memoryview(_core.char_classes()).cast("H")
    assert len(classes) == 0x110000
    assert set(classes[0xD800:0xE000]) == {0x80}


# Every kind of character that a pattern tells apart, then deeper where the alternatives interact.
ALPHABETS = {
    "kinds": ("aA中\u01c5\u0301\u02b07² \t\u00a0\n\r!/'s", 3),
    "white space": (" \n\r!a", 6),
    "contractions": ("'sSſlLvex", 4),
    "letter case": ("aA中\u0301 's", 5),
    "symbols": ("!/\n\r \u0301a", 5),
    "digits": ("7² a!", 5),
}


@pytest.mark.parametrize("name", ALPHABETS)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_short_string_is_cut_at_the_same_places(pattern: str, name: str) -> None:
    alphabet, max_length = ALPHABETS[name]
    texts = [
        "".join(characters)
        for length in range(1, max_length + 1)
        for characters in itertools.product(alphabet, repeat=length)
    ]
    encoding = encoding_of(PATTERNS[pattern], (text.encode() for text in texts))
    for text in texts:
        cut = [encoding.decode_single_token_bytes(t) for t in encoding.encode_ordinary(text)]
        assert native(pattern, text) == cut, repr(text)


@pytest.mark.parametrize(
    ("pattern", "regexes"), [(name, r) for name, known, _, r in _core.known_spellings() if known]
)
def test_every_published_spelling_cuts_alike(pattern: str, regexes: list[str]) -> None:
    assert len(regexes) == 1
    text = random_kinds(random.Random(20261121))[:40_000]
    assert_same_cuts(pattern, text, regexes[0])
    encoding = ctxengine.Encoding(
        "alike", pat_str=regexes[0], mergeable_ranks=SINGLE_BYTES, special_tokens={}
    )
    assert encoding.encode_ordinary("it's") == list(b"it's")


def random_unicode(rng: random.Random) -> str:
    planes = [0x80, 0x250, 0x3000, 0x10000, sys.maxunicode + 1]
    points = [rng.randrange(rng.choice(planes)) for _ in range(50_000)]
    return "".join(chr(c) for c in points if not 0xD800 <= c < 0xE000)


def random_kinds(rng: random.Random) -> str:
    """Runs of random length, so that long ones meet every kind of neighbour."""
    kinds = [*ALPHABETS["kinds"][0], "l", "e", "é", "É", "\u2028", "\u0660", "😀", "\x1c", "\x85"]
    return "".join(rng.choice(kinds) * int(rng.paretovariate(1.5)) for _ in range(30_000))


def source_code(_: random.Random) -> str:
    return "\n".join(inspect.getsource(module) for module in (argparse, typing, inspect, random))


@pytest.mark.parametrize("make", [random_unicode, random_kinds, source_code])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_long_texts_are_cut_at_the_same_places(
    pattern: str, make: Callable[[random.Random], str]
) -> None:
    assert_same_cuts(pattern, make(random.Random(20260802)))


RUNS = {  # a unit, and the length of its run in characters; many pre-tokens make the test slow
    **dict.fromkeys([*"aA!'中é😀\u0301\x00"], 300_000),
    **dict.fromkeys(["1", "!\n", "\n/", "A中", "aB", "''s", "A\u0301", "\u0301A"], 100_000),
}


@pytest.mark.parametrize("last", ["", "x"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_runs_of_equal_characters(pattern: str, last: str) -> None:
    for unit, num_chars in RUNS.items():
        assert_same_cuts(pattern, unit * (num_chars // len(unit)) + last)


@pytest.mark.parametrize("unit", [" ", "\t", "\u3000", " \n", "\n"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_runs_of_white_space(pattern: str, unit: str) -> None:
    # tiktoken panics on most runs of a million (its engine's stack is full): they are compared with
    # it up to the length that it stands, and at a million with what the patterns say.
    for last in ["", "x"]:
        assert_same_cuts(pattern, unit * (100_000 // len(unit)) + last)
    num_chars = 1_000_000
    run = unit * (num_chars // len(unit))
    assert native(pattern, run) == [run.encode()]
    if pattern == "r50k":  # all but the last, which leads the word if it is U+0020
        lengths = [num_chars - 1, 2] if unit == " " else [num_chars - 1, 1, 1]
    elif "\n" in unit:  # up to the last newline, which leads no word
        lengths = [num_chars, 1]
    else:
        lengths = [num_chars - 1, 2]
    assert [len(piece.decode()) for piece in native(pattern, run + "x")] == lengths


# Everything that a pattern looks at, on either side of the character.
CONTEXTS = [
    *["a{c}b", "A{c}B", " {c}", "  {c}x", "'{c}", "x'{c}", "x'{c}e", "x'l{c}", "{c}'s", "{c}\n"],
    *["1{c}2", "!{c}!", "!{c}\n/", "{c}{c}", "\u0301{c}\u0301", "中{c}A", "\t{c}\t", "\n{c} a"],
]
BRIEF_CONTEXTS = "a{c}b {c}'{c}\n1{c} "


@pytest.mark.parametrize(
    ("name", "pattern"),
    [("r50k_base", "r50k"), ("cl100k_base", "cl100k"), ("o200k_base", "o200k"), ("qwen2", "qwen2")],
)
def test_ids_of_every_code_point_in_context(name: str, pattern: str) -> None:
    tables = {
        "pat_str": PATTERNS[pattern],
        "mergeable_ranks": ctxengine.get_encoding(name)._mergeable_ranks,
        "special_tokens": {},
    }
    encoding = ctxengine.Encoding(name, **tables)
    theirs = tiktoken.Encoding(name, **tables)

    def assert_same_ids(text: str) -> None:
        ours = encoding.encode_to_numpy(text, disallowed_special=())
        assert np.array_equal(ours, theirs.encode_to_numpy(text, disallowed_special=())), text[:9]

    # All of them in the contexts that matter most; in every context all but the two largest groups,
    # of which some: unassigned or symbols, and caseless letters.
    for begin in range(0, len(ALL_CODE_POINTS), 50_000):
        characters = map(chr, ALL_CODE_POINTS[begin : begin + 50_000])
        assert_same_ids("".join(BRIEF_CONTEXTS.replace("{c}", c) for c in characters))
    classes = memoryview(_core.char_classes()).cast("H")
    large = {0x04, 0x80, 0x204}
    chosen = [chr(c) for c in ALL_CODE_POINTS if classes[c] not in large or is_sampled(c)]
    for context in CONTEXTS:
        assert_same_ids("".join(context.replace("{c}", c) for c in chosen))
