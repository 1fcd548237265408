"""Conversion of messages, the count rule of API models, reports and errors of ctxengine.chat."""

from __future__ import annotations

import copy
import dataclasses
import enum
import json
import os
import pickle
import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest
import tokenizers
from ctxengine import _core, chat
from ctxengine.chat import Template, count_messages, count_request, encode_messages
from ctxengine.errors import ArgumentError, UnknownTokenError
from ctxengine.models import shipped
from ctxengine.tokenize import Encoding, encoding_for_model, get_encoding
from hypothesis import example, given
from hypothesis import strategies as st

QWEN3 = "qwen3"


@pytest.fixture(scope="module")
def qwen3() -> Any:
    return get_encoding("qwen3")


@pytest.fixture(scope="module")
def o200k() -> Any:
    return get_encoding("o200k_base")


USER = {"role": "user", "content": "Hello there"}
CALL: dict[str, Any] = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    ],
}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "done"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


# --- the count rule of the API models ---


def cookbook_count(messages: Any, encoding: Any) -> Any:
    """OpenAI cookbook, "How to count tokens with tiktoken", num_tokens_from_messages."""
    num_tokens = 3
    for message in messages:
        num_tokens += 3
        for key, value in message.items():
            num_tokens += len(encoding.encode_ordinary(value))
            if key == "name":
                num_tokens += 1
    return num_tokens


@pytest.mark.parametrize("name", ["cl100k_base", "o200k_base"])
def test_api_rule(name: Any) -> None:
    encoding = get_encoding(name)
    messages = [
        {"role": "system", "content": "You are a helpful, pattern-following assistant."},
        {"role": "system", "name": "example_user", "content": "New synergies will help."},
        {"role": "system", "name": "example_assistant", "content": "<|endoftext|> 你好"},
        {"role": "user", "content": ""},
    ]
    assert count_messages(messages, encoding) == cookbook_count(messages, encoding)
    assert count_messages([], encoding) == 3


def test_published_example_of_the_api_rule() -> None:
    # The example conversation of the cookbook; the API itself reports these numbers there.
    messages = [
        {
            "role": "system",
            "content": "You are a helpful, pattern-following assistant that translates corporate "
            "jargon into plain English.",
        },
        {
            "role": "system",
            "name": "example_user",
            "content": "New synergies will help drive top-line growth.",
        },
        {
            "role": "system",
            "name": "example_assistant",
            "content": "Things working well together will increase revenue.",
        },
        {
            "role": "system",
            "name": "example_user",
            "content": "Let's circle back when we have more bandwidth to touch base on "
            "opportunities for increased leverage.",
        },
        {
            "role": "system",
            "name": "example_assistant",
            "content": "Let's talk later when we're less busy about how to do better.",
        },
        {
            "role": "user",
            "content": "This late pivot means we don't have time to boil the ocean for the client "
            "deliverable.",
        },
    ]
    assert count_messages(messages, get_encoding("cl100k_base")) == 129
    assert count_messages(messages, get_encoding("o200k_base")) == 124


def test_api_tools_are_an_error_or_an_estimate_asked_for(o200k: Any) -> None:
    for messages, tools, field in [
        ([USER], [TOOL], "tools"),
        ([USER, CALL, RESULT], None, r"messages\[1\].tool_calls"),
        ([USER, RESULT], None, r"messages\[1\].role"),
    ]:
        with pytest.raises(ArgumentError, match=f"{field}: no exact count"):
            count_messages(messages, o200k, tools=tools)
    estimate = Template("openai", estimate_tools=True)
    assert not estimate.exact
    tools_alone = count_messages([USER], o200k, template=estimate, tools=[TOOL])
    assert tools_alone == count_messages([USER], o200k) + o200k.count(json.dumps(TOOL))
    report = count_request({"messages": [USER, CALL, RESULT]}, o200k, template=estimate)
    assert not report.exact
    assert report.messages[1] == 3 + o200k.count("assistant") + 3 + o200k.count("f") + o200k.count(
        '{"x": 1}'
    )


def test_a_count_rule_has_no_text_and_no_ids(o200k: Any) -> None:
    with pytest.raises(ArgumentError, match="count rule"):
        Template("openai").render_segments([USER])
    with pytest.raises(ArgumentError, match="count rule"):
        encode_messages([USER], o200k)


# --- forms of messages ---


@dataclasses.dataclass
class Message:
    role: object
    content: object


class RoleName(enum.Enum):
    USER = "user"


