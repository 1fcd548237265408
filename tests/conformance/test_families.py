"""Ids of vocabularies that are loaded from files, against the reference of each."""

from __future__ import annotations

import random
import unicodedata

import pytest
from code_points import ALL_CODE_POINTS, is_sampled
from vocabulary_families import FAMILIES, family

# Every scalar value of these is put between letters, spaces, digits and marks.
CONTEXTS = ["{}", " {}", "a{}b", "1{} ", "{}\u0301", "\n{}'s"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("vocabularies")


@pytest.fixture(scope="module", params=FAMILIES)
def both(request, folder):
    """The encoding as we load it, and the reference."""
    place = folder / request.param
    place.mkdir()
    known = family(request.param, place)
    return known.load(), known.reference


def assert_equal(encoding, reference, text):
    expected = reference(text)
    assert encoding.encode_ordinary(text) == expected
    assert encoding.count(text) == len(expected)


@pytest.mark.parametrize("context", CONTEXTS)
def test_every_code_point(both, context):
    encoding, reference = both
    # All assigned ones, and some of those that are not: the pages without any say all the same.
    tried = [
        chr(c)
        for c in ALL_CODE_POINTS
        if is_sampled(c) or unicodedata.category(chr(c)) not in {"Cn", "Co"}
    ]
    for begin in range(0, len(tried), 4096):
        assert_equal(
            encoding, reference, "".join(context.format(c) for c in tried[begin : begin + 4096])
        )


ALPHABETS = {
    "ascii": [chr(c) for c in range(128)],
    "words": [
        " the",
        " a",
        "ing",
        "ed",
        "'s",
        "'LL",
        " ",
        "  ",
        "\n",
        ".",
        ",",
        " I",
        "N",
        "_",
        "4",
    ],
    "spaces": [" ", "\t", "\n", "\r", "\u00a0", "\u3000", "\u2028", "x", "."],
    "marks": ["a", "e", "\u0301", "\u0323", "\u0327", "\u05b0", "\u0f71", "\u3099", "か", "\u00e9"],
    "hangul": ["\u1100", "\u1161", "\u11a8", "\uac00", "\uac01", "가", " "],
    "cjk": ["中", "文", "字", "。", "、", "あ", "ア", "한", "국", "々", "ー", " ", "1"],
    "emoji": ["👩", "\u200d", "💻", "🏽", "🇩", "🇪", "\ufe0f", "a", " "],
    "compatibility": ["ﬁ", "①", "ｱ", "ﾞ", "㌔", "²", "ſ", "K", "Å", "½", "…", "™", " "],
    "any": None,
}


@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_random_text(both, alphabet):
    encoding, reference = both
    generator = random.Random(f"{alphabet}")
    letters = ALPHABETS[alphabet] or [*map(chr, ALL_CODE_POINTS)]
    for _ in range(150):
        assert_equal(
            encoding, reference, "".join(generator.choices(letters, k=generator.randint(0, 60)))
        )
    assert_equal(encoding, reference, "".join(generator.choices(letters, k=5000)))


@pytest.mark.parametrize(
    "text",
    [
        "a" * 30_000,
        " " * 30_000 + "x",
        "\n" * 5_000,
        "ab" * 9_000,
        "é" * 5_000,
        "中" * 5_000,
        "0123456789" * 900,
        "\u0301" * 3_000,
        "한" * 3_000,
        "=-" * 5_000,
        "'" * 5_000,
        "",
        " ",
        "\ufeffbom",
        "nul\0nul",
    ],
    ids=lambda text: repr(text[:8]),
)
def test_hostile_text(both, text):
    assert_equal(*both, text)


def test_counts_that_fit(both):
    encoding, reference = both
    generator = random.Random(3)
    for _ in range(100):
        text = "".join(generator.choices([*ALPHABETS["words"], *ALPHABETS["compatibility"]], k=30))
        count = len(reference(text))
        assert encoding.fits(text, count)
        assert not encoding.fits(text, count - 1)
