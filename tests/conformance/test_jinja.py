"""Templates rendered by jinja2: segments, ids and counts against chat_references' own rendering.

There each ``<`` of the caller is hidden and the template's source is changed to look for the hidden
one, so it tells the template's tokens from the caller's by another way than Template.from_jinja.
"""

from __future__ import annotations

import datetime
import json
import pickle
import time
from functools import cache
from typing import Any

import pytest
from chat_references import (
    SETTINGS,
    conversations,
    plain_messages,
    render,
    rich_messages,
    split_at,
    template_source,
    tools,
)
from ctxengine import Budget, plan
from ctxengine.chat import Template, count_messages, count_request, encode_messages
from ctxengine.errors import ArgumentError
from ctxengine.tokenize import Encoding, get_encoding
from hypothesis import given

TEMPLATES = ["chatml", "qwen2", "qwen3", "qwen3-instruct-2507", "qwen3-thinking-2507"]
LOOKS_INTO_THE_TEXT = TEMPLATES[2:]


@cache
def encoding() -> Any:
    return get_encoding("qwen3")


@cache
def made(name: Any) -> Any:
    return Template.from_jinja(template_source(name), encoding())


@cache
def spellings() -> Any:
    return tuple(encoding().special_tokens_set)


def as_given_to_the_template(messages: Any) -> Any:
    """Calls as OpenAI has them: what a bare call becomes on the way."""
    given_ = json.loads(json.dumps(messages))
    for message in given_:
        for i, call in enumerate(message.get("tool_calls", [])):
            function = call.get("function", call)
            message["tool_calls"][i] = {"type": "function", "function": function}
    return given_


def check(name: Any, messages: Any, tools_: Any) -> Any:
    """Compare with the reference; a hostile text may be refused where the template reads it."""
    reference = as_given_to_the_template(messages)
    escaped = render(name, reference, tools_ or None, escaped=True)
    text = render(name, reference, tools_ or None)
    assert escaped.replace("\ue000", "<") == text
    expected: list[Any] = []
    for part, is_special in split_at(spellings(), escaped):
        if part:
            expected.append((part, is_special))
    try:
        segments = made(name).render_segments(messages, tools_)
    except ArgumentError as error:
        assert "spells the special token" in str(error)
        said = json.dumps([messages, tools_], ensure_ascii=False)
        assert any(spelling in said for spelling in spellings())
        assert name in LOOKS_INTO_THE_TEXT
        return "refused"
    assert segments == expected
    ids = encode_messages(messages, encoding(), template=made(name), tools=tools_)
    assert ids.tolist() == encoding().encode_segments(expected).tolist()
    assert count_messages(messages, encoding(), template=made(name), tools=tools_) == len(ids)
    if not any(spelling in json.dumps([messages, tools_]) for spelling in spellings()):
        # As transformers does: the whole text, all that is spelled in it.
        assert ids.tolist() == encoding().encode(text, allowed_special="all")
    return "equal"


@pytest.mark.parametrize("name", ["qwen2", "qwen3", "qwen3-instruct-2507"])
@SETTINGS
@given(rich_messages, tools)
def test_random_conversations(name: Any, messages: Any, tools: Any) -> None:
    check(name, messages, tools)


@SETTINGS
@given(plain_messages)
def test_chatml(messages: Any) -> None:
    assert check("chatml", messages, None) == "equal"


@pytest.mark.parametrize("name", TEMPLATES[1:])
def test_committed_conversations(name: Any) -> None:
    answers = [
        check(name, conversation["messages"], conversation.get("tools"))
        for conversation in conversations().values()
        if all(isinstance(m["content"], str) for m in conversation["messages"])
        and all(m["role"] != "developer" for m in conversation["messages"])
        and all("reasoning" not in m for m in conversation["messages"])
    ]
    assert answers.count("equal") >= 10


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_special_spelling_as_text(name: Any) -> None:
    # Qwen3 cuts the text of an assistant at these; a user's text it shows as it is.
    content = "".join(spellings())
    assert check(name, [{"role": "user", "content": content}], None) == "equal"