def test_objects_enums_parts_and_json_count_like_dicts(qwen3: Any) -> None:
    pydantic_like = SimpleNamespace(role=RoleName.USER, content="a\nb", tool_calls=None)
    forms = [
        [{"role": "user", "content": "a\nb"}],
        [Message("user", "a\nb")],
        [pydantic_like],
        ({"role": "user", "content": [{"type": "text", "text": "a"}, "b"]},),
        [Message("user", [SimpleNamespace(type="text", text="a\nb")])],
        b'[{"role": "user", "content": "a\\nb"}]',
        iter([{"role": "user", "content": "a\nb"}]),
    ]
    assert len({count_messages(form, qwen3) for form in forms}) == 1


def test_input_is_not_changed(qwen3: Any) -> None:
    messages = [USER, CALL, RESULT, {"role": "user", "content": [{"type": "text", "text": "x"}]}]
    tools = [TOOL]
    before = copy.deepcopy((messages, tools))
    count_messages(messages, qwen3, tools=tools)
    count_request({"messages": messages, "tools": tools}, qwen3)
    encode_messages(messages, qwen3, tools=tools)
    assert (messages, tools) == before


def test_lone_surrogates_count_as_replacement_characters(qwen3: Any) -> None:
    spelled = [{"role": "user", "content": "a\ud800b\udc00 \ud83d\ude00"}]
    replaced = [{"role": "user", "content": "a\ufffdb\ufffd 😀"}]
    assert encode_messages(spelled, qwen3).tolist() == encode_messages(replaced, qwen3).tolist()


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ({"content": "x"}, r"messages\[1\].role: missing"),
        ({"role": 3, "content": "x"}, r"messages\[1\].role: missing or not a string"),
        ({"role": "judge", "content": "x"}, r"messages\[1\].role: unknown role 'judge'"),
        ({"role": "developer", "content": "x"}, r"messages\[1\].role: template 'qwen3' has no"),
        ({"role": "user"}, r"messages\[1\].content: missing"),
        ({"role": "tool", "content": None}, r"messages\[1\].content: is null$"),
        (
            {"role": "assistant", "content": None},
            r"messages\[1\].content: is null, and there are no tool_calls",
        ),
        ({"role": "user", "content": 7}, r"messages\[1\].content: must be text or a list"),
        ({"role": "user", "content": b"x"}, r"messages\[1\].content: must be text or a list"),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {}}]},
            r"messages\[1\].content\[0\].type: cannot count a part of type 'image_url'",
        ),
        ({"role": "user", "content": [{"text": "x"}]}, r"messages\[1\].content\[0\].type: missing"),
        (
            {"role": "user", "content": ["x", {"type": "text"}]},
            r"messages\[1\].content\[1\].text: missing",
        ),
        ({"role": "user", "content": "x", "name": 3}, r"messages\[1\].name: must be a string"),
        ({**CALL, "tool_calls": "f"}, r"messages\[1\].tool_calls: must be a list"),
        ({**CALL, "tool_calls": [{}]}, r"messages\[1\].tool_calls\[0\].name: missing"),
        (
            {**CALL, "tool_calls": [{"type": "custom", "name": "x"}]},
            r"messages\[1\].tool_calls\[0\].type: cannot count a call of type 'custom'",
        ),
        (
            {**CALL, "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]},
            r"messages\[1\].tool_calls\[0\].function.arguments: not valid JSON",
        ),
        (
            {**CALL, "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]},
            r"messages\[1\].tool_calls\[0\].function.arguments: must be a JSON object, not list",
        ),
        (
            {**CALL, "tool_calls": [{"function": {"name": "f", "arguments": {"x": {1}}}}]},
            r"messages\[1\].tool_calls\[0\].function.arguments: cannot be written as JSON",
        ),
        (
            {**CALL, "tool_calls": [{"name": "f", "arguments": '{"a":' * 100_000}]},
            r"messages\[1\].tool_calls\[0\].arguments: not valid JSON",
        ),
        (
            {"role": "user", "content": "x", "tool_calls": CALL["tool_calls"]},
            r"messages\[1\].tool_calls: only an assistant",
        ),
        ({**USER, "channel": "final"}, r"messages\[1\].channel: template 'qwen3' has no channels"),
        ({**USER, "refusal": "no"}, r"messages\[1\].refusal: no template shows"),
        ({**USER, "function_call": {}}, r"messages\[1\].function_call: no template shows"),
        (
            {**USER, "thinking_blocks": [{"type": "thinking", "thinking": "Hm."}]},
            r"messages\[1\].thinking_blocks: no template shows this field; give the text as",
        ),
        (
            SimpleNamespace(**USER, reasoning_details=[{"text": "Hm."}]),
            r"messages\[1\].reasoning_details: no template shows",
        ),
        (SimpleNamespace(**USER, audio={"id": "a"}), r"messages\[1\].audio: no template shows"),
        ({**USER, "prefix": True}, r"messages\[1\].prefix: an open message"),
        ({**USER, "mood": "glad"}, r"messages\[1\].mood: unknown field; leave it out"),
        ({**USER, 3: "x"}, r"messages\[1\].3: unknown field"),
        ({**USER, "reasoning": {"effort": "low"}}, r"messages\[1\].reasoning: must be a string"),
        (
            {"role": "assistant", "content": "x", "reasoning": "a", "reasoning_content": "b"},
            r"messages\[1\].reasoning: differs from reasoning_content",
        ),
        (
            {"type": "reasoning", "summary": ["Hm."]},
            r"messages\[1\].content: missing; a summary is not what",
        ),
        (
            {"type": "web_search_call", "id": "ws"},
            r"messages\[1\].type: cannot count an item of type 'web_search_call'",
        ),
        (
            {"role": "user", "content": [{"type": "text", "text": "x", "citations": [1]}]},
            r"messages\[1\].content\[0\].citations: unknown field",
        ),
        (
            {**CALL, "tool_calls": [{"function": {"name": "f"}, "extra_content": {"a": 1}}]},
            r"messages\[1\].tool_calls\[0\].extra_content: unknown field",
        ),
        (
            {**CALL, "tool_calls": [{"function": {"name": "f", "strict": True}}]},
            r"messages\[1\].tool_calls\[0\].function.strict: unknown field",
        ),
        (
            {**CALL, "tool_calls": [{"name": "f", "strict": True}]},
            r"messages\[1\].tool_calls\[0\].strict: unknown field",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_shown_is_named(qwen3: Any, message: Any, problem: Any) -> None:
    with pytest.raises(ArgumentError, match=problem):
        count_messages([USER, message], qwen3)


def test_fields_that_do_not_reach_the_prompt_are_passed_over(qwen3: Any) -> None:
    plain = [USER, {"role": "assistant", "content": "Hi!"}]
    asked: dict[str, Any] = {
        "type": "message",
        "role": "user",
        "content": [
            {
                "type": "text",
                "text": USER["content"],
                "cache_control": {"type": "ephemeral"},
                "annotations": [{"type": "url_citation"}],
            }
        ],
        "cache_control": {"type": "ephemeral"},
        "weight": 1,
    }
    # An answer as the APIs return it, with null and empty fields.
    answered: dict[str, Any] = {
        "id": "msg_1",
        "status": "completed",
        "role": "assistant",
        "content": "Hi!",
        "refusal": None,
        "annotations": [{"type": "url_citation", "url_citation": {"url": "x", "title": "y"}}],
        "audio": None,
        "function_call": None,
        "tool_calls": [],
        "reasoning": None,
        "reasoning_content": None,
        "thinking_blocks": [],
        "provider_specific_fields": None,
        "parsed": {"greeting": "Hi!"},
        "prefix": False,
    }
    expected = count_messages(plain, qwen3)
    assert count_messages([asked, answered], qwen3) == expected
    as_objects = [SimpleNamespace(**asked), SimpleNamespace(**answered, created_at="today")]
    assert count_messages(as_objects, qwen3) == expected


def test_reasoning_has_two_names(qwen3: Any) -> None:
    message = {"role": "assistant", "content": "4"}
    spellings: list[dict[str, str]] = [
        {"reasoning_content": "Easy sum."},
        {"reasoning": "Easy sum."},
        {"reasoning": "Easy sum.", "reasoning_content": "Easy sum."},
    ]
    counts = {count_messages([USER, {**message, **fields}], qwen3) for fields in spellings}
    assert len(counts) == 1
    assert counts.pop() > count_messages([USER, message], qwen3)


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ("hi", "messages: must be a list"),
        (USER, "messages: must be a list"),
        (7, "messages: must be a list"),
        (b"[", "messages: not valid JSON"),
        (b"{}", "messages: must be a list"),
        (b"[" * 100_000, "messages: not valid JSON"),
        ([], "messages: template 'qwen3' needs at least one"),
    ],
)
def test_what_is_no_list_of_messages(qwen3: Any, messages: Any, problem: Any) -> None:
    with pytest.raises(ArgumentError, match=problem):
        count_messages(messages, qwen3)


@pytest.mark.parametrize("tools", ["f", {"a": 1}, ["f"], 3, [{"x": {1}}]])
def test_what_is_no_list_of_tools(qwen3: Any, tools: Any) -> None:
    with pytest.raises(ArgumentError, match="tools"):
        count_messages([USER], qwen3, tools=tools)


def test_templates_without_tools_or_reasoning_say_so() -> None:
    harmony = Template("harmony")
    with pytest.raises(ArgumentError, match="tools: template 'harmony' has no rendering"):
        harmony.render([USER], [TOOL])
    with pytest.raises(ArgumentError, match=r"messages\[0\].tool_calls: template 'harmony' has no"):
        harmony.render([CALL])
    with pytest.raises(ArgumentError, match=r"messages\[0\].reasoning_content: harmony keeps"):
        harmony.render([{"role": "assistant", "content": "x", "reasoning_content": "y"}])


# --- templates ---


@pytest.mark.parametrize(
    ("model", "template"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", "qwen2"),
        ("Qwen2.5-Coder-0.5B-Instruct-AWQ", "qwen2"),
        ("Qwen/Qwen3-8B", "qwen3"),
        ("qwen3-235b-a22b", "qwen3"),
        ("Qwen/Qwen3-30B-A3B-FP8", "qwen3"),
        ("Qwen/Qwen3-4B-Instruct-2507", "qwen3-instruct-2507"),
        ("Qwen/Qwen3-235B-A22B-Thinking-2507-FP8", "qwen3-thinking-2507"),
        ("gpt-4o-mini", "openai"),
        ("openai/gpt-oss-120b", "gpt-oss"),
        ("gpt-4.1", "openai"),
        ("gpt-3.5-turbo-0125", "openai"),
        ("o3", "openai"),
        ("azure/gpt-5.6", "openai"),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "llama3"),
        ("Llama-3.3-70B-Instruct-FP8", "llama3.1"),
        ("deepseek-ai/DeepSeek-R1", "deepseek-r1"),
        ("unsloth/gemma-2-9b-it", "gemma2"),
        ("google/gemma-3-27b-it", "gemma3"),
        ("mistralai/Mistral-7B-Instruct-v0.3", "mistral-v3"),
        ("mistralai/Mistral-Nemo-Instruct-2407", "mistral-v3"),
        ("mistralai/Mistral-Small-24B-Instruct-2501", "mistral-v7"),
        ("mistralai/Mistral-Small-3.2-24B-Instruct-2506", "mistral-v11"),
    ],
)
def test_template_of_a_model(model: Any, template: Any) -> None:
    assert Template.for_model(model).name == template


