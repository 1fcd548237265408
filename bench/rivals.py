"""What ctxengine is measured beside.

The tokenizers are those of ``ctxengine bench``, each loaded once for a whole run; why one is
missing stands in `ABSENT`.
"""

from __future__ import annotations

import atexit
import functools
import json
import tempfile
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import ctxengine
import jinja2
import jinja2.sandbox
import tiktoken
from ctxengine.cli import contenders
from ctxengine.cli.contenders import Contender, Tables

TEMPLATES = Path(__file__).resolve().parents[1] / "third_party/chat_templates"
ABSENT: dict[tuple[str, str], str] = {}  # (library, encoding) to why


@functools.cache
def tiktoken_encoding(name: str) -> tiktoken.Encoding:
    """Return tiktoken's encoding, made from the tables that ctxengine ships."""
    return ctxengine.get_encoding(name).as_tiktoken()


@functools.cache
def folder() -> Path:
    """Return a folder for what rivals and fresh processes read; removed at the end."""
    made = tempfile.TemporaryDirectory()
    atexit.register(made.cleanup)
    return Path(made.name)


@functools.cache
def tables(name: str) -> Tables:
    """Return the encoding as the files and facts that rivals load."""
    return contenders.write_tables(ctxengine.get_encoding(name), folder())


@functools.cache
def _load(library: str, name: str) -> Contender | None:
    try:
        return contenders.load(library, tables(name))
    except contenders.Absent as absent:
        ABSENT[library, name] = str(absent)
        return None


def loaded(name: str, libraries: Iterable[str] = contenders.NAMES) -> dict[str, Contender]:
    """Return the libraries that are there, with this encoding."""
    found = {library: _load(library, name) for library in libraries}
    return {library: contender for library, contender in found.items() if contender is not None}


def _tojson(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise_exception(message: str) -> None:
    raise ValueError(message)


def renderers(
    name: str, variables: dict[str, Any]
) -> dict[str, Callable[[list[Any], list[Any] | None], str]]:
    """Return what renders a published template, by library, as transformers has it set up."""
    source = (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")
    options: dict[str, Any] = {"trim_blocks": True, "lstrip_blocks": True}
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        **options, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    template = environment.from_string(source)

    def by_jinja2(messages: list[Any], tools: list[Any] | None) -> str:
        given = {**variables, "tools": tools, "add_generation_prompt": True}
        return template.render(messages=messages, **given)

    found = {"jinja2": by_jinja2}
    try:
        import minijinja
    except ImportError as error:
        ABSENT["minijinja", name] = str(error)
        return found
    compiled = minijinja.Environment(
        **options,
        templates={"chat": source},
        filters={"tojson": _tojson},
        globals={"raise_exception": _raise_exception},
        auto_escape_callback=lambda _: False,
    )

    def by_minijinja(messages: list[Any], tools: list[Any] | None) -> str:
        given = {**variables, "tools": tools, "add_generation_prompt": True}
        return compiled.render_template("chat", messages=messages, **given)

    return {**found, "minijinja": by_minijinja}


def jinja2_counter(name: str) -> Callable[[list[Any]], int]:
    """Return a count of messages as a gateway without a count table makes it: render, encode."""
    render = renderers(name, {})["jinja2"]
    ours = ctxengine.get_encoding(name)
    encoding = tiktoken.Encoding(
        name,
        pat_str=ours._pat_str,
        mergeable_ranks=ours._mergeable_ranks,
        special_tokens=ours._special_tokens,
    )
    form = "NFC" if name.startswith("qwen") else None

    def count(messages: list[Any]) -> int:
        text = render(messages, None)
        if form is not None:
            text = unicodedata.normalize(form, text)
        return len(encoding.encode(text, allowed_special="all"))

    return count
