"""Pre-tokenizer steps and patterns that no scanner knows, against Hugging Face and tiktoken.

Either a pattern is refused or it cuts every text as its own engine does.
"""

from __future__ import annotations

import itertools
import random
import re
import unicodedata
from pathlib import Path
from typing import Any

import code_points
import ctxengine
import pytest
import tiktoken
from ctxengine import _core
from tokenizers import Regex, pre_tokenizers

ROOT = Path(__file__).resolve().parents[2]
BEHAVIORS = ["isolated", "removed", "merged_with_previous", "merged_with_next", "contiguous"]
ALL_CODE_POINTS = "".join(map(chr, code_points.ALL_CODE_POINTS))
SINGLE_BYTES = {bytes([byte]): byte for byte in range(256)}
# What the patterns below tell apart: cases of folding, words, numbers, marks, spaces, line ends.
ALPHABET = "abcsSſkKßﬁΣςσİiǰ1٣²½ \n\r\t\u2028'.-_é\u0301中А\u200d😀"

# Of tokenization_kimi.py, Kimi K2: the only published one with intersections.
KIMI_K2 = "|".join(
    [
        r"[\p{Han}]+",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*"
        r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+"
        r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)

# Odd and published patterns whose reading is the same in both engines.
PATTERNS = [
    r"\w+",
    r"\W+",
    r"[\w]+",
    r"\b",
    r"\b\w",
    r"\w\b",
    r"\B.",
    r"\d+|\D+",
    r"\h+",
    r"\H+",
    r"\s+",
    r"[^\s\d]+",
    r"[\s\S]",
    r"(?:a|ab)(?:c|bcd)?",
    r"(a)(b)?",
    r"(?>a+)b?",
    r"a+?",
    r"a*?b",
    r"a{2}",
    r"a{2,}",
    r"a{1,2}?",
    r"a++b",
    r"a?+a",
    r"a*+",
    r"a|",
    r"(?=b)",
    r"(?!b)",
    r"(?<=a)b",
    r"(?<!a)b",
    r"(?<=\s)\S+",
    r"(?<![a-z])\d",
    r"(?<=a|b)c",
    r"^a",
    r"a$",
    r"^.*$",
    r"\Aa",
    r"a\z",
    r".+",
    r"[a-c&]",
    r"[a-]",
    r"[-a]",
    r"[^-]",
    r"[\w-]+",
    r"[[a-b]c]+",
    r"[^[ab]c]+",
    r"[\[\]\\^]",
    r"[a-c&&b-z]+",
    r"[\w&&\D]+",
    r"[^\w&&[^a]]+",
    r"[\w&&[^a-c]\s]+",
    r"[a\w&&\p{L}&&[^b]s]+",
    r"[^[^a&&\w]b&&\S]+",
    r"[a&b&&a-z]",
    r"[-a&&\S]+",
    KIMI_K2,
    r"\x61\x{62}\u0063",
    r"\t\n|\r\n?",
    r"\p{L}+",
    r"\P{L}+",
    r"\p{Letter}+",
    r"[\p{Lu}\p{Lt}]\p{Ll}*",
    r"\p{Han}+",
    r"[\p{Greek}\p{Cyrillic}]+",
    r"\p{Alphabetic}+",
    r"\p{White_Space}",
    r"(?i)k",
    r"(?i)[sk]+",
    r"(?i:a)b",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
    r"(?i)[^a-z]+",
    r"(?i)σ",
    r"\p{N}| ?[^\s\p{L}\p{N}]+|\s+$|\s+(?=\S)",
    r" ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+",
    r"[ \t]+|[a-z]+(?=\s)|[0-9]{1,3}(?=(?:[0-9]{3})*(?:[^0-9]|$))|\S",
    r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
    r"[一-龥ࠀ-一가-퟿]+",
]
REFUSED = {
    r"(": "without",
    r"a)": r"\) without",
    r"[a": r"\[ without",
    r"[]a]": "begins with",
    r"[a&&b]": "no character",
    r"[&&a]": "two sides",
    r"[a&&]": "two sides",
    r"[^&&a]": "two sides",
    r"[a&&&b]": "two sides",
    r"[a&&-b]": "two sides",
    r"[!-&&b]": "this range",
    r"[a&&": "two sides",
    r"[a&&b": r"\[ without",
    r"[a--b]": "--",
    r"[a~~b]": "~~",
    r"[[:alpha:]]": r"\[:",
    r"[a-\d]": "range",
    r"[\d-z]": "range",
    r"[b-a]": "range",
    r"a**": "repeated",
    r"*a": "nothing",
    r"a{2": "begins no repetition",
    r"a{1001}": "1000",
    r"a{3,2}": "at most",
    r"(?:a?)*": "match nothing",
    r"(?=a)*": "assertion",
    r"(?<=a+)b": "fixed length",
    r"(?x)a": "group",
    r"a(?i)b": "group",
    r"(?<name>a)": "group",
    r"(?#comment)": "group",
    r"(a)\1": "escape",
    r"\G": "escape",
    r"\K": "escape",
    r"\R": "escape",
    r"\X": "escape",
    r"\Qa": "escape",
    r"\0": "escape",
    r"\cA": "escape",
    r"\x{110000}": "10FFFF",
    r"\x{d800}": "surrogate",
    r"\u12": "digits",
    r"\p{Klingon}": "property",
    r"\p{L": "}",
    r"[^\s\S]": "no character",
    "(" * 60 + "a" + ")" * 60: "too deep",
    "a" * 10_001: "10001 bytes",
    "\\": "end",
    "{": "bracket",
    "]": "bracket",
}


def ours(pattern: str, text: str, flavor: str, behavior: str, *, invert: bool) -> list[str]:
    return _core.pre_tokenize([("regex", pattern, behavior, invert, flavor)], text, True)


def hugging_face(splitter: Any, text: str) -> list[str]:
    return [piece for piece, _ in splitter.pre_tokenize_str(text)]


def tiktokens(pattern: str, text: str, pieces: list[str]) -> list[str]:
    """What tiktoken cuts, given that a pre-token which is a token is never split."""
    expected = [piece.encode() for piece in pieces]
    ranks = dict(SINGLE_BYTES)
    for token in expected + [a + b for a, b in itertools.pairwise(expected)]:
        ranks.setdefault(token, len(ranks))
    encoding = tiktoken.Encoding("x", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    return [
        encoding.decode_single_token_bytes(token).decode(errors="replace")
        for token in encoding.encode_ordinary(text)
    ]


def texts(seed: int, count: int) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices(ALPHABET, k=rng.randrange(1, 14))) for _ in range(count)]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_cut_as_in_hugging_face(pattern: str) -> None:
    regex = Regex(pattern)
    samples = [*texts(1, 60), *("a b" * 40, " " * 99, "\n" * 99, "ab1" * 50)]
    for behavior, invert in itertools.product(BEHAVIORS, [False, True]):
        splitter = pre_tokenizers.Split(regex, behavior, invert)
        for text in samples:
            cut = ours(pattern, text, "huggingface", behavior, invert=invert)
            assert cut == hugging_face(splitter, text), (behavior, invert, text)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_cut_as_in_tiktoken(pattern: str) -> None:
    try:
        ours(pattern, "a", "tiktoken", "removed", invert=True)
    except ctxengine.LoadError as error:
        assert "match nothing" in str(error)
        return
    for text in [*texts(2, 40), "a b" * 40, " " * 99, "\n" * 99, "ab1" * 50]:
        pieces = ours(pattern, text, "tiktoken", "removed", invert=True)
        assert tiktokens(pattern, text, pieces) == pieces, text


