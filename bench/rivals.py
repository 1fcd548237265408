"""What ctxengine is measured beside."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctxengine
import jinja2
import jinja2.sandbox
import tiktoken

TEMPLATES = Path(__file__).resolve().parents[1] / "third_party/chat_templates"


@functools.cache
def tiktoken_encoding(name: str) -> tiktoken.Encoding:
    """Return tiktoken's encoding, made from the tables that ctxengine ships."""
    return ctxengine.get_encoding(name).as_tiktoken()


def jinja2_counter(name: str) -> Callable[[list[Any]], int]:
    """Return a count of messages as a gateway without a count table makes it: render, encode."""
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    template = environment.from_string((TEMPLATES / f"{name}.jinja").read_text())
    encoding = tiktoken_encoding(name)

    def count(messages: list[Any]) -> int:
        text = template.render(messages=messages, tools=None, add_generation_prompt=True)
        return len(encoding.encode(text, allowed_special="all"))

    return count
