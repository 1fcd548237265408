"""One turn more in a chat of 1,000 messages: a `Conversation` beside counting everything anew.

Rivals count, or trim to what fits, the whole list at every turn. LiteLLM counts text in chunks of
its own making, so its count of a few messages is checked to be near; LangChain counts with the very
counter that is measured here.
"""

from __future__ import annotations

import itertools

import corpora
import pytest
from ctxengine import chat
from ctxengine.tokenize import get_encoding

NUM_MESSAGES = 1000
QWEN = "qwen2"


@pytest.fixture(scope="module")
def messages():
    return corpora.conversation(NUM_MESSAGES)


def turns():
    for number in itertools.count():
        yield {
            "role": "assistant",
            "content": f"answer {number}: it is so because it is not otherwise.",
        }
        yield {"role": "user", "content": f"question {number}: and why is that?"}


def test_append_to_a_conversation(benchmark, messages):
    benchmark.group = "one turn more after 1,000 messages"
    encoding = get_encoding(QWEN)
    conversation = chat.Conversation(encoding, messages=messages)
    more = turns()
    for message in itertools.islice(turns(), 10):
        conversation.append(message)
    expected = [*messages, *itertools.islice(turns(), 10)]
    assert conversation.ids.tolist() == chat.encode_messages(expected, encoding).tolist()
    conversation.replace_span(NUM_MESSAGES, NUM_MESSAGES + 10)
    benchmark(lambda: conversation.append(next(more)))


def test_count_messages_again(benchmark, messages):
    benchmark.group = "one turn more after 1,000 messages"
    encoding = get_encoding(QWEN)
    more = turns()
    benchmark(lambda: chat.count_messages([*messages, next(more)], encoding))


def test_litellm_token_counter(benchmark, messages):
    benchmark.group = "one turn more after 1,000 messages"
    litellm = pytest.importorskip("litellm", reason="litellm is not installed")
    more = turns()
    short = messages[:4]
    theirs = litellm.token_counter(model="gpt-4o", messages=short)
    assert abs(theirs - chat.count_messages(short, "gpt-4o")) <= 0.01 * theirs + 4
    benchmark.pedantic(
        lambda: litellm.token_counter(model="gpt-4o", messages=[*messages, next(more)]), rounds=3
    )


def test_langchain_trim(benchmark, messages):
    benchmark.group = "one turn more after 1,000 messages"
    core = pytest.importorskip("langchain_core.messages", reason="langchain-core is not installed")
    encoding = get_encoding(QWEN)
    kinds = {"user": core.HumanMessage, "assistant": core.AIMessage}
    theirs = [kinds[message["role"]](message["content"]) for message in messages]
    names = {"human": "user", "ai": "assistant"}

    def count(part):
        plain = [{"role": names[message.type], "content": message.content} for message in part]
        return chat.count_messages(plain, encoding)

    limit = int(0.9 * chat.count_messages(messages, encoding))
    kept = core.trim_messages(
        theirs, max_tokens=limit, token_counter=count, strategy="last", start_on="human"
    )
    assert [message.content for message in kept] == [
        message["content"] for message in messages[-len(kept) :]
    ]
    assert count(kept) <= limit
    benchmark.pedantic(
        core.trim_messages,
        (theirs,),
        {"max_tokens": limit, "token_counter": count, "strategy": "last", "start_on": "human"},
        rounds=3,
    )