@pytest.mark.parametrize("pattern", REFUSED)
@pytest.mark.parametrize("flavor", ["tiktoken", "huggingface"])
def test_what_is_not_certain_is_refused(pattern: str, flavor: str) -> None:
    with pytest.raises(ctxengine.LoadError, match=REFUSED[pattern]):
        ours(pattern, "a", flavor, "isolated", invert=False)


@pytest.mark.parametrize(
    ("pattern", "flavor"),
    [
        (r"(?i)ß", "huggingface"),
        (r"(?i)ss", "huggingface"),
        (r"(?i)\p{L}", "huggingface"),
        (r"(?i)s{2}", "huggingface"),
        (r"(?i)(?:s)(?:s)", "huggingface"),
        (r"(?i)[a&&A]", "huggingface"),
        (r"a{2}?", "huggingface"),
        (r"\pL", "huggingface"),
        (r"\x80", "huggingface"),
        (r"a*", "tiktoken"),
        (r"a{,2}", "tiktoken"),
        (r"\p{^L}", "tiktoken"),
    ],
)
def test_what_only_one_flavor_refuses(pattern: str, flavor: str) -> None:
    other = "tiktoken" if flavor == "huggingface" else "huggingface"
    with pytest.raises(ctxengine.LoadError, match="not supported at byte"):
        ours(pattern, "a", flavor, "isolated", invert=False)
    ours(pattern, "a", other, "isolated", invert=False)


