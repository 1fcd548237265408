"""Renderings, ids and counts of the Llama 3 templates equal Meta's."""

from __future__ import annotations

from typing import Any

import jinja2
import pytest
from chat_families import JINJA_FAMILIES, LLAMA3_SPECIALS, llama3
from chat_references import (
    SETTINGS,
    conversations,
    plain_messages,
    render,
    rich_messages,
    tools,
    with_one_call,
)
from ctxengine.chat import Template, count_messages, count_request, encode_messages
from ctxengine.errors import ArgumentError
from hypothesis import given
from hypothesis import strategies as st

BOS = LLAMA3_SPECIALS[0]
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "f", "parameters": {}}}
USER = {"role": "user", "content": "x"}


def check(name: str, messages: Any, tools: Any = None, **variables: Any) -> None:
    native = Template(JINJA_FAMILIES[name].template, date=variables.get("date_string"))
    JINJA_FAMILIES[name].check(messages, tools, native=native, **variables)


def test_the_template_refuses_two_calls_in_a_message_too() -> None:
    messages, tools = conversations()["several_calls_in_a_message"].values()
    for name in ("llama3.1", "llama3.2"):
        with pytest.raises(jinja2.TemplateError):
            JINJA_FAMILIES[name].reference(messages, tools)
    with pytest.raises(ArgumentError, match=r"messages\[2\]\.tool_calls: .* one call"):
        Template("llama3.1").render(messages, tools)


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
    for name in ("llama3.1", "llama3.2"):
        check(name, messages, tools, add_generation_prompt=add_generation_prompt, **options)


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
    ours = llama3().encoding
    report = count_request(body, ours, template="llama3.1")
    assert report.total == count_messages([USER], ours, template=dated)
    with pytest.raises(ArgumentError, match=r"^body\.chat_template_kwargs\.date_string: .* none"):
        count_request(body, ours, template="llama3")


def test_cache_survives_a_reply() -> None:
    ours = llama3().encoding
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
