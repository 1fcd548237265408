"""Planning 1,000 messages and 100 chunks into three quarters of their tokens.

Beside it the plain way of the same history cut: render with jinja2 and encode with tiktoken, drop
the oldest turn, until the rest fits (by halving, as the fastest of the common trimmers do).
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
from ctxengine.budget import plan
from ctxengine.tokenize import get_encoding

ROOT = Path(__file__).resolve().parents[1]
WORDS = ["the ", "model ", "returns ", "日本語", "x = f(y)\n", "however, ", "2024 ", "résumé "]


def conversation(num_messages: Any, seed: Any = 0) -> Any:
    rng = random.Random(seed)
    messages = []
    for i in range(num_messages - 1):
        role = "assistant" if i % 2 else "user"
        words = rng.choices(WORDS, k=rng.randint(20, 200))
        messages.append({"role": role, "content": f"{i}: " + "".join(words)})
    return [*messages, {"role": "user", "content": "And now?"}]


@pytest.fixture(scope="module")
def case() -> Any:
    encoding = get_encoding("qwen2")
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    template = environment.from_string(
        (ROOT / "third_party/chat_templates/qwen2.jinja").read_text()
    )
    oracle = encoding.as_tiktoken()

    def count(messages: Any) -> Any:
        text = template.render(messages=messages, tools=None, add_generation_prompt=True)
        return len(oracle.encode(text, allowed_special="all"))

    history = conversation(1000)
    window = count(history) * 3 // 4

    def rival() -> Any:
        starts = [i for i, message in enumerate(history) if message["role"] == "user"]
        low, high = 0, len(starts) - 1
        while low < high:
            middle = (low + high) // 2
            if count(history[starts[middle] :]) <= window:
                high = middle
            else:
                low = middle + 1
        return history[starts[low] :]

    made = plan(window, encoding, history=history, cut="tight")
    assert list(made.messages) == rival()
    assert made.used == count(list(made.messages))
    return history, window, encoding, rival


def test_plan_history(benchmark: Any, case: Any) -> None:
    history, window, encoding, _ = case
    benchmark(lambda: plan(window, encoding, history=history, cut="tight"))


def test_plan_history_cold(benchmark: Any, case: Any) -> None:
    history, window, encoding, _ = case
    benchmark.pedantic(
        lambda: plan(window, encoding, history=history, cut="tight"),
        setup=chat.cache_clear,
        rounds=10,
    )


def test_plan_history_and_chunks(benchmark: Any, case: Any) -> None:
    history, window, encoding, _ = case
    chunks = [(m["content"], 1.0 + i % 7) for i, m in enumerate(conversation(100, seed=1))]
    benchmark(lambda: plan(window, encoding, history=history, retrieval=chunks))


def test_rival_jinja2_and_tiktoken(benchmark: Any, case: Any) -> None:
    _, _, _, rival = case
    benchmark.pedantic(rival, rounds=3)
