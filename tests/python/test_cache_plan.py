"""What a cache plan promises: valid marks, predictions by each provider's rules, and totals that add up."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle

import pytest
from ctxengine import count_request, get_encoding
from ctxengine.budget import CachePlan, CacheRules, NextCall, Sent
from ctxengine.errors import ArgumentError, UnknownTokenError
from ctxengine.pricing import PriceTable
from hypothesis import given, settings
from hypothesis import strategies as st

PRICES = PriceTable.from_dict(
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
TOOLS = [
    {
        "name": f"tool_{i}",
        "input_schema": {"type": "object", "properties": {"a": {"type": "string"}, "b": {}}},
    }
    for i in range(3)
]


def anthropic(turns=2, system="You are kind.", **more):
    messages = []
    for i in range(turns):
        messages.append({"role": "user", "content": f"question {i}"})
        messages.append({"role": "assistant", "content": [{"type": "text", "text": f"answer {i}"}]})
    return {
        "model": "claude-sonnet-4-5",
        "system": system,
        "tools": TOOLS,
        "messages": [*messages, {"role": "user", "content": f"question {turns}"}],
    } | more


def counts(body, each=100, tools=3000, system=2000):
    return {"tools": tools, "system": system, "messages": [each] * len(body["messages"])}


def plan(body, rules="claude-sonnet-4-5", **more):
    more.setdefault("tokens", counts(body))
    return CachePlan.for_request(body, rules, now=more.pop("now", 0.0), **more)


def total(made):
    return made.predicted_read + made.predicted_write + made.predicted_uncached


# --- rules ---


@pytest.mark.parametrize(
    ("model", "rules", "least"),
    [
        ("claude-opus-4-8", "anthropic", 1024),
        ("claude-opus-4-7-20260416", "anthropic", 2048),
        ("claude-haiku-4-5", "anthropic", 4096),
        ("claude-opus-4-20250514", "anthropic", 1024),
        ("claude-sonnet-5-5", "anthropic", 512),
        ("claude-sonnet-5", "anthropic", 1024),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", "bedrock", 4096),
        ("anthropic/claude-opus-5", "anthropic", 512),
        ("gpt-4o-2024-08-06", "openai", 1024),
        ("gpt-5.6", "openai-breakpoints", 1024),
        ("gpt-5-mini", "openai", 1024),
        ("gpt-5.1", "openai", 1024),
        ("gpt-5.4-mini", "openai", 1024),
        ("gemini-2.5-flash", "gemini", 1024),
        ("deepseek-chat", "deepseek", 0),
    ],
)
def test_rules_of_a_model(model, rules, least):
    found = CacheRules.for_model(model)
    assert (found.name, found.min_tokens) == (rules, least)


@pytest.mark.parametrize("model", ["claude-opus-4-9", "gpt-5.7", "claude", "llama-3", ""])
def test_a_model_that_is_not_known_gets_no_rules(model):
    with pytest.raises(UnknownTokenError):
        CacheRules.for_model(model)
    with pytest.raises(UnknownTokenError):
        CachePlan.for_request([1], model)


def test_rules_can_be_overridden_and_are_checked():
    rules = dataclasses.replace(CacheRules.named("vllm"), granularity=32)
    assert rules.granularity == 32
    for change in ({"granularity": 0}, {"kind": "magic"}, {"lifetimes": ()}, {"read": True}):
        with pytest.raises(ArgumentError):
            dataclasses.replace(rules, **change)


def test_every_row_of_the_table_makes_rules():
    from ctxengine.budget.cache_rules import _table

    table = _table()
    assert table["dated"] == "2026-11-21"
    for name, row in table["rules"].items():
        assert CacheRules.named(name).name == name
        assert row["sources"]
    for begin, name, _ in table["models"]:
        assert CacheRules.for_model(begin).name == name


# --- Anthropic: breakpoints, look-back, lifetimes ---


def test_a_conversation_is_written_once_and_read_from_then_on():
    first = anthropic(1)
    one = plan(first, previous=())
    assert (one.predicted_read, one.predicted_write, one.predicted_uncached) == (0, 5300, 0)
    assert one.breakpoints[-1].path == "messages[2].content"
    second = anthropic(2)
    two = plan(second, previous=one.sent, now=60.0)
    assert (two.predicted_read, two.predicted_write, two.predicted_uncached) == (5300, 200, 0)
    assert two.exact
    # Five minutes after the second call what the first has stored is still there: it was read.
    three = plan(anthropic(3), previous=two.sent, now=355.0)
    assert three.predicted_read == 5500
    late = plan(anthropic(3), previous=two.sent, now=60.0 + 301)
    assert late.predicted_read == 0


def test_amounts_are_those_of_the_price_table():
    one = plan(anthropic(1), previous=(), prices=PRICES)
    two = plan(anthropic(2), previous=one.sent, now=60.0, prices=PRICES)
    assert two.cost == PRICES.cost(5500, cached_tokens=5300, written_tokens=200)
    assert two.uncached_cost == PRICES.cost(5500)


def test_prices_of_long_prompts_and_of_long_lives_are_used():
    table = {
        "input": "3",
        "cached_input": "0.3",
        "cache_write": {"5m": "3.75", "1h": "6"},
        "output": "15",
    }
    tier = {
        "above_tokens": 5000,
        "input": "6",
        "cached_input": "0.6",
        "cache_write": {"5m": "7.5", "1h": "12"},
        "output": "30",
    }
    prices = PriceTable.from_dict({"currency": "USD", "per_million_tokens": table, "tiers": [tier]})
    made = plan(anthropic(1), previous=(), prices=prices, next_calls=[NextCall("all", 0.9, 1800)])
    assert made.cost == prices.cost(5300, written_tokens={"1h": 5300})
    assert made.cost.cache_write == 5300 * 12_000_000


def test_one_hour_is_asked_for_when_the_next_call_comes_late():
    late = [NextCall("all", 0.9, 1800)]
    made = plan(anthropic(1), previous=(), next_calls=late, prices=PRICES)
    assert {at.lifetime for at in made.breakpoints} == {"1h"}
    assert made.written == {"1h": 5300}
    assert made.cost.cache_write == 5300 * 2 * PRICES.input
    assert plan(anthropic(1), previous=(), next_calls=[]).breakpoints == ()
    again = plan(anthropic(2), previous=made.sent, now=3000.0)
    assert again.predicted_read == 5300


def test_a_prefix_below_the_minimum_is_not_cached():
    body = anthropic(1)
    small = {"tools": 300, "system": 300, "messages": [10, 10, 10]}
    assert plan(body, tokens=small, previous=()).predicted_uncached == 630
    marked = copy.deepcopy(body)
    marked["messages"][2]["content"] = [
        {"type": "text", "text": "question 1", "cache_control": {"type": "ephemeral"}}
    ]
    made = plan(marked, tokens=small, previous=())
    assert (made.predicted_write, made.predicted_uncached) == (0, 630)


def test_marks_that_are_set_stay_and_count():
    body = anthropic(1)
    body["tools"] = [*TOOLS[:2], TOOLS[2] | {"cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    made = plan(body, previous=())
    assert made.breakpoints[0].kept
    assert made.breakpoints[0].lifetime == "1h"
    assert made.written == {"1h": 3000, "5m": 2300}
    as_it_is = plan(body, previous=(), place=False)
    assert [at.path for at in as_it_is.breakpoints] == ["tools[2]"]
    assert (as_it_is.predicted_write, as_it_is.predicted_uncached) == (3000, 2300)


def test_marks_that_the_provider_refuses_are_refused():
    control = {"type": "ephemeral"}
    body = anthropic(1)
    body["messages"] = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": str(i), "cache_control": control} for i in range(5)
            ],
        }
    ]
    with pytest.raises(ArgumentError, match="at most 4"):
        plan(body)
    body = anthropic(1, system=[{"type": "text", "text": "x", "cache_control": control}])
    body["messages"][0]["content"] = [
        {"type": "text", "text": "y", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    ]
    with pytest.raises(ArgumentError, match="longer"):
        plan(body)
    body["messages"][0]["content"][0]["cache_control"]["ttl"] = "2h"
    with pytest.raises(ArgumentError, match="7200"):
        plan(body)
    body["messages"][0]["content"][0]["cache_control"]["ttl"] = "soon"
    with pytest.raises(ArgumentError, match=r"messages\[0\]"):
        plan(body)


def test_the_look_back_counts_a_run_of_tool_results_once():
    def rounds(n, calls):
        messages = [{"role": "user", "content": "begin"}]
        for i in range(n):
            ids = [f"call_{i}_{j}" for j in range(calls)]
            messages.append(
                {
                    "role": "assistant",
                    "content": [
                        {"type": "tool_use", "id": c, "name": "tool_0", "input": {}} for c in ids
                    ],
                }
            )
            messages.append(
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": c, "content": "ok"} for c in ids
                    ],
                }
            )
        return anthropic(0) | {"messages": messages}

    control = {"type": "ephemeral"}

    def marked_at_the_end(body):
        body["messages"][-1]["content"][-1]["cache_control"] = control
        return body

    one = plan(marked_at_the_end(rounds(1, 30)), previous=(), place=False)
    near = plan(marked_at_the_end(rounds(2, 30)), previous=one.sent, place=False, now=1.0)
    assert near.predicted_read == one.total_tokens  # 60 blocks further, 2 positions
    far = rounds(12, 1)
    far = plan(
        marked_at_the_end(far),
        previous=plan(marked_at_the_end(rounds(1, 1)), place=False).sent,
        place=False,
        now=1.0,
    )
    assert far.predicted_read == 0  # 22 positions further
    placed = plan(
        rounds(12, 1), previous=plan(marked_at_the_end(rounds(1, 1)), place=False).sent, now=1.0
    )
    assert placed.predicted_read == 5300  # the planner marks the way to it


def test_what_a_previous_turn_has_stored_is_found_when_it_is_not_known():
    body = anthropic(1)
    # 25 blocks of an answer: further back than the look-back reaches.
    body["messages"] += [
        {
            "role": "assistant",
            "content": [{"type": "text", "text": f"part {i}"} for i in range(25)],
        },
        {"role": "user", "content": "next"},
    ]
    made = plan(body)
    assert not made.exact
    assert made.predicted_read == 0
    first = plan(anthropic(1), previous=())
    sent_as_planned = made.apply(body)
    assert plan(sent_as_planned, previous=first.sent, place=False, now=1.0).predicted_read == 5300


def test_thinking_and_blank_text_are_never_marked():
    body = anthropic(1)
    body["messages"] = [
        {"role": "user", "content": "q"},
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}],
        },
        {"role": "user", "content": [{"type": "text", "text": "  \n"}]},
    ]
    made = plan(body, previous=())
    assert made.breakpoints[-1].path == "messages[0].content"
    assert made.predicted_uncached == 200


@pytest.mark.parametrize(
    ("change", "read"),
    [
        ({"tool_choice": {"type": "any"}}, 5000),  # the head is as it was
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, 5000),
        ({"model": "claude-sonnet-4-6"}, 0),
        ({"system": "You are not kind."}, 3000),
        ({"tools": [TOOLS[1], TOOLS[0], TOOLS[2]]}, 0),
        ({"temperature": 0.5, "max_tokens": 7}, 5300),
    ],
)
def test_what_a_setting_leaves_of_the_cache(change, read):
    body = anthropic(1)
    body["tools"] = [*TOOLS[:2], TOOLS[2] | {"cache_control": {"type": "ephemeral"}}]
    body["system"] = [
        {"type": "text", "text": "You are kind.", "cache_control": {"type": "ephemeral"}}
    ]
    one = plan(body, previous=())
    after = body | change
    if "system" in change:
        after["system"] = [{"type": "text", "text": change["system"]}]
    assert plan(after, previous=one.sent, now=1.0).predicted_read == read


def test_equal_prompts_are_recognised_and_others_are_told_apart():
    def digests(body):
        return plan(body).sent.digests

    plain = anthropic(1)
    base = digests(plain)
    same = copy.deepcopy(plain)
    same["messages"][0]["content"] = [
        {"type": "text", "text": "question 0", "cache_control": {"type": "ephemeral"}}
    ]
    same["tools"][0] = dict(reversed(list(same["tools"][0].items())))  # the API reads these by name
    assert digests(same) == base
    assert digests(json.loads(json.dumps(plain))) == base
    assert (
        CachePlan.for_request(
            json.dumps(plain).encode(), "anthropic", tokens=counts(plain)
        ).sent.digests
        == base
    )
    other = copy.deepcopy(plain)
    properties = other["tools"][0]["input_schema"]["properties"]
    other["tools"][0]["input_schema"]["properties"] = dict(reversed(list(properties.items())))
    assert digests(other) != base  # but writes a schema out as it stands
    for path, value in [("role", "assistant"), ("content", "question 0 ")]:
        other = copy.deepcopy(plain)
        other["messages"][0][path] = value
        assert digests(other)[:24] == base[:24]
        assert digests(other)[32:] != base[32:]


def test_apply_marks_a_copy_and_nothing_else():
    body = anthropic(2)
    before = copy.deepcopy(body)
    made = plan(body, previous=())
    marked = made.apply(body)
    assert body == before
    assert marked["messages"][1] is body["messages"][1]
    again = plan(marked, previous=(), place=False)
    assert [(at.block, at.tokens, at.lifetime) for at in again.breakpoints] == [
        (at.block, at.tokens, at.lifetime) for at in made.breakpoints
    ]
    assert all(at.kept for at in again.breakpoints)
    assert again.sent.digests == made.sent.digests
    assert (again.predicted_read, again.written) == (made.predicted_read, made.written)
    with pytest.raises(ArgumentError, match="not the one"):
        made.apply(anthropic(3))


def test_bedrock_takes_elements_as_marks():
    body = {
        "modelId": "anthropic.claude-sonnet-4-5-20250929-v1:0",
        "system": [{"text": "be kind"}],
        "toolConfig": {"tools": [{"toolSpec": {"name": "a"}}, {"toolSpec": {"name": "b"}}]},
        "messages": [
            {"role": "user", "content": [{"text": "q"}]},
            {"role": "assistant", "content": [{"text": "a"}]},
            {"role": "user", "content": [{"text": "r"}]},
        ],
    }
    tokens = {"tools": [700, 700], "system": 700, "messages": [10, 10, 10]}
    made = CachePlan.for_request(body, body["modelId"], tokens=tokens, previous=(), now=0.0)
    marked = made.apply(body)
    assert marked["toolConfig"]["tools"][2] == {"cachePoint": {"type": "default"}}
    assert marked["system"] == [{"text": "be kind"}, {"cachePoint": {"type": "default"}}]
    assert marked["messages"][-1]["content"][-1] == {"cachePoint": {"type": "default"}}
    tokens = {"tools": [700, 700, 0], "system": [700, 0], "messages": [10, 10, 10]}
    again = CachePlan.for_request(
        marked, body["modelId"], tokens=tokens, previous=(), now=0.0, place=False
    )
    assert again.sent.digests == made.sent.digests
    assert again.predicted_write == made.predicted_write == 2130


# --- OpenAI ---


def chat(turns, system="be kind"):
    messages = [{"role": "system", "content": system}]
    for i in range(turns):
        messages += [
            {"role": "user", "content": f"q{i}"},
            {"role": "assistant", "content": f"a{i}"},
        ]
    return {"model": "gpt-5", "messages": [*messages, {"role": "user", "content": "last"}]}


def test_openai_reads_in_steps_of_128_from_1024_on():
    def made(each, previous, now=0.0):
        body = chat(2)
        return CachePlan.for_request(
            body, "gpt-5", tokens={"messages": each}, previous=previous, now=now
        )

    first = CachePlan.for_request(
        chat(1), "gpt-5", tokens={"messages": [1000, 20, 3, 10]}, previous=(), now=0.0
    )
    assert (first.predicted_read, first.predicted_write, first.predicted_uncached) == (0, 1024, 9)
    second = made([1000, 20, 3, 10, 30, 40], first.sent)
    assert second.predicted_read == 0  # "last" is "q1" now: 1,023 tokens in common
    second = made([1000, 21, 3, 10, 200, 40], first.sent)
    assert (second.predicted_read, second.predicted_write) == (1024, 1274 // 128 * 128 - 1024)
    assert made([1000, 21, 3, 10, 200, 40], first.sent, now=301.0).predicted_read == 0
    first = CachePlan.for_request(
        chat(1) | {"prompt_cache_retention": "24h"},
        "gpt-5",
        tokens={"messages": [1000, 20, 3, 10]},
        previous=(),
        now=0.0,
    )
    assert made([1000, 21, 3, 10, 200, 40], first.sent, now=80_000.0).predicted_read == 1024


def test_openai_breakpoints_choose_the_mode():
    body = chat(1) | {"model": "gpt-5.6"}
    tokens = {"messages": [3000, 10, 10, 10]}
    goes_on = CachePlan.for_request(body, "gpt-5.6", tokens=tokens, previous=(), now=0.0)
    assert goes_on.mode == "implicit"
    assert goes_on.predicted_write == 3030
    marked = goes_on.apply(body)
    assert "prompt_cache_options" not in marked
    assert marked["messages"][0]["content"][0]["prompt_cache_breakpoint"] == {"mode": "explicit"}
    assert marked["messages"][-1] == body["messages"][-1]  # the provider marks it
    as_sent = CachePlan.for_request(
        marked, "gpt-5.6", tokens=tokens, previous=(), now=0.0, place=False
    )
    assert as_sent.predicted_write == 3030
    once = CachePlan.for_request(
        body, "gpt-5.6", tokens=tokens, previous=(), now=0.0, next_calls=[NextCall("head", 1.0)]
    )
    assert once.mode == "explicit"
    assert (once.predicted_write, once.predicted_uncached) == (3000, 30)
    marked = once.apply(body)
    assert marked["prompt_cache_options"] == {"mode": "explicit"}
    as_sent = CachePlan.for_request(
        marked, "gpt-5.6", tokens=tokens, previous=(), now=0.0, place=False
    )
    assert as_sent.predicted_write == 3000


def test_responses_input_is_read():
    body = {
        "model": "gpt-5",
        "instructions": "be kind",
        "input": [
            {"role": "user", "content": "q"},
            {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "1"},
        ],
    }
    tokens = {"system": 2000, "messages": [100, 50]}
    one = CachePlan.for_request(body, "gpt-5", tokens=tokens, previous=(), now=0.0)
    more = body | {
        "input": [*body["input"], {"type": "function_call_output", "call_id": "1", "output": "x"}]
    }
    two = CachePlan.for_request(
        more, "gpt-5", tokens={"system": 2000, "messages": [100, 50, 9]}, previous=one.sent, now=1.0
    )
    assert two.predicted_read == 2048  # of 2,150 in common
    assert (
        CachePlan.for_request({"input": "hi"}, "gpt-5", tokens={"messages": [5]}).total_tokens == 5
    )


# --- Gemini, DeepSeek, serving engines ---


def test_gemini_contents_are_read():
    body = {
        "model": "gemini-2.5-flash",
        "systemInstruction": {"parts": [{"text": "be kind"}]},
        "contents": [{"role": "user", "parts": [{"text": "q"}]}],
    }
    one = CachePlan.for_request(
        body, "gemini-2.5-flash", tokens={"system": 1100, "messages": [5]}, previous=(), now=0.0
    )
    more = body | {"contents": [*body["contents"], {"role": "model", "parts": [{"text": "a"}]}]}
    two = CachePlan.for_request(
        more,
        "gemini-2.5-flash",
        tokens={"system": 1100, "messages": [5, 5]},
        previous=one.sent,
        now=1.0,
    )
    assert two.predicted_read == 1105


def test_deepseek_reads_whole_units():
    # The example of its guide: A + B, then A + C, then A + D.
    a, b, c, d = 1000, 200, 300, 400
    one = CachePlan.for_request([a, b], "deepseek", previous=(), now=0.0)
    assert (
        CachePlan.for_request([a, b, c], "deepseek", previous=one.sent, now=1.0).predicted_read
        == 1200
    )
    two = CachePlan.for_request([a, c], "deepseek", previous=one.sent, now=1.0)
    assert two.predicted_read == 0
    three = CachePlan.for_request([a, d], "deepseek", previous=[one.sent, two.sent], now=2.0)
    assert three.predicted_read == 1000
    twice = [one.sent, one.sent]  # have more in common than what comes now
    assert CachePlan.for_request([a, d], "deepseek", previous=twice, now=2.0).predicted_read == 0
    old = CachePlan.for_request([a, c], "deepseek-64", previous=one.sent, now=1.0)
    assert old.predicted_read == 960


def test_an_engine_reads_full_blocks_and_computes_the_last_token():
    one = CachePlan.for_request([100, 60], "vllm", previous=(), now=0.0)
    again = CachePlan.for_request([100, 60], "vllm", previous=one.sent, now=1.0)
    assert (again.predicted_read, again.predicted_write, again.predicted_uncached) == (144, 16, 0)
    other = CachePlan.for_request([100, 61], "vllm", previous=one.sent, now=1.0)
    assert other.predicted_read == 96
    radix = CachePlan.for_request([100, 61], "sglang", previous=one.sent, now=1.0)
    assert radix.predicted_read == 100


# --- tokens ---


def test_counts_of_a_report_are_taken():
    encoding = get_encoding("qwen2")
    body = {
        "model": "qwen2.5-7b",
        "messages": chat(2)["messages"],
        "tools": [
            {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
        ],
    }
    report = count_request(body, encoding)
    one = CachePlan.for_request(body, "vllm", tokens=report, previous=(), now=0.0)
    assert one.total_tokens == report.total == total(one)


def test_tokens_of_an_item_are_shared_by_its_blocks():
    body = {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "a" * 10},
                    {"type": "text", "text": "b" * 1000},
                ],
            }
        ]
    }
    made = CachePlan.for_request(body, "sglang", tokens={"messages": [1000]}, previous=(), now=0.0)
    more = copy.deepcopy(body)
    more["messages"][0]["content"][1]["text"] = "c"
    shared = CachePlan.for_request(
        more, "sglang", tokens={"messages": [[10, 990]]}, previous=made.sent, now=0.0
    )
    assert shared.predicted_read == 10
    assert made.total_tokens == 1000


@pytest.mark.parametrize(
    "tokens",
    [
        None,
        {},
        {"messages": [1]},
        {"messages": [1, 2, 3, 4]},
        {"messages": [1, 2, -3]},
        {"messages": [1, 2, 2**41]},
        {"messages": [1, 2, "3"]},
        {"messages": [1, [2, 2], 3]},
        {"messages": [1, 2, 3], "tools": 5},
        {"messages": [1, 2, 3], "other": 5},
        {"messages": [1, 2, 3], "template": -1},
    ],
)
def test_tokens_that_do_not_fit_are_refused(tokens):
    with pytest.raises(ArgumentError, match="tokens"):
        CachePlan.for_request(
            {"messages": [{"role": "user", "content": "x"}] * 3}, "anthropic", tokens=tokens
        )


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"messages": None},
        {"messages": "text"},
        {"messages": [5]},
        {"messages": [{"role": "user", "content": 5}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": {1: 2}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": object()}]}]},
        {"messages": [{1: 2}]},
        {"messages": [{"role": "user", "content": "x", "parts": [{"text": "y"}]}]},
        {"contents": [{"role": "user", "parts": "x"}]},
        {"messages": [], "tools": 7},
        {"messages": [], "system": 7},
        b"{",
        b"[]",
        [1, -1],
        ["1"],
    ],
)
def test_requests_that_are_none_are_refused(request_):
    with pytest.raises(ArgumentError):
        CachePlan.for_request(
            request_, "anthropic", tokens=None if isinstance(request_, list) else {"messages": 1}
        )


def test_what_is_nested_too_deep_is_refused():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ArgumentError, match="deeper"):
        plan(
            anthropic(1)
            | {"messages": [{"role": "user", "content": [{"type": "x", "data": deep}]}]}
        )
    while deep:  # so that freeing it does not recurse
        deep = deep.pop()


def test_objects_that_tell_their_fields_are_read():
    class Message:
        def __init__(self, fields):
            self.fields = fields

        def model_dump(self, *, exclude_unset):
            assert exclude_unset
            return dict(self.fields)

    body = anthropic(1)
    as_objects = body | {"messages": [Message(message) for message in body["messages"]]}
    assert plan(as_objects).sent.digests == plan(body).sent.digests


@pytest.mark.parametrize(
    "next_calls",
    [
        [("nowhere", 1.0, 1)],
        [(99, 1.0, 1)],
        [("all", 1.5, 1)],
        [("all", 0.6, 1)] * 2,
        [("all", 0.1, 1)] * 9,
        [("all", 0.5, -1)],
    ],
)
def test_next_calls_outside_their_domain_are_refused(next_calls):
    with pytest.raises(ArgumentError):
        plan(anthropic(1), next_calls=next_calls)


def test_sent_is_small_and_pickles():
    made = plan(anthropic(3), previous=())
    assert pickle.loads(pickle.dumps(made.sent)) == made.sent
    assert len(made.sent.digests) == 8 * 11
    assert json.dumps(made.to_dict())
    with pytest.raises(ArgumentError):
        plan(anthropic(3), previous=[made])
    with pytest.raises(ArgumentError):
        plan(anthropic(3), previous=[made.sent] * 257)
    with pytest.raises(ArgumentError):
        plan(anthropic(3), previous=Sent(b"123", ((0, 300, 1.0),)))


@settings(max_examples=150, deadline=None)
@given(
    turns=st.lists(st.integers(0, 3000), min_size=1, max_size=12),
    gaps=st.lists(st.integers(0, 4000), min_size=1, max_size=6),
    rules=st.sampled_from(
        ["anthropic", "openai", "openai-breakpoints", "deepseek", "deepseek-64", "vllm", "sglang"]
    ),
    later=st.integers(0, 4000),
)
def test_predictions_add_up_and_never_read_what_was_not_sent(turns, gaps, rules, later):
    sent = []
    now = 0.0
    before = []
    for gap in gaps:
        now += gap
        made = CachePlan.for_request(
            turns, rules, previous=sent, now=now, next_calls=[NextCall("all", 0.9, later)]
        )
        assert total(made) == sum(turns) == made.total_tokens
        assert min(made.predicted_read, made.predicted_write, made.predicted_uncached) >= 0
        common = 0
        for old in before:
            shared = 0
            for mine, theirs in zip(turns, old, strict=False):
                if mine != theirs:
                    break
                shared += mine
            common = max(common, shared)
        assert made.predicted_read <= common
        assert len(made.breakpoints) <= 4
        seconds = [
            {n: s for n, s, _ in made.rules.lifetimes}[at.lifetime] for at in made.breakpoints
        ]
        assert seconds == sorted(seconds, reverse=True)
        sent.append(made.sent)
        before.append(list(turns))
        turns = [*turns, gap + 1]


@pytest.mark.parametrize("now", [float("nan"), float("inf"), "a"])
def test_a_time_that_is_none(now):
    with pytest.raises(ArgumentError, match="now"):
        CachePlan.for_request([5000], "claude-sonnet-4-5", now=now)
