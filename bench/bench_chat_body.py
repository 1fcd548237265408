"""Counting a request body of 1,000 messages from its bytes: cold, and again with one new message.

The rival is LiteLLM's token_counter on the parsed body. Its rule is the same one that OpenAI
published; what it counts is held against ours first. The last row is how late an asyncio loop wakes
while a body of a million tokens is counted in a thread.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import time

import corpora
import pytest
from ctxengine import chat

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
litellm = pytest.importorskip("litellm")

MODEL = "gpt-4o"
MESSAGES = corpora.conversation(600)
LIBRARIES = ["ctxengine", "litellm"]


def body_of(messages):
    return json.dumps({"model": MODEL, "messages": messages, "temperature": 0.5}).encode()


def ours(body):
    return chat.count_request(body).total


def theirs(body):
    return litellm.token_counter(model=MODEL, messages=json.loads(body)["messages"])


COUNTERS = {"ctxengine": ours, "litellm": theirs}


@pytest.fixture(scope="module", autouse=True)
def equal():
    assert ours(body_of(MESSAGES)) == theirs(body_of(MESSAGES))


@pytest.mark.parametrize("library", LIBRARIES)
def test_cold(benchmark, library):
    benchmark.group = "count a body of 0.64 MB from its bytes, none seen before"
    body = body_of(MESSAGES)
    benchmark.pedantic(COUNTERS[library], (body,), setup=chat.cache_clear, rounds=10)


@pytest.mark.parametrize("library", LIBRARIES)
def test_one_new(benchmark, library):
    benchmark.group = "count a body of 0.64 MB from its bytes, one message new"
    COUNTERS[library](body_of(MESSAGES))
    numbers = itertools.count()

    def setup():
        new = {"role": "user", "content": f"question {next(numbers)}"}
        return (body_of([*MESSAGES, new]),), {}

    benchmark.pedantic(COUNTERS[library], setup=setup, rounds=10)


def test_heartbeat(benchmark):
    benchmark.group = (
        "a million tokens in a thread, beside an asyncio loop (worst_ms: how late it wakes)"
    )
    body = body_of(MESSAGES * 8)

    async def worst():
        chat.cache_clear()
        counting = asyncio.create_task(asyncio.to_thread(ours, body))
        late = 0.0
        while not counting.done():
            start = time.perf_counter()
            await asyncio.sleep(0.001)
            late = max(late, time.perf_counter() - start - 0.001)
        await counting
        return late

    lateness = []
    benchmark.pedantic(lambda: lateness.append(asyncio.run(worst())), rounds=5)
    benchmark.extra_info["worst_ms"] = [round(1e3 * late, 3) for late in lateness]
    assert min(lateness) < 0.005
