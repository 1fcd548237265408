"""Counting holds no more than chunks of a long text; the count is that of the ids."""

from __future__ import annotations

import random

import ctxengine
import pytest
from families import FAMILIES as HOSTILE
from vocabulary_families import FAMILIES, family

SIZE = 150_000  # of characters: more than two chunks
CHANGED = {
    "accents apart": "e\u0301 cafe\u0301\n" * (SIZE // 8),
    "hangul in parts": "\u1112\u1161\u11ab" * (SIZE // 3),
    "a letter under many marks": "a" * 1000 + "e" + "\u0301\u0323" * 50_000 + " b" * 10_000,
    "a long word changed": "\u212b" + "a" * SIZE + " end",
    "symbols that grow": "\U0001d160" * (SIZE // 3) + "\n\n a",
}


@pytest.fixture(scope="module", params=["cl100k_base", "qwen3", *FAMILIES])
def encoding(request, tmp_path_factory):
    if request.param in FAMILIES:
        return ctxengine.load(family(request.param, tmp_path_factory.mktemp("vocabulary")).path)
    return ctxengine.get_encoding(request.param)


def check(encoding, text):
    count = len(encoding.encode_to_numpy(text, disallowed_special=()))
    assert encoding.count(text) == count
    assert encoding.fits(text, count)
    assert not encoding.fits(text, count - 1)


def test_hostile_text(encoding):
    for name in random.Random(encoding.fingerprint).sample(sorted(HOSTILE), 10):
        check(encoding, HOSTILE[name](SIZE))


@pytest.mark.parametrize("what", CHANGED)
def test_text_that_normalizers_change(encoding, what):
    check(encoding, CHANGED[what])
