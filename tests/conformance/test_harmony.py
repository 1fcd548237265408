"""Ids and counts of the templates harmony and gpt-oss equal openai-harmony's.

For gpt-oss the test maps OpenAI chat messages onto harmony messages itself, as vLLM's chat
completions do (its leading instructions, the names of results by call id, the dropping of answered
reasoning), and openai-harmony renders them.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from chat_families import harmony_encoding, harmony_ids, harmony_messages
from ctxengine.chat import HarmonySystem, Template, count_messages, count_request, encode_messages
from ctxengine.errors import ArgumentError
from ctxengine.tokenize import get_encoding
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
SNIPPETS = [
    "", " ", "\n", "Hello", " world", "'s", "42", "你好", "👩🏽\u200d💻", "नमस्ते", "<|end|>",
    "<|start|>",
    "<|message|>", "<|channel|>final", "<|return|>", "<|", "def f():\n\treturn 1\n", ":", "\x00",
]  # fmt: skip


SETTINGS = settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
texts = st.lists(st.sampled_from(SNIPPETS) | st.text(max_size=8), max_size=6).map("".join)
words = st.sampled_from(["x", "città", "a_b", "get weather", "<|end|>", "", "type", "null", "7"])


# --- JSON schemas ---

numbers = (
    st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0, -0.0, 2**63, -(2**63), 2**64 - 1, 2**64, 1e15, 1e16, 1e-5, 1e-6, 5e-324])
)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)
TYPES = ["string", "number", "integer", "boolean", "null", "array", "object", "odd"]


def optional(fields: Any) -> Any:
    return st.fixed_dictionaries({}, optional=fields)


def _schemas(inner: Any) -> Any:
    return optional(
        {
            "type": st.sampled_from([*TYPES, "object", "object", "array"])
            | st.lists(st.sampled_from(TYPES) | st.just(1), max_size=3),
            "description": texts,
            "title": texts,
            "default": json_values,
            "enum": st.lists(texts | st.integers(0, 3), max_size=3) | st.just("x"),
            "examples": st.lists(texts | st.just(1), max_size=2),
            "nullable": st.booleans() | st.just("true"),
            "items": inner,
            "properties": st.dictionaries(words, inner, max_size=4),
            "required": st.lists(words, max_size=3),
            "oneOf": st.lists(inner, max_size=3) | st.just("x"),
            "anyOf": st.lists(inner, max_size=2),
            "additionalProperties": st.booleans(),
        }
    )


schemas = st.recursive(_schemas(st.just({"type": "string"})) | json_values, _schemas, max_leaves=8)
parameters = st.none() | _schemas(schemas)
harmony_tools = st.lists(
    st.fixed_dictionaries(
        {"name": words, "description": texts | st.sampled_from(["a\r\nb", "a\n\n", "a\r"])},
        optional={"parameters": parameters},
    ),
    max_size=3,
)
namespaces = st.dictionaries(
    st.sampled_from(["functions", "functions", "browser", "a"]),
    st.fixed_dictionaries({"name": words, "tools": harmony_tools}, optional={"description": texts}),
    max_size=2,
)


# --- harmony messages ---

system_contents = optional(
    {
        "model_identity": texts,
        "reasoning_effort": st.sampled_from(["Low", "Medium", "High"]),
        "conversation_start_date": texts,
        "knowledge_cutoff": texts,
        "channel_config": st.fixed_dictionaries(
            {"valid_channels": st.lists(words, max_size=3), "channel_required": st.booleans()}
        ),
        "tools": namespaces,
    }
).map(lambda content: {"type": "system_content", **content})
developer_contents = optional({"instructions": texts, "tools": namespaces}).map(
    lambda content: {"type": "developer_content", **content}
)
text_contents = texts.map(lambda text: {"type": "text", "text": text})


def _message(role: Any, contents: Any, **fields: Any) -> Any:
    return st.fixed_dictionaries(
        {"role": st.just(role), "content": texts | st.lists(contents, max_size=3)},
        optional={
            "name": st.sampled_from(["bob", "Bob_7", "12", " x", "x \t", "<|end|>", ""]),
            "recipient": st.sampled_from(["functions.f", "all", "assistant", "", " a ", "a\n"]),
            "content_type": st.sampled_from(
                ["json", "<|constrain|>json", "<|constrain|>", "", " json", "\u3000", "<|end|>"]
            ),
            "channel": st.sampled_from(
                ["analysis", "analysis", "commentary", "final", "odd one", "x  ", "y\n", ""]
            ),
            **fields,
        },
    )


messages = st.lists(
    _message("system", system_contents | text_contents)
    | _message("developer", developer_contents | text_contents)
    | _message("user", text_contents)
    | _message("assistant", text_contents)
    | _message("assistant", text_contents)
    | _message("tool", text_contents).map(lambda message: {"name": "functions.f", **message}),
    max_size=8,
)


@SETTINGS
@given(messages)
@example([])
@example([{"role": "user", "content": [{"type": "text", "text": "a"}] * 2}])
def test_ids_and_counts_equal_openai_harmony(messages: Any) -> None:
    before = copy.deepcopy(messages)
    expected = harmony_ids(messages)
    encoding = get_encoding("o200k_harmony")
    assert encode_messages(messages, encoding, template="harmony").tolist() == expected
    assert count_messages(messages, encoding, template="harmony") == len(expected)
    assert messages == before


def test_builtin_tools_and_every_field_of_the_system_message() -> None:
    import openai_harmony

    content = openai_harmony.SystemContent.new().with_browser_tool().with_python_tool()
    content = content.with_conversation_start_date("2025-06-28").with_reasoning_effort(
        openai_harmony.ReasoningEffort.HIGH
    )
    made = openai_harmony.Message.from_role_and_content(openai_harmony.Role.SYSTEM, content)
    expected = harmony_ids([made.to_dict()])
    encoding = get_encoding("o200k_harmony")
    assert encode_messages([made.to_dict()], encoding, template="harmony").tolist() == expected
    system = HarmonySystem(
        conversation_start_date="2025-06-28",
        reasoning_effort="high",
        builtin_tools=["python", "browser"],
    )
    assert encode_messages([], encoding, template=Template("gpt-oss", system=system)).tolist() == (
        expected
    )


@pytest.mark.parametrize("kind", ["array", "list", "tool"])
def test_nesting_is_refused_where_openai_harmony_refuses_it(kind: Any) -> None:
    def nested(depth: Any) -> Any:
        value: Any = {} if kind == "array" else []
        for _ in range(depth - 1):
            value = {"type": "array", "items": value} if kind == "array" else [value]
        return value if kind == "array" else {"default": value}

    def conversation(depth: Any) -> Any:
        tool = {"name": "f", "description": "", "parameters": nested(depth)}
        content = {
            "type": "developer_content",
            "tools": {"functions": {"name": "functions", "tools": [tool]}},
        }
        return [{"role": "developer", "content": [content]}]

    most = 118 if kind == "array" else 117
    encoding = get_encoding("o200k_harmony")
    expected = harmony_ids(conversation(most))
    assert encode_messages(conversation(most), encoding, template="harmony").tolist() == expected
    with pytest.raises(Exception, match="recursion limit"):
        harmony_ids(conversation(most + 1))
    with pytest.raises(ArgumentError, match=r"messages\[0\].content\[0\]: nested deeper"):
        encode_messages(conversation(most + 1), encoding, template="harmony")


# --- OpenAI chat messages for gpt-oss ---


openai_tools = st.lists(
    st.fixed_dictionaries(
        {"name": words},
        optional={"description": st.none() | texts, "parameters": parameters},
    ).map(lambda function: {"type": "function", "function": function}),
    max_size=3,
)
parts = st.lists(text_contents, min_size=1, max_size=3)
arguments = st.dictionaries(words, json_values, max_size=3).flatmap(
    lambda value: st.sampled_from([json.dumps(value), json.dumps(value, separators=(",", ":"))])
)
CALL_IDS = ["call_1", "call_2"]
calls = st.lists(
    st.builds(
        lambda i, name, args: {
            "id": i,
            "type": "function",
            "function": {"name": name, "arguments": args},
        },
        st.sampled_from(CALL_IDS),
        words,
        arguments,
    ),
    min_size=1,
    max_size=2,
)


def _chat(role: Any, **fields: Any) -> Any:
    return st.fixed_dictionaries(
        {"role": st.just(role), "content": texts | parts},
        optional=fields,
    )


chats = st.lists(
    st.sampled_from(["system", "developer", "user", "user"]).flatmap(_chat)
    | _chat("assistant", reasoning=texts)
    | _chat("assistant", reasoning=texts, tool_calls=calls)
    | st.builds(
        lambda i, content: {"role": "tool", "tool_call_id": i, "content": content},
        st.sampled_from(CALL_IDS),
        texts | parts,
    ),
    max_size=8,
)


@SETTINGS
@given(
    chats,
    openai_tools,
    st.none() | st.just("2026-11-21"),
    st.none() | st.sampled_from(["low", "high"]),
)
def test_gpt_oss(messages: Any, tools: Any, date: Any, effort: Any) -> None:
    encoding = get_encoding("o200k_harmony")
    body: dict[str, Any] = {"messages": messages, "tools": tools, "reasoning_effort": effort}
    template = Template("gpt-oss", system=HarmonySystem(conversation_start_date=date))
    called = {call["id"] for message in messages for call in message.get("tool_calls", [])}
    results = {message["tool_call_id"] for message in messages if message["role"] == "tool"}
    if not results <= called:
        with pytest.raises(ArgumentError, match="tool_call_id: no tool call has this id"):
            count_request(body, encoding, template=template)
        return
    before = copy.deepcopy(body)
    mapped = harmony_messages(messages, tools, date, effort.capitalize() if effort else "Medium")
    expected = harmony_ids(mapped)
    report = count_request(body, encoding, template=template)
    assert report.total == len(expected) == sum(report.sections.values())
    assert report.exact
    if not effort:
        ids = encode_messages(messages, encoding, template=template, tools=tools)
        assert ids.tolist() == expected
    assert body == before


def test_gpt_oss_by_name_shows_the_default_system_message() -> None:
    import openai_harmony

    messages = [{"role": "user", "content": "hi"}]
    system = openai_harmony.Message.from_role_and_content(
        openai_harmony.Role.SYSTEM, openai_harmony.SystemContent.new()
    )
    expected = harmony_ids([system.to_dict(), *messages])
    for model in ("gpt-oss-20b", "openai/gpt-oss-120b"):
        assert count_messages(messages, model) == len(expected)
        report = count_request({"model": model, "messages": messages})
        assert report.total == len(expected)
        # A server's message says one thing more: the date.
        assert not report.exact
        assert "conversation_start_date" in report.why_not_exact
    dated = Template("gpt-oss", system=HarmonySystem(conversation_start_date="2026-11-21"))
    assert dated.exact
    assert count_messages(messages, "gpt-oss-20b", template=dated) == len(
        harmony_ids(harmony_messages(messages, None, "2026-11-21"))
    )


CONVERSATIONS = json.loads((ROOT / "tests/data/harmony_conversations.json").read_text())


@pytest.mark.parametrize("case", CONVERSATIONS, ids=lambda case: case["name"])
def test_committed_conversations(case: Any) -> None:
    messages, tools = case["messages"], case.get("tools")
    template = Template(case["template"])
    if case["template"] == "gpt-oss":
        template = Template("gpt-oss", system=HarmonySystem(conversation_start_date=case["date"]))
        expected = harmony_ids(harmony_messages(messages, tools, case["date"]))
    else:
        expected = harmony_ids(messages)
    encoding = get_encoding("o200k_harmony")
    ids = encode_messages(messages, encoding, template=template, tools=tools)
    assert ids.tolist() == expected
    assert template.render(messages, tools) == harmony_encoding().decode(expected)
    assert len(expected) == case["tokens"]  # as counted by openai-harmony 0.0.8


# --- what is left of the KV cache ---


def common_prefix(a: Any, b: Any) -> Any:
    return next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )


def test_reasoning_of_an_answered_turn_is_not_reusable() -> None:
    encoding = get_encoding("o200k_harmony")
    prompt = [{"role": "user", "content": "2 + 2?"}]
    reply = [
        {"role": "assistant", "channel": "analysis", "content": "Easy sum."},
        {"role": "assistant", "channel": "final", "content": "4"},
    ]
    reuse = Template("harmony").reusable_after_generation(prompt, reply, encoding)
    # As generated, the reasoning stands in the cache; the next prompt goes on with the answer.
    generated = harmony_ids([*prompt, reply[0]])[:-2] + harmony_ids([reply[1]])[:-2]
    following = harmony_ids([*prompt, *reply, {"role": "user", "content": ""}])
    assert reuse == (len(generated), common_prefix(generated, following))
    assert reuse.reusable_tokens < len(generated)


@pytest.mark.parametrize("calls_a_tool", [False, True])
def test_reuse_for_gpt_oss(calls_a_tool: Any) -> None:
    encoding = get_encoding("o200k_harmony")
    earlier = [
        {"role": "user", "content": "2 + 2?"},
        {"role": "assistant", "reasoning": "Easy.", "content": "4"},
    ]
    prompt = [*earlier, {"role": "user", "content": "and now?"}]
    reply: dict[str, Any] = {"role": "assistant", "reasoning": "Hm, so.", "content": "5"}
    following = {"role": "user", "content": ""}
    if calls_a_tool:
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        reply = {"role": "assistant", "reasoning": "Hm, so.", "content": "", "tool_calls": [call]}
        following = {"role": "tool", "tool_call_id": "c", "content": ""}
    reuse = Template("gpt-oss").reusable_after_generation(prompt, reply, encoding)
    # The answered reasoning of the first turn was not in the prompt; that of the reply was made.
    shown = harmony_messages(prompt, None)
    made = harmony_messages([reply], None)[1:]
    if not calls_a_tool:
        made.insert(0, {"role": "assistant", "channel": "analysis", "content": "Hm, so."})
    generated = harmony_ids(shown)[:-2]
    for message in made:
        generated += harmony_ids([message])[:-2]
    after = harmony_ids(harmony_messages([*prompt, reply, following], None))
    assert reuse == (len(generated), common_prefix(generated, after))
    # A called tool's reasoning is still there when its result comes.
    assert (reuse.reusable_tokens == len(generated)) == calls_a_tool


# --- what has no rendering ---


@pytest.mark.parametrize(
    ("template", "message", "field"),
    [
        ("harmony", {"role": "tool", "content": "x"}, r"messages\[0\].name: missing"),
        ("harmony", {"role": "user", "content": [{"type": "system_content"}]}, "content: a system"),
        ("harmony", {"role": "system", "content": [{"type": "developer_content"}]}, "content: a d"),
        (
            "harmony",
            {"role": "system", "content": [{"type": "system_content", "reasoning_effort": "low"}]},
            r"content\[0\].reasoning_effort: must be",
        ),
        (
            "harmony",
            {"role": "system", "content": [{"type": "system_content", "tool": {}}]},
            r"content\[0\].tool: unknown field",
        ),
        ("harmony", {"role": "assistant", "content": "", "reasoning": "x"}, "reasoning_content"),
        (
            "harmony",
            {"role": "assistant", "content": "", "tool_calls": [{"name": "f", "arguments": "{}"}]},
            "tool_calls: .*give each as a message with a recipient",
        ),
        ("gpt-oss", {"role": "user", "content": "x", "channel": "final"}, "channel: .*'harmony'"),
        ("gpt-oss", {"role": "user", "content": "x", "recipient": "f"}, "recipient: "),
        ("gpt-oss", {"role": "user", "content": "x", "content_type": "f"}, "content_type: "),
        ("gpt-oss", {"role": "system", "content": [{"type": "system_content"}]}, "content: "),
        ("gpt-oss", {"role": "tool", "content": "x"}, "tool_call_id: missing"),
        ("qwen3", {"role": "user", "content": "x", "recipient": "f"}, "recipient: "),
    ],
)  # fmt: skip
def test_refused_messages(template: Any, message: Any, field: Any) -> None:
    with pytest.raises(ArgumentError, match=field):
        Template(template).render([message])


@pytest.mark.parametrize(
    ("tool", "field"),
    [
        ({"type": "web_search"}, r"tools\[0\].type"),
        ({"type": "function"}, r"tools\[0\].function: missing"),
        ({"type": "function", "function": {}}, r"tools\[0\].function.name: missing"),
        ({"function": {"name": "f", "parameters": []}}, r"function.parameters: must be an object"),
        ({"function": {"name": "f", "description": 1}}, r"function.description: must be a string"),
        (
            {"function": {"name": "f", "parameters": {"properties": {"a": {"default": 1 << 2000}},
                                                      "type": "object"}}},
            "out of range",
        ),
    ],
)  # fmt: skip
def test_refused_tools(tool: Any, field: Any) -> None:
    with pytest.raises(ArgumentError, match=field):
        Template("gpt-oss").render([{"role": "user", "content": ""}], [tool])


@pytest.mark.parametrize(
    "options",
    [
        {"reasoning_effort": "Medium"},
        {"conversation_start_date": 20250101},
        {"builtin_tools": "browser"},
        {"builtin_tools": ["shell"]},
        {"builtin_tools": ["python", "python"]},
        {"channels": [1]},
    ],
)
def test_refused_system_messages(options: Any) -> None:
    with pytest.raises(ArgumentError, match=f"{next(iter(options))}: must be"):
        HarmonySystem(**options)
    with pytest.raises(ArgumentError, match="system: template 'harmony' has no such choice"):
        Template("harmony", system=HarmonySystem())


def test_hostile_schemas_stay_linear() -> None:
    # Many properties, each looked up among many required names; deep indents; long enums.
    wide = {
        "type": "object",
        "properties": {f"p{i}": {"type": "string"} for i in range(20_000)},
        "required": [f"p{i}" for i in range(20_000)],
    }
    deep: Any = {"type": "string", "enum": ["x" * 10] * 1_000}
    for _ in range(50):
        deep = {"type": "object", "properties": {"p": deep}, "nullable": True}
    for parameters in (wide, deep):
        tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
        text = Template("gpt-oss").render([{"role": "user", "content": ""}], [tool])
        assert len(text) < 20 * len(json.dumps(tool))