@pytest.mark.parametrize(
    "model",
    ["", "llama-3", "Qwen2-7B-Instruct", "Qwen3-Coder-30B-A3B-Instruct", "Qwen2.5-Math-7B-Instruct",
     "Qwen2.5-VL-7B-Instruct", "Qwen3-VL-8B-Instruct", "QwQ-32B", "gpt-2", "gpt-3.5-turbo-0301"],
)  # fmt: skip
def test_a_model_with_another_template_is_an_error(model: Any) -> None:
    with pytest.raises(UnknownTokenError, match="no template is known"):
        Template.for_model(model)


def test_the_table_of_models_tells_the_template() -> None:
    table = shipped()
    for name in table.names():
        facts = table.facts(name)
        if facts.template is None:
            with pytest.raises(UnknownTokenError, match="no template is known"):
                Template.for_model(name)
            continue
        date = "26 Jul 2024" if name.startswith("llama-3.2-") else None
        template = Template.for_model(name, date=date)
        assert template.name == facts.template
        # What a rule of OpenAI's was not published for is an estimate, all other templates are not.
        assert template.published == (facts.count_rule == "published")


def test_default_template_comes_from_the_encoding(qwen3: Any) -> None:
    assert Template.for_encoding(qwen3).name == "qwen3"
    with pytest.raises(ArgumentError, match="template: encoding 'gpt2' does not tell"):
        count_messages([USER], get_encoding("gpt2"))