@pytest.mark.parametrize(
    ("before", "after"),
    [("<|im_", "|>"), ("<|", "d|>"), ("", "|im_end|>"), ("<|im_end|", ""), ("<|im_end", ">")],
)
def test_a_token_that_only_half_is_the_templates_is_none(before: Any, after: Any) -> None:
    content = "<|im_end|>"[len(before) : len("<|im_end|>") - len(after)]
    source = f"<|im_start|>{before}{{{{ messages[0].content | trim }}}}{after}"
    template = Template.from_jinja(source, encoding())
    segments = template.render_segments([{"role": "user", "content": f" {content} "}])
    assert segments == [("<|im_start|>", True), ("<|im_end|>", False)]


def test_a_role_in_a_token_is_the_templates() -> None:
    ranks = {bytes([byte]): byte for byte in range(256)}
    specials = {"<|user|>": 256, "<|end|>": 257}
    phi = Encoding(
        "phi",
        pat_str=get_encoding("o200k_base")._pat_str,
        mergeable_ranks=ranks,
        special_tokens=specials,
    )
    source = (
        "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] }}"
        "{% endfor %}"
    )
    template = Template.from_jinja(source, phi)
    ids = encode_messages([{"role": "user", "content": "<|end|>a"}], phi, template=template)
    assert ids.tolist() == [256, *b"\n<|end|>a"]


# --- with the other calls ---


def test_reports_plans_and_reuse() -> None:
    template = made("qwen3-instruct-2507")
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "And now?"},
    ]
    total = count_messages(messages, encoding(), template="qwen3-instruct-2507")
    body = {"messages": messages, "tools": [{"type": "function", "function": {"name": "f"}}]}
    report = count_request(body, encoding(), template=template)
    native = count_request(body, encoding(), template="qwen3-instruct-2507")
    assert report.total == native.total == sum(report.sections.values())
    assert report.sections["tools"] == native.sections["tools"]
    assert report.exact
    made_plan = plan(Budget(200), encoding(), history=messages, template=template)
    assert made_plan.used == total == len(made_plan.token_ids)
    short = plan(Budget(20), encoding(), history=messages, template=template, cut="tight")
    assert short.used == len(short.token_ids) <= 20
    assert template.reusable_after_generation(messages[:2], messages[2], encoding()) == Template(
        "qwen3-instruct-2507"
    ).reusable_after_generation(messages[:2], messages[2], encoding())


def test_templates_are_values() -> None:
    template = made("chatml")
    again = pickle.loads(pickle.dumps(template))
    assert again == template
    assert hash(again) == hash(template)
    assert template != made("qwen2")
    assert "characters of jinja" in repr(template)
    with pytest.raises(ArgumentError, match="encoding: the template was made for 'qwen3'"):
        count_messages([], get_encoding("cl100k_base"), template=template)


def test_what_transformers_gives_a_template() -> None:
    source = (
        "{{ bos_token }}{{ messages | tojson }}{{ tools | tojson(indent=1) }}{{ documents }}"
        "{{ add_generation_prompt }}{{ strftime_now('%d %b %Y') }}"
        "{% for i in range(5) %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}\n"
        "{% generation %}x{% endgeneration %}\n"
        "    {% set a = 'é<' ~ 1 %}\n"
        "{{ {'a': a} | tojson }}"
    )
    template = Template.from_jinja(
        source,
        encoding(),
        variables={"bos_token": "<|endoftext|>"},
        date=datetime.datetime(2026, 11, 21),
    )
    messages = [{"role": "assistant", "content": None, "tool_calls": [
        {"id": "c", "function": {"name": "f", "arguments": '{"b":1,"a":"é"}'}}]}]  # fmt: skip
    assert template.render(messages, [{"type": "function"}]) == (
        '<|endoftext|>[{"role": "assistant", "content": "", "tool_calls": [{"id": "c", "type": '
        '"function", "function": {"name": "f", "arguments": {"b": 1, "a": "é"}}}]}]'
        '[\n {\n  "type": "function"\n }\n]NoneTrue21 Nov 2026012x{"a": "é<1"}'
    )
    assert template.render_segments(messages)[0] == ("<|endoftext|>", True)


