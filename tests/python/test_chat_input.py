"""Bodies of every API, parts that are no text, and bodies that go on from earlier ones."""

from __future__ import annotations

import copy
import json
import math
import os
import subprocess
import sys
import threading
from types import MappingProxyType
from typing import Any

import pytest
from ctxengine import chat
from ctxengine.chat import Template, count_messages, count_request, encode_messages
from ctxengine.errors import ArgumentError
from ctxengine.tokenize import get_encoding

SYSTEM = {"role": "system", "content": "Be kind."}
USER = {"role": "user", "content": "What is 2 + 2?"}
CALL = {
    "role": "assistant",
    "content": "I compute.",
    "reasoning_content": "Use the tool.",
    "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}},
        {"id": "c2", "type": "function", "function": {"name": "add", "arguments": '{"a": 3}'}},
    ],
}
RESULTS = [
    {"role": "tool", "tool_call_id": "c1", "content": "4"},
    {"role": "tool", "tool_call_id": "c2", "content": "5\n6"},
]
TOOL = {
    "type": "function",
    "function": {"name": "add", "description": "Add.", "parameters": {"type": "object"}},
}
IMAGE = {"type": "image_url", "image_url": {"url": "data:,", "detail": "low"}}


@pytest.fixture(scope="module")
def qwen3() -> Any:
    return get_encoding("qwen3")


def both(body: Any, encoding: Any, **options: Any) -> Any:
    """Count a body from its text and as a mapping, which must agree, and not change it."""
    before = copy.deepcopy(body)
    chat.cache_clear()
    from_text = count_request(json.dumps(body).encode(), encoding, **options)
    assert from_text == count_request(body, encoding, **options)
    assert body == before
    return from_text


def refused(body: Any, encoding: Any, match: str, **options: Any) -> None:
    for form in (body, json.dumps(body)):
        with pytest.raises(ArgumentError, match=match):
            count_request(form, encoding, **options)


# --- other APIs ---

ANTHROPIC: dict[str, Any] = {
    "system": [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}],
    "max_tokens": 100,
    "messages": [
        USER,
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Use the tool.", "signature": "x"},
                {"type": "text", "text": "I compute."},
                {"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 2}},
                {"type": "tool_use", "id": "c2", "name": "add", "input": {"a": 3}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "4"},
                {
                    "type": "tool_result",
                    "tool_use_id": "c2",
                    "content": [{"type": "text", "text": "5"}, {"type": "text", "text": "6"}],
                },
                {"type": "text", "text": "And now?"},
            ],
        },
    ],
    "tools": [{"name": "add", "description": "Add.", "input_schema": {"type": "object"}}],
    "tool_choice": {"type": "auto"},
}
RESPONSES: dict[str, Any] = {
    "instructions": "Be kind.",
    "input": [
        USER,
        {
            "type": "reasoning",
            "id": "rs",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "Use the tool."}],
        },
        {
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "I compute.", "annotations": []}],
        },
        {"type": "function_call", "call_id": "c1", "name": "add", "arguments": '{"a": 2}'},
        {"type": "function_call", "call_id": "c2", "name": "add", "arguments": '{"a": 3}'},
        {"type": "function_call_output", "call_id": "c1", "output": "4"},
        {
            "type": "function_call_output",
            "call_id": "c2",
            "output": [{"type": "input_text", "text": "5\n6"}],
        },
        {"role": "user", "content": [{"type": "input_text", "text": "And now?"}]},
    ],
    "tools": [{"type": "function", "name": "add", "description": "Add.",
               "parameters": {"type": "object"}}],
    "text": {"format": {"type": "text"}},
}  # fmt: skip
AS_CHAT = {
    "messages": [SYSTEM, USER, CALL, *RESULTS, {"role": "user", "content": "And now?"}],
    "tools": [TOOL],
}


