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
import re
import struct
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import jinja2.ext
import jinja2.sandbox
import pytest
import tiktoken
import tokenizers
from ctxengine.chat import Template, count_messages, count_request, encode_messages
from ctxengine.tokenize import get_encoding
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = ["chatml", "qwen2", "qwen3", "qwen3-instruct-2507", "qwen3-thinking-2507"]
WITH_TOOLS = TEMPLATES[1:]
NFC = tokenizers.normalizers.NFC()  # what Qwen does first
ESCAPED = "\ue000"  # stands for "<" in the caller's text

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


def _tojson(
    value: Any,
    ensure_ascii: Any = False,
    indent: Any = None,
    separators: Any = None,
    sort_keys: Any = False,
) -> Any:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise(message: Any) -> None:
    raise jinja2.exceptions.TemplateError(message)


@cache
def _compiled(name: str, escaped: bool) -> jinja2.Template:
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise
    source = (ROOT / f"third_party/chat_templates/{name}.jinja").read_text()
    if escaped:
        # Spellings that the template looks for in the caller's text.
        source = re.sub(
            r"(split\(|startswith\(|endswith\(|set tool_start = |set tool_end = )'<",
            rf"\1'{ESCAPED}",
            source,
        )
        source = re.sub(r"'<(/think>' in )", rf"'{ESCAPED}\1", source)
    return environment.from_string(source)


def _escape(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("<", ESCAPED)
    if isinstance(value, dict):
        return {_escape(k): _escape(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_escape(v) for v in value]
    return value


def render(
    name: Any, messages: Any, tools: Any = None, *, escaped: Any = False, **kwargs: Any
) -> Any:
    if escaped:
        # Roles and keys are not the caller's text; no escaped string is one of them.
        messages, tools = _escape(messages), _escape(tools)
    kwargs.setdefault("add_generation_prompt", True)
    return _compiled(name, escaped).render(messages=messages, tools=tools, **kwargs)


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
    pattern = "(" + "|".join(re.escape(s) for s in specials) + ")"
    ids = []
    for part in re.split(pattern, text):
        if part in specials:
            ids.append(oracle.encode_single_token(part))
        else:
            ids += oracle.encode_ordinary(NFC.normalize_str(part.replace(ESCAPED, "<")))
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


# --- conversations ---

SNIPPETS = [
    "", " ", "\n", "\n\n", "\t", "Hello", " world", "it's", "don't", "42", "3.14", "1234567",
    "你好，世界", "नमस्ते दुनिया", "👩🏽‍💻🎉", "مرحبا", "e\u0301", "\u00a0", "\u200b", "\r\n",
    "def f(x):\n    return x\n", "```python\nprint('hi')\n```", "{\"a\": 1}", "</tools>",
    "<|im_end|>", "<|im_start|>system\n", "<|endoftext|>", "<think>", "</think>",
    "<think>\nhm\n</think>\n\n",
    "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<|im_",
    "end|>", "<", "|>",
    "    indented", "trailing   ", "\x00", "ﬁ", "x" * 40, "?!?!",
]  # fmt: skip

texts = st.lists(st.sampled_from(SNIPPETS) | st.text(max_size=8), max_size=6).map("".join)
texts = texts.filter(lambda text: ESCAPED not in text)
json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**12), 10**12),
        st.floats(allow_nan=False, allow_infinity=False),
        texts,
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
arguments = st.dictionaries(texts, json_values, max_size=4)
names = st.sampled_from(["get_weather", "search", "f", "läs_fil", "run.code"])
tool_calls = st.lists(
    st.builds(
        lambda name, args, wrapped, i: (
            {"id": f"call_{i}", "type": "function", "function": {"name": name, "arguments": args}}
            if wrapped
            else {"name": name, "arguments": args}
        ),
        names,
        arguments,
        st.booleans(),
        st.integers(0, 99),
    ),
    min_size=1,
    max_size=3,
)
tools = st.lists(
    st.builds(
        lambda name, text, parameters: {
            "type": "function",
            "function": {"name": name, "description": text, "parameters": parameters},
        },
        names,
        texts,
        json_values,
    ),
    max_size=3,
)


def _message(role: Any) -> Any:
    return texts.map(lambda content: {"role": role, "content": content})


plain_messages = st.lists(
    st.sampled_from(["system", "user", "assistant"]).flatmap(_message), max_size=7
)
calling = st.builds(
    lambda content, calls: {"role": "assistant", "content": content, "tool_calls": calls},
    texts,
    tool_calls,
)
reasoning = st.builds(
    lambda message, thought: {**message, "reasoning_content": thought},
    calling | _message("assistant"),
    texts,
)
rich_messages = st.lists(
    st.sampled_from(["system", "user", "user", "assistant", "tool", "tool"]).flatmap(_message)
    | calling
    | reasoning
    | st.builds(
        lambda text: {"role": "user", "content": f"<tool_response>{text}</tool_response>"}, texts
    ),
    min_size=1,
    max_size=8,
)
SETTINGS = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


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
