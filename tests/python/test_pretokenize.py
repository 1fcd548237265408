"""The native scanners against the reference, which interprets the patterns themselves."""

from __future__ import annotations

import doctest
import inspect
import random
import sys
from collections.abc import Callable

import ctxengine
import pytest
from ctxengine import _core
from ctxengine.reference import pretokenize as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from tiktoken_ext import openai_public

Cut = Callable[[str, str], list[str]]

PATTERNS = sorted(reference.PATTERNS)
# The scanner's classes under names that begin as the general categories do (Lt as Lu, Lm as Lo);
# that they are right is proven against tiktoken for every code point.
CATEGORY_OF_BIT = {0x01: "Lu", 0x02: "Ll", 0x04: "Lo", 0x08: "M", 0x10: "N", 0x40: "P"}


def native(pattern: str, text: str) -> list[str]:
    data = text.encode()
    ends = _core.pretokenize(pattern, text)
    return [data[i:j].decode() for i, j in zip([0, *ends], ends, strict=False)]


@pytest.fixture(scope="module")
def expected() -> Cut:
    classes = memoryview(_core.char_classes()).cast("H")

    def category(character: str) -> str:
        return CATEGORY_OF_BIT.get(classes[ord(character)] & 0xFF, "C")

    matchers = {
        name: [reference.compile_pattern(pattern, category) for pattern in patterns]
        for name, patterns in reference.PATTERNS.items()
    }

    def cut(pattern: str, text: str) -> list[str]:
        pieces = [text] if text else []
        for match in matchers[pattern]:
            pieces = [part for piece in pieces for part in reference.split(match, piece)]
        return pieces

    return cut


def test_the_reference_reads_the_published_patterns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_public, "load_tiktoken_bpe", lambda *_, **__: {})
    assert reference.PATTERNS["r50k"] == (openai_public.r50k_base()["pat_str"],)
    assert reference.PATTERNS["cl100k"] == (openai_public.cl100k_base()["pat_str"],)
    assert reference.PATTERNS["o200k"] == (openai_public.o200k_base()["pat_str"],)


def test_the_core_knows_the_same_patterns() -> None:
    best_known: dict[str, tuple[str, ...]] = {}
    for name, _, _, regexes in _core.known_spellings():
        best_known.setdefault(name, tuple(regexes))
    assert best_known == reference.PATTERNS


def test_the_reference_examples_hold() -> None:
    results = doctest.testmod(reference)
    assert results.attempted > 0
    assert results.failed == 0


