"""Chat templates as jinja2 renders them, conversations to render, and what must hold.

The templates are rendered in the environment that transformers sets up for chat templates. Those of
third_party/chat_templates are copies by other hands; ``CTXENGINE_CHAT_TEMPLATES`` may name a folder
with the publishers' own files (``llama3.1.jinja`` and so on), which then are the reference instead.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import jinja2.ext
import jinja2.sandbox
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
ESCAPED = "\ue000"  # stands for "<" in the caller's text


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


def template_source(name: str) -> str:
    """The text of a family's template: the publisher's, if it is at hand, or else our copy."""
    folder = os.environ.get("CTXENGINE_CHAT_TEMPLATES")
    if folder and (published := Path(folder, f"{name}.jinja")).exists():
        return published.read_text()
    return (ROOT / f"third_party/chat_templates/{name}.jinja").read_text()


@cache
def _compiled(name: str, escaped: bool) -> jinja2.Template:
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise
    source = template_source(name)
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
    """Render messages by the family's Jinja template, in the environment of transformers.

    With `escaped`, each ``<`` of the caller is ESCAPED in the result, so that what still spells a
    control token is the template's own.
    """
    if escaped:
        # Roles and keys are not the caller's text; no escaped string is one of them.
        messages, tools = _escape(messages), _escape(tools)
    kwargs.setdefault("add_generation_prompt", True)
    return _compiled(name, escaped).render(messages=messages, tools=tools, **kwargs)


def split_at(specials: Sequence[str], text: str) -> Iterator[tuple[str, bool]]:
    """Split a text rendered with `escaped`: each part, as it was, and whether it is a special."""
    for part in re.split("(" + "|".join(re.escape(s) for s in specials) + ")", text):
        yield (part, True) if part in specials else (part.replace(ESCAPED, "<"), False)


@cache
def conversations() -> dict[str, Any]:
    """The committed conversations by name, each with its messages and its tools."""
    files = sorted((ROOT / "tests/data/conversations").glob("*.json"))
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}


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


def with_one_call(message: dict[str, Any]) -> dict[str, Any]:
    """Of a message's calls keep one, in the form of OpenAI's API."""
    if not message.get("tool_calls"):
        return message
    call = message["tool_calls"][0]
    return {**message, "tool_calls": [{"function": call.get("function", call)}]}


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
