"""Counting a chat of 1,000 messages: cold, and again with one new message.

The rival renders the family's Jinja template and encodes the text with tiktoken, as a gateway
without a count table does on every request.
"""

from __future__ import annotations

import itertools

import corpora
import pytest
import rivals
from ctxengine import chat
from ctxengine.tokenize import get_encoding

LIBRARIES = ["ctxengine", "jinja2 + tiktoken"]


@pytest.fixture(scope="module")
def counters():
    encoding = get_encoding("qwen2")
    theirs = rivals.jinja2_counter("qwen2")
    messages = corpora.conversation(1000)
    assert chat.count_messages(messages, encoding) == theirs(messages)
    return {
        "ctxengine": lambda messages: chat.count_messages(messages, encoding),
        "jinja2 + tiktoken": theirs,
    }


@pytest.mark.parametrize("library", LIBRARIES)
def test_cold(benchmark, counters, library):
    benchmark.group = "count 1,000 messages, none seen before"
    messages = corpora.conversation(1000)
    benchmark.pedantic(counters[library], (messages,), setup=chat.cache_clear, rounds=10)


@pytest.mark.parametrize("library", LIBRARIES)
def test_one_new(benchmark, counters, library):
    benchmark.group = "count 1,000 messages, one of them new"
    messages = corpora.conversation(1000)
    counters[library](messages)
    numbers = itertools.count()

    def setup():
        return ([*messages[:-1], {"role": "user", "content": f"question {next(numbers)}"}],), {}

    benchmark.pedantic(counters[library], setup=setup, rounds=10)