@pytest.mark.parametrize("pattern", ["a(", "(?:a", "[^a", "\\d+", "a|*", "a)"])
def test_the_reference_refuses_other_syntax(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        reference.pretokenize([pattern], "a")


def test_what_no_pattern_matches_is_a_piece_too() -> None:
    assert reference.pretokenize([r"\p{L}+"], "  ab cd!") == ["  ", "ab", " ", "cd", "!"]
    assert reference.pretokenize([r"\p{L}+", " "], "  ab") == [" ", " ", "ab"]


CASES = {
    # One for each trap, by reading the patterns: text, then its pre-tokens in each of them.
    "contractions fold case, r50k's do not": (
        "I'LL don't",
        {
            "r50k": ["I", "'", "LL", " don", "'t"],
            "cl100k": ["I", "'LL", " don", "'t"],
            "o200k": ["I'LL", " don't"],
            "qwen2": ["I", "'LL", " don", "'t"],
            "llama3": ["I", "'LL", " don", "'t"],
            "qwen35": ["I", "'LL", " don", "'t"],
            "tekken": ["I", "'LL", " don", "'t"],
            "deepseek": ["I", "'LL", " don", "'t"],
        },
    ),
    "the long s folds to s": (
        "x'\u017fy",
        {
            "r50k": ["x", "'", "\u017fy"],
            "cl100k": ["x", "'\u017f", "y"],
            "o200k": ["x'\u017f", "y"],
            "qwen2": ["x", "'\u017f", "y"],
            "llama3": ["x", "'\u017f", "y"],
            "qwen35": ["x", "'\u017f", "y"],
            "tekken": ["x", "'\u017fy"],
            "deepseek": ["x", "'", "\u017fy"],
        },
    ),
    "newlines behind symbols": (
        "a!\n\r\n/b",
        {
            "r50k": ["a", "!", "\n\r", "\n", "/", "b"],
            "cl100k": ["a", "!\n\r\n", "/b"],
            "o200k": ["a", "!\n\r\n/", "b"],
            "qwen2": ["a", "!\n\r\n", "/b"],
            "llama3": ["a", "!\n\r\n", "/b"],
            "qwen35": ["a", "!\n\r\n", "/b"],
            "tekken": ["a", "!\n\r\n/", "b"],
            "deepseek": ["a", "!\n\r\n", "/b"],
        },
    ),
    "white space up to the last newline, then all but one": (
        "a \n  \n   b",
        {
            "r50k": ["a", " \n  \n  ", " b"],
            "cl100k": ["a", " \n  \n", "  ", " b"],
            "o200k": ["a", " \n  \n", "  ", " b"],
            "qwen2": ["a", " \n  \n", "  ", " b"],
            "llama3": ["a", " \n  \n", "  ", " b"],
            "qwen35": ["a", " \n  \n", "  ", " b"],
            "tekken": ["a", " \n  \n", "  ", " b"],
            "deepseek": ["a", " \n  \n", "  ", " b"],
        },
    ),
    "white space at the end: cl100k looks for the end before it looks for newlines": (
        "a \n  ",
        {
            "r50k": ["a", " \n  "],
            "cl100k": ["a", " \n  "],
            "o200k": ["a", " \n", "  "],
            "qwen2": ["a", " \n", "  "],
            "llama3": ["a", " \n", "  "],
            "qwen35": ["a", " \n", "  "],
            "tekken": ["a", " \n", "  "],
            "deepseek": ["a", " \n", "  "],
        },
    ),
    "numbers": (
        " 12345",
        {
            "r50k": [" 12345"],
            "cl100k": [" ", "123", "45"],
            "o200k": [" ", "123", "45"],
            "qwen2": [" ", "1", "2", "3", "4", "5"],
            "llama3": [" ", "123", "45"],
            "qwen35": [" ", "1", "2", "3", "4", "5"],
            "tekken": [" ", "1", "2", "3", "4", "5"],
            "deepseek": [" ", "123", "45"],
        },
    ),
    "case": (
        "camelCaseHTTPServer中A",
        {
            "r50k": ["camelCaseHTTPServer中A"],
            "cl100k": ["camelCaseHTTPServer中A"],
            "o200k": ["camel", "Case", "HTTPServer中", "A"],
            "qwen2": ["camelCaseHTTPServer中A"],
            "llama3": ["camelCaseHTTPServer中A"],
            "qwen35": ["camelCaseHTTPServer中A"],
            "tekken": ["camel", "Case", "HTTPServer中", "A"],
            "deepseek": ["camelCaseHTTPServer", "中", "A"],
        },
    ),
    "capitals behind the last caseless letter are given back": (
        "A中BC D",
        {
            "r50k": ["A中BC", " D"],
            "cl100k": ["A中BC", " D"],
            "o200k": ["A中", "BC", " D"],
            "qwen2": ["A中BC", " D"],
            "llama3": ["A中BC", " D"],
            "qwen35": ["A中BC", " D"],
            "tekken": ["A中", "BC", " D"],
            "deepseek": ["A", "中", "BC", " D"],
        },
    ),
    "a mark is a letter to some": (
        "e\u0301a!\u0301b",
        {
            "r50k": ["e", "\u0301", "a", "!\u0301", "b"],
            "cl100k": ["e", "\u0301a", "!\u0301", "b"],
            "o200k": ["e\u0301a", "!\u0301b"],
            "qwen2": ["e", "\u0301a", "!\u0301", "b"],
            "llama3": ["e", "\u0301a", "!\u0301", "b"],
            "qwen35": ["e\u0301a", "!\u0301b"],
            "tekken": ["e\u0301a", "!\u0301b"],
            "deepseek": ["e\u0301a", "!", "\u0301b"],
        },
    ),
    "to DeepSeek the text ends where another stretch begins": (
        "a  1ab中  アー",
        {
            "r50k": ["a", " ", " 1", "ab中", " ", " アー"],
            "cl100k": ["a", " ", " ", "1", "ab中", " ", " アー"],
            "o200k": ["a", " ", " ", "1", "ab中", " ", " アー"],
            "qwen2": ["a", " ", " ", "1", "ab中", " ", " アー"],
            "llama3": ["a", " ", " ", "1", "ab中", " ", " アー"],
            "qwen35": ["a", " ", " ", "1", "ab中", " ", " アー"],
            "tekken": ["a", " ", " ", "1", "ab中", " ", " アー"],
            "deepseek": ["a", "  ", "1", "ab", "中", "  ", "アー"],
        },
    ),
    "any one character but a newline leads a word": (
        "\ta\u00a0b(c\nd",
        {
            "r50k": ["\t", "a", "\u00a0", "b", "(", "c", "\n", "d"],
            "cl100k": ["\ta", "\u00a0b", "(c", "\n", "d"],
            "o200k": ["\ta", "\u00a0b", "(c", "\n", "d"],
            "qwen2": ["\ta", "\u00a0b", "(c", "\n", "d"],
            "llama3": ["\ta", "\u00a0b", "(c", "\n", "d"],
            "qwen35": ["\ta", "\u00a0b", "(c", "\n", "d"],
            "tekken": ["\ta", "\u00a0b", "(c", "\n", "d"],
            "deepseek": ["\ta", "\u00a0b", "(c", "\n", "d"],
        },
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_cases_by_hand(pattern: str, name: str) -> None:
    text, pre_tokens = CASES[name]
    assert native(pattern, text) == pre_tokens[pattern]
    assert reference.pretokenize(reference.PATTERNS[pattern], text) == pre_tokens[pattern]


CHARACTERS = st.one_of(
    st.sampled_from(
        list("aAzZ'sSſlLrRvVeEtTdDmM 中\u01c5\u0301\u02b0\u00b27\t\n\r\u00a0\u0085!/-_\x1c")
    ),
    st.characters(exclude_categories=["Cs"]),
)


@pytest.mark.parametrize("pattern", PATTERNS)
@settings(max_examples=300, deadline=None)
@given(text=st.text(CHARACTERS, max_size=60))
def test_native_agrees_with_the_reference(pattern: str, expected: Cut, text: str) -> None:
    assert native(pattern, text) == expected(pattern, text)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_native_agrees_on_random_unicode_and_code(pattern: str, expected: Cut) -> None:
    rng = random.Random(20260801)
    texts = [inspect.getsource(ctxengine), inspect.getsource(reference)]
    for _ in range(20):
        plane_end = rng.choice([0x250, 0x3000, 0x10000, sys.maxunicode + 1])
        characters = [chr(c) for c in (rng.randrange(plane_end) for _ in range(400))]
        texts.append("".join(c for c in characters if not "\ud800" <= c <= "\udfff"))
    for text in texts:
        assert native(pattern, text) == expected(pattern, text)


def final_pieces(pattern: str, text: str) -> list[str]:
    pieces, size_bytes = [], _core.final_prefix(pattern, text)
    for piece in native(pattern, text):
        if size_bytes == 0:
            break
        pieces.append(piece)
        size_bytes -= len(piece.encode())
    assert size_bytes == 0
    return pieces


@pytest.mark.parametrize("pattern", PATTERNS)
@settings(max_examples=300, deadline=None)
@given(text=st.text(CHARACTERS, max_size=30), more=st.text(CHARACTERS, max_size=6))
def test_more_text_cuts_what_is_final_as_before(pattern: str, text: str, more: str) -> None:
    pieces = final_pieces(pattern, text)
    assert native(pattern, text + more)[: len(pieces)] == pieces
    assert final_pieces(pattern, text + more)[: len(pieces)] == pieces


PROSE_AND_CODE = """\
It isn't done yet: 3 of 1,024 rows, \u201cas ever\u201d. 你好, 世界。 Ça va? Wir'd's counterrevolutionaries'
IDs; see https://example.org/a/b?c=1#d (2026-11-21).

def camelCaseHTTPServer(self, *, num_tokens: int = 0) -> dict[str, list[int]]:
    if num_tokens >= 2 ** 31 - 1:  # never
\t\treturn {"a'b": [-1, +2.5e-3]}

\u0301e\u0301 हिन्दी 한국어 カタカナ・ひらがな 😀😀
"""


@pytest.mark.parametrize("pattern", PATTERNS)
def test_of_prose_and_code_all_but_the_last_word_is_final(pattern: str) -> None:
    for end in range(1, len(PROSE_AND_CODE) + 1):
        front = PROSE_AND_CODE[:end]
        assert len(front.encode()) - _core.final_prefix(pattern, front) <= 40


@pytest.mark.parametrize("pattern", PATTERNS)
def test_no_text_no_pre_tokens(pattern: str) -> None:
    assert _core.pretokenize(pattern, "") == []


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ctxengine.ArgumentError, match="tekken or deepseek, got 'gpt9'"):
        _core.pretokenize("gpt9", "text")
    with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
        _core.pretokenize("r50k", "a\ud800")
    with pytest.raises(TypeError):
        _core.pretokenize("r50k", b"bytes")  # type: ignore[arg-type]