def test_another_vocabulary_under_a_known_name_does_not_tell_its_template(o200k: Any) -> None:
    ranks = {bytes([byte]): byte for byte in range(256)}
    pattern = o200k._pat_str
    foreign = Encoding("o200k_base", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    with pytest.raises(ArgumentError, match="template: encoding 'o200k_base' does not tell"):
        count_messages([USER], foreign)
    assert count_messages([USER], foreign, template="openai") == 3 + 3 + len("userHello there")
    assert Template.for_encoding(pickle.loads(pickle.dumps(o200k))).name == "openai"


# The models of the cookbook's function, and its short names; a sample of all others.
@pytest.mark.parametrize(
    ("model", "exact"),
    [
        ("gpt-3.5-turbo", True),
        ("gpt-3.5-turbo-0125", True),
        ("gpt-4-0314", True),
        ("gpt-4-32k-0613", True),
        ("gpt-4", True),
        ("openai/gpt-4o-2024-08-06", True),
        ("gpt-4o-mini-2024-07-18", True),
        ("gpt-4o-2024-11-20", False),
        ("gpt-4o-audio-preview", False),
        ("gpt-4-turbo", False),
        ("gpt-4.1", False),
        ("gpt-4.5-preview", False),
        ("gpt-5-mini", False),
        ("o1", False),
        ("o3", False),
        ("o4-mini", False),
    ],
)
def test_counts_are_exact_where_the_rule_is_published(model: Any, exact: Any) -> None:
    template = Template.for_model(model)
    assert template.exact is exact
    assert ("has not published" in template.why_not_exact) is not exact
    assert pickle.loads(pickle.dumps(template)) == template == eval(repr(template))
    body = {"model": model, "messages": [USER]}
    by_encoding = count_request(body, encoding_for_model(model))
    assert (by_encoding.exact, by_encoding.why_not_exact) == (exact, template.why_not_exact)
    if not model.startswith("openai/"):
        by_model = count_request(body)
        assert (by_model.exact, by_model.why_not_exact) == (exact, template.why_not_exact)


def test_texts_are_joined_only_where_it_is_known_how(o200k: Any) -> None:
    one = [{"role": "user", "content": [{"type": "text", "text": "a\nb"}]}]
    two = [{"role": "user", "content": [{"type": "text", "text": "a"}, "b"]}]
    assert count_messages(one, o200k) > 0
    with pytest.raises(ArgumentError, match=r"messages\[0\].content: .* way to join several"):
        count_messages(two, o200k)
    estimate = Template("openai", estimate_tools=True)
    assert count_messages(two, o200k, template=estimate) == count_messages(one, o200k)


@pytest.mark.parametrize("flag", ["lstrip", "rstrip", "single_word"])
def test_control_tokens_that_depend_on_their_neighbours_are_refused(flag: Any) -> None:
    def encoding(**flags: bool) -> Encoding:
        alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
        vocab = {character: i for i, character in enumerate(alphabet)}
        tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocab, merges=[]))
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = tokenizers.decoders.ByteLevel()
        tokens = [
            tokenizers.AddedToken("<|im_start|>", normalized=False, special=True),
            tokenizers.AddedToken("<|im_end|>", normalized=False, special=True, **flags),
        ]
        tokenizer.add_special_tokens(tokens)
        return Encoding.from_hf(tokenizer)

    assert count_messages([USER], encoding(), template="chatml") > 0
    with pytest.raises(ArgumentError, match=r"'<\|im_end\|>' .* depends on the text beside it"):
        count_messages([USER], encoding(**{flag: True}), template="chatml")
    with pytest.raises(ArgumentError, match="depends on the text beside it"):
        encode_messages([USER], encoding(**{flag: True}), template="chatml")


