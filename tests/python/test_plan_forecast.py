"""What a plan says of caches: this call, the calls to come under each cut, a compaction.

The reference is the planner itself: the conversation is continued, planned again and again, and the
token ids of each prompt are compared with those of the one before.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from ctxengine.budget import Budget, CachePlan, CacheRules, Section, break_even, plan
from ctxengine.chat import count_messages
from ctxengine.errors import ArgumentError, BudgetExceeded, UnknownTokenError
from ctxengine.pricing import PriceTable
from ctxengine.tokenize import get_encoding

PRICES = PriceTable.from_dict(
    {
        "currency": "USD",
        "per_million_tokens": {"input": 2, "cached_input": 1, "cache_write": 3, "output": 10},
    }
)
SYSTEM = "You are the night clerk of a small hotel and answer in one sentence. " * 80
TOOLS = [{"type": "function", "function": {"name": "ring", "description": "Ring the bell. " * 20}}]


@pytest.fixture(scope="module")
def qwen3() -> Any:
    return get_encoding("qwen3")


def turn(number: int) -> list[dict[str, str]]:
    """A question and its answer; all turns have the same number of tokens."""
    name = "abcdefghijklmnopqrstuvwxyz"[number % 26]
    return [
        {"role": "user", "content": f"question {name}" + " why" * 60},
        {"role": "assistant", "content": f"answer {name}" + " so" * 80},
    ]


def conversation(turns: int) -> list[dict[str, str]]:
    return [message for i in range(turns) for message in turn(i)] + turn(turns)[:1]


def common(a: Any, b: Any) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))  # fmt: skip


@pytest.mark.parametrize("with_texts", [False, True])
@pytest.mark.parametrize(
    "options",
    [{"history_cap": 2000}, {"cut": "tight"}, {"cut": "keep_last", "keep_last": 9}],
    ids=str,
)
def test_the_calls_to_come_are_those_that_come(qwen3: Any, options: Any, with_texts: bool) -> None:
    texts = [("A text of the day, " * 40, 1.0)] if with_texts else []

    def made_of(turns: int) -> Any:
        # The day's text differs from call to call, so that it is never shared.
        own = [(f"{turns} {text}", score) for text, score in texts]
        return plan(
            4400, qwen3, system=SYSTEM, tools=TOOLS, history=conversation(turns), retrieval=own,
            rules="sglang", **options,
        )  # fmt: skip

    now = made_of(30)
    (chosen,) = [choice for choice in now.cuts if choice.chosen]
    forecast = chosen.forecast
    assert forecast is not None
    assert 10 <= forecast.calls <= 40
    before, tokens, cached = now, 0, 0
    for number in range(1, forecast.calls + 1):
        after = made_of(30 + number)
        tokens += after.used
        cached += common(before.token_ids.tolist(), after.token_ids.tolist())
        before = after
    assert forecast.tokens == pytest.approx(tokens, rel=0.02)
    assert forecast.cached_tokens == pytest.approx(cached, rel=0.02)
    # A lower bound: what the frames of the next messages share is not looked for.
    assert forecast.cached_tokens <= cached


def test_a_stable_cut_is_cheaper_in_the_calls_to_come(qwen3: Any) -> None:
    history = conversation(60)
    for rules in ("claude-sonnet-4-5", "gpt-4o", "deepseek-chat", "vllm"):
        options = {"rules": rules, "prices": PRICES, "retrieval": ["A text. " * 20]}
        made = plan(6000, qwen3, system=SYSTEM, history=history, **options)  # type: ignore[arg-type]
        grid, tight = made.cuts
        assert grid.forecast is not None
        assert tight.forecast is not None
        assert grid.forecast.cached_tokens > 2 * tight.forecast.cached_tokens
        assert grid.forecast.cost.total < tight.forecast.cost.total
        # The choices are the same without rules.
        bare = plan(6000, qwen3, system=SYSTEM, history=history, retrieval=["A text. " * 20])
        assert bare.messages == made.messages
        assert [choice._replace(forecast=None) for choice in made.cuts] == list(bare.cuts)


def test_the_cost_of_the_calls_to_come_adds_up(qwen3: Any) -> None:
    # What is not read is stored, at the price of input, for vLLM has no other.
    made = plan(4000, qwen3, history=conversation(40), rules="sglang", prices=PRICES)
    for choice in made.cuts:
        forecast = choice.forecast
        assert forecast is not None
        new = forecast.tokens - forecast.cached_tokens
        assert forecast.cost.total == (forecast.cached_tokens * 1 + new * 2) * 10**6


def test_texts_before_the_history_spoil_the_cache(qwen3: Any) -> None:
    history, texts = conversation(20), ["A text of the day. " * 30]

    def cached(placement: str) -> int:
        made = plan(
            6000, qwen3, system=SYSTEM, tools=TOOLS, history=history, retrieval=texts,
            rules="sglang", placement=placement,
        )  # fmt: skip
        forecast = made.cuts[0].forecast
        assert forecast is not None
        return forecast.cached_tokens // forecast.calls

    rows = {s.name: s.tokens for s in plan(6000, qwen3, system=SYSTEM, tools=TOOLS, history=history).sections}  # fmt: skip
    assert cached("history") == rows["system"] + rows["tools"]
    assert cached("system") == rows["tools"]
    assert cached("turn") > cached("history") + 1000


def test_this_call_is_priced(qwen3: Any) -> None:
    history = conversation(3)
    used = plan(4000, qwen3, history=history).used
    assert plan(4000, qwen3, history=history).predicted == (0, used, None)
    made = plan(4000, qwen3, history=history, prices=PRICES, cached_tokens=100)
    assert made.predicted == (100, used - 100, PRICES.cost(used, cached_tokens=100))
    # With rules what is stored is priced as stored.
    made = plan(4000, qwen3, system=SYSTEM, history=history, prices=PRICES, rules="anthropic")
    cache = made.cache
    assert made.predicted == (0, made.used, cache.cost)
    assert cache.predicted_write > 1024
    known = plan(
        4000, qwen3, system=SYSTEM, history=history, prices=PRICES, rules="anthropic",
        cached_tokens=1100,
    )  # fmt: skip
    written, plain = cache.predicted_write - 1100, cache.predicted_uncached
    assert known.predicted.cached == 1100
    assert known.predicted.cost.total == (1100 * 1 + written * 3 + plain * 2) * 10**6


@pytest.mark.parametrize("rules", ["claude-sonnet-4-5", "bedrock", "gpt-5.6", "gpt-4.1"])
def test_the_next_call_reads_what_this_one_stores(qwen3: Any, rules: Any) -> None:
    def made_of(turns: int, **options: Any) -> Any:
        return plan(
            9000, qwen3, system=SYSTEM, tools=TOOLS, history=conversation(turns), rules=rules,
            retrieval=[f"text {turns} of the day " * 20], **options,
        )  # fmt: skip

    first = made_of(9, previous=())
    assert first.predicted.cached == 0
    assert first.cache.exact
    second = made_of(10, previous=first.cache.sent)
    # All before the last user's message, which has other texts.
    tools = next(s.tokens for s in first.sections if s.name == "tools")
    stable = tools + sum(first.message_tokens[:-1])
    step = 128 if rules == "gpt-4.1" else 1
    assert second.predicted.cached == stable // step * step
    assert not made_of(10).cache.exact
    assert made_of(10).predicted.cached == 0


def test_the_cache_plan_marks_the_request_that_is_sent(qwen3: Any) -> None:
    made = plan(
        9000, qwen3, system=SYSTEM, tools=TOOLS, history=conversation(9), rules="anthropic",
        retrieval=["A text. " * 20],
    )  # fmt: skip
    assert sum(made.message_tokens) == count_messages(made.messages, qwen3) - 3  # the reply's begin
    marked = made.cache.apply({"messages": list(made.messages), "tools": list(made.tools)})
    paths = [at.path for at in made.cache.breakpoints]
    # The texts change, so the last mark stands before the message that has them.
    assert paths[-1] == f"messages[{len(made.messages) - 2}].content"
    assert marked["messages"][-2]["content"][0]["cache_control"] == {"type": "ephemeral"}
    assert made.messages[-2] == conversation(9)[-2]
    alone = plan(9000, qwen3, system=SYSTEM, history=conversation(9), rules="anthropic")
    assert alone.cache.breakpoints[-1].path == f"messages[{len(alone.messages) - 1}].content"
    with_none = CachePlan.for_request(
        {"messages": list(alone.messages)}, "anthropic",
        tokens={"messages": list(alone.message_tokens), "template": 3},
    )  # fmt: skip
    assert alone.cache.breakpoints == with_none.breakpoints


def test_rules_by_the_name_of_a_model(qwen3: Any) -> None:
    for name, rules in (
        ("azure/gpt-4o-2024-08-06", "openai"),
        ("claude-opus-4.5", "anthropic"),
        ("openrouter/anthropic/claude-sonnet-4.5", "anthropic"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "bedrock"),
        ("ft:gpt-4.1-2025-04-14:acme::x", "openai"),
    ):
        assert CacheRules.for_model(name).name == rules, name
        assert plan(400, qwen3, history=conversation(1), rules=name).cache.rules.name == rules
    assert CacheRules.for_model("claude-opus-4.5").min_tokens == 4096
    with pytest.raises(UnknownTokenError, match="qwen3-8b"):
        plan(400, qwen3, history=conversation(1), rules="qwen3-8b")


# --- compaction ---


def test_a_summary_of_what_was_cut(qwen3: Any) -> None:
    made = plan(
        4000, qwen3, system=SYSTEM, history=conversation(60), rules="anthropic", prices=PRICES,
        summary_tokens=200,
    )  # fmt: skip
    found = made.compaction
    assert found.span == made.summarize_span
    assert found.is_cut
    assert found.span_tokens == sum(d.tokens for d in made.dropped)
    rows = {s.name: s.tokens for s in made.sections}
    head = rows["template"] + rows["system"]
    by_hand = break_even(
        head, found.span_tokens, made.used - head, 200, "anthropic", prices=PRICES
    )  # fmt: skip
    assert found.break_even == by_hand
    assert by_hand.rewritten_tokens == made.used - head


def test_a_summary_of_what_will_be_cut_next(qwen3: Any) -> None:
    turns = 12
    options: Any = {"rules": "anthropic", "summary_tokens": 100, "history_cap": 3000}
    made = plan(9000, qwen3, system=SYSTEM, history=conversation(turns), **options)
    assert made.summarize_span is None
    found = made.compaction
    assert not found.is_cut
    while made.summarize_span is None:
        turns += 1
        made = plan(9000, qwen3, system=SYSTEM, history=conversation(turns), **options)
    assert found.span == made.summarize_span
    assert found.span_tokens == sum(d.tokens for d in made.dropped)


def test_where_there_is_nothing_to_summarize(qwen3: Any) -> None:
    for history in ([], conversation(0)):
        made = plan(900, qwen3, system="x", history=history, rules="vllm", summary_tokens=10)
        assert made.compaction is None
        assert all(choice.forecast is not None for choice in made.cuts)


# --- what is said, and what is refused ---


def test_sections_say_what_their_bounds_leave(qwen3: Any) -> None:
    sections = [Section("retrieval", max_tokens=500), Section("notes", ["A note. " * 9])]
    made = plan(
        Budget(4000, 100), qwen3, history=conversation(30), retrieval=["A text. " * 30] * 3,
        sections=sections, history_cap=1500,
    )  # fmt: skip
    uses = {s.name: s for s in made.sections}
    assert uses["retrieval"].slack == 500 - uses["retrieval"].tokens >= 0
    assert uses["notes"].slack is uses["system"].slack is uses["turn"].slack is None
    # By the ruler of the cap: the newest messages count, what their texts take does not.
    kept = count_messages(conversation(30)[made.summarize_span[1] :], qwen3) - 3
    assert uses["history"].slack == 1500 - kept
    tight = plan(4000, qwen3, history=conversation(30), cut="tight")
    assert {s.slack for s in tight.sections} == {None}


def test_all_of_it_is_json(qwen3: Any) -> None:
    made = plan(
        4000, qwen3, system=SYSTEM, history=conversation(60), rules="anthropic", prices=PRICES,
        summary_tokens=200,
    )  # fmt: skip
    read = json.loads(json.dumps(made.to_dict()))
    assert read["cuts"][0]["forecast"]["cost"]["currency"] == "USD"
    assert read["predicted"]["cost"]["total"] == made.predicted.cost.to_dict()["total"]
    assert read["cache"]["breakpoints"][0]["path"] == made.cache.breakpoints[0].path
    assert read["compaction"]["break_even"]["calls"] == made.compaction.break_even.calls
    bare = plan(4000, qwen3, history=conversation(1)).to_dict()
    assert bare["cache"] is bare["compaction"] is bare["cuts"][0]["forecast"] is None


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"previous": ()}, "previous: needs rules"),
        ({"summary_tokens": 5}, "summary_tokens: needs rules"),
        ({"summary_tokens": -1, "rules": "vllm"}, "summary_tokens: must lie between"),
        ({"previous": (), "rules": "vllm", "cached_tokens": 1}, "cached_tokens: what was sent"),
        ({"rules": 3}, "rules: expected CacheRules or a name"),
        ({"placement": "end"}, "placement: must be one of 'turn', 'history', 'system'"),
        ({"cached_tokens": -1}, "cached_tokens: must lie between"),
    ],
)
def test_what_is_refused(qwen3: Any, options: Any, complaint: str) -> None:
    with pytest.raises(ArgumentError, match=complaint):
        plan(900, qwen3, history=conversation(1), **options)


def test_windows_at_both_ends(qwen3: Any) -> None:
    everything: Any = {"rules": "anthropic", "prices": PRICES, "summary_tokens": 2**63 - 1}
    for window in (600, 2**31, 2**63 - 1):
        made = plan(window, qwen3, history=conversation(3), **everything)
        assert json.dumps(made.to_dict())
    with pytest.raises(BudgetExceeded):
        plan(1, qwen3, history=conversation(3), **everything)
