"""Renderings, ids and counts equal the families' published Jinja templates.

The templates are rendered by jinja2 in the environment that transformers sets up for chat
templates, and the text is encoded by tiktoken. What transformers does with a control token that is
spelled in a message (it becomes one) is what the native renderers must not do; so the reference
renders each ``<`` of the caller as a private character, splits the text at the control tokens that
are left, which are the template's own, and puts the ``<`` back.
"""

from __future__ import annotations

import json
import random
import struct
from functools import cache
from typing import Any

import pytest
import tiktoken
import tokenizers
from chat_references import (
    ESCAPED,
    ROOT,
    SETTINGS,
    SNIPPETS,
    plain_messages,
    render,
    rich_messages,
    split_at,
    tools,
)
from ctxengine.chat import Template, count_messages, count_request, encode_messages
from ctxengine.tokenize import get_encoding
from hypothesis import example, given
from hypothesis import strategies as st

TEMPLATES = ["chatml", "qwen2", "qwen3", "qwen3-instruct-2507", "qwen3-thinking-2507"]
WITH_TOOLS = TEMPLATES[1:]
NFC = tokenizers.normalizers.NFC()  # what Qwen does first

# The special tokens of the families' tokenizer_config.json, in order of their ids from 151643.
QWEN2_SPECIALS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
]
QWEN3_SPECIALS = [*QWEN2_SPECIALS, "<tool_response>", "</tool_response>", "<think>", "</think>"]
QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@cache
def qwen_tiktoken(specials: tuple[str, ...]) -> tiktoken.Encoding:
    data = (ROOT / "python/ctxengine/vocabularies/qwen.vocab").read_bytes()
    num_rows, first = struct.unpack_from("<II", data, 8)
    ranks, at = {}, 16
    for rank in range(first, first + num_rows):
        size = data[at]
        ranks[data[at + 1 : at + 1 + size]] = rank
        at += 1 + size
    return tiktoken.Encoding(
        "qwen",
        pat_str=QWEN_PATTERN,
        mergeable_ranks=ranks,
        special_tokens={spelling: 151643 + i for i, spelling in enumerate(specials)},
    )


def encoding_name(template: Any) -> Any:
    return "qwen2" if template in ("qwen2", "chatml") else "qwen3"


def reference_ids(template: Any, messages: Any, tools: Any = None, **kwargs: Any) -> Any:
    specials = QWEN2_SPECIALS if encoding_name(template) == "qwen2" else QWEN3_SPECIALS
    oracle = qwen_tiktoken(tuple(specials))
    text = render(template, messages, tools, escaped=True, **kwargs)
    ids = []
    for part, is_special in split_at(specials, text):
        if is_special:
            ids.append(oracle.encode_single_token(part))
        else:
            ids += oracle.encode_ordinary(NFC.normalize_str(part))
    return ids


def check(template: Any, messages: Any, tools: Any = None, **kwargs: Any) -> None:
    options = {k: kwargs[k] for k in ("enable_thinking",) if k in kwargs}
    prompt = {k: kwargs[k] for k in ("add_generation_prompt",) if k in kwargs}
    native = Template(template, **options)
    before = json.dumps([messages, tools])
    text = render(template, messages, tools, **kwargs)
    assert render(template, messages, tools, escaped=True, **kwargs).replace(ESCAPED, "<") == text
    assert native.render(messages, tools, **prompt) == text
    encoding = get_encoding(encoding_name(template))
    expected = reference_ids(template, messages, tools, **kwargs)
    ids = encode_messages(messages, encoding, template=native, tools=tools, **prompt)
    assert ids.tolist() == expected
    if prompt.get("add_generation_prompt", True):
        assert count_messages(messages, encoding, template=native, tools=tools) == len(expected)
    assert json.dumps([messages, tools]) == before


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
    expected = reference_ids(
        "qwen3", messages, tools, **options, add_generation_prompt=add_generation_prompt
    )
    assert count_request(body, get_encoding("qwen3")).total == len(expected)


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
    specials = QWEN2_SPECIALS if encoding_name(template) == "qwen2" else QWEN3_SPECIALS
    encoding = get_encoding(encoding_name(template))
    content = "".join(specials)
    plain = [{"role": "user", "content": "x"}]
    hostile = [{"role": "user", "content": content}]

    def specials_in(messages: Any) -> Any:
        ids = encode_messages(messages, encoding, template=template)
        return sum(int(i) >= 151643 for i in ids)

    assert specials_in(hostile) == specials_in(plain)
