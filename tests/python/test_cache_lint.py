"""Each thing that breaks a cached prefix is named, where it is, with what it costs; nothing else is."""

from __future__ import annotations

import contextlib
import copy
import json

import pytest
from ctxengine.budget import CachePlan, break_even, lint, stored_content
from ctxengine.errors import ArgumentError, CtxEngineError
from ctxengine.pricing import PriceTable
from hypothesis import given, settings
from hypothesis import strategies as st

MARK = {"type": "ephemeral"}


def request_(turns=2):
    return {
        "model": "claude-sonnet-4-5",
        "tools": [
            {
                "name": "search",
                "description": "finds",
                "input_schema": {"type": "object", "properties": {"q": {}, "n": {}}},
            },
            {"name": "read", "description": "reads", "input_schema": {"type": "object"}},
        ],
        "system": [{"type": "text", "text": "You are kind. Answer briefly."}],
        "messages": [
            {
                "role": ("user", "assistant")[i % 2],
                "content": [{"type": "text", "text": f"this is message {i}"}],
            }
            for i in range(2 * turns + 1)
        ],
    }


def tokens(body):
    return {"tools": [1000, 500], "system": 2000, "messages": [100] * len(body["messages"])}


def findings(body, previous=None, rules="anthropic", **more):
    before = copy.deepcopy(body)
    found = lint(body, rules, previous=previous, tokens=more.pop("tokens", tokens(body)))
    assert body == before
    return found


def only(body, previous, rules="anthropic"):
    (found,) = findings(body, previous, rules)
    return found.code, found.path, found.tokens


def test_a_request_that_only_grew_has_nothing():
    assert findings(request_()) == []
    assert findings(request_(5), request_(2)) == []
    assert findings(request_(2), request_(2)) == []
    assert (
        lint(json.dumps(request_(5)).encode(), "anthropic", previous=json.dumps(request_(2))) == []
    )


def test_tools_in_another_order():
    body = request_(3)
    body["tools"].reverse()
    assert only(body, request_()) == ("tools-order", "tools[0]", 1500 + 2000 + 500)


def test_keys_in_another_order():
    body = request_(3)
    schema = body["tools"][0]["input_schema"]
    schema["properties"] = dict(reversed(schema["properties"].items()))
    assert only(body, request_()) == ("json-key-order", "tools[0].input_schema.properties", 4000)

    def with_call(arguments):
        body = request_(2)
        body["messages"][1] = {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "1", "name": "search", "input": arguments}],
        }
        return body

    assert only(with_call({"n": 1, "q": "x"}), with_call({"q": "x", "n": 1})) == (
        "json-key-order",
        "messages[1].content[0].input",
        400,
    )


def test_arguments_written_in_another_way():
    def with_call(arguments):
        call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}
        return {
            "model": "gpt-5",
            "messages": [
                {"role": "user", "content": "q"},
                {"role": "assistant", "content": None, "tool_calls": [call]},
            ],
        }

    (found,) = lint(with_call('{"b":1,"a":2}'), "openai", previous=with_call('{"a": 2, "b": 1}'))
    assert (found.code, found.path, found.tokens) == (
        "json-key-order",
        "messages[1].tool_calls[0].function.arguments",
        None,
    )


def test_a_tool_that_came_or_changed():
    body = request_()
    body["tools"].insert(1, {"name": "new", "input_schema": {}})
    counted = tokens(body) | {"tools": [1000, 50, 500]}
    (found,) = findings(body, request_(), tokens=counted)
    assert (found.code, found.path) == ("tools", "tools[1]")
    body = request_()
    body["tools"][1]["description"] = "reads all"
    found = findings(body, request_())[0]
    assert (found.code, found.path) == ("text", "tools[1].description")
    assert "character 5" in found.why


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("It is 2026-11-21 14:05 in Berlin.", "a time stamp"),
        ("Started 2026-11-21T14:05:11Z", "a time stamp"),
        ("Session 123e4567-e89b-12d3-a456-426614174000", "a UUID"),
        ("Today is 2026-11-21.", "today's date"),
        ("Current date: November 21, 2026", "today's date"),
        ("The date is 21.11.2026", "today's date"),
        ("request 1763733911", "seconds since 1970"),
    ],
)
def test_what_changes_with_each_call_in_the_head(text, what):
    body = request_()
    body["system"][0]["text"] += text
    (found,) = findings(body)
    assert (found.code, found.path) == ("volatile-head", "system[0]")
    assert found.tokens == 2500
    assert what in found.why
    assert findings(body, copy.deepcopy(body)) == []  # it has not changed: no guess is needed


@pytest.mark.parametrize(
    "text",
    [
        "version 3.11.2",
        "up to date",
        "1500 words",
        "a date such as 2024-01-01",
        "10:30",
        "call 5551234567",
    ],
)
def test_what_only_looks_like_it(text):
    body = request_()
    body["system"][0]["text"] += text
    assert findings(body) == []


