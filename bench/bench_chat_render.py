"""Rendering 200 messages with 20 tools to segments, beside what renders the published templates.

Theirs is one text, in which a message's text that spells a control token has become one; ours tells
whose each part is. A template that shows no tools gets 200 messages without calls.
"""

from __future__ import annotations

import json

import corpora
import pytest
import rivals
from chat_families import JINJA_FAMILIES
from ctxengine.chat import Template

LIBRARIES = ["ctxengine", "jinja2", "minijinja"]
TEXTS = {"english": corpora.english_conversation, "several scripts": corpora.conversation}
WITH_TOOLS = {"qwen2", "qwen3", "qwen3-instruct-2507", "qwen3-thinking-2507", "llama3.1"}


@pytest.fixture(scope="module", params=sorted({f.template for f in JINJA_FAMILIES.values()}))
def family(request):
    return JINJA_FAMILIES[request.param]


@pytest.fixture(scope="module", params=TEXTS)
def text(request):
    return request.param


@pytest.fixture(scope="module")
def given(family, text):
    messages = TEXTS[text](200)
    if family.template in WITH_TOOLS:
        return corpora.with_calls(messages), corpora.tools(20)
    return messages[:-1], None  # in turns


@pytest.fixture(scope="module")
def renderers(family, given):
    native = Template(family.template)
    found = {
        "ctxengine": native.render_segments,
        **rivals.renderers(family.source, {"tools": None, **family.variables}),
    }
    expected = family.reference(*given)
    for library, render in found.items():
        text = render(*given)
        if library == "ctxengine":
            text = "".join(part for part, _ in text)
        assert text == expected, library
    return found


@pytest.fixture
def group(family, text, given):
    messages, tools = given
    what = f"{len(messages)} messages, {len(tools or ())} tools"
    return f"render {family.template}: {what}, {text}"


@pytest.mark.parametrize("library", LIBRARIES)
def test_render(benchmark, group, given, renderers, library):
    benchmark.group = group
    if library not in renderers:
        pytest.skip(f"{library} is not installed")

    def as_received():  # each request brings strings of its own
        return json.loads(json.dumps(given)), {}

    benchmark.pedantic(renderers[library], setup=as_received, rounds=100, warmup_rounds=3)
