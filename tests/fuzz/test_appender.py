"""An appender has the ids of a fresh encoding after every append, whatever is appended.

CTXENGINE_APPEND_SEQUENCES sets how many sequences there are for each vocabulary.
"""

from __future__ import annotations

import os
import random

import ctxengine
import numpy as np
import pytest
from vocabulary_families import FAMILIES, family

NUM_SEQUENCES = int(os.environ.get("CTXENGINE_APPEND_SEQUENCES", "1500"))
SHIPPED = ["r50k_base", "p50k_edit", "cl100k_base", "o200k_base", "o200k_harmony", "qwen3"]

# What scanners, normalizers, merging and the search for special tokens look at twice when more
# follows. The last of each list is long.
PIECES = [
    [" ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "a", "."],
    ["don", "'", "l", "ll", "'S", "re", "ſ", "I", "N", "'v", "e"],
    ["1", "23", "456", "٣", "½", "Ⅷ", " ", "a"],
    ["中", "文", "ア", "ー", "々", "A", "b", "é", "한", "国", " "],
    [
        "e",
        "\u0301",
        "\u0323",
        "\u0327",
        "\u1100",
        "\u1161",
        "\u11a8",
        "가",
        "\u212b",
        "\u0958",
        "x",
    ],
    ["<", "|", "<|", "endoftext", "|>", "<|endoftext|>", "<|im_start|>", "[INST]", "<s>", "</s>"],
    ["▁", " ▁", "▁▁", "_", "/", "//", "\n/", "-", "=", "==", "::"],
    ["👩", "\u200d", "💻", "🏽", "\ufe0f", "🇩", "🇪", "\ud83d", "a"],
    ["the", " quick", " bro", "wn", " fox", "es", ",", " jump", "ed", " over", "."],
    ["a", "aa", "aaa", "ab", "b" * 50, "a" * 3000, " " * 3000, "xyz" * 1500],
]


@pytest.fixture(scope="module", params=[*SHIPPED, *FAMILIES])
def encoding(request, tmp_path_factory):
    if request.param in SHIPPED:
        return ctxengine.get_encoding(request.param)
    return ctxengine.load(family(request.param, tmp_path_factory.mktemp("vocabulary")).path)


def test_a_pair_of_surrogates_is_two_lone_ones_when_it_is_cut(encoding):
    whole, cut = encoding.appender("a\ud83d\udcbb"), encoding.appender("a\ud83d")
    cut.append("\udcbb")
    assert whole.ids.tolist() == encoding.encode("a\U0001f4bb")
    assert cut.ids.tolist() == encoding.encode("a\ufffd\ufffd")


def check_appended(appender, before, expected, segments):
    """The ids are `expected`, and changed_from tells where they differ from those before."""
    ids = appender.ids
    assert np.array_equal(ids, expected), segments
    shorter = min(len(ids), len(before))
    changed = np.flatnonzero(ids[:shorter] != before[:shorter])
    assert appender.changed_from == (changed[0] if len(changed) else shorter), segments
    return ids


# Of one pre-token in most patterns, or of two with the last newline or symbol between them.
LONG = [
    "ab",
    "aB",
    "abAB中",
    "éèжЖ",
    " \t",
    " \n\t\u3000",
    "=-",
    "=/\n",
    "e\u0301\u0323",
    "中文アー",
    "1٣",
]


@pytest.mark.parametrize("characters", LONG)
def test_appends_to_a_long_pre_token(encoding, characters):
    generator = random.Random(characters)
    for _ in range(max(2, NUM_SEQUENCES // 500)):
        text = "".join(generator.choices(characters, k=generator.randint(2000, 8000)))
        appender = encoding.appender(text)
        before = appender.ids
        others = generator.choice(PIECES[:-1])
        for _ in range(12):
            alike = generator.random() < 0.8
            more = "".join(
                generator.choices(characters if alike else others, k=generator.randint(0, 9))
            )
            if "\ud83d" in more:
                continue
            text += more
            assert appender.count_with(more) == appender.append(more), text[-200:]
            before = check_appended(appender, before, encoding.encode_ordinary(text), text[-200:])
            if generator.random() < 0.1:
                appender = appender.copy()


def test_random_append_sequences(encoding):
    generator = random.Random(encoding.fingerprint)
    for number in range(NUM_SEQUENCES):
        pieces = generator.choice(PIECES[:-1] if number % 50 else PIECES)
        if generator.random() < 0.3:
            pieces = pieces + generator.choice(PIECES[:-1])
        appender = encoding.appender()
        segments: list[tuple[str, bool]] = []
        before = np.zeros(0, np.uint32)
        for _ in range(generator.randint(1, 8)):
            text = "".join(generator.choices(pieces, k=generator.randint(0, 4)))
            trusted = generator.random() < 0.2
            segments.append((text, trusted))
            count_with = appender.count_with(text, trusted=trusted)
            assert appender.append(text, trusted=trusted) == count_with, segments
            expected = encoding.encode_segments(segments)
            before = check_appended(appender, before, expected, segments)
            if generator.random() < 0.05:
                appender = appender.copy()
        if not any(trusted for _, trusted in segments):
            # A pair of surrogates may have been cut, which each append sees for itself.
            joined = "".join(text for text, _ in segments)
            if "\ud83d" not in joined:
                assert appender.ids.tolist() == encoding.encode_ordinary(joined)