def test_gpt_oss_of_both_references() -> None:
    # Without tools and instructions vLLM's prompt and the published template's are the same.
    harmony = get_encoding("o200k_harmony")
    template = Template.from_jinja(
        template_source("gpt-oss"), harmony, date=datetime.datetime(2026, 11, 21)
    )
    from ctxengine.chat import HarmonySystem

    native = Template("gpt-oss", system=HarmonySystem(conversation_start_date="2026-11-21"))
    messages = [
        {"role": "user", "content": "2 + 2? <|end|>"},
        {"role": "assistant", "content": "4", "reasoning_content": "Easy."},
        {"role": "user", "content": "Thanks"},
    ]
    ids = encode_messages(messages, harmony, template=template).tolist()
    assert ids == encode_messages(messages, harmony, template=native).tolist()


def test_texts_full_of_private_use_characters() -> None:
    content = "".join(map(chr, range(0xE000, 0xF900))) + "<"
    messages = [{"role": "user", "content": content}]
    ids = encode_messages(messages, encoding(), template=made("chatml")).tolist()
    assert ids == encode_messages(messages, encoding(), template="chatml").tolist()
    # Nothing is left to hide the text's own token with.
    with pytest.raises(ArgumentError, match=r"spells the special token '<\|im_end\|>'"):
        made("chatml").render([{"role": "user", "content": content + "|im_end|>"}])


# --- templates of strangers ---


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("\n{% if %}", "source, line 2: Expected an expression"),
        ("{{ 1 | nothing }}", "source, line 1: No filter"),
        ("\n\n{{ raise_exception('no') }}", "template, line 3: no$"),
        ("\n{{ 1 / 0 }}", "template, line 2: ZeroDivisionError"),
        ("{{ messages.nothing.more }}", "template, line 1: .* has no attribute"),
        ("{{ messages.__class__.__mro__ }}", "unsafe"),
        ("{{ messages.append(1) }}", "not safely callable|unsafe|immutable"),
        ("{{ strftime_now('%Y') }}", "date: the template shows it"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "line 1: RecursionError"),
        (
            "{% for x in range(99999) %}{% for y in range(99999) %}{% endfor %}{% endfor %}",
            "line 1: takes longer than 0.3 s",
        ),
        ("{% for x in range(99999) %}" + "x" * 1_000 + "{% endfor %}", "more than 1000000 char"),
        ("{{ 'ab' * 10**9 }}", "makes more than 1000000 characters"),
        ("{{ [1] * 10**9 }}", "makes more than 1000000 characters"),
        ("{{ 10 ** 10000000 }}", "makes more than 1000000 characters"),
        ("{{ '%99999999d' % 1 }}", "formats with a width above 999"),
        ("{{ 'a'.ljust(10 ** 9) }}", "calls str.ljust"),
        ("{{ 'aaaa'.replace('', 'b' * 999999) }}", "makes more than 1000000 characters"),
        ("{{ 'aaaa' | replace('', 'b' * 999999) }}", "makes more than 1000000 characters"),
        ("{{ (['a' * 999999] * 9) | join }}", "makes more than 1000000 characters"),
        ("{{ ''.join(['a' * 999999] * 9) }}", "makes more than 1000000 characters"),
        (
            "{% set ns = namespace(s='aaaa') %}{% for i in range(60) %}"
            "{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
            "makes more than 1000000 characters",
        ),
    ],
)
def test_refused_templates(source: Any, problem: Any) -> None:
    begin = time.monotonic()
    with pytest.raises(ArgumentError, match=problem):
        Template.from_jinja(source, encoding(), max_seconds=0.3, max_chars=1_000_000).render(
            [{"role": "user", "content": ""}]
        )
    assert time.monotonic() - begin < 20


def test_wrong_arguments() -> None:
    with pytest.raises(ArgumentError, match="source: must be text"):
        Template.from_jinja(b"", encoding())
    with pytest.raises(ArgumentError, match="source: longer than"):
        Template.from_jinja(" " * 2_000_000, encoding())
    with pytest.raises(ArgumentError, match="encoding: must be Encoding, not str"):
        Template.from_jinja("", "qwen3")
    for field in ("channel", "recipient", "content_type"):
        with pytest.raises(ArgumentError, match=rf"messages\[0\].{field}: only template 'harmony'"):
            made("chatml").render([{"role": "user", "content": "", field: "x"}])
