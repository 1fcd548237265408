"""The normalizer gives what Hugging Face's tokenizers give."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from ctxengine import _core
from ctxengine.reference import normalize as reference
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

ROOT = Path(__file__).resolve().parents[2]
CODE_POINTS = [*range(0xD800), *range(0xE000, 0x110000)]
FORMS = {
    "nfc": normalizers.NFC(),
    "nfkc": normalizers.NFKC(),
    "lowercase": normalizers.Lowercase(),
}
NFD, NFKD = normalizers.NFD().normalize_str, normalizers.NFKD().normalize_str
LEADS, VOWELS, FINALS = range(0x1100, 0x1113), range(0x1161, 0x1176), range(0x11A8, 0x11C3)

# What composes, moves or decomposes; U+0345 has the highest class, U+0334 the lowest.
MARKS = [c for c in map(chr, CODE_POINTS) if NFD("\u0345" + c) != "\u0345" + NFD(c)]
DECOMPOSING = [c for c in map(chr, CODE_POINTS) if NFKD(c) != c and not "가" <= c <= "힣"]
SECONDS = sorted({NFD(c)[-1] for c in DECOMPOSING if NFD(c) != c} | {*map(chr, VOWELS)})
STARTERS = sorted({NFD(c)[0] for c in DECOMPOSING} | {*"aAeqx?~가각", "\u0915", "\u3042", "ᄀ"})


def normalizer(*kinds: str) -> _core.Normalizer:
    return _core.Normalizer([(kind, "", "") for kind in kinds])


def assert_same(kind: str, texts: list[str]) -> None:
    native, theirs = normalizer(kind), FORMS[kind].normalize_str
    for text in texts:
        ours = native.normalize(text, "middle")
        assert ours == theirs(text), f"{kind} of {text!a}"


def assert_same_joined(kind: str, texts: list[str]) -> None:
    """The same for many short texts, between which stand line breaks."""
    joined = "\n".join(texts)
    ours = normalizer(kind).normalize(joined, "middle")
    theirs = FORMS[kind].normalize_str(joined)
    if ours != theirs:
        assert_same(kind, texts)
        pytest.fail("only the joined text differs")


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize(
    ("before", "behind"),
    [
        ("", ""),
        ("a", ""),
        ("e", "\u0301"),
        ("", "\u0334"),
        ("q\u0345", "\u0323b"),
        ("가", "\u11a8"),
    ],
)
def test_every_code_point_in_context(kind: str, before: str, behind: str) -> None:
    assert_same_joined(kind, [before + chr(c) + behind for c in CODE_POINTS if c != 0x0A])


@pytest.mark.parametrize("kind", ["nfc", "nfkc"])
def test_every_starter_with_every_second(kind: str) -> None:
    assert len(SECONDS) > 60
    assert len(STARTERS) > 1000
    assert_same_joined(kind, [a + b for a in STARTERS for b in SECONDS])


@pytest.mark.parametrize("kind", ["nfc", "nfkc"])
def test_every_mark_behind_a_sample_of_starters(kind: str) -> None:
    assert len(MARKS) > 600
    sample = random.Random(3).sample(STARTERS, 100)
    assert_same_joined(kind, [starter + mark for starter in sample for mark in MARKS])


@pytest.mark.parametrize("kind", ["nfc", "nfkc"])
def test_every_pair_of_marks_of_different_classes(kind: str) -> None:
    some = {NFD("\u0345" + c) + NFD(c + "\u0334"): c for c in MARKS[::7]}.values()
    assert_same_joined(kind, ["a" + a + b for a in MARKS for b in itertools.islice(some, 100)])


def nfc_of(text: str) -> str:
    return FORMS["nfc"].normalize_str(text)


@pytest.mark.parametrize("kind", ["nfc", "nfkc"])
def test_hangul_in_all_splits(kind: str) -> None:
    texts = []
    for lead, vowel, final in itertools.product(LEADS, VOWELS, [0, *FINALS]):
        ending = chr(final) if final else ""
        texts.append(chr(lead) + chr(vowel) + ending)
        texts.append(nfc_of(chr(lead) + chr(vowel)) + ending)
        texts.append(nfc_of(chr(lead) + chr(vowel) + ending) + "\u11a8")
        texts.append(chr(lead) + "\u0323" + chr(vowel) + ending)
    assert_same_joined(kind, texts)
    composed = {normalizer(kind).normalize(text, "middle") for text in texts[::4]}
    assert composed == {chr(c) for c in range(0xAC00, 0xD7A4)}


def random_texts(seed: int, number: int, longest: int = 12) -> list[str]:
    choose = random.Random(seed)
    pools = [MARKS, MARKS, DECOMPOSING, SECONDS, STARTERS, [*"aAeI .Σςσİ"], [*map(chr, VOWELS)]]
    anything = [chr(c) for c in CODE_POINTS]
    pools += [anything, [*map(chr, LEADS)], [*map(chr, FINALS)]]
    return [
        "".join(choose.choice(choose.choice(pools)) for _ in range(choose.randrange(longest)))
        for _ in range(number)
    ]


@pytest.mark.parametrize("kind", FORMS)
def test_random_unicode(kind: str) -> None:
    assert_same(kind, random_texts(seed=1, number=100_000))
    assert_same(kind, random_texts(seed=2, number=300, longest=2000))


def test_the_reference_agrees_where_both_know_all_characters() -> None:
    known = unicodedata.ucd_3_2_0
    texts = [
        "".join(
            c for c in text if known.category(c) != "Cn" and known.normalize("NFC", c) == nfc_of(c)
        )
        for text in random_texts(seed=4, number=3000)
    ]
    for kind in FORMS:
        native = normalizer(kind)
        for text in texts:
            ours = native.normalize(text, "middle")
            assert ours == reference.normalize([(kind, "", "")], text, "middle"), ascii(text)


REPLACES = [
    (" ", "▁"),
    ("aa", "b"),
    ("``", '"'),
    ("b", ""),
    ("\u0301", "e"),
    ("aba", "abab"),
    (".", "?"),
]


@pytest.mark.parametrize(("pattern", "content"), REPLACES)
def test_replace(pattern: str, content: str) -> None:
    theirs = normalizers.Replace(pattern, content)
    ours = _core.Normalizer([("replace", pattern, content)])
    choose = random.Random(5)
    for _ in range(3000):
        text = "".join(choose.choices("aab `e\u0301\u0301.", k=choose.randrange(12)))
        assert ours.normalize(text, "middle") == theirs.normalize_str(text)


@pytest.mark.parametrize("content", ["▁", "ab", ""])
@pytest.mark.parametrize("text", ["", "x", "▁x", "ab", " "])
def test_prepend(content: str, text: str) -> None:
    ours = _core.Normalizer([("prepend", "", content)])
    theirs = normalizers.Prepend(content).normalize_str(text)
    assert ours.normalize(text, "input_start") == theirs
    assert ours.normalize(text, "section_start") == theirs
    assert ours.normalize(text, "middle") == text


@pytest.mark.parametrize(
    ("scheme", "kind"), [("always", "prepend_unless"), ("first", "prepend_first")]
)
@pytest.mark.parametrize("text", ["x", " x", "▁x", "  x y", " ", "x ▁"])
def test_metaspace(scheme: str, kind: str, text: str) -> None:
    # As a pre-tokenizer: behind a special token it sees a section of its own.
    metaspace = pre_tokenizers.Metaspace("▁", scheme, split=False)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = metaspace
    ours = _core.Normalizer([("replace", " ", "▁"), (kind, "", "▁")])
    ((alone, _),) = metaspace.pre_tokenize_str(text)
    assert ours.normalize(text, "input_start") == alone
    assert ours.normalize(text, "middle") == text.replace(" ", "▁")
    behind = ours.normalize(text, "section_start")
    assert behind == (alone if scheme == "always" else text.replace(" ", "▁"))


SEQUENCES = [
    (
        [("prepend", "", "▁"), ("replace", " ", "▁")],
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")],
    ),
    (
        [("nfkc", "", ""), ("lowercase", "", ""), ("replace", "i", "ı"), ("prepend", "", "\u0301")],
        [
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.Replace("i", "ı"),
            normalizers.Prepend("\u0301"),
        ],
    ),
    (
        [("lowercase", "", ""), ("replace", "aa", "e"), ("prepend", "", "e"), ("nfc", "", "")],
        [
            normalizers.Lowercase(),
            normalizers.Replace("aa", "e"),
            normalizers.Prepend("e"),
            normalizers.NFC(),
        ],
    ),
]


@pytest.mark.parametrize(("steps", "theirs"), SEQUENCES)
def test_steps_follow_each_other(steps: list[tuple[str, str, str]], theirs: list[object]) -> None:
    sequence = normalizers.Sequence(theirs)
    ours = _core.Normalizer(steps)
    for text in random_texts(seed=6, number=5000):
        assert ours.normalize(text, "input_start") == sequence.normalize_str(text)


def test_the_tables_are_what_the_tool_writes() -> None:
    tool = ROOT / "tools/make_normalization_tables.py"
    result = subprocess.run(
        [sys.executable, str(tool), "--check"], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
