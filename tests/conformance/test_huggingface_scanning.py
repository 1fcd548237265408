"""The scanners cut text where Hugging Face's pre-tokenizers cut it."""

from __future__ import annotations

import random
import sys

import pytest
from code_points import ALL_CODE_POINTS, is_sampled
from ctxengine import _core
from tokenizers import Regex, pre_tokenizers

SPELLINGS = [
    (name, regexes)
    for name, _, in_hugging_face, regexes in _core.known_spellings()
    if in_hugging_face
]
BEST_KNOWN = dict(reversed(SPELLINGS))


def splits(regexes: list[str], behavior: str, invert: bool) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(regex), behavior, invert) for regex in regexes]
    )


def native(pattern: str, text: str) -> list[str]:
    data = text.encode()
    ends = _core.pretokenize(pattern, text)
    return [data[i:j].decode() for i, j in zip([0, *ends], ends, strict=False)]


def assert_same_cuts(pattern: str, theirs: pre_tokenizers.PreTokenizer, text: str) -> None:
    ours = native(pattern, text)
    cut = [piece for piece, _ in theirs.pre_tokenize_str(text)]
    if ours != cut:
        index = next(i for i, (a, b) in enumerate(zip(ours, cut, strict=False)) if a != b)
        window = slice(max(0, index - 2), index + 3)
        pytest.fail(f"pre-token {index}: {ours[window]} is {cut[window]} in tokenizers")


# Every kind of character that a pattern tells apart.
KINDS = [
    *"aA中éÉ\u01c5\u0301\u02b07²\u0660 \t\u00a0\u2028\u3000\x85\n\r!/$'\x00\x1c\u200b",
    *"sSſtTdDmMlLvVeErRxアー・゛゙\u3040龥\u9fa6😀",
]


@pytest.mark.parametrize(("pattern", "regexes"), SPELLINGS)
def test_random_texts(pattern: str, regexes: list[str]) -> None:
    rng = random.Random(20261121)
    isolated = splits(regexes, "isolated", False)
    for _ in range(1500):
        kinds = rng.sample(KINDS, rng.randint(1, len(KINDS)))  # few kinds meet more often
        text = "".join(rng.choice(kinds) for _ in range(rng.randrange(40)))
        assert_same_cuts(pattern, isolated, text)
    runs = "".join(rng.choice(KINDS) * int(rng.paretovariate(1.5)) for _ in range(10_000))
    planes = [0x80, 0x250, 0x3000, 0x10000, sys.maxunicode + 1]
    points = [rng.randrange(rng.choice(planes)) for _ in range(20_000)]
    characters = "".join(chr(c) for c in points if not 0xD800 <= c < 0xE000)
    for text in (runs, characters):
        assert_same_cuts(pattern, isolated, text)
        if len(regexes) == 1:
            assert_same_cuts(pattern, splits(regexes, "removed", True), text)


# Everything that a pattern looks at, on either side of the character.
CONTEXTS = [
    *[
        "a{c}b '{c}\n",
        "  {c}x'{c}e",
        "x'l{c}{c}'s",
        "1{c}2{c}\n",
        "!{c}!{c}\n/",
        "\u0301{c}\u0301{c}A",
    ],
    *["ア{c}ア{c}a", "\u200b{c}\u200b {c}1"],
]


@pytest.mark.parametrize(
    ("bits", "regex"),
    [
        (0x01, r"[\p{Lu}\p{Lt}]"),
        (0x02, r"\p{Ll}"),
        (0x04, r"[\p{Lm}\p{Lo}]"),
        (0x08, r"\p{M}"),
        (0x10, r"\p{N}"),
        (0x20, r"\s"),
        (0x40, r"[\p{P}\p{S}]"),
        (0xC8, r"[^\s\p{L}\p{N}]"),
        (0x200, "[一-龥぀-ゟ゠-ヿ]"),
    ],
)
def test_every_code_point_has_the_class_that_oniguruma_gives_it(bits: int, regex: str) -> None:
    classes = memoryview(_core.char_classes()).cast("H")
    matches = splits([regex + "+"], "removed", True)
    matched = matches.pre_tokenize_str("".join(map(chr, ALL_CODE_POINTS)))
    ours = "".join(chr(c) for c in ALL_CODE_POINTS if classes[c] & bits)
    assert "".join(piece for piece, _ in matched) == ours


@pytest.mark.parametrize("pattern", BEST_KNOWN)
def test_code_points_in_context(pattern: str) -> None:
    # All but the two largest groups, of which some: unassigned, and caseless letters.
    isolated = splits(BEST_KNOWN[pattern], "isolated", False)
    classes = memoryview(_core.char_classes()).cast("H")
    large = {0x04, 0x80, 0x204}
    chosen = [chr(c) for c in ALL_CODE_POINTS if classes[c] not in large or is_sampled(c)]
    for context in CONTEXTS:
        for begin in range(0, len(chosen), 5000):
            text = "".join(context.replace("{c}", c) for c in chosen[begin : begin + 5000])
            assert_same_cuts(pattern, isolated, text)


def test_byte_level_is_r50k() -> None:
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    rng = random.Random(3)
    text = "".join(rng.choice(KINDS) for _ in range(20_000))
    begins = [begin for _, (begin, _) in byte_level.pre_tokenize_str(text)]
    lengths = [len(piece) for piece in native("r50k", text)]
    assert begins == [sum(lengths[:i]) for i in range(len(lengths))]


def test_repeated_bounds_are_not_possessive_in_oniguruma() -> None:
    # The reason why cl100k's present spelling is not among those of Hugging Face.
    regexes = next(
        r for name, _, theirs, r in _core.known_spellings() if name == "cl100k" and not theirs
    )
    cut = splits(regexes, "isolated", False).pre_tokenize_str("12345")
    assert [piece for piece, _ in cut] == ["12345"]
    assert native("cl100k", "12345") == ["123", "45"]