@pytest.mark.parametrize("template", ["qwen2", "qwen3"])
def test_other_apis_say_what_chat_completions_say(template: Any) -> None:
    encoding = get_encoding(template)
    expected = both(AS_CHAT, encoding)
    for body in (ANTHROPIC, RESPONSES):
        report = both(body, encoding)
        assert report.total == expected.total
        assert report.roles == expected.roles
        assert report.sections == expected.sections
        source = body.get("messages") or body["input"]
        assert len(report.messages) == len(source)
        # What `system` or `instructions` says is none of the messages.
        assert sum(report.messages) == sum(expected.messages[1:])
    assert both(ANTHROPIC, encoding).messages[1] == expected.messages[2]
    # The calls count where the message begins that they are of.
    assert both(RESPONSES, encoding).messages[1:5] == (expected.messages[2], 0, 0, 0)


def test_items_can_be_rendered(qwen3: Any) -> None:
    messages = [SYSTEM, *RESPONSES["input"]]
    assert Template("qwen3").render(messages) == Template("qwen3").render(AS_CHAT["messages"])
    ids = encode_messages(messages, qwen3)
    assert count_messages(messages, qwen3) == len(ids)
    assert count_messages(json.dumps(messages).encode(), qwen3) == len(ids)


def test_input_may_be_a_text(qwen3: Any) -> None:
    report = both({"input": "Hello", "instructions": None}, qwen3)
    assert report.total == count_messages([{"role": "user", "content": "Hello"}], qwen3)
    assert len(report.messages) == 1


def test_no_rule_is_published_for_the_responses_api() -> None:
    assert not both({"model": "gpt-4o", "input": "Hello"}, None).exact
    assert both({"model": "gpt-4o", "messages": [USER]}, None).exact


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        ({"type": "item_reference", "id": "x"}, r"type: cannot count an item of type 'item_ref"),
        ({"type": 3}, r"type: cannot count an item of type int"),
        ({"type": "reasoning", "summary": [{"text": "x"}]}, "content: missing; a summary is not"),
        ({"type": "reasoning", "encrypted_content": "x"}, "encrypted_content: what is encrypted"),
        (
            {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "x"}] * 2},
            r"content\[1\]: servers join",
        ),
        ({"type": "function_call", "name": "f", "arguments": "["}, "arguments: not valid JSON"),
        ({"type": "function_call", "arguments": "{}"}, "name: missing"),
        (
            {"type": "function_call", "name": "f", "arguments": "{}", "namespace": "n"},
            "namespace: unknown field",
        ),
        ({"type": "function_call_output", "call_id": "c"}, "output: missing"),
    ],
)
def test_items_that_cannot_be_shown_are_named(qwen3: Any, item: Any, problem: Any) -> None:
    refused({"input": [USER, item]}, qwen3, rf"input\[1\].{problem}")


TEXT = {"type": "text", "text": "x"}
THINKING = {"type": "thinking", "thinking": "Hm."}
USE = {"type": "tool_use", "id": "c", "name": "f", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "c", "content": "x"}