def property_names() -> list[str]:
    source = (ROOT / "src/cpp/tokenize/unicode/property_tables.cc").read_text()
    return [
        name
        for name in re.findall(r'\{"(\w+)", \d+, \d+\}', source)
        if name not in ("Cs", "Surrogate", "Unknown")  # of no text; a script that Rust has not
    ]


def test_every_property_holds_the_code_points_that_tiktoken_says() -> None:
    names = property_names()
    assert len(names) > 200
    others = [r"\s+", r"\d+", r"\w+", r"\h+", ".+", r"\b.", r"(?i)[a-z]+", r"(?i)[^a-z]+", "(?i)ſ"]
    for pattern in [*(rf"\p{{{name}}}+" for name in names), *others]:
        pieces = ours(pattern, ALL_CODE_POINTS, "tiktoken", "removed", invert=True)
        encoding = tiktoken.Encoding(
            "x", pat_str=pattern, mergeable_ranks=SINGLE_BYTES, special_tokens={}
        )
        assert bytes(encoding.encode_ordinary(ALL_CODE_POINTS)) == "".join(pieces).encode(), pattern


@pytest.mark.parametrize(
    "pattern",
    [r"\s+", r"\w+", r"[\w]+", r"\b.", r"\p{L}+", r"[\p{P}\p{S}]+", r"(?i)[a-z]+", r"(?i)k"],
)
def test_code_points_are_of_the_class_that_hugging_face_says(pattern: str) -> None:
    splitter = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
    pieces = ours(pattern, ALL_CODE_POINTS, "huggingface", "removed", invert=True)
    assert pieces == hugging_face(splitter, ALL_CODE_POINTS)


def is_tried(c: str) -> bool:
    return unicodedata.category(c) not in {"Cn", "Co"} or code_points.is_sampled(ord(c))


def test_every_code_point_with_the_pattern_of_kimi_k2() -> None:
    ranks = ctxengine.get_encoding("cl100k_base")._mergeable_ranks
    tables: Any = {"pat_str": KIMI_K2, "mergeable_ranks": ranks, "special_tokens": {}}
    encoding = ctxengine.Encoding("kimi", **tables, allow_regex=True)
    theirs = tiktoken.Encoding("kimi", **tables)
    for context in ["a{c}b {c}'s", "中{c}文{c}A", "1{c} ", "\u0301{c}\n"]:
        for begin in range(0, len(ALL_CODE_POINTS), 50_000):
            some = ALL_CODE_POINTS[begin : begin + 50_000]
            text = "".join(context.replace("{c}", c) for c in some if is_tried(c))
            assert encoding.encode_ordinary(text) == theirs.encode_ordinary(text), context


