"""Counting speed beside tiktoken, whose count is the length of the ids.

Run with ``pytest bench/bench_tokenize_count.py``.
"""

from __future__ import annotations

import corpora
import ctxengine
import pytest
import rivals

NAMES = ["cl100k_base", "o200k_base"]


def counters(name):
    theirs = rivals.tiktoken_encoding(name)
    return {
        "ctxengine": ctxengine.get_encoding(name).count,
        "tiktoken": lambda text: len(theirs.encode_ordinary(text)),
    }


@pytest.mark.parametrize("library", ["ctxengine", "tiktoken"])
@pytest.mark.parametrize("name", NAMES)
def test_count(benchmark, name, library):
    text = corpora.english()
    count = counters(name)
    assert count["ctxengine"](text) == count["tiktoken"](text)
    benchmark.group = f"count {name} english"
    benchmark.extra_info["size_bytes"] = len(text.encode())
    benchmark(count[library], text)


@pytest.mark.parametrize("library", ["ctxengine", "tiktoken"])
def test_count_messages(benchmark, library):
    texts = corpora.chat_messages()
    count = counters("o200k_base")
    assert [*map(count["ctxengine"], texts)] == [*map(count["tiktoken"], texts)]
    benchmark.group = "count 2000 messages, one call each"
    benchmark(lambda: [*map(count[library], texts)])


def test_fits(benchmark):
    text = corpora.english()
    encoding = ctxengine.get_encoding("o200k_base")
    assert not encoding.fits(text, 1000)
    assert encoding.count(text) > 1000
    benchmark.group = "does a megabyte fit 1000 tokens"
    benchmark(encoding.fits, text, 1000)
