"""Renderings, ids and counts of the Llama 3 templates equal Meta's."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jinja2
import pytest
import tiktoken
from chat_references import (
    ESCAPED,
    SETTINGS,
    conversations,
    plain_messages,
    render,
    rich_messages,
    split_at,
    tools,
    with_one_call,
)
from ctxengine.chat import Template, count_messages, count_request, encode_messages
from ctxengine.errors import ArgumentError
from ctxengine.tokenize import Encoding
from hypothesis import given
from hypothesis import strategies as st
from vocabulary_families import LLAMA3_PATTERN, llama3_ranks

# From id 128000.
SPECIALS = [
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|reserved_special_token_0|>",
    "<|reserved_special_token_1|>",
    "<|finetune_right_pad_id|>",
    "<|reserved_special_token_2|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eom_id|>",
    "<|eot_id|>",
    "<|python_tag|>",
]
BOS = SPECIALS[0]
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "f", "parameters": {}}}
USER = {"role": "user", "content": "x"}


@cache
def encodings() -> tuple[Encoding, tiktoken.Encoding]:
    tables: dict[str, Any] = {
        "pat_str": LLAMA3_PATTERN,
        "mergeable_ranks": llama3_ranks(),
        "special_tokens": {spelling: 128000 + i for i, spelling in enumerate(SPECIALS)},
    }
    return Encoding("llama3", **tables), tiktoken.Encoding("llama3", **tables)


def check(name: str, messages: Any, tools: Any = None, **kwargs: Any) -> None:
    ours, oracle = encodings()
    native = Template(name, date=kwargs.get("date_string"))
    prompt = {k: kwargs[k] for k in ("add_generation_prompt",) if k in kwargs}
    reference = {"bos_token": BOS, **kwargs}
    before = json.dumps([messages, tools])
    text = render(name, messages, tools or None, **reference)
    escaped = render(name, messages, tools or None, escaped=True, **reference)
    assert escaped.replace(ESCAPED, "<") == text
    assert native.render(messages, tools, **prompt) == text
    expected = []
    for part, is_special in split_at(SPECIALS, escaped):
        if is_special:
            expected.append(oracle.encode_single_token(part))
        else:
            expected += oracle.encode_ordinary(part)
    ids = encode_messages(messages, ours, template=native, tools=tools, **prompt)
    assert ids.tolist() == expected
    if prompt.get("add_generation_prompt", True):
        assert count_messages(messages, ours, template=native, tools=tools) == len(expected)
    assert json.dumps([messages, tools]) == before


@pytest.mark.parametrize("conversation", conversations())
@pytest.mark.parametrize("name", ["llama3", "llama3.1"])
def test_committed_conversations(name: str, conversation: str) -> None:
    messages, tools = conversations()[conversation].values()
    if name == "llama3" and tools:
        with pytest.raises(ArgumentError):
            Template(name).render(messages, tools)
    elif conversation == "several_calls_in_a_message":
        with pytest.raises(jinja2.TemplateError):
            render(name, messages, tools)
        with pytest.raises(ArgumentError, match=r"messages\[2\]\.tool_calls: .* one call"):
            Template(name).render(messages, tools)
    else:
        check(name, messages, tools)
        check(name, messages, tools, add_generation_prompt=False)


@SETTINGS
@given(plain_messages.filter(len), st.booleans())
def test_llama3(messages: Any, add_generation_prompt: Any) -> None:
    check("llama3", messages, add_generation_prompt=add_generation_prompt)


@SETTINGS
@given(
    rich_messages.map(lambda messages: [with_one_call(message) for message in messages]),
    tools,
    st.none() | st.sampled_from(["1 Jan 2030", "", "<|eot_id|>"]),
    st.booleans(),
)
def test_llama31(messages: Any, tools: Any, date: Any, add_generation_prompt: Any) -> None:
    first = next((m for m in messages if m is not messages[0] or m["role"] != "system"), None)
    if tools and (first is None or first["role"] != "user"):
        # The template fails, or shows another message as the user's.
        where = "messages" if first is None else r"messages\[[01]\]\.role"
        with pytest.raises(ArgumentError, match=f"^{where}: tools are shown in the first"):
            Template("llama3.1").render(messages, tools)
        messages = [USER, *messages]
    options = {} if date is None else {"date_string": date}
    if "<" in options.get("date_string", ""):
        native = Template("llama3.1", date=date)
        text = render("llama3.1", messages, tools or None, bos_token=BOS, date_string=date)
        assert native.render(messages, tools) == text
        assert (date, False) in native.render_segments(messages, tools)
        return
    check("llama3.1", messages, tools, add_generation_prompt=add_generation_prompt, **options)


def test_what_the_templates_refuse() -> None:
    call = {"name": "f", "arguments": {}}
    two_calls = {"role": "assistant", "content": "", "tool_calls": [call, call]}
    for messages, tool_list, where in [
        ([], None, "messages: "),
        ([USER, two_calls], None, r"messages\[1\]\.tool_calls: "),
        ([{"role": "system", "content": "s"}], [TOOL], "messages: "),
        ([two_calls | {"tool_calls": [call]}, USER], [TOOL], r"messages\[0\]\.role: "),
        ([{"role": "developer", "content": "d"}], None, r"messages\[0\]\.role: "),
    ]:
        with pytest.raises(ArgumentError, match=f"^{where}"):
            Template("llama3.1").render(messages, tool_list)
    for messages, tool_list, where in [
        ([USER], [TOOL], "tools: "),
        ([USER, two_calls], None, r"messages\[1\]\.tool_calls: "),
        ([USER, {"role": "tool", "content": "r"}], None, r"messages\[1\]\.role: "),
    ]:
        with pytest.raises(ArgumentError, match=f"^{where}"):
            Template("llama3").render(messages, tool_list)


def test_white_space_is_pythons() -> None:
    characters = [chr(c) for c in range(0x10000) if not 0xD800 <= c < 0xE000]
    messages = [{"role": "user", "content": f"{c}{c}.{c}"} for c in characters]
    expected = "".join(
        f"<|start_header_id|>user<|end_header_id|>\n\n{f'{c}{c}.{c}'.strip()}<|eot_id|>"
        for c in characters
    )
    native = Template("llama3").render(messages, add_generation_prompt=False)
    assert native == BOS + expected


def test_tools_that_nest_too_deep_to_be_indented() -> None:
    nested: Any = []
    for _ in range(61):  # in the three of a tool's own
        nested = [nested]
    tool = {"function": {"parameters": nested}}
    check("llama3.1", [USER], [tool])
    tool["function"]["parameters"] = [nested]
    with pytest.raises(ArgumentError, match=r"^tools\[1\]: nested more than 64 deep"):
        Template("llama3.1").render([USER], [TOOL, tool])


def test_the_date_is_given_or_the_templates_own() -> None:
    assert "Today Date: 26 Jul 2024\n" in Template("llama3.1").render([USER])
    dated = Template("llama3.1", date="1 Jan 2030")
    assert "Today Date: 1 Jan 2030\n" in dated.render([USER])
    assert dated == Template.for_model("meta-llama/Llama-3.2-3B-Instruct", date="1 Jan 2030")
    with pytest.raises(ArgumentError, match=r"^date: the template of model .* shows today's"):
        Template.for_model("Llama-3.2-1B-Instruct")
    with pytest.raises(ArgumentError, match=r"^date: template 'llama3' shows none"):
        Template("llama3", date="1 Jan 2030")
    with pytest.raises(ArgumentError, match=r"^date: must be text"):
        Template("llama3.1", date=20300101)  # type: ignore[arg-type]
    body = {"messages": [USER], "chat_template_kwargs": {"date_string": "1 Jan 2030"}}
    ours, _ = encodings()
    report = count_request(body, ours, template="llama3.1")
    assert report.total == count_messages([USER], ours, template=dated)
    with pytest.raises(ArgumentError, match=r"^body\.chat_template_kwargs\.date_string: .* none"):
        count_request(body, ours, template="llama3")


def test_cache_survives_a_reply() -> None:
    ours, _ = encodings()
    call = {"role": "assistant", "content": "", "tool_calls": [{"name": "f", "arguments": {}}]}
    for name, reply in [
        ("llama3", {"role": "assistant", "content": "yes"}),
        ("llama3.1", {"role": "assistant", "content": "yes"}),
        ("llama3.1", call),
    ]:
        reuse = Template(name).reusable_after_generation([USER], reply, ours)
        prompt = encode_messages([USER, reply], ours, template=name, add_generation_prompt=False)
        assert reuse.num_tokens == reuse.reusable_tokens == len(prompt)


@pytest.mark.parametrize(
    ("model", "template"),
    [
        ("meta-llama/Meta-Llama-3-8B-Instruct", "llama3"),
        ("meta-llama/Llama-3.1-405B-Instruct-FP8", "llama3.1"),
        ("Meta-Llama-3.1-8B-Instruct", "llama3.1"),
        ("meta-llama/Llama-3.3-70B-Instruct", "llama3.1"),
    ],
)
def test_template_of_a_model(model: str, template: str) -> None:
    assert Template.for_model(model) == Template(template)
