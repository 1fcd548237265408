"""What the native normalizer promises beside its results: stable prefixes, sources, linear time."""

from __future__ import annotations

import random
import time
from itertools import pairwise

import pytest
from ctxengine import _core
from ctxengine.errors import LoadError
from ctxengine.reference import normalize as reference

Steps = list[tuple[str, str, str]]
POSITIONS = ["input_start", "section_start", "middle"]
NFC, NFKC, LOWER = ("nfc", "", ""), ("nfkc", "", ""), ("lowercase", "", "")

# Letters that the steps below know, beside what composes, moves, decomposes or does nothing.
LETTERS = [*"abAB xeE._İIı", *"▁éÀﬁ①가각힣ᄀ까ᅵᆨᆩﾡￂｶﾞ゙゚か中🎉Ωﾟ"]
LETTERS += [*"\u0301\u0301\u0300\u0323\u0334\u0345\u0344\u0307\u0f71\u0f72\u0f73\u09c7\u09be\u0958"]


def random_letters(choose: random.Random, steps: Steps) -> list[str]:
    """Few letters, so that they meet often, and those of the steps among them."""
    own = "".join(pattern + content for _, pattern, content in steps)
    return [*own, *choose.sample(LETTERS, choose.randrange(1, 8))]


KEEPING: list[Steps] = [
    [],
    [NFC],
    [NFKC],
    [LOWER],
    [NFC, NFKC, NFC],
    [LOWER, NFC],
    [NFKC, LOWER],
    [("replace", " ", "▁")],
    [("prepend", "", "▁"), ("replace", " ", "▁")],
    [("replace", " ", "▁"), ("prepend_unless", "", "▁")],
    [("replace", " ", "▁"), ("prepend_first", "", "▁")],
    [("replace", "aa", "b"), ("replace", "xx", "y")],
    [("replace", "ab", "ba"), ("replace", "bab", "")],
    [("replace", "aba", "a\u0301"), NFC],
    [("replace", "a", "\u0301"), NFC, ("prepend", "", "e")],
    [("prepend", "", "e"), NFC, ("replace", "é", "É"), LOWER],
    [("prepend", "", "a"), ("replace", "aab", "x")],
    [("replace", "b", ""), LOWER],
]
PROMISING_NOTHING: list[Steps] = [
    [NFC, ("replace", "ab", "x")],
    [NFC, LOWER, NFC],
    [("replace", "a", ""), ("prepend", "", "x"), LOWER],
    [("prepend_unless", "", "ab")],
]


@pytest.mark.parametrize("steps", KEEPING + PROMISING_NOTHING)
def test_no_text_that_follows_changes_a_stable_prefix(steps: Steps) -> None:
    choose = random.Random(len(str(steps)))
    normalizer = _core.Normalizer(steps)
    for _ in range(4000):
        letters = random_letters(choose, steps)
        text, more = ("".join(choose.choices(letters, k=choose.randrange(8))) for _ in range(2))
        position = choose.choice(POSITIONS)
        whole = normalizer.normalize(text + more, position)
        size = normalizer.stable_prefix(text, position)
        assert 0 <= size <= len(text.encode())
        if size > 0:
            prefix = text.encode()[:size].decode()
            rest = text[len(prefix) :] + more
            joined = normalizer.normalize(prefix, position) + normalizer.normalize(rest, "middle")
            assert joined == whole, (ascii(text), ascii(more), position)


@pytest.mark.parametrize("steps", KEEPING)
def test_ordinary_text_is_stable_up_to_its_last_character(steps: Steps) -> None:
    text = "Ordinary text, " * 20
    size = _core.Normalizer(steps).stable_prefix(text, "input_start")
    erases = any(kind == "replace" and not content for kind, _, content in steps)
    assert size >= len(text) - 3 or erases


@pytest.mark.parametrize("steps", PROMISING_NOTHING)
def test_nothing_is_promised_where_the_header_says_so(steps: Steps) -> None:
    assert _core.Normalizer(steps).stable_prefix("ordinary text", "input_start") == 0


