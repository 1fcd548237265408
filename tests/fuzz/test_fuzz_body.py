"""Bodies as JSON text against the same bodies parsed by Python's json module."""

from __future__ import annotations

import json
import random
from typing import Any

from ctxengine.chat import count_request
from ctxengine.errors import ArgumentError
from ctxengine.tokenize import get_encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SETTINGS = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
KEYS = [
    "role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content", "type", "text",
    "function", "arguments", "id", "messages", "input", "system", "instructions", "tools", "output",
    "call_id", "tool_use_id", "thinking", "is_error", "input_schema", "cache_control", "model",
]  # fmt: skip
VALUES = [
    "system", "user", "assistant", "tool", "text", "input_text", "tool_use", "tool_result",
    "thinking", "reasoning", "function_call", "function_call_output", "message", "{}", '{"a": 1e5}',
    "[", "é\n\"\\\x00", "\ud800", "😀",
]  # fmt: skip
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(VALUES),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5)
    ),
    max_leaves=15,
)  # fmt: skip
items = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(VALUES[:4]), "content": st.sampled_from(VALUES) | any_json},
        optional={"tool_calls": any_json, "reasoning_content": any_json, "type": any_json},
    )
    | st.fixed_dictionaries(
        {"type": st.sampled_from(VALUES[9:13])},
        optional={"name": any_json, "arguments": any_json, "output": any_json, "content": any_json},
    ),
    max_size=6,
)
bodies = st.fixed_dictionaries(
    {}, optional={"messages": items | any_json, "input": items | any_json, "tools": any_json,
                  "system": any_json, "instructions": any_json},
)  # fmt: skip


def outcome(body: Any) -> Any:
    try:
        return count_request(body, get_encoding("qwen3"))
    except ArgumentError as error:
        return str(error)


@SETTINGS
@given(bodies, st.booleans(), st.sampled_from([None, 2]))
def test_text_and_mapping_have_the_same_outcome(body: Any, ascii_only: Any, indent: Any) -> None:
    text = json.dumps(body, ensure_ascii=ascii_only, indent=indent)
    parsed = outcome(body)
    for _ in range(2):
        read = outcome(text)
        # Which of several errors is told first differs.
        assert isinstance(read, str) if isinstance(parsed, str) else read == parsed


@SETTINGS
@given(bodies, st.integers(0, 2**32))
def test_damaged_text_counts_as_what_it_says_or_raises(body: Any, seed: Any) -> None:
    generator = random.Random(seed)
    text = bytearray(json.dumps(body).encode())
    for _ in range(generator.randrange(1, 4)):
        at = generator.randrange(len(text) + 1)
        text[at : at + generator.randrange(3)] = generator.choice(
            [b"", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"0", b"\xff", b"\n", b"null"]
        )
    read = outcome(bytes(text))
    try:
        parsed = json.loads(bytes(text), parse_constant=int)
    except (ValueError, RecursionError):
        assert isinstance(read, str)
        return
    if isinstance(parsed, dict) and not isinstance(read, str):
        assert read == outcome(parsed)