def test_only_the_time_changed():
    old, new = request_(), request_()
    old["system"][0]["text"] += "Now 2026-11-21 14:05:11."
    new["system"][0]["text"] += "Now 2026-11-21 14:06:37."
    assert only(new, old) == ("volatile-head", "system[0]", 2500)


def test_settings():
    assert only(request_() | {"model": "claude-opus-5"}, request_()) == ("model", "model", 4000)
    choice = {"tool_choice": {"type": "any"}}
    assert only(request_() | choice, request_()) == ("setting", "tool_choice", 500)
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    assert only(request_(), request_() | thinking) == ("setting", "thinking", 500)
    assert findings(request_() | {"temperature": 1.0}, request_()) == []


def test_white_space_and_other_edits_of_the_history():
    body = request_(3)
    body["messages"][1]["content"][0]["text"] += "\n"
    assert only(body, request_()) == ("whitespace", "messages[1].content[0]", 400)
    body["messages"][1]["content"][0]["text"] = "this is another"
    assert only(body, request_()) == ("text", "messages[1].content[0]", 400)


def test_what_went_or_came_in_the_history():
    body = request_(4)
    del body["messages"][1:3]
    (found,) = findings(body, request_(3))
    assert found.code == "history-removed"
    assert "2 blocks" in found.why
    body = request_(3)
    body["messages"][2:2] = [
        {"role": "user", "content": "memory"},
        {"role": "assistant", "content": "ok"},
    ]
    (found,) = findings(body, request_(3))
    assert (found.code, found.path) == ("history-inserted", "messages[2].content")


def test_an_image_that_was_encoded_again():
    def with_image(data):
        body = request_()
        source = {"type": "base64", "media_type": "image/png", "data": data}
        body["messages"][0]["content"].append({"type": "image", "source": source})
        return body

    assert only(with_image("AAAB"), with_image("AAAA"))[:2] == ("image", "messages[0].content[1]")
    old = {"type": "image_url", "image_url": {"url": "https://a/b.png?sig=1"}}
    new = {"type": "image_url", "image_url": {"url": "https://a/b.png?sig=2"}}
    bodies = [
        {"model": "gpt-5", "messages": [{"role": "user", "content": [part]}]} for part in (old, new)
    ]
    (found,) = lint(bodies[1], "openai", previous=bodies[0])
    assert found.code == "image"


def test_an_anchor_that_moved_out_of_reach():
    def marked(turns, *at):
        body = request_(turns)
        for i in at:
            body["messages"][i]["content"][0]["cache_control"] = MARK
        return body

    assert findings(marked(5, 10), marked(2, 4)) == []  # 6 positions
    code, path, lost = only(marked(15, 30), marked(2, 4))
    assert (code, path, lost) == ("moving-anchor", "messages[4].content[0]", 4000)
    assert findings(marked(15, 4, 30), marked(2, 4)) == []
    assert only(request_(3), marked(2, 4))[0] == "moving-anchor"
    assert findings(marked(15, 30), marked(2, 4), "openai-breakpoints") == []  # reaches further


def test_marks_that_are_refused_or_ignored():
    body = request_(2)
    for message in body["messages"]:
        message["content"][0]["cache_control"] = MARK
    assert [found.code for found in findings(body)] == ["too-many-marks"]
    body = request_(1)
    body["system"][0]["cache_control"] = MARK
    body["messages"][0]["content"][0]["cache_control"] = MARK | {"ttl": "1h"}
    assert [(f.code, f.path) for f in findings(body)] == [
        ("lifetime-order", "messages[0].content[0]")
    ]
    body = request_(1)
    body["tools"][0]["cache_control"] = MARK
    assert [(f.code, f.tokens) for f in findings(body)] == [("below-minimum", 1000)]
    body = request_(1)
    body["messages"][1]["content"] = [{"type": "thinking", "thinking": "x", "cache_control": MARK}]
    assert [f.code for f in findings(body)] == ["useless-mark"]


def test_findings_are_in_the_order_of_the_prompt_and_read_well():
    body = request_(3) | {"tool_choice": {"type": "any"}}
    body["tools"].reverse()
    found = findings(body, request_())
    assert [f.code for f in found] == ["tools-order", "setting"]
    assert str(found[0]) == (
        "tools[0]: the same tools in another order (4,000 tokens); sort the tools by name [tools-order]"
    )
    with pytest.raises(ArgumentError):
        lint({}, "anthropic")
    with pytest.raises(ArgumentError):
        lint(request_(), "anthropic", tokens={"messages": 1})


# --- compaction ---


def simulated(numbers, calls):
    """Total of so many calls, kept and compacted, at plain prices."""
    before, span, after, summary = numbers
    read, write = 100, 1250
    kept = calls * (before + span + after) * read
    compacted = (
        before * read + (after + summary) * write + (calls - 1) * (before + summary + after) * read
    )
    return kept, compacted


