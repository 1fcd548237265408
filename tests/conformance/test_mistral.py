"""Ids and counts of the Mistral formats equal mistral-common's, over each of its vocabularies."""

from __future__ import annotations

import json
from typing import Any

import pytest
from chat_families import MISTRAL_FAMILIES
from chat_references import SETTINGS, conversations, json_values, texts
from ctxengine.chat import Template
from ctxengine.errors import ArgumentError
from hypothesis import example, given
from hypothesis import strategies as st


def check(family: Any, messages: Any, tools: Any = None) -> bool:
    """Whether both show the messages; we refuse what mistral-common refuses, and a little more."""
    try:
        Template(family.template).render(messages, tools)
    except ArgumentError as error:
        if not family.is_stricter(messages, str(error)):
            assert not family.takes(messages, tools), (error, messages)
        return False
    family.check(messages, tools)
    return True


@pytest.mark.parametrize("conversation", conversations())
@pytest.mark.parametrize("family", MISTRAL_FAMILIES)
def test_committed_conversations_with_a_question_after_the_reply(
    family: Any, conversation: str
) -> None:
    messages, tools = conversations()[conversation].values()
    if messages[-1]["role"] == "assistant":
        assert not check(family, messages, tools)
        messages = [*messages, {"role": "user", "content": "?"}]
    refused = conversation in {"empty_contents", "several_system_messages"}
    if family.template == "mistral-v3":
        refused |= conversation == "text_beside_a_call"
    elif tools is not None and all(message["role"] != "user" for message in messages):
        refused = True
    if any("reasoning_content" in message for message in messages):
        refused |= family.template != "mistral-v13-reasoning"
    assert check(family, messages, tools) is not refused


ids = st.integers(0, 5).map(lambda i: f"call0000{i}") | st.sampled_from(["null", "c1", "", None])
names = st.sampled_from(["get_weather", "search", "f", "f", "läs_fil", "run.code", "", "x" * 65])


@st.composite
def requests(draw: Any) -> Any:
    """Mostly well-formed: calls are answered, in any order, by the ids that they have."""
    messages: list[dict[str, Any]] = []
    number = 0
    odd = draw(st.integers(0, 4)) == 0

    def text() -> Any:
        return draw(texts | st.sampled_from(["", "  ", "x  ", "Hi"]))

    def add(role: str, **fields: Any) -> None:
        messages.append({"role": role, "content": text(), **fields})

    for _ in range(draw(st.integers(0, 2))):
        add("system")
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(["ask", "ask", "call", "reply", "think", "odd"]))
        if kind == "odd" and odd:
            role = draw(st.sampled_from(["system", "developer", "tool", "assistant", "user"]))
            add(role, **({"tool_call_id": draw(ids)} if role == "tool" else {}))
            continue
        for _ in range(draw(st.integers(1, 2))):
            add("user")
        if kind == "think":
            add("assistant", reasoning_content=text())
        elif kind == "call":
            calls = []
            for _ in range(draw(st.integers(1, 3))):
                number += 1
                call_id = draw(ids) if odd else f"call{number:05}"
                name = draw(names) if odd else "f"
                arguments = draw(st.dictionaries(texts, json_values, max_size=2))
                calls.append(
                    {
                        "id": call_id,
                        "type": "function",
                        "function": {"name": name, "arguments": json.dumps(arguments)},
                    }
                )
                if call_id is None:
                    del calls[-1]["id"]
            beside = {} if draw(st.booleans()) else {"content": ""}
            add("assistant", tool_calls=calls, **beside)
            for call in draw(st.permutations(calls)):
                result = draw(
                    texts
                    | json_values.map(json.dumps)
                    | json_values.map(lambda value: json.dumps(value, indent=1, ensure_ascii=False))
                    | st.sampled_from(JSON_TEXTS)
                )
                messages.append({"role": "tool", "content": result, "tool_call_id": call.get("id")})
            if draw(st.booleans()):
                add("assistant")
        elif kind == "reply":
            for _ in range(draw(st.integers(1, 2))):
                add("assistant")
    if draw(st.integers(0, 9)):
        add("user")
    return messages