@pytest.mark.parametrize("steps", KEEPING + PROMISING_NOTHING)
def test_all_steps_as_the_reference(steps: Steps) -> None:
    choose = random.Random(len(str(steps)))
    normalizer = _core.Normalizer(steps)
    for _ in range(1000):
        letters = random_letters(choose, steps)
        text = "".join(choose.choices(letters, k=choose.randrange(16)))
        position = choose.choice(POSITIONS)
        ours = normalizer.normalize(text, position)
        assert ours == reference.normalize(steps, text, position), ascii(text)


@pytest.mark.parametrize("steps", KEEPING + PROMISING_NOTHING)
def test_sources_lead_to_whole_characters_in_order(steps: Steps) -> None:
    choose = random.Random(len(str(steps)))
    normalizer = _core.Normalizer(steps)
    for _ in range(2000):
        letters = random_letters(choose, steps)
        text = "".join(choose.choices(letters, k=choose.randrange(16)))
        position = choose.choice(POSITIONS)
        normalized, parts = normalizer.normalize_aligned(text, position)
        assert normalized == normalizer.normalize(text, position)
        if not parts:
            assert normalized in {text, ""}
            continue
        source, output = text.encode(), normalized.encode()
        assert parts[-1][0] == len(output)
        begins = [0, *(end for end, _, _, _ in parts)]
        for begin, (end, source_begin, source_end, bytewise) in zip(begins, parts, strict=False):
            assert begin < end
            assert 0 <= source_begin <= source_end <= len(source)
            if bytewise:
                assert source_end - source_begin == end - begin
                same = source[source_begin:source_end].lower() == output[begin:end].lower()
                assert same or LOWER in steps
            source[source_begin:source_end].decode()
        for (_, *left), (_, *right) in pairwise(parts):
            assert left[0] <= right[0]
            assert left[1] <= right[1]


@pytest.mark.parametrize("kind", [NFC, NFKC, LOWER])
def test_each_part_is_what_its_source_becomes_alone(kind: tuple[str, str, str]) -> None:
    choose = random.Random(7)
    normalizer = _core.Normalizer([kind])
    for _ in range(3000):
        text = "".join(choose.choices(LETTERS, k=choose.randrange(20)))
        normalized, parts = normalizer.normalize_aligned(text, "middle")
        begin = source_done = 0
        for end, source_begin, source_end, _ in parts:
            assert source_begin == source_done  # nothing is lost between two parts
            alone = text.encode()[source_begin:source_end].decode()
            part = normalized.encode()[begin:end].decode()
            assert normalizer.normalize(alone, "middle") == part
            begin, source_done = end, source_end
        assert not parts or source_done == len(text.encode())


@pytest.mark.parametrize(
    ("steps", "unit"),
    [
        ([NFC], "\u0301\u0323"),
        ([NFC], "\u0323\u0301"),
        ([NFKC], "\u0345\u0334\u0344"),
        ([NFC], "e\u0301"),
        ([NFC], "\u1100\u1161\u11a8"),
        ([NFC], "\u1161"),
        ([NFKC], "\ufdfa"),
        ([NFKC], "\uff76\uff9e"),
        ([LOWER], "\u0130A"),
        ([("replace", "a" * 1000 + "b", "c")], "a"),
        ([("replace", "ab" * 500 + "c", "c")], "ab"),
        ([("replace", "a", "bcd"), ("replace", "bcd", "a")], "a"),
    ],
)
def test_hostile_text_takes_linear_time(steps: Steps, unit: str) -> None:
    normalizer = _core.Normalizer(steps)

    def seconds(size: int) -> float:
        text = "a" + unit * (size // len(unit.encode()))
        best = float("inf")
        for _ in range(3):
            begin = time.process_time()
            normalizer.normalize(text, "input_start")
            best = min(best, time.process_time() - begin)
        return best

    # Sixteen times as much text; quadratic work would take 256 times as long.
    assert seconds(1 << 20) < 64 * max(seconds(1 << 16), 1e-4)


def test_unknown_names_and_bad_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown kind of normalizer step"):
        _core.Normalizer([("nfx", "", "")])
    with pytest.raises(LoadError, match="normalizer step 1: the pattern is empty"):
        _core.Normalizer([NFC, ("replace", "", "x")])
    with pytest.raises(ValueError, match="unknown position"):
        _core.Normalizer([]).normalize("", "end")