def test_an_encoding_without_the_control_tokens_is_an_error(o200k: Any) -> None:
    with pytest.raises(ArgumentError, match=r"needs the control token '<\|im_start\|>'"):
        count_messages([USER], o200k, template="chatml")


def test_unknown_templates_and_options() -> None:
    with pytest.raises(UnknownTokenError, match="unknown template 'mistral'; known: chatml"):
        Template("mistral")
    with pytest.raises(ArgumentError, match="enable_thinking"):
        Template("qwen2", enable_thinking=False)
    with pytest.raises(ArgumentError, match="estimate_tools"):
        Template("qwen3", estimate_tools=True)


def test_a_models_template_takes_the_options_of_a_template() -> None:
    estimating = Template.for_model("gpt-4o", estimate_tools=True)
    assert estimating == Template("openai", estimate_tools=True)
    silent = Template.for_model("Qwen/Qwen3-8B", enable_thinking=False)
    assert silent == Template("qwen3", enable_thinking=False)
    with pytest.raises(ArgumentError, match="estimate_tools: template 'qwen3' is exact"):
        Template.for_model("Qwen/Qwen3-8B", estimate_tools=True)


def test_encodings_and_models_by_name(qwen3: Any, o200k: Any) -> None:
    reply = {"role": "assistant", "content": "Hi!"}
    assert count_messages([USER], "qwen3") == count_messages([USER], qwen3)
    assert count_messages([USER], "gpt-4o") == count_messages([USER], o200k)
    assert encode_messages([USER], "qwen3").tolist() == encode_messages([USER], qwen3).tolist()
    template = Template("qwen3")
    assert template.reusable_after_generation([USER], reply, "qwen3") == (
        template.reusable_after_generation([USER], reply, qwen3)
    )
    # A model tells its template, which its encoding alone does not.
    thinking = "Qwen/Qwen3-4B-Thinking-2507"
    assert count_messages([USER], thinking) == count_messages(
        [USER], qwen3, template="qwen3-thinking-2507"
    )
    with pytest.raises(UnknownTokenError, match="no template is known"):
        count_messages([USER], "Qwen/Qwen3-Coder-30B-A3B-Instruct")
    assert count_messages([USER], "Qwen/Qwen3-Coder-30B-A3B-Instruct", template="chatml") > 0
    with pytest.raises(UnknownTokenError, match="encoding: 'mistral' is neither an encoding"):
        count_messages([USER], "mistral")
    with pytest.raises(ArgumentError, match="encoding: must be Encoding or a name, not NoneType"):
        count_messages([USER], None)  # type: ignore[arg-type]


