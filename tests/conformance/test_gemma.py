"""Renderings of the Gemma templates equal Google's, as text and as segments.

The vocabulary is in no package, so there are no ids to compare; the segments tell the template's
text from the caller's.
"""

from __future__ import annotations

from typing import Any

import jinja2
import pytest
from chat_families import JINJA_FAMILIES
from chat_references import SETTINGS, rich_messages, texts
from ctxengine.chat import Template
from ctxengine.errors import ArgumentError
from hypothesis import given
from hypothesis import strategies as st

USER = {"role": "user", "content": "x"}
REPLY = {"role": "assistant", "content": "y"}


def check(name: str, messages: Any, **prompt: Any) -> None:
    """What only the reference shows, shows less than was given."""
    family = JINJA_FAMILIES[name]
    try:
        Template(name).render(messages)
    except ArgumentError as error:
        try:
            text = family.reference(messages, None)
        except (jinja2.TemplateError, IndexError):
            return
        shows_less = any(m.get("tool_calls") for m in messages) or len(messages) == 1
        odd_role = any(m["role"] in ("tool", "system") for m in messages[1:])
        assert shows_less or odd_role, (error, text)
        return
    family.check(messages, **prompt)


@st.composite
def turns(draw: Any) -> Any:
    messages = [
        {"role": ("user", "assistant")[i % 2], "content": draw(texts)}
        for i in range(draw(st.integers(0, 6)))
    ]
    if draw(st.booleans()):
        messages.insert(0, {"role": "system", "content": draw(texts)})
    return messages or [USER]


@pytest.mark.parametrize("name", ["gemma2", "gemma3"])
@SETTINGS
@given(messages=turns() | rich_messages, add_generation_prompt=st.booleans())
def test_random_conversations(name: str, messages: Any, add_generation_prompt: Any) -> None:
    check(name, messages, add_generation_prompt=add_generation_prompt)


def test_what_the_templates_refuse() -> None:
    system = {"role": "system", "content": "s"}
    call = {"role": "assistant", "content": "", "tool_calls": [{"name": "f", "arguments": {}}]}
    parts = {"role": "user", "content": [{"type": "text", "text": t} for t in "ab"]}
    for name, messages, where in [
        ("gemma2", [system, USER], r"messages\[0\]\.role"),
        ("gemma3", [system], "messages"),
        ("gemma3", [], "messages"),
        ("gemma3", [REPLY], r"messages\[0\]\.role"),
        ("gemma3", [system, USER, USER], r"messages\[2\]\.role"),
        ("gemma3", [USER, REPLY, system], r"messages\[2\]\.role"),
        ("gemma3", [USER, call], r"messages\[1\]\.tool_calls"),
        ("gemma3", [parts], r"messages\[0\]\.content"),
    ]:
        with pytest.raises(ArgumentError, match=f"^{where}: "):
            Template(name).render(messages)


@pytest.mark.parametrize(
    ("model", "template"),
    [
        ("google/gemma-2-9b-it", "gemma2"),
        ("google/gemma-3-270m-it", "gemma3"),
        ("google/gemma-3-27b-it", "gemma3"),
    ],
)
def test_template_of_a_model(model: str, template: str) -> None:
    assert Template.for_model(model) == Template(template)
