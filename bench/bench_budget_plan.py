"""Planning 1,000 messages, and 100 chunks, into three quarters of their tokens.

Beside it the plain way to the same history cut: render with jinja2, encode with tiktoken, drop the
oldest turn, until the rest fits (by halving, as the fastest of the common trimmers do).
"""

from __future__ import annotations

import bisect

import corpora
import pytest
import rivals
from ctxengine import chat
from ctxengine.budget import plan
from ctxengine.tokenize import get_encoding

LIBRARIES = ["ctxengine", "jinja2 + tiktoken"]
HISTORY = corpora.conversation(1000)


@pytest.fixture(scope="module")
def case():
    encoding = get_encoding("qwen2")
    count = rivals.jinja2_counter("qwen2")
    window = count(HISTORY) * 3 // 4
    starts = [i for i, message in enumerate(HISTORY) if message["role"] == "user"]

    def trim():
        first = bisect.bisect_left(starts, True, key=lambda i: count(HISTORY[i:]) <= window)
        return HISTORY[starts[first] :]

    made = plan(window, encoding, history=HISTORY, cut="tight")
    assert list(made.messages) == trim()
    assert made.used == count(list(made.messages))
    planners = {
        "ctxengine": lambda: plan(window, encoding, history=HISTORY, cut="tight"),
        "jinja2 + tiktoken": trim,
    }
    return planners, window, encoding


@pytest.mark.parametrize("library", LIBRARIES)
def test_history(benchmark, case, library):
    benchmark.group = "plan 1,000 messages, all seen before"
    benchmark.pedantic(case[0][library], rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("library", LIBRARIES)
def test_history_cold(benchmark, case, library):
    benchmark.group = "plan 1,000 messages, none seen before"
    benchmark.pedantic(case[0][library], setup=chat.cache_clear, rounds=5)


def test_history_and_chunks(benchmark, case):
    benchmark.group = "plan 1,000 messages and 100 chunks, all seen before"
    _, window, encoding = case
    chunks = [(m["content"], 1.0 + i % 7) for i, m in enumerate(corpora.conversation(100, seed=1))]
    benchmark(lambda: plan(window, encoding, history=HISTORY, retrieval=chunks))