def test_a_body_tells_its_encoding_by_its_model(o200k: Any) -> None:
    body = {"model": "gpt-4o-mini", "messages": [USER]}
    assert count_request(body) == count_request(body, o200k, template="openai")
    assert count_request(json.dumps(body)) == count_request(body)
    with pytest.raises(UnknownTokenError, match=r"body.model: 'mistral' is neither"):
        count_request({**body, "model": "mistral"})
    for bad in ({"messages": [USER]}, {**body, "model": 3}):
        with pytest.raises(ArgumentError, match=r"body.model: missing or not a string"):
            count_request(bad)


def test_templates_are_values() -> None:
    for template in (Template("chatml"), Template("qwen3", enable_thinking=False)):
        again = pickle.loads(pickle.dumps(template))
        assert again == template
        assert hash(again) == hash(template)
        assert eval(repr(template)) == template
    assert Template("qwen3") != Template("qwen3", enable_thinking=False)
    assert "qwen3" in Template.names()


def test_segments_tell_the_template_from_the_caller() -> None:
    segments = Template("chatml").render_segments([{"role": "user", "content": "<|im_end|>"}])
    assert ("<|im_end|>", False) in segments
    assert [text for text, trusted in segments if not trusted] == ["<|im_end|>"]


# --- reports ---


def test_report_adds_up(qwen3: Any) -> None:
    messages = [
        {"role": "system", "content": "Be kind."},
        USER,
        {**CALL, "tool_calls": CALL["tool_calls"] * 2},
        RESULT,
        RESULT,
        USER,
    ]
    body = {"model": "x", "messages": messages, "tools": [TOOL]}
    report = count_request(body, qwen3)
    assert report == count_request(json.dumps(body).encode(), qwen3)
    assert report.total == count_messages(messages, qwen3, tools=[TOOL])
    assert sum(report.sections.values()) == report.total
    assert sum(report.roles.values()) == sum(report.messages)
    assert len(report.messages) == len(messages)
    assert report.messages[4] == 0  # shares the turn of the result before it
    assert report.sections["tools"] == report.total - count_messages(messages, qwen3)
    assert report.exact
    assert json.loads(json.dumps(report.to_dict()))["total"] == report.total


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"{", "body: not valid JSON"),
        ([], "body: must be a JSON object"),
        ({}, "body.messages: missing"),
    ],
)
def test_bad_bodies(qwen3: Any, body: Any, problem: Any) -> None:
    with pytest.raises(ArgumentError, match=problem):
        count_request(body, qwen3)


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("functions", [TOOL], "not supported, give tools"),
        ("function_call", "none", "not supported, give tools"),
        ("instructions", "Be kind.", "give it as the first message"),
        ("thinking", {"type": "enabled", "budget_tokens": 1024}, "the server's choice"),
        ("response_format", {"type": "json_object"}, "whether a schema"),
        ("response_format", {"type": "json_schema", "json_schema": {}}, "whether a schema"),
        ("reasoning_effort", "low", "the server's choice"),
        ("verbosity", "low", "the server's choice"),
        ("web_search_options", {}, "the server's choice"),
        ("documents", [{"text": "x"}], "no template here shows documents"),
        ("continue_final_message", True, "an open last message is not counted"),
        ("add_special_tokens", True, "which tokens are added"),
        ("modalities", ["text", "audio"], "only text"),
        ("chat_template", "{{ x }}", "another template"),
        ("enable_thinking", False, "give it in chat_template_kwargs"),
        ("truncate_prompt_tokens", 5, "a prompt that the server cuts"),
        ("mood", "glad", "unknown field; count the body without it"),
        ("add_generation_prompt", "no", "must be true or false, not str"),
        ("chat_template_kwargs", [1], "must be a JSON object, not list"),
    ],
)
def test_fields_of_a_body_that_change_the_prompt_are_named(
    qwen3: Any, field: Any, value: Any, problem: Any
) -> None:
    body = {"messages": [USER], "tools": [TOOL], field: value}
    with pytest.raises(ArgumentError, match=f"^body.{field}: .*{problem}"):
        count_request(body, qwen3)
    assert count_request({**body, field: None}, qwen3).total > 0


