"""Renderings, ids and counts of the DeepSeek template equal DeepSeek's."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import ctxengine
import pytest
import tokenizers
from chat_references import (
    ESCAPED,
    SETTINGS,
    conversations,
    render,
    rich_messages,
    split_at,
)
from ctxengine.chat import Template, count_messages, encode_messages
from ctxengine.errors import ArgumentError
from hypothesis import given
from hypothesis import strategies as st
from vocabulary_families import package_file

BOS = "<｜begin▁of▁sentence｜>"
USER = {"role": "user", "content": "x"}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@cache
def encodings() -> tuple[Any, Any, list[str]]:
    path = package_file("litellm", "litellm_core_utils/tokenizers/deepseek_tokenizer.json")
    content = json.loads(path.read_text(encoding="utf-8"))
    specials = [token["content"] for token in content["added_tokens"]]
    content["added_tokens"] = []  # so that text stays text
    return ctxengine.load(path), tokenizers.Tokenizer.from_str(json.dumps(content)), specials


def with_text_arguments(message: Any) -> Any:
    """The template takes arguments as text, and a call's type."""
    calls = [call.get("function", call) for call in message.get("tool_calls", [])]
    if not calls:
        return message
    made = [
        {
            "type": "function",
            "function": {
                **call,
                "arguments": call["arguments"]
                if isinstance(call["arguments"], str)
                else json.dumps(call["arguments"], ensure_ascii=False),
            },
        }
        for call in calls
    ]
    return {**message, "tool_calls": made}


def check(messages: Any, **prompt: Any) -> None:
    encoding, oracle, specials = encodings()
    messages = [with_text_arguments(message) for message in messages]
    native = Template("deepseek-r1")
    text = render("deepseek-r1", messages, bos_token=BOS, **prompt)
    escaped = render("deepseek-r1", messages, escaped=True, bos_token=BOS, **prompt)
    assert escaped.replace(ESCAPED, "<") == text
    assert native.render(messages, **prompt) == text
    ids = []
    for part, is_special in split_at(specials, escaped):
        if is_special:
            ids.append(encoding.encode_single_token(part))
        else:
            ids += oracle.encode(part, add_special_tokens=False).ids
    assert encode_messages(messages, encoding, template=native, **prompt).tolist() == ids
    if prompt.get("add_generation_prompt", True):
        assert count_messages(messages, encoding, template=native) == len(ids)


def calls_once(messages: Any) -> bool:
    return sum(bool(message.get("tool_calls")) for message in messages) <= 1


@pytest.mark.parametrize("conversation", conversations())
def test_committed_conversations(conversation: str) -> None:
    messages, tools = conversations()[conversation].values()
    if tools:
        with pytest.raises(ArgumentError, match=r"^tools: "):
            Template("deepseek-r1").render(messages, tools)
    if calls_once(messages):
        check(messages)
        check(messages, add_generation_prompt=False)
    else:
        with pytest.raises(ArgumentError, match=r"^messages\[3\]\.tool_calls: "):
            Template("deepseek-r1").render(messages)


@SETTINGS
@given(rich_messages.filter(calls_once), st.booleans())
def test_random_conversations(messages: Any, add_generation_prompt: Any) -> None:
    check(messages, add_generation_prompt=add_generation_prompt)


def test_reasoning_is_gone_from_the_cache() -> None:
    encoding, _, _ = encodings()
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


def test_template_of_a_model() -> None:
    assert Template.for_model("deepseek-ai/DeepSeek-R1") == Template("deepseek-r1")