@pytest.mark.parametrize(
    ("reference", "step"),
    [
        (pre_tokenizers.Digits(True), ("digits", "", "isolated", False, "huggingface")),
        (pre_tokenizers.Digits(False), ("digits", "", "contiguous", False, "huggingface")),
        *(
            (pre_tokenizers.Punctuation(b), ("punctuation", "", b, False, "huggingface"))
            for b in BEHAVIORS
        ),
        *(
            (pre_tokenizers.Split(" a", b, i), ("literal", " a", b, i, "huggingface"))
            for b, i in itertools.product(BEHAVIORS, [False, True])
        ),
    ],
)
def test_other_steps_cut_as_in_hugging_face(reference: Any, step: Any) -> None:
    for text in ["", *texts(3, 60), " a a  a", ALL_CODE_POINTS]:
        assert _core.pre_tokenize([step], text, False) == hugging_face(reference, text)


def test_steps_split_the_pieces_of_the_step_before() -> None:
    rng = random.Random(4)

    def random_step() -> tuple[Any, tuple[str, str, str, bool, str]]:
        regex, b = r"^\w|\s+(?!\S)|(?<=a).", rng.choice(BEHAVIORS)
        return rng.choice(
            [
                (pre_tokenizers.Digits(True), ("digits", "", "isolated", False, "huggingface")),
                (pre_tokenizers.Punctuation(b), ("punctuation", "", b, False, "huggingface")),
                (pre_tokenizers.Split(" ", b), ("literal", " ", b, False, "huggingface")),
                (pre_tokenizers.Split(Regex(regex), b), ("regex", regex, b, False, "huggingface")),
            ]
        )

    for text in texts(5, 400):
        pairs = [random_step() for _ in range(rng.randrange(1, 4))]
        reference = pre_tokenizers.Sequence([pair[0] for pair in pairs])
        steps = [pair[1] for pair in pairs]
        assert _core.pre_tokenize(steps, text, True) == hugging_face(reference, text), steps


def random_pattern(rng: random.Random, depth: int = 0) -> str:
    def atom() -> str:
        kind = rng.randrange(16)
        if kind < 5:
            return rng.choice(["a", "b", "s", "S", "k", "i", "1", " ", "é", "ſ", "Σ", r"\n", "中"])
        if kind < 7:
            return rng.choice([r"\s", r"\S", r"\d", r"\w", r"\W", r"\h", r"\p{L}", r"\P{N}", "."])
        if kind < 10:
            items = ["a", "b-f", "s", r"\s", r"\p{L}", r"\w", "k", "[ab]", "[^s]", "é"]
            sides = ["".join(rng.choices(items, k=rng.randrange(1, 4))) for _ in range(4)]
            return f"[{rng.choice(['', '^'])}{'&&'.join(sides[: rng.choice([1, 1, 1, 2, 3])])}]"
        if kind < 14 and depth < 3:
            opening = ["(?:", "(", "(?i:", "(?>", "(?=", "(?!", "(?<=", "(?<!"]
            return rng.choice(opening) + random_pattern(rng, depth + 1) + ")"
        return rng.choice(["^", "$", r"\A", r"\z", r"\b", r"\B", "a"])

    def concatenation() -> str:
        parts = ""
        for _ in range(rng.choice([0, 1, 1, 2, 2, 3])):
            parts += atom()
            if rng.random() < 0.4:
                parts += rng.choice(["*", "+", "?", "{2}", "{1,2}", "{2,}", "{2,3}"])
                parts += rng.choice(["", "", "?", "+"])
        return parts

    return "|".join(concatenation() for _ in range(rng.choice([1, 1, 2, 3])))