@pytest.mark.parametrize(
    ("kwargs", "problem"),
    [
        ({"enable_thinking": "no"}, "enable_thinking: must be true or false, not str"),
        ({"enable_thinking": 0}, "enable_thinking: must be true or false, not int"),
        ({"reasoning_effort": "low"}, "reasoning_effort: no template here takes it"),
    ],
)
def test_bad_arguments_of_the_template(qwen3: Any, kwargs: Any, problem: Any) -> None:
    with pytest.raises(ArgumentError, match=rf"body\.chat_template_kwargs\.{problem}"):
        count_request({"messages": [USER], "chat_template_kwargs": kwargs}, qwen3)


def test_fields_of_a_body_without_effect_are_passed_over(qwen3: Any) -> None:
    body = {"messages": [USER], "tools": [TOOL]}
    others = {
        "model": "x", "temperature": 0.5, "top_p": 1, "n": 2, "max_tokens": 5, "stream": True,
        "stream_options": {"include_usage": True}, "stop": ["x"], "seed": 1, "user": "me",
        "metadata": {"a": "b"}, "logprobs": True, "logit_bias": {"1": 5}, "service_tier": "auto",
        "parallel_tool_calls": False, "store": False, "prompt_cache_key": "k", "top_k": 5,
        "stop_sequences": ["x"], "min_p": 0.1, "cache_salt": "s", "guided_json": {"type": "object"},
        "structured_outputs": {"regex": "a"}, "repetition_penalty": 1.1, "rid": "r", "tool_choice":
        "required", "response_format": {"type": "text"}, "continue_final_message": False,
        "add_special_tokens": False, "modalities": ["text"], "thinking": {"type": "disabled"},
        "functions": [], "add_generation_prompt": True, "chat_template_kwargs": {},
    }  # fmt: skip
    assert count_request({**body, **others}, qwen3) == count_request(body, qwen3)


def test_a_choice_of_tools_depends_on_the_server(qwen3: Any, o200k: Any) -> None:
    named = {"type": "function", "function": {"name": "f"}}
    for choice in ("none", named):
        body = {"messages": [USER], "tools": [TOOL], "tool_choice": choice}
        with pytest.raises(ArgumentError, match=r"body\.tool_choice: with such a choice"):
            count_request(body, qwen3)
        estimate = Template("openai", estimate_tools=True)
        assert not count_request(body, o200k, template=estimate).exact
        without = {"messages": [USER], "tool_choice": choice}
        assert count_request(without, qwen3).total == count_messages([USER], qwen3)


def test_a_body_says_how_the_prompt_ends(qwen3: Any, o200k: Any) -> None:
    messages = [USER, {"role": "assistant", "content": "Hi!"}]
    for tools in ([], [TOOL]):
        body = {"messages": messages, "tools": tools, "add_generation_prompt": False}
        report = count_request(body, qwen3)
        ids = encode_messages(messages, qwen3, tools=tools, add_generation_prompt=False)
        assert report.total == len(ids) == sum(report.sections.values())
    with pytest.raises(ArgumentError, match=r"body\.add_generation_prompt: the API models always"):
        count_request({"messages": messages, "add_generation_prompt": False}, o200k)


def test_a_body_can_switch_thinking_off(qwen3: Any) -> None:
    silent = Template("qwen3", enable_thinking=False)
    for value, template in [(False, silent), (True, Template("qwen3"))]:
        body = {"messages": [USER], "chat_template_kwargs": {"enable_thinking": value}}
        expected = len(encode_messages([USER], qwen3, template=template))
        assert count_request(body, qwen3).total == expected
        assert count_request(body, qwen3, template=silent).total == expected
    off = {"messages": [USER], "chat_template_kwargs": {"enable_thinking": False}}
    with pytest.raises(
        ArgumentError, match=r"body\.chat_template_kwargs\.enable_thinking: .*no such"
    ):
        count_request(off, qwen3, template="qwen3-instruct-2507")


# --- what survives a reply in the KV cache ---


def test_plain_templates_keep_everything(qwen3: Any) -> None:
    qwen2 = get_encoding("qwen2")
    reply = {"role": "assistant", "content": "Hi!"}
    for template in (Template("chatml"), Template("qwen2")):
        reuse = template.reusable_after_generation([USER], reply, qwen2)
        assert reuse.reusable_tokens == reuse.num_tokens
    instruct = Template("qwen3-instruct-2507").reusable_after_generation([USER], reply, qwen3)
    assert instruct.reusable_tokens == instruct.num_tokens


