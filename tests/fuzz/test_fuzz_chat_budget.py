"""Arbitrary JSON as messages, tools and items: a documented error or a right answer."""

from __future__ import annotations

import contextlib
import copy
import json
import time
from typing import Any

import pytest
from ctxengine.budget import Budget, Section, plan
from ctxengine.chat import Template, count_messages, count_request, encode_messages
from ctxengine.errors import CtxEngineError
from ctxengine.tokenize import get_encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SETTINGS = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
KEYS = [
    "role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content", "channel",
    "function", "arguments", "type", "text", "id", "messages", "tools",
]  # fmt: skip
VALUES = [
    "system", "user", "assistant", "tool", "developer", "function", "text", "{}", '{"a": 1}', "[",
    "<think>", "</think>", "<tool_response>", "</tool_response>", "final", "analysis", "\ud800",
]  # fmt: skip
any_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(VALUES)
    | st.text(st.characters(), max_size=6),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=5)
    ),
    max_leaves=15,
)
# Mostly a message, with anything in its fields.
messages = st.lists(
    st.builds(
        lambda role, content, extra: {**extra, "role": role, "content": content},
        st.sampled_from(VALUES[:5]) | any_json,
        st.sampled_from(VALUES) | any_json,
        st.dictionaries(st.sampled_from(KEYS[2:7]), any_json, max_size=2),
    )
    | any_json,
    max_size=5,
)
templates = st.sampled_from(
    [("qwen2", "qwen2"), ("qwen3", "qwen3"), ("chatml", "qwen3"), ("harmony", "o200k_harmony")]
)


@SETTINGS
@given(messages, st.none() | st.lists(any_json, max_size=2), templates)
def test_any_messages_count_or_raise(messages: Any, tools: Any, names: Any) -> None:
    template, encoding = names[0], get_encoding(names[1])
    before = copy.deepcopy(messages)
    try:
        counted = count_messages(messages, encoding, template=template, tools=tools)
    except CtxEngineError:
        with pytest.raises(CtxEngineError):
            encode_messages(messages, encoding, template=template, tools=tools)
        return
    finally:
        assert repr(messages) == repr(before)
    ids = encode_messages(messages, encoding, template=template, tools=tools)
    assert counted == len(ids)
    Template(template).render(messages, tools)
    report = count_request({"messages": messages, "tools": tools}, encoding, template=template)
    assert report.total == counted == sum(report.sections.values())


@SETTINGS
@given(st.binary(max_size=60) | any_json.map(lambda v: json.dumps(v).encode()))
def test_any_body_counts_or_raises(body: Any) -> None:
    with contextlib.suppress(CtxEngineError):
        assert count_request(body, get_encoding("qwen3")).total > 0


@SETTINGS
@given(
    st.integers(-1, 400) | any_json,
    messages | any_json,
    st.lists(st.sampled_from(VALUES) | st.tuples(st.sampled_from(VALUES), st.floats()) | any_json,
             max_size=4),
    any_json,
)  # fmt: skip
def test_any_plan_fits_or_raises(window: Any, history: Any, retrieval: Any, odd: Any) -> None:
    encoding = get_encoding("qwen3")
    options = [
        {},
        {"system": odd},
        {"history_cap": odd},
        {"grid": odd},
        {"cached_tokens": odd},
        {"section": {"name": "history", "min_tokens": odd}},
        {"section": {"name": "retrieval", "weight": odd}},
        {"section": {"name": odd, "items": ["x"], "priority": odd}},
        {"section": {"name": "memory", "items": odd}},
    ]
    for extra in options:
        try:
            if "section" in extra:
                extra = {"sections": [Section(**extra["section"])]}
            made = plan(Budget(window), encoding, history=history, retrieval=retrieval, **extra)
        except CtxEngineError:
            continue
        assert made.used <= window
        assert made.used == count_messages(made.messages, encoding)


@pytest.mark.parametrize(
    "content",
    [
        "<think>" * 40_000,
        "</think>" * 40_000,
        "<think></think>" * 20_000,
        "\n" * 400_000,
        "<|im_start|>" * 30_000,
        "<tool_response>" * 20_000 + "</tool_response>",
    ],
)
def test_hostile_content_stays_linear(content: Any) -> None:
    encoding = get_encoding("qwen3")

    def seconds(text: Any) -> Any:
        conversation = [{"role": "user", "content": "x"}, {"role": "assistant", "content": text}]
        start = time.perf_counter()
        count_messages(conversation, encoding)
        return time.perf_counter() - start

    quarter = min(seconds(content[: len(content) // 4] + str(i)) for i in range(3))
    whole = min(seconds(content + str(i)) for i in range(3))
    assert whole < 40 * quarter + 0.2  # quadratic would be far beyond on these sizes


def test_many_messages_stay_linear() -> None:
    encoding = get_encoding("qwen3")
    history = [{"role": "user", "content": "x"}] * 20_001
    start = time.perf_counter()
    made = plan(50_000, encoding, history=history, retrieval=["y"] * 2_000)
    assert time.perf_counter() - start < 20
    assert made.used <= 50_000
