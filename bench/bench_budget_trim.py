"""Trimming 1,000 messages to nine tenths of their tokens, beside LangChain's and LiteLLM's ways.

Live: the same dicts, which were counted before. Fresh: equal ones, newly parsed. LangChain counts
with a tiktoken counter by the same published rule, so that
what is kept must be the same. LiteLLM counts by another rule of its own and is only timed.
"""

from __future__ import annotations

import json

import corpora
import pytest
import rivals
from ctxengine import chat
from ctxengine.budget import plan, trim_messages
from ctxengine.tokenize import get_encoding

HISTORY = corpora.conversation(1000)
GROUP = "trim 1,000 messages to 90 %"


@pytest.fixture(scope="module")
def case():
    encoding, template = get_encoding("o200k_base"), chat.Template("openai")
    limit = chat.count_messages(HISTORY, encoding, template=template) * 9 // 10
    made = plan(limit, encoding, template=template, history=HISTORY, cut="tight")
    return encoding, template, limit, list(made.messages)


def trim(case, messages):
    encoding, template, limit, _ = case
    return trim_messages(messages, encoding, template=template, max_tokens=limit)


def test_live(benchmark, case):
    benchmark.group = GROUP
    assert trim(case, HISTORY) == case[3]
    for _ in range(10):
        trim(case, HISTORY)
    benchmark(trim, case, HISTORY)


def test_fresh(benchmark, case):
    benchmark.group = GROUP
    text = json.dumps(HISTORY)
    assert trim(case, json.loads(text)) == case[3]
    benchmark.pedantic(trim, setup=lambda: ((case, json.loads(text)), {}), rounds=100)


def test_conversation(benchmark, case):
    benchmark.group = GROUP
    encoding, template, limit, kept = case
    conversation = chat.Conversation(encoding, template=template, messages=HISTORY)
    fit = conversation.fit(limit)
    assert [*HISTORY[: fit.lead], *(HISTORY[i] for i in fit.carried), *HISTORY[fit.start :]] == kept
    assert fit.tokens == chat.count_messages(kept, encoding, template=template)
    benchmark(conversation.fit, limit)


def test_plan_of_live(benchmark, case):
    benchmark.group = GROUP
    encoding, template, limit, _ = case
    benchmark(lambda: plan(limit, encoding, template=template, history=HISTORY, cut="tight"))


def test_langchain(benchmark, case):
    benchmark.group = GROUP
    core = pytest.importorskip("langchain_core.messages", reason="langchain-core is not installed")
    encode = rivals.tiktoken_encoding("o200k_base").encode_ordinary
    roles = {"human": "user", "ai": "assistant", "system": "system"}

    def count(messages):
        return 3 + sum(3 + len(encode(roles[m.type])) + len(encode(m.content)) for m in messages)

    theirs = core.convert_to_messages(HISTORY)
    options = {
        "max_tokens": case[2],
        "token_counter": count,
        "strategy": "last",
        "include_system": True,
    }
    kept = core.trim_messages(theirs, **options)
    ours = [message["content"] for message in case[3]]
    # Where it cuts inside a turn, the user's message of that turn is gone.
    assert [message.content for message in kept] in (ours, ours[1:])
    benchmark.pedantic(core.trim_messages, (theirs,), options, rounds=3)


def test_litellm(benchmark, case):
    benchmark.group = GROUP
    utils = pytest.importorskip("litellm.utils", reason="litellm is not installed")
    kept = utils.trim_messages(HISTORY[:20], model="gpt-4o", max_tokens=case[2] // 70)
    assert 0 < len(kept) <= 20
    benchmark.pedantic(
        utils.trim_messages, (HISTORY,), {"model": "gpt-4o", "max_tokens": case[2]}, rounds=1
    )