@pytest.mark.parametrize(
    "numbers",
    [
        (8000, 60000, 32000, 2000),
        (8000, 5000, 90000, 2000),
        (2000, 60000, 0, 100),
        (5000, 3000, 9000, 2999),
    ],
)
def test_break_even_is_the_first_call_at_which_compacting_is_cheaper(numbers):
    result = break_even(*numbers, "anthropic")
    kept, compacted = simulated(numbers, 1)
    assert (result.kept, result.compacted, result.loss) == (kept, compacted, compacted - kept)
    n = result.calls
    kept, compacted = simulated(numbers, n)
    assert compacted < kept
    if n > 1:
        kept, compacted = simulated(numbers, n - 1)
        assert compacted >= kept


def test_break_even_in_other_cases():
    assert break_even(8000, 100, 1000, 100, "anthropic").calls is None  # nothing is saved
    expired = break_even(8000, 60000, 32000, 2000, "anthropic", cached=0)
    assert (expired.calls, expired.rewritten_tokens) == (1, 0)
    assert expired.loss < 0
    unreadable = break_even(8000, 60000, 32000, 2000, "anthropic", readable_before=0)
    assert unreadable.rewritten_tokens == 40000
    prices = PriceTable.from_dict(
        {
            "currency": "USD",
            "per_million_tokens": {
                "input": "3",
                "cached_input": "0.3",
                "cache_write": "3.75",
                "output": "15",
            },
        }
    )
    paid = break_even(8000, 60000, 32000, 2000, "anthropic", prices=prices)
    free = break_even(8000, 60000, 32000, 2000, "anthropic")
    assert (paid.currency, paid.calls, paid.loss) == ("USD", free.calls, free.loss * 3000)
    with_summary = break_even(
        8000, 60000, 32000, 2000, "anthropic", prices=prices, summary_cost=10**12
    )
    assert with_summary.loss == paid.loss + 10**12
    assert with_summary.calls > paid.calls
    for bad in ({"cached": 10**6}, {"cached": -1}, {"readable_before": -1}, {"summary_cost": -1}):
        with pytest.raises(ArgumentError):
            break_even(8000, 60000, 32000, 2000, "anthropic", **bad)
    with pytest.raises(ArgumentError):
        break_even(-1, 60000, 32000, 2000, "anthropic")


@pytest.mark.parametrize("storage", [0, 900, 3_600])
def test_stored_content_pays_from_so_many_calls_on(storage):
    pays = stored_content(50_000, 1, 3600, "gemini-2.5-pro", storage_price=storage).calls
    for calls in range(1, 10):
        made = stored_content(50_000, calls, 3600, "gemini-2.5-pro", storage_price=storage)
        assert made.sent == calls * 50_000 * 1000
        assert made.stored == 50_000 * (1000 + storage + calls * 100)
        assert (made.stored < made.sent) == (calls >= pays)
    with pytest.raises(ArgumentError, match="4096"):
        stored_content(4000, 1, 3600, "gemini-2.5-pro", storage_price=storage)
    with pytest.raises(ArgumentError):
        stored_content(50_000, 1, -1, "gemini-2.5-pro", storage_price=storage)


_KEYS = [
    "role",
    "content",
    "type",
    "text",
    "tool_calls",
    "cache_control",
    "ttl",
    "cachePoint",
    "parts",
    "function",
    "toolUse",
]
_SCALARS = st.sampled_from(
    [
        "user",
        "assistant",
        "text",
        "tool_use",
        "",
        " ",
        "1h",
        "2h",
        None,
        1,
        2**70,
        0.5,
        True,
        "\ud800",
    ]
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=3)
    ),
    max_leaves=8,
)
_MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": _SCALARS, "content": _VALUES | st.just([{"type": "text", "text": "a"}])}
    )
    | _VALUES,
    max_size=4,
)
_BODIES = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("model", "tools", "system", "instructions", "systemInstruction", "toolConfig"), _VALUES
    )
    | {"messages": _MESSAGES, "contents": _MESSAGES, "input": _MESSAGES},
)


@settings(max_examples=300, deadline=None)
@given(
    _BODIES,
    _BODIES,
    st.sampled_from(["anthropic", "bedrock", "openai", "openai-breakpoints", "vllm"]),
)
def test_whatever_comes_is_read_or_refused(one, two, rules):
    for previous in (None, two):
        with contextlib.suppress(CtxEngineError):
            lint(one, rules, previous=previous)
    with contextlib.suppress(CtxEngineError):
        many = {"tools": 3000, "system": 3000, "messages": 3000}
        CachePlan.for_request(one, rules, tokens=many, previous=()).apply(one)
    with contextlib.suppress(CtxEngineError):
        CachePlan.for_request(one, rules, tokens={"messages": 3000}, previous=()).apply(one)
