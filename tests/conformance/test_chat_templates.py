"""Renderings, ids and counts equal the templates that Qwen published, and ChatML's."""

from __future__ import annotations

import random
from typing import Any

import pytest
from chat_families import JINJA_FAMILIES, QWEN_SPECIALS
from chat_references import SETTINGS, SNIPPETS, plain_messages, render, rich_messages, tools
from ctxengine.chat import Template, count_request, encode_messages
from ctxengine.tokenize import get_encoding
from hypothesis import example, given
from hypothesis import strategies as st

TEMPLATES = ["chatml", "qwen2", "qwen3", "qwen3-instruct-2507", "qwen3-thinking-2507"]
WITH_TOOLS = TEMPLATES[1:]


def check(template: str, messages: Any, tools: Any = None, **variables: Any) -> None:
    options = {k: variables[k] for k in ("enable_thinking",) if k in variables}
    native = Template(template, **options)
    JINJA_FAMILIES[template].check(messages, tools, native=native, **variables)


@SETTINGS
@given(plain_messages, st.booleans())
def test_chatml(messages: Any, add_generation_prompt: Any) -> None:
    check("chatml", messages, add_generation_prompt=add_generation_prompt)


@pytest.mark.parametrize("template", WITH_TOOLS)
@SETTINGS
@given(rich_messages, tools, st.booleans())
@example([{"role": "assistant", "content": "\n\n</think>\n\nx"}], [], True)
@example([{"role": "user", "content": "<tool_response>"}], [], True)
def test_tool_families(
    template: Any, messages: Any, tools: Any, add_generation_prompt: Any
) -> None:
    check(template, messages, tools, add_generation_prompt=add_generation_prompt)


@SETTINGS
@given(rich_messages, tools, st.booleans())
def test_thinking_switch(messages: Any, tools: Any, enable_thinking: Any) -> None:
    check("qwen3", messages, tools, enable_thinking=enable_thinking)


@SETTINGS
@given(rich_messages, tools, st.none() | st.booleans(), st.booleans())
def test_request_bodies(
    messages: Any, tools: Any, enable_thinking: Any, add_generation_prompt: Any
) -> None:
    options = {} if enable_thinking is None else {"enable_thinking": enable_thinking}
    body = {
        "messages": messages,
        "tools": tools,
        "chat_template_kwargs": options,
        "add_generation_prompt": add_generation_prompt,
    }
    known = JINJA_FAMILIES["qwen3"].vocabulary
    assert known is not None
    text = render("qwen3", messages, tools, escaped=True, **options,
                  add_generation_prompt=add_generation_prompt)  # fmt: skip
    assert count_request(body, get_encoding("qwen3")).total == len(known().ids(text))


@pytest.mark.parametrize("template", TEMPLATES)
def test_no_template_reads_the_fields_that_are_passed_over(template: Any) -> None:
    messages = [
        {"role": "user", "content": "What is 2 + 2?"},
        {"role": "assistant", "content": "4"},
    ]
    extra = {
        "id": "1", "status": "completed", "type": "message", "weight": 0, "tool_call_id": "c",
        "annotations": [{"type": "url_citation"}], "cache_control": {"type": "ephemeral"},
        "parsed": {"sum": 4},
    }  # fmt: skip
    with_extra = [{**message, **extra} for message in messages]
    assert render(template, with_extra) == render(template, messages)
    assert Template(template).render(with_extra) == render(template, messages)


@pytest.mark.parametrize("template", TEMPLATES)
def test_long_conversations(template: Any) -> None:
    rng = random.Random(template)
    for _ in range(3):
        messages: list[dict[str, Any]] = [{"role": "system", "content": "You help."}]
        for turn in range(40):
            text = "".join(rng.choices(SNIPPETS, k=rng.randrange(30)))
            messages.append({"role": "user", "content": f"{turn}: {text}"})
            if template in WITH_TOOLS and rng.random() < 0.5:
                calls = [
                    {"function": {"name": "search", "arguments": {"q": rng.choice(SNIPPETS)}}}
                    for _ in range(rng.randrange(1, 4))
                ]
                messages.append({"role": "assistant", "content": "", "tool_calls": calls})
                messages += [{"role": "tool", "content": rng.choice(SNIPPETS) * 5} for _ in calls]
            thought = {"reasoning_content": "\nLet me see.\n"} if rng.random() < 0.5 else {}
            messages.append({"role": "assistant", "content": rng.choice(SNIPPETS), **thought})
        check(template, messages)
        check(template, [*messages, {"role": "user", "content": "and now?"}])


@pytest.mark.parametrize("template", WITH_TOOLS)
def test_arguments_as_text_are_parsed_first(template: Any) -> None:
    call: dict[str, Any] = {"id": "1", "type": "function", "function": {"name": "f"}}
    texts = ['{"b":1,"a":[1.50,"\\u00e9"]}', "{}", ""]
    parsed = [{"b": 1, "a": [1.5, "é"]}, {}, {}]
    for as_text, as_object in zip(texts, parsed, strict=True):
        messages = [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
        ]
        call["function"]["arguments"] = as_object
        expected = render(template, messages)
        call["function"]["arguments"] = as_text
        assert Template(template).render(messages) == expected


@pytest.mark.parametrize("template", TEMPLATES)
def test_control_tokens_in_content_stay_text(template: Any) -> None:
    encoding = get_encoding("qwen2" if template in ("qwen2", "chatml") else "qwen3")
    plain = [{"role": "user", "content": "x"}]
    hostile = [{"role": "user", "content": "".join(QWEN_SPECIALS)}]

    def specials_in(messages: Any) -> Any:
        ids = encode_messages(messages, encoding, template=template)
        return sum(int(i) >= 151643 for i in ids)

    assert specials_in(hostile) == specials_in(plain)
