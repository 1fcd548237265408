"""Counting a chat prompt: cold, and again with one new message; beside jinja2 and tiktoken.

The conversation has 1,000 messages. The rival renders the family's Jinja template and encodes the
text with tiktoken, as a gateway without a count table does on every request.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import jinja2
import jinja2.sandbox
import pytest
from ctxengine import chat
from ctxengine.tokenize import get_encoding

ROOT = Path(__file__).resolve().parents[1]
WORDS = ["the ", "model ", "returns ", "日本語", "x = f(y)\n", "however, ", "2024 ", "résumé "]


def conversation(num_messages: Any, seed: Any = 0) -> Any:
    rng = random.Random(seed)
    messages = [{"role": "system", "content": "You are a careful assistant."}]
    for i in range(1, num_messages):
        role = "user" if i % 2 else "assistant"
        words = rng.choices(WORDS, k=rng.randint(20, 200))
        messages.append({"role": role, "content": f"{i}: " + "".join(words)})
    return messages


@pytest.fixture(scope="module")
def case() -> Any:
    encoding = get_encoding("qwen2")
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    template = environment.from_string(
        (ROOT / "third_party/chat_templates/qwen2.jinja").read_text()
    )
    oracle = encoding.as_tiktoken()

    def rival(messages: Any) -> Any:
        text = template.render(messages=messages, tools=None, add_generation_prompt=True)
        return len(oracle.encode(text, allowed_special="all"))

    messages = conversation(1000)
    assert chat.count_messages(messages, encoding) == rival(messages)
    return messages, encoding, rival


def test_count_1000_messages_cold(benchmark: Any, case: Any) -> None:
    messages, encoding, _ = case
    benchmark.pedantic(
        lambda: chat.count_messages(messages, encoding), setup=chat.cache_clear, rounds=10
    )


def test_count_1000_messages_one_new(benchmark: Any, case: Any) -> None:
    messages, encoding, _ = case
    chat.count_messages(messages, encoding)
    numbers = iter(range(10**9))

    def setup() -> Any:
        return ([*messages[:-1], {"role": "user", "content": f"new question {next(numbers)}"}],), {}

    benchmark.pedantic(lambda m: chat.count_messages(m, encoding), setup=setup, rounds=50)


def test_rival_jinja2_and_tiktoken(benchmark: Any, case: Any) -> None:
    messages, _, rival = case
    benchmark.pedantic(lambda: rival(messages), rounds=5)