def test_random_patterns_are_refused_or_cut_alike() -> None:
    rng = random.Random(6)
    num_cut = 0
    for _ in range(3000):
        pattern = rng.choice(["", "", "(?i)"]) + random_pattern(rng)
        samples = ["".join(rng.choices(ALPHABET, k=rng.randrange(12))) for _ in range(4)]
        behavior, invert = rng.choice(BEHAVIORS), rng.random() < 0.3
        try:
            cuts = [ours(pattern, t, "huggingface", behavior, invert=invert) for t in samples]
            splitter = pre_tokenizers.Split(Regex(pattern), behavior, invert)
        except Exception as error:
            # Ours, or Oniguruma's of what can never have been published.
            assert isinstance(error, ctxengine.LoadError) or "Oniguruma" in str(error)
        else:
            assert cuts == [hugging_face(splitter, text) for text in samples], pattern
            num_cut += 1
        try:
            cuts = [ours(pattern, text, "tiktoken", "removed", invert=True) for text in samples]
            references = [tiktokens(pattern, t, c) for t, c in zip(samples, cuts, strict=True)]
        except ValueError as error:
            # Ours, or fancy-regex's, likewise.
            assert isinstance(error, ctxengine.LoadError) or re.search("regex|Parsing", str(error))
        else:
            assert cuts == references, pattern
            num_cut += 1
    assert num_cut > 1500


def test_a_final_prefix_stays_whatever_is_appended() -> None:
    rng = random.Random(7)
    num_final = 0
    for _ in range(4000):
        steps = []
        for _ in range(rng.randrange(1, 3)):
            behavior, invert = rng.choice(BEHAVIORS), rng.random() < 0.3
            step = rng.choice([("digits", ""), ("literal", "ab"), ("regex", rng.choice(PATTERNS))])
            steps.append((*step, behavior, invert, "huggingface"))
        text = "".join(rng.choices(ALPHABET, k=rng.randrange(20)))
        more = "".join(rng.choices(ALPHABET, k=rng.randrange(1, 6)))
        end = _core.final_prefix_of_steps(steps, text, True)
        rest = text.encode()[end:].decode()
        now, of_rest, later, of_rest_later = (
            _core.pre_tokenize(steps, part, True) for part in (text, rest, text + more, rest + more)
        )
        final = now[: len(now) - len(of_rest)]  # not those of the head alone: \s+(?!\S) looks ahead
        assert now == final + of_rest, (steps, text, end)
        assert later == final + of_rest_later, (steps, text, more, end)
        num_final += end > 0
    assert num_final > 500


def test_a_search_that_backtracks_too_much_says_so() -> None:
    with pytest.raises(ValueError, match=r"gave up that began at byte 2 of a piece of 10002 bytes"):
        ours(r"(?:a|b|ab)+[xy]|é", "é" + "ab" * 5000, "huggingface", "isolated", invert=False)


def test_patterns_are_run_only_when_allowed() -> None:
    with pytest.raises(ctxengine.LoadError, match=r"pass allow_regex=True to run it with PCRE2"):
        _core.pre_tokenize([("regex", r"\w+", "isolated", False, "huggingface")], "a", False)
    encoding = ctxengine.Encoding(
        "x", pat_str=r"\w+", mergeable_ranks=SINGLE_BYTES, special_tokens={}, allow_regex=True
    )
    assert encoding.encode("ab, c") == [97, 98, 99]  # tiktoken drops what does not match


def test_an_encoding_out_of_tiktoken_may_have_any_pattern() -> None:
    theirs = tiktoken.Encoding(
        "x",
        pat_str=r"\w+|[^\w\s]",
        mergeable_ranks=SINGLE_BYTES | {b"ab": 256, b"b,": 257},
        special_tokens={"<x>": 300},
    )
    with pytest.raises(ctxengine.LoadError, match="allow_regex=True"):
        ctxengine.Encoding.from_tiktoken(theirs)
    encoding = ctxengine.Encoding.from_tiktoken(theirs, allow_regex=True)
    for text in ["ab, c", "<x>ab", *texts(8, 50)]:
        assert encoding.encode_ordinary(text) == theirs.encode_ordinary(text)