def test_qwen3_loses_the_reply_with_its_reasoning_unless_a_tool_result_follows(qwen3: Any) -> None:
    template = Template("qwen3")
    prompt = count_messages([USER], qwen3)
    reply = {"role": "assistant", "content": "Hi!", "reasoning_content": "A greeting."}
    lost = template.reusable_after_generation([USER], reply, qwen3)
    assert lost.reusable_tokens == prompt < lost.num_tokens
    kept = template.reusable_after_generation([USER], {**CALL, **reply, **CALL}, qwen3)
    assert kept.reusable_tokens == kept.num_tokens


# --- the count table ---


def test_the_table_remembers_and_forgets(qwen3: Any) -> None:
    chat.cache_clear()
    messages = [{"role": "user", "content": f"message {i}"} for i in range(50)]
    first = count_messages(messages, qwen3)
    entries = chat.cache_info().num_entries
    hits = chat.cache_info().hits
    assert entries >= 50
    assert count_messages(messages, qwen3) == first
    assert chat.cache_info().hits >= hits + 50
    assert chat.cache_info().num_entries == entries
    chat.cache_clear()
    assert chat.cache_info().num_entries == 0
    assert chat.cache_info().size_bytes == 0


def test_equal_text_under_another_encoding_or_template_is_counted_anew(
    qwen3: Any, o200k: Any
) -> None:
    text = [{"role": "user", "content": "नमस्ते दुनिया 你好"}]
    alone = {}
    for encoding, template in [(qwen3, "qwen3"), (qwen3, "chatml"), (o200k, "openai")]:
        chat.cache_clear()
        alone[template] = count_messages(text, encoding, template=template)
    for encoding, template in [(qwen3, "qwen3"), (qwen3, "chatml"), (o200k, "openai")]:
        assert count_messages(text, encoding, template=template) == alone[template]
    # The border between two fields is part of what is counted.
    for a, b in [("ab", "c"), ("a", "bc")]:
        calls = [{"function": {"name": a, "arguments": {b: 1}}}]
        message = {"role": "assistant", "content": "", "tool_calls": calls}
        ids = encode_messages([USER, message], qwen3)
        assert count_messages([USER, message], qwen3) == len(ids)


def test_counting_from_many_threads(qwen3: Any) -> None:
    chat.cache_clear()
    messages = [{"role": "user", "content": f"text {i} " * 20} for i in range(200)]
    expected = count_messages(messages, qwen3)
    results = []

    def work() -> None:
        for k in range(5):
            results.append(count_messages(messages[k:] + messages[:k], qwen3))
            if k % 2:
                chat.cache_clear()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 30


FORK_AMID_COUNTING = """
import os, signal, sys, threading, warnings
from ctxengine.chat import cache_info, count_messages
from ctxengine.tokenize import get_encoding

encoding = get_encoding("qwen3")
messages = [{"role": "user", "content": "word " * 200_000}]
expected = count_messages(messages, encoding)
stop = threading.Event()

def count():
    while not stop.is_set():
        count_messages(messages, encoding)

threads = [threading.Thread(target=count) for _ in range(3)]
for thread in threads:
    thread.start()
warnings.simplefilter("ignore", DeprecationWarning)
failures = []
for _ in range(40):
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        fresh = cache_info().num_entries == 0
        os._exit(0 if fresh and count_messages(messages, encoding) == expected else 1)
    status = os.waitpid(child, 0)[1]
    if status:
        failures.append(status)
        break
stop.set()
for thread in threads:
    thread.join()
sys.exit(f"a child ended with {failures}" if failures else 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_child_forked_while_others_count_can_count() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORK_AMID_COUNTING],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(st.characters(exclude_categories=["Cs"])),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    )
)
@example({"a": (1, [])})
@example([1e16, 1e-5, -0.0, 5e-324, 2**63, -(2**63)])
def test_tools_are_written_as_json_dumps_writes_them(value: Any) -> None:
    written = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()
    assert _core.json_text(value, "tools[0]").encode("utf-8", "replace").decode() == written


def test_segments_are_the_text_that_is_shown() -> None:
    long = "日本語 with é and 🎉, of more than a few characters"
    texts = [f"  {long}\n", long, f"{long}\ud800 half a pair", "x" * 40, f"\u3000{long}\u2028"]
    for text in texts:
        # "replace" writes ? where the segments have U+FFFD.
        expected = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").strip()
        segments = Template("llama3").render_segments([{"role": "user", "content": text}])
        assert (expected, False) in segments