@pytest.mark.parametrize(
    ("role", "content", "problem"),
    [
        ("assistant", [TEXT, THINKING], r"content\[1\]: reasoning is shown before"),
        ("assistant", [THINKING, THINKING], r"content\[1\]: a message shows its reasoning once"),
        ("assistant", [USE, TEXT], r"content\[1\]: a message shows its content before"),
        ("assistant", [{**USE, "input": [1]}], r"content\[0\].input: must be a JSON object"),
        ("assistant", [{**USE, "caller": "x"}], r"content\[0\].caller: unknown field"),
        ("assistant", [{"type": "redacted_thinking", "data": "x"}], r"content\[0\].type: cannot"),
        ("user", [USE], r"content\[0\].type: cannot count a part of type 'tool_use'"),
        ("user", [TEXT, RESULT], r"content\[1\]: the results of tools come before"),
        ("user", [{**RESULT, "is_error": True}], r"content\[0\].is_error: no template shows"),
        ("user", [{**RESULT, "content": [IMAGE]}], r"content\[0\].content\[0\].type: cannot count"),
    ],
)
def test_blocks_that_cannot_be_shown_are_named(
    qwen3: Any, role: Any, content: Any, problem: Any
) -> None:
    refused({"messages": [{"role": role, "content": content}]}, qwen3, rf"messages\[0\].{problem}")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"messages": [USER], "input": "x"}, "body.input: messages and input are given both"),
        ({"messages": [USER], "instructions": "x"}, "body.instructions: belongs to another API"),
        ({"input": [USER], "system": "x"}, "body.system: belongs to another API"),
        ({"messages": [USER], "system": 3}, "body.system: must be text or a list of texts"),
        ({"messages": [USER], "system": [TEXT, TEXT]}, r"body.system\[1\]: servers join"),
        ({"messages": "x"}, "messages: must be a list of messages, not str"),
        ({"messages": {}}, "messages: must be a list of messages, not dict"),
        ({"input": 3}, "input: must be a list of messages, not int"),
        ({"input": [USER], "tools": [{"type": "web_search"}]}, r"tools\[0\].type: cannot count"),
        ({"input": [USER], "previous_response_id": "r"}, "body.previous_response_id: messages"),
        ({"input": [USER], "conversation": "c"}, "body.conversation: messages that the server"),
        ({"input": [USER], "truncation": "auto"}, "body.truncation: a prompt that the server"),
        (
            {"messages": [USER], "tools": [{**ANTHROPIC["tools"][0], "strict": True}]},
            r"tools\[0\].strict: unknown field",
        ),
        ({"messages": [USER], "tools": {}}, "tools: must be a list of mappings, not dict"),
        ({"messages": [USER], "tools": ["f"]}, r"tools\[0\]: must be a mapping, not str"),
    ],
)
def test_bodies_that_cannot_be_counted_say_why(qwen3: Any, fields: Any, problem: Any) -> None:
    refused(fields, qwen3, problem)


# --- parts that are no text ---


def test_parts_cost_what_the_caller_says(qwen3: Any) -> None:
    audio = {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}
    parts = [{"type": "text", "text": "See"}, IMAGE, audio]
    messages = [{"role": "user", "content": parts}, USER]
    text_alone = [{"role": "user", "content": "See"}, USER]
    expected = count_messages(text_alone, qwen3) + 85 + 7
    seen: list[Any] = []

    def image(part: Any) -> int:
        seen.append(part)
        return 85 if part["image_url"]["detail"] == "low" else 1000

    rules: list[Any] = [
        {"image_url": 85, "input_audio": 7},
        MappingProxyType({"image_url": image, "input_audio": 7}),
        lambda part: 85 if part["type"] == "image_url" else 7,
    ]
    for rule in rules:
        assert count_messages(messages, qwen3, part_tokens=rule) == expected
        assert count_messages(json.dumps(messages).encode(), qwen3, part_tokens=rule) == expected
        report = both({"messages": messages}, qwen3, part_tokens=rule)
        assert report.total == expected == sum(report.sections.values())
        assert report.messages[0] == count_request({"messages": text_alone}, qwen3).messages[0] + 92
    assert all(part == IMAGE for part in seen)


def test_results_of_tools_may_hold_parts(qwen3: Any) -> None:
    picture = {"type": "image", "source": {"type": "base64", "data": ""}}
    body = {"messages": [{"role": "user", "content": [{**RESULT, "content": [TEXT, picture]}]}]}
    plain = {"messages": [{"role": "tool", "content": "x"}]}
    assert (
        both(body, qwen3, part_tokens={"image": 9}).total == count_request(plain, qwen3).total + 9
    )


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        (None, r"messages\[0\].content\[0\].type: .*'image_url'; say what it costs: part_tokens={"),
        (
            {},
            r"messages\[0\].content\[0\].type: part_tokens says nothing of parts of type 'image_u",
        ),
        (
            {"image_url": -1},
            r"messages\[0\].content\[0\]: part_tokens must give a number of tokens",
        ),
        ({"image_url": 2**70}, r"messages\[0\].content\[0\]: part_tokens must give a number"),
        (
            {"image_url": True},
            r"messages\[0\].content\[0\]: part_tokens must give an int, not bool",
        ),
        (
            {"image_url": 1.5},
            r"messages\[0\].content\[0\]: part_tokens must give an int, not float",
        ),
        (lambda _: None, r"content\[0\]: part_tokens must give an int, not NoneType"),
        (3, "part_tokens: must be callable or a mapping, not int"),
    ],
)
def test_bad_rules_for_parts(qwen3: Any, rule: Any, problem: Any) -> None:
    body = {"messages": [{"role": "user", "content": [IMAGE]}]}
    refused(body, qwen3, problem, part_tokens=rule)