JSON_TEXTS = [
    "1", "-0", "-0.0", "0.1", "1e5", "1E400", "-1e400", "1e-400", "1.0e-5", "0.0001", "1e16",
    "9007199254740993.0", "123456789012345678901234567890", "1e22", "5e-324", "1.", ".5", "01",
    "+1", "NaN", "-Infinity", "Infinity", "-NaN", "nul", "true ", " [1 , 2 ]\n", "[1,]", "[]",
    "{}", '{"a":1,"b":2,"a":3}', '{"a" : {"a":[ ]} }', '"\\u00e9\\ud83d\\ude00\\/\\b"', '"\\x"',
    '"\\u12"', '"a\tb"', '"a', '{"a"}', "{1:2}", "\ufeff1", "\u00a01", "[1] 2", '"\\u0000\\u007f"',
    "1_0", "0x1", "--1", "1e", "1e+", '["\\ud800"', "",
]  # fmt: skip
tools = st.lists(
    st.builds(
        lambda name, description, parameters, extra: {
            "type": "function",
            "function": {"name": name, **extra, **description, **parameters},
        },
        st.sampled_from(["f", "get_weather", "search"]) | names,
        st.just({}) | st.builds(lambda d: {"description": d}, texts | st.none()),
        st.sampled_from([{}, {"parameters": None}, {"parameters": {}}])
        | st.builds(
            lambda d: {"parameters": {"type": "object", "properties": {"x": {"description": d}}}},
            texts,
        ),
        st.sampled_from([{}, {"strict": True}, {"strict": False}]),
    ),
    max_size=2,
)


@pytest.mark.parametrize("family", MISTRAL_FAMILIES)
@SETTINGS
@given(messages=requests(), tools=tools)
@example(messages=[], tools=[])
def test_random_requests(family: Any, messages: Any, tools: Any) -> None:
    check(family, messages, tools)


@pytest.mark.parametrize("result", JSON_TEXTS)
def test_results_are_rewritten_as_json(result: str) -> None:
    call = {"id": "call00001", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "content": result, "tool_call_id": "call00001"},
    ]
    assert check(MISTRAL_FAMILIES[0], messages)


def test_results_that_python_cannot_write() -> None:
    call = {"id": "call00001", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    for result in ('"\\ud800"', "9" * 4301, "[" * 5000 + "]" * 5000):
        messages = [
            {"role": "user", "content": "x"},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "content": result, "tool_call_id": "call00001"},
        ]
        with pytest.raises(ArgumentError, match=r"^messages\[2\]\.content: JSON"):
            Template("mistral-v3").render(messages)


def test_cache_after_a_reply() -> None:
    user = {"role": "user", "content": "x"}
    reply = {"role": "assistant", "content": "yes"}
    call = {"id": "call00001", "function": {"name": "f", "arguments": {}}}
    tool = {"type": "function", "function": {"name": "f"}}
    system = {"role": "system", "content": "s"}
    for family in MISTRAL_FAMILIES:
        encoding, native = family.encoding, Template(family.template)
        for answer in (reply, {"role": "assistant", "tool_calls": [call]}):
            reuse = native.reusable_after_generation([user], answer, encoding)
            assert reuse.num_tokens == reuse.reusable_tokens
        # Up to v11 the tools, and in v3 the system's text, move to the last user's turn.
        moved = native.reusable_after_generation([user], reply, encoding, tools=[tool])
        assert (moved.reusable_tokens < moved.num_tokens) == ("v13" not in family.template)
        moved = native.reusable_after_generation([system, user], reply, encoding)
        assert (moved.reusable_tokens < moved.num_tokens) == (family.template == "mistral-v3")


@pytest.mark.parametrize(
    ("model", "template"),
    [
        ("mistralai/Mistral-7B-Instruct-v0.3", "mistral-v3"),
        ("mistralai/Mixtral-8x22B-Instruct-v0.1", "mistral-v3"),
        ("mistralai/Mistral-Nemo-Instruct-2407", "mistral-v3"),
        ("mistralai/Mistral-Large-Instruct-2411", "mistral-v7"),
        ("mistralai/Mistral-Small-24B-Instruct-2501", "mistral-v7"),
        ("mistralai/Mistral-Small-3.1-24B-Instruct-2503", "mistral-v7"),
        ("mistralai/Mistral-Small-3.2-24B-Instruct-2506", "mistral-v11"),
    ],
)
def test_template_of_a_model(model: str, template: str) -> None:
    assert Template.for_model(model) == Template(template)
