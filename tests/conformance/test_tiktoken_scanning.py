"""The scanners cut text where tiktoken's regular expressions cut it.

tiktoken does not say where it cuts, but it can be made to: a piece that is a token of its own is
never split, so that with a vocabulary of all strings that occur every token is one pre-token.
"""

from __future__ import annotations

import itertools

import pytest
import tiktoken
from tiktoken_ext import openai_public

from ctxengine import _core

QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PATTERNS = ["r50k", "cl100k", "o200k", "qwen2"]

ALL_CODE_POINTS = [*range(0xD800), *range(0xE000, 0x110000)]
SINGLE_BYTES = {bytes([byte]): byte for byte in range(256)}


@pytest.fixture(scope="module")
def pattern_strings(monkeypatch_module):
    """The patterns as published; tiktoken's constructors would fetch the rank files first."""
    monkeypatch_module.setattr(openai_public, "load_tiktoken_bpe", lambda *_, **__: {})
    return {
        "r50k": openai_public.r50k_base()["pat_str"],
        "cl100k": openai_public.cl100k_base()["pat_str"],
        "o200k": openai_public.o200k_base()["pat_str"],
        "qwen2": QWEN2,
    }


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


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
        (0x48, r"[^\s\p{L}\p{N}]"),
        (0x80, r"[\r\n]"),
    ],
)
def test_every_code_point_has_the_class_that_tiktoken_gives_it(bits, pattern):
    # What a pattern does not match, tiktoken drops.
    encoding = tiktoken.Encoding(
        "classes", pat_str=pattern, mergeable_ranks=SINGLE_BYTES, special_tokens={}
    )
    matched = bytes(encoding.encode_ordinary("".join(map(chr, ALL_CODE_POINTS)))).decode()
    classes = _core.char_classes()
    assert matched == "".join(chr(c) for c in ALL_CODE_POINTS if classes[c] & bits)


def test_surrogates_and_the_end_of_the_code_space_are_in_no_class():
    classes = _core.char_classes()
    assert len(classes) == 0x110000
    assert set(classes[0xD800:0xE000]) == {0x40}


# Every kind of character that a pattern tells apart, then deeper where the alternatives interact.
ALPHABETS = {
    "kinds": (list("aA中\u01c5\u0301\u02b07² \t\u00a0\n\r!/'s"), 4),
    "white space": (list(" \n\r\t!a"), 6),
    "contractions": (list("'sSſlLvVeEtTx"), 4),
    "letter case": (list("aA中\u0301 's"), 5),
    "symbols": (list("!/\n\r \u0301a"), 5),
    "digits": (list("7² a!"), 6),
}


@pytest.mark.parametrize("name", ALPHABETS)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_short_string_is_cut_at_the_same_places(pattern, pattern_strings, name):
    alphabet, max_length = ALPHABETS[name]
    texts = [
        "".join(characters)
        for length in range(1, max_length + 1)
        for characters in itertools.product(alphabet, repeat=length)
    ]
    ranks = SINGLE_BYTES | {
        text.encode(): rank
        for rank, text in enumerate((t for t in texts if len(t.encode()) > 1), start=256)
    }
    encoding = tiktoken.Encoding(
        "strings", pat_str=pattern_strings[pattern], mergeable_ranks=ranks, special_tokens={}
    )
    for text in texts:
        data = text.encode()
        ends = _core.pretokenize(pattern, text)
        pieces = [data[i:j] for i, j in zip([0, *ends], ends, strict=False)]
        expected = [encoding.decode_single_token_bytes(t) for t in encoding.encode_ordinary(text)]
        assert pieces == expected, repr(text)