def test_errors_of_the_callers_rule_pass(qwen3: Any) -> None:
    def rule(part: Any) -> int:
        raise LookupError("no size")

    with pytest.raises(LookupError, match="no size"):
        count_messages([{"role": "user", "content": [IMAGE]}], qwen3, part_tokens=rule)


# --- JSON text ---


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "expected a value at byte 0"),
        (b"\xef\xbb\xbf", "expected a value at byte 3"),
        (b'{"messages": [}', "expected a value at byte 14"),
        (b'{"messages": [] "model"', "expected '}' at byte 16"),
        (b'{"messages": [{"role": "user" "content": "x"}]}', "expected ',' or '}' at byte 30"),
        (b'{"messages": [{"role": "user", "content": "x"}', "expected ']' at byte 46"),
        (b'{"messages": [{"role": "us', "a string without end at byte 26"),
        (b'{"messages": ["\n"]}', "a control character in a string at byte 15"),
        (b'{"messages": ["\\x"]}', "an unknown escape at byte 16"),
        (b'{"messages": ["\\u12"]}', "an escape without four digits at byte 16"),
        (b'{"a": [01]}', "expected ',' or ']' at byte 8"),
        (b'{"messages": [], "a": 1.}', "expected a digit at byte 24"),
        (b'{"messages": [], "a": NaN}', "expected a value at byte 22"),
        (b'{"messages": [], "a": -}', "expected a value at byte 22"),
        (b'{"messages": [], "a": tru}', "expected a value at byte 22"),
        (b'{"messages": [], }', "expected a name in quotes at byte 17"),
        (b'{"messages": []} x', "more than one value at byte 17"),
        (b'{"a": ' + b"[" * 100_000, "more than 512 levels at byte"),
        (b'{"messages": [{"a": ' + b'{"a":' * 100_000, "more than 512 levels at byte"),
    ],
)
def test_malformed_text_is_told_with_its_place(qwen3: Any, text: Any, problem: Any) -> None:
    with pytest.raises(ArgumentError, match=f"body: not valid JSON: .*{problem}"):
        count_request(text, qwen3)


def test_text_that_is_not_utf8(qwen3: Any) -> None:
    body = b'{"messages": [{"role": "user", "content": "a\xff"}]}'
    with pytest.raises(ArgumentError, match="body: not UTF-8 at byte 44"):
        count_request(body, qwen3)
    with pytest.raises(ArgumentError, match="messages: not UTF-8 at byte 0"):
        count_messages('[{"role": "user"}]'.encode("utf-16"), qwen3)


def test_a_byte_order_mark_and_white_space_are_passed_over(qwen3: Any) -> None:
    text = json.dumps({"messages": [USER, USER]}, indent=3)
    expected = count_messages([USER, USER], qwen3)
    for form in (b"\xef\xbb\xbf" + text.encode(), text, bytearray(text.encode()), f"\r\n\t{text} "):
        for _ in range(2):
            assert count_request(form, qwen3).total == expected
    listed = b"\xef\xbb\xbf" + json.dumps([USER, USER]).encode()
    assert count_messages(listed, qwen3) == expected


def test_fields_given_twice(qwen3: Any) -> None:
    user = json.dumps(USER)
    for text, field in [
        ('{"messages": [], "messages": []}', "body.messages"),
        (f'{{"messages": [{user}], "tools": [], "tools": []}}', "body.tools"),
        ('{"messages": [{"role": "user", "role": "user"}]}', r"messages\[0\].role"),
        (
            '{"messages": [{"role": "user", "content": "", "content": "x"}]}',
            r"messages\[0\].content",
        ),
        (f'{{"messages": [{user}], "tools": [{{"a": {{"b": 1, "\\u0062": 2}}}}]}}', r"tools\[0\]"),
    ]:
        with pytest.raises(ArgumentError, match=rf"{field}: .*twice"):
            count_request(text, qwen3)


