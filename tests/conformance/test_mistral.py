"""Ids and counts of the Mistral formats equal mistral-common's, over each of its vocabularies."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import ctxengine
import pytest
from chat_references import SETTINGS, conversations, json_values, texts
from ctxengine.chat import Template, count_messages, encode_messages
from ctxengine.errors import ArgumentError
from hypothesis import example, given
from hypothesis import strategies as st
from vocabulary_families import package_file

pytest.importorskip("mistral_common")
from mistral_common.protocol.instruct.converters import (
    convert_openai_messages,
    convert_openai_tools,
)
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.validator import ValidationMode
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

V11_SPECIALS = {
    0: "<unk>", 1: "<s>", 2: "</s>", 3: "[INST]", 4: "[/INST]", 5: "[AVAILABLE_TOOLS]",
    6: "[/AVAILABLE_TOOLS]", 7: "[TOOL_RESULTS]", 8: "[/TOOL_RESULTS]", 9: "[TOOL_CALLS]",
    10: "[IMG]", 11: "<pad>", 12: "[IMG_BREAK]", 13: "[IMG_END]", 14: "[PREFIX]", 15: "[MIDDLE]",
    16: "[SUFFIX]", 17: "[SYSTEM_PROMPT]", 18: "[/SYSTEM_PROMPT]", 19: "[TOOL_CONTENT]",
    32: "[ARGS]", 33: "[CALL_ID]", 34: "[THINK]", 35: "[/THINK]",
}  # fmt: skip
# Our format, and the vocabulary: a file of mistral-common, or tekken with another version.
CASES = [
    ("mistral-v3", "mistral_instruct_tokenizer_240323.model.v3"),
    ("mistral-v3", "tekken_240911.json"),
    ("mistral-v7", "mistral_instruct_tokenizer_241114.model.v7"),
    ("mistral-v7", "v7"),
    ("mistral-v11", "v11"),
    ("mistral-v13", "v13"),
    ("mistral-v13-reasoning", "v13"),
]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: Any) -> Path:
    return tmp_path_factory.mktemp("tekken")


@cache
def vocabulary(name: str, folder: Path) -> tuple[Any, Any]:
    if name.startswith("v"):
        content = json.loads(package_file("mistral_common", "data/tekken_240911.json").read_text())
        content["config"]["version"] = name
        content["special_tokens"] = [
            {
                "rank": i,
                "token_str": V11_SPECIALS.get(i, f"<SPECIAL_{i}>"),
                "is_control": True,
            }
            for i in range(content["config"]["default_num_special_tokens"])
        ]
        del content["image"]
        path = folder / f"tekken_{name}.json"
        path.write_text(json.dumps(content))
    else:
        path = package_file("mistral_common", f"data/{name}")
    return ctxengine.load(path), MistralTokenizer.from_file(str(path), mode=ValidationMode.test)


def reference_ids(tokenizer: Any, messages: Any, tools: Any) -> Any:
    request: Any = ChatCompletionRequest(
        messages=convert_openai_messages(messages),
        tools=convert_openai_tools(tools) if tools else None,
    )
    return tokenizer.encode_chat_completion(request).tokens


# Of what we refuse and mistral-common does not, in its mode for tests: results without calls, and
# in a first message calls, which it does not look at.
STRICTER = (
    "no call is open",
    "cannot begin with a tool's",
    "before all calls",
    "and there is none",
)


def check(case: Any, folder: Path, messages: Any, tools: Any = None) -> bool:
    name, vocabulary_name = case
    encoding, tokenizer = vocabulary(vocabulary_name, folder)
    native = Template(name)
    try:
        expected = reference_ids(tokenizer, messages, tools)
    except Exception as error:  # of any of a dozen classes
        expected = error
    try:
        ids = encode_messages(messages, encoding, template=native, tools=tools).tolist()
    except ArgumentError as error:
        if name == "mistral-v13" and any("reasoning_content" in m for m in messages):
            assert "no place for reasoning" in str(error)
        elif not any(reason in str(error) for reason in STRICTER):
            assert isinstance(expected, Exception), (error, messages)
        return False
    assert ids == expected, messages
    assert count_messages(messages, encoding, template=native, tools=tools) == len(expected)
    return True


# The committed conversations with an empty answer, and with a system message after an answer.
REFUSED = {"empty_contents", "several_system_messages"}


@pytest.mark.parametrize("conversation", conversations())
@pytest.mark.parametrize("case", CASES)
def test_committed_conversations(case: Any, conversation: str, folder: Path) -> None:
    messages, tools = conversations()[conversation].values()
    refused = conversation in REFUSED
    if case[0] == "mistral-v3":
        refused |= conversation == "text_beside_a_call"
    elif tools is not None and all(message["role"] != "user" for message in messages):
        refused = True
    if any("reasoning_content" in message for message in messages):
        refused |= case[0] != "mistral-v13-reasoning"
    if messages[-1]["role"] == "assistant":
        assert not check(case, folder, messages, tools)
        messages = [*messages, {"role": "user", "content": "?"}]
    assert check(case, folder, messages, tools) is not refused


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


@pytest.mark.parametrize("case", CASES)
@SETTINGS
@given(messages=requests(), tools=tools)
@example(messages=[], tools=[])
def test_random_requests(case: Any, folder: Path, messages: Any, tools: Any) -> None:
    check(case, folder, messages, tools)


@pytest.mark.parametrize("result", JSON_TEXTS)
def test_results_are_rewritten_as_json(result: str, folder: Path) -> None:
    call = {"id": "call00001", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "content": result, "tool_call_id": "call00001"},
    ]
    assert check(CASES[0], folder, messages)


def test_results_that_python_cannot_write(folder: Path) -> None:
    call = {"id": "call00001", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    for result in ('"\\ud800"', "9" * 4301, "[" * 5000 + "]" * 5000):
        messages = [
            {"role": "user", "content": "x"},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "content": result, "tool_call_id": "call00001"},
        ]
        with pytest.raises(ArgumentError, match=r"^messages\[2\]\.content: JSON"):
            Template("mistral-v3").render(messages)


def test_cache_after_a_reply(folder: Path) -> None:
    user = {"role": "user", "content": "x"}
    reply = {"role": "assistant", "content": "yes"}
    call = {"id": "call00001", "function": {"name": "f", "arguments": {}}}
    tool = {"type": "function", "function": {"name": "f"}}
    system = {"role": "system", "content": "s"}
    for case in CASES:
        encoding, _ = vocabulary(case[1], folder)
        native = Template(case[0])
        for answer in (reply, {"role": "assistant", "tool_calls": [call]}):
            reuse = native.reusable_after_generation([user], answer, encoding)
            assert reuse.num_tokens == reuse.reusable_tokens
        # Up to v11 the tools, and in v3 the system's text, move to the last user's turn.
        moved = native.reusable_after_generation([user], reply, encoding, tools=[tool])
        assert (moved.reusable_tokens < moved.num_tokens) == ("v13" not in case[0])
        moved = native.reusable_after_generation([system, user], reply, encoding)
        assert (moved.reusable_tokens < moved.num_tokens) == (case[0] == "mistral-v3")


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
