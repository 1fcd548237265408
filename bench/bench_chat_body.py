"""Counting a request body of 1,000 messages from its bytes: cold, and again with one new message.

The rivals are LiteLLM's: its token_counter on the parsed body, and the native counter of bodies
that its wheel carries and does not use by default ("fast", the quicker of its two). Their rule is
the one that OpenAI published; what they count is held against ours first. The last row is how late
an asyncio loop wakes while a body of a million tokens is counted in a thread.
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

MODEL = "gpt-4o"
MESSAGES = [
    {**message, "content": message["content"][:440]} for message in corpora.conversation(1000)
]
LIBRARIES = ["ctxengine", "litellm native", "litellm"]


def body_of(messages):
    body = {"model": MODEL, "messages": messages, "temperature": 0.5}
    return json.dumps(body, ensure_ascii=False).encode()


def ours(body):
    return chat.count_request(body).total


def litellm_counter(litellm):
    def count(body):
        return litellm.token_counter(model=MODEL, messages=json.loads(body)["messages"])

    return count


def litellm_native_counter(loop):
    from litellm.rust_bridge import _native

    tokenizer = _native.Tokenizer.from_tiktoken("o200k_base")
    counter = _native.TokenCounter.from_tokenizer(tokenizer, fast=True)

    async def count(body):
        return await counter.acount_request(body)

    return lambda body: loop.run_until_complete(count(body))["input_tokens"]


@pytest.fixture
def library(request):
    """Return a library's counter of bodies, which counts as ours does."""
    if request.param == "ctxengine":
        yield ours
        return
    litellm = pytest.importorskip("litellm", reason="litellm is not installed, or not whole")
    loop = asyncio.new_event_loop()
    native = request.param == "litellm native"
    theirs = litellm_native_counter(loop) if native else litellm_counter(litellm)
    assert theirs(body_of(MESSAGES)) == ours(body_of(MESSAGES))
    yield theirs
    loop.close()


@pytest.mark.parametrize("library", LIBRARIES, indirect=True)
def test_cold(benchmark, library):
    body = body_of(MESSAGES)
    benchmark.group = f"count a body of {len(body) / 1e6:.2f} MB, none of it seen before"
    benchmark.pedantic(library, (body,), setup=chat.cache_clear, rounds=20)


@pytest.mark.parametrize("library", LIBRARIES, indirect=True)
def test_one_new(benchmark, library):
    benchmark.group = "count that body with one message more"
    library(body_of(MESSAGES))
    numbers = itertools.count()

    def setup():
        new = {"role": "user", "content": f"question {next(numbers)}"}
        return (body_of([*MESSAGES, new]),), {}

    benchmark.pedantic(library, setup=setup, rounds=20)


def test_heartbeat(benchmark):
    benchmark.group = (
        "a million tokens in a thread, beside an asyncio loop (worst_ms: how late it wakes)"
    )
    # Each with texts of its own, so that none is found in the count table.
    body = body_of([m for seed in range(5) for m in corpora.conversation(1000, seed)])

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
    assert ours(body) > 1_000_000
    benchmark.extra_info["worst_ms"] = [round(1e3 * late, 3) for late in lateness]
    assert min(lateness) < 0.005