NUMBERS = [
    "0", "-0", "1", "-17", str(10**30), "0.0", "-0.0", "1.0", "0.1", "1e5", "1E5", "1e16", "1e15",
    "123456789012345680.0", "1e-4", "0.00001", "1e-5", "5e-324", "1e-400", "-1e-400", "1e400",
    "-1e400", "2.5e300", "0.30000000000000004", "9007199254740993", "9007199254740993.0", "1e22",
    "1e23", "100000000000000000000000000000000e-5", "0e99999999999999999999", "1.7976931348623157e308",
    "0.1e1", "12345.678e-2", "1e0", "0.000123", "0.0001", "1e99999999999999999999999",
]  # fmt: skip
STRINGS = [
    '"\\u0000\\u001f\\u007f"', '"\\"\\\\\\/\\b\\f\\n\\r\\t"', '"\\ud83d\\ude00"', '"\\ud83d"',
    '"\\ude00\\ud83d"', '"\\ud83d\\u0041"', '"\\ud83dx"', '"é\\u00e9\u2028"', '"\x7f"', '"</s>"',
]  # fmt: skip


@pytest.mark.parametrize("text", [*NUMBERS, *STRINGS])
def test_arguments_are_written_as_python_writes_them(text: Any) -> None:
    arguments = f'{{"x":[{text}, {{}}, [],null , true],"y":{{"z" :{text}}}}}'
    written = json.dumps(json.loads(arguments), ensure_ascii=False)
    call = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"name": "f", "arguments": arguments}],
    }
    rendered = Template("qwen2").render([USER, call])
    expected = written.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert expected in rendered
    as_object = f'[{json.dumps(USER)}, {{"role": "assistant", "content": "", "tool_calls": [{{"name": "f", "arguments": {arguments}}}]}}]'
    assert Template("qwen2").render(as_object.encode()) == rendered


def test_long_integers_are_read_up_to_pythons_limit(qwen3: Any) -> None:
    for digits, fits in [(4300, True), (4301, False)]:
        arguments = f'{{"x": {"1" * digits}}}'
        call = {"role": "assistant", "tool_calls": [{"name": "f", "arguments": arguments}]}
        if fits:
            assert count_messages([USER, call], qwen3) > digits // 20
        else:
            with pytest.raises(ArgumentError, match="more than 4300 digits"):
                count_messages([USER, call], qwen3)
    with pytest.raises(ArgumentError, match="tools: not valid JSON"):
        count_request({"messages": [USER], "tools": [{"x": math.nan}]}, qwen3)


# --- bodies that go on from earlier ones ---


def conversation(num: int) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = [SYSTEM]
    for i in range(num):
        messages.append({"role": "user", "content": f'Question {i}: "é\n\\" 你好'})
        if i % 5 == 2:
            messages += [CALL, *RESULTS]
        reply = {"role": "assistant", "content": f"Answer {i}", "reasoning_content": f"Hm {i}."}
        messages.append(reply)
    return messages


@pytest.mark.parametrize("order", [("model", "messages", "tools"), ("tools", "messages", "model")])
@pytest.mark.parametrize("tools", [[TOOL], []])
def test_a_growing_body_counts_as_from_the_beginning(qwen3: Any, order: Any, tools: Any) -> None:
    messages = conversation(30)
    for n in [1, 2, 3, 3, 7, 40, 39, 38, 60, 20, len(messages)]:
        body = {"messages": messages[:n], "model": "x" * (n % 4), "tools": tools}
        text = json.dumps({name: body[name] for name in order}).encode()
        report = count_request(text, qwen3)
        assert report == count_request(body, qwen3)
        assert count_request(text, qwen3) == report


def test_a_body_that_differs_somewhere_counts_as_from_the_beginning(qwen3: Any) -> None:
    messages = conversation(20)
    text = json.dumps({"messages": messages}).encode()
    for at in range(0, len(text), 37):
        count_request(text, qwen3)
        changed = text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :]
        try:
            expected = count_request(json.loads(changed), qwen3)
        except ValueError:
            with pytest.raises(ArgumentError):
                count_request(changed, qwen3)
            continue
        assert count_request(changed, qwen3) == expected


