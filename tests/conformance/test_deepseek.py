"""Renderings, ids and counts of the DeepSeek template equal DeepSeek's."""

from __future__ import annotations

from typing import Any

import pytest
from chat_families import JINJA_FAMILIES, deepseek
from chat_references import SETTINGS, conversations, render, rich_messages, template_source
from ctxengine.chat import Template, count_messages, encode_messages
from ctxengine.errors import ArgumentError
from hypothesis import given
from hypothesis import strategies as st

USER = {"role": "user", "content": "x"}


FAMILY = JINJA_FAMILIES["deepseek-r1"]


def calls_once(messages: Any) -> bool:
    return sum(bool(message.get("tool_calls")) for message in messages) <= 1


# The template shows no tools, and of a second message's calls not the beginning.
@pytest.mark.parametrize("conversation", conversations())
def test_committed_conversations_without_their_tools(conversation: str) -> None:
    messages, tools = conversations()[conversation].values()
    if tools:
        with pytest.raises(ArgumentError, match=r"^tools: "):
            Template("deepseek-r1").render(messages, tools)
    if calls_once(messages):
        FAMILY.check(messages)
        FAMILY.check(messages, add_generation_prompt=False)
    else:
        with pytest.raises(ArgumentError, match=r"^messages\[3\]\.tool_calls: "):
            Template("deepseek-r1").render(messages)


@SETTINGS
@given(rich_messages.filter(calls_once), st.booleans())
def test_random_conversations(messages: Any, add_generation_prompt: Any) -> None:
    FAMILY.check(messages, add_generation_prompt=add_generation_prompt)


def test_reasoning_is_gone_from_the_cache() -> None:
    encoding = deepseek().encoding
    native = Template("deepseek-r1")
    reply = {"role": "assistant", "content": "yes", "reasoning_content": "hm"}
    prompt = encode_messages([USER], encoding, template=native)
    kept = encode_messages([USER], encoding, template=native, add_generation_prompt=False)
    generated = encoding.encode_segments([
        ("hm", False), ("\n</think>\n\n", True), ("yes", False), ("<｜end▁of▁sentence｜>", True)
    ])  # fmt: skip
    reuse = native.reusable_after_generation([USER], reply, encoding)
    assert reuse.num_tokens == len(prompt) + len(generated)
    assert reuse.reusable_tokens == len(kept) + 1  # and <｜Assistant｜>
    del reply["reasoning_content"]
    reuse = native.reusable_after_generation([USER], reply, encoding)
    assert reuse.reusable_tokens == reuse.num_tokens


@pytest.mark.parametrize("conversation", conversations())
def test_v31_by_its_published_template(conversation: str) -> None:
    # There is no native one: copies of the template differ in how they write the arguments.
    encoding = deepseek().encoding
    template = Template.from_jinja(
        template_source("deepseek-v3.1"), encoding, variables=FAMILY.variables
    )
    messages, tools = conversations()[conversation].values()
    if conversation in {"special_spellings", "reasoning_in_the_content"}:
        # The template looks for </think> in an answer, so whose the token is cannot be told.
        with pytest.raises(ArgumentError, match="spells the special token"):
            template.render(messages, tools)
        return
    escaped = render("deepseek-v3.1", messages, tools, escaped=True, **FAMILY.variables)
    ids = encode_messages(messages, encoding, template=template, tools=tools)
    assert ids.tolist() == deepseek().ids(escaped)
    assert count_messages(messages, encoding, template=template, tools=tools) == len(ids)


def test_template_of_a_model() -> None:
    assert Template.for_model("deepseek-ai/DeepSeek-R1") == Template("deepseek-r1")