def test_items_that_go_on_with_a_message_that_was_kept(qwen3: Any) -> None:
    items = RESPONSES["input"]
    for n in [*range(1, len(items) + 1), *range(len(items), 0, -1), *range(1, len(items) + 1)]:
        body = {**RESPONSES, "input": items[:n]}
        assert count_request(json.dumps(body), qwen3) == count_request(body, qwen3)


def test_what_is_kept_does_not_depend_on_template_encoding_or_options() -> None:
    roles = ("user", "assistant")
    messages = [m for m in conversation(20) if m["role"] in roles and "tool_calls" not in m]
    body = {"messages": messages}
    text = json.dumps(body)
    choices = [
        ("qwen3", Template("qwen3")),
        ("qwen3", Template("qwen3", enable_thinking=False)),
        ("qwen2", Template("qwen2")),
        ("qwen3", Template("chatml")),
        ("qwen3", Template("qwen3-thinking-2507")),
    ]
    expected = [count_request(body, encoding, template=t) for encoding, t in choices]
    for _ in range(2):
        for (encoding, template), report in zip(choices, expected, strict=True):
            assert count_request(text, encoding, template=template) == report


def test_a_rule_for_parts_is_asked_at_every_call(qwen3: Any) -> None:
    text = json.dumps({"messages": [USER, {"role": "user", "content": [IMAGE]}, USER]})
    totals = [count_request(text, qwen3, part_tokens={"image_url": n}).total for n in (5, 6, 5)]
    assert totals == [totals[0], totals[0] + 1, totals[0]]
    with pytest.raises(ArgumentError, match="cannot count a part"):
        count_request(text, qwen3)


def test_many_conversations_in_threads(qwen3: Any) -> None:
    failures = []

    def run(number: int) -> None:
        messages = [{"role": "user", "content": f"I am {number % 6}"}, *conversation(40)]
        expected = [count_request({"messages": messages[:n]}, qwen3) for n in range(2, 60, 9)]
        for _ in range(3):
            for n, report in zip(range(2, 60, 9), expected, strict=True):
                if count_request(json.dumps({"messages": messages[:n]}), qwen3) != report:
                    failures.append((number, n))

    threads = [threading.Thread(target=run, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_bodies_of_its_own() -> None:
    code = (
        "import os, json\n"
        "from ctxengine.chat import count_request\n"
        "text = json.dumps({'messages': [{'role': 'user', 'content': 'x'}] * 50})\n"
        "total = count_request(text, 'qwen3').total\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    os._exit(0 if count_request(text, 'qwen3').total == total else 1)\n"
        "assert os.waitpid(pid, 0)[1] == 0\n"
        "assert count_request(text, 'qwen3').total == total\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_template_of_jinja_takes_every_shape_but_no_rule_for_parts(qwen3: Any) -> None:
    source = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    )
    template = Template.from_jinja(source, qwen3)
    body = {"instructions": "Be kind.", "input": [USER, USER]}
    report = both(body, qwen3, template=template)
    ids = encode_messages([SYSTEM, USER, USER], qwen3, template=template)
    assert report.total == len(ids) == sum(report.sections.values())
    assert report.roles.keys() == {"system", "user"}
    assert len(report.messages) == 2
    assert count_messages([SYSTEM, USER, USER], qwen3, template=template) == len(ids)
    with pytest.raises(ArgumentError, match="part_tokens: parts that are no text are not counted"):
        count_messages([USER], qwen3, template=template, part_tokens={"image_url": 1})


@pytest.mark.parametrize(
    ("model", "why_not"),
    [
        ("claude-sonnet-4-5", "no tokenizer is published"),
        ("gpt-4o", "has the encoding 'o200k_base', not 'qwen3'"),
        ("Qwen/Qwen3-8B", ""),
        ("a model of our own", ""),
    ],
)
def test_an_encoding_that_stands_in_for_the_models_own_is_an_estimate(
    qwen3: Any, model: str, why_not: str
) -> None:
    report = both({"model": model, "messages": [USER]}, qwen3, template="qwen3")
    assert report.exact == (not why_not)
    assert why_not in report.why_not_exact
    assert report.total == count_messages([USER], qwen3, template="qwen3")
