"""The planner against its plain Python reference, and the promises that a plan makes."""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import math
import pickle
import random
import re
from typing import Any

import pytest
from ctxengine import _core
from ctxengine.budget import Budget, Item, Section, plan
from ctxengine.budget.items import GAP, split_sections
from ctxengine.chat import Template, count_messages, encode_messages
from ctxengine.errors import ArgumentError, BudgetExceeded, UnknownTokenError
from ctxengine.reference import budget as reference
from ctxengine.tokenize import get_encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

INT64_MAX = 2**63 - 1
USER = {"role": "user", "content": "x"}
SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# --- the numeric core against the reference ---

bounds = st.builds(
    lambda low, extra, demand, weight, priority: reference.Bounds(
        low, low + extra, demand, weight, priority
    ),
    st.integers(0, 60),
    st.integers(0, 200),
    st.integers(0, 200),
    st.sampled_from([0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 7.0]),
    st.integers(-1, 1),
)
items = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.integers(0, 20).map(float),
        st.sampled_from([-1, -1, -1, 0, 1]),
    ),
    max_size=10,
)


def native_water_fill(room: Any, sections: Any) -> Any:
    return _core.water_fill(
        room,
        [((s.min_tokens, s.max_tokens, s.weight, s.priority), s.demand) for s in sections],
    )


@SETTINGS
@given(st.integers(0, 700), st.lists(bounds, max_size=6))
def test_water_filling_equals_the_reference(room: Any, sections: Any) -> None:
    shares = native_water_fill(room, sections)
    assert shares == reference.water_fill(room, sections)
    usable = [min(s.max_tokens, s.demand) for s in sections]
    assert sum(shares) == min(room, sum(usable))
    assert all(0 <= share <= most for share, most in zip(shares, usable, strict=True))


@SETTINGS
@given(st.integers(0, INT64_MAX), st.lists(st.integers(0, INT64_MAX), min_size=1, max_size=5))
def test_water_filling_of_large_numbers(room: Any, demands: Any) -> None:
    sections = [reference.Bounds(0, INT64_MAX, d, 1.0 + i, 0) for i, d in enumerate(demands)]
    assert native_water_fill(room, sections) == reference.water_fill(room, sections)


group_lists = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 20)), max_size=12
)


@SETTINGS
@given(
    group_lists,
    st.integers(0, 400),
    st.integers(0, 400),
    st.sampled_from(["tight", "grid", "keep_last"]),
    st.integers(1, 80),
)
def test_history_cuts_equal_the_reference(
    groups: Any, cap: Any, room: Any, rule: Any, amount: Any
) -> None:
    lists: Any = [list(numbers) for numbers in zip(*groups, strict=True)] or [[], [], []]
    if rule == "keep_last":
        amount %= 13
    first, kept, alone = _core.cut_history((*lists, cap, rule, amount), room)
    expected = reference.cut_history(*lists, cap=cap, room=room, rule=rule, amount=amount)
    assert (first, alone) == expected
    assert kept == (sum(lists[1][first:]) + lists[2][first] if groups else 0)


@SETTINGS
@given(items, st.integers(0, 150))
def test_selection_is_the_optimum(items: Any, capacity: Any) -> None:
    taken = _core.select_items(items, capacity, False)
    chosen = [i for i, t in enumerate(taken) if t]
    assert sum(items[i][0] for i in chosen) <= capacity
    for group in (0, 1):
        assert len({t for t, item in zip(taken, items, strict=True) if item[2] == group}) <= 1
    assert sum(items[i][1] for i in chosen) == reference.best_selection(items, capacity)
    newest = _core.select_items(items, capacity, True)
    assert [i for i, t in enumerate(newest) if t] == reference.select_newest(items, capacity)


@pytest.mark.parametrize("family", ["independent", "zipf", "length", "correlated"])
def test_large_selections_are_worth_more_than_greedy_ones(family: Any) -> None:
    for seed in range(5):
        rng = random.Random(seed)
        costs = [max(8, int(rng.lognormvariate(4.2, 0.6))) for _ in range(300)]
        utilities = {
            "independent": [rng.random() for _ in costs],
            "zipf": [1 / (1 + i) for i in range(len(costs))],
            "length": [cost * (0.5 + rng.random()) for cost in costs],
            "correlated": [cost + 100.0 for cost in costs],
        }[family]
        items = [(cost, utility, -1) for cost, utility in zip(costs, utilities, strict=True)]
        taken = _core.select_items(items, 5000, False)
        assert sum(c for (c, _, _), t in zip(items, taken, strict=True) if t) <= 5000
        best = [0.0] * 5001  # the exact optimum for each capacity
        for cost, utility, _ in items:
            best = [
                max(u, best[c - cost] + utility if c >= cost else 0.0) for c, u in enumerate(best)
            ]
        utility = sum(u for (_, u, _), t in zip(items, taken, strict=True) if t)
        greedy = sum(items[i][1] for i in reference.select_greedily(items, 5000))
        assert utility >= max(greedy, 0.9995 * best[-1])


# --- plans over random conversations ---

WORDS = [
    "alpha",
    " beta",
    "\n",
    "你好",
    "👩🏽\u200d💻",
    "x = 1\n",
    "  ",
    "<|im_end|>",
    "1234",
    "!",
    "é",
]
texts = st.lists(st.sampled_from(WORDS), max_size=25).map("".join)


@st.composite
def histories(draw: Any) -> Any:
    """Turns with tool rounds: every result follows its call."""
    messages = []
    for _ in range(draw(st.integers(1, 6))):
        messages.append({"role": "user", "content": draw(texts)})
        for k in range(draw(st.integers(0, 2))):
            calls = [
                {
                    "id": f"c{k}{i}",
                    "type": "function",
                    "function": {"name": "f", "arguments": json.dumps({"q": draw(texts)})},
                }
                for i in range(draw(st.integers(1, 3)))
            ]
            messages.append({"role": "assistant", "content": None, "tool_calls": calls})
            messages += [
                {"role": "tool", "tool_call_id": call["id"], "content": draw(texts)}
                for call in calls
            ]
        if draw(st.booleans()):
            answer = {"role": "assistant", "content": draw(texts)}
            if draw(st.booleans()):
                answer["reasoning_content"] = draw(texts)
            messages.append(answer)
    if draw(st.booleans()):
        messages.insert(0, {"role": "system", "content": draw(texts)})
    return messages


item_lists = st.lists(
    st.builds(
        Item,
        texts,
        utility=st.floats(0, 10),
        pinned=st.sampled_from([False] * 7 + [True]),
        group=st.sampled_from([None, None, "a", "b"]),
        tokens=st.sampled_from([None, None, None, 0, 5, 10**6]),
    )
    | st.builds(
        Item,
        texts,
        utility=st.floats(0, 10),
        partial=st.sampled_from(["head", "tail", "ends"]),
    ),
    max_size=6,
)
requests = st.fixed_dictionaries(
    {
        "history": histories(),
        "retrieval": item_lists,
        "system": st.none() | texts,
        "tools": st.none()
        | st.just([{"type": "function", "function": {"name": "f", "parameters": {"a": [1]}}}]),
        "sections": st.none()
        | st.lists(
            st.one_of(
                st.builds(
                    Section,
                    st.sampled_from(["history", "retrieval"]),
                    min_tokens=st.integers(0, 30),
                    max_tokens=st.none() | st.integers(30, 400),
                    weight=st.floats(0.1, 10),
                    priority=st.none() | st.integers(-1, 2),
                ),
                st.builds(
                    Section,
                    st.just("memory"),
                    item_lists,
                    max_tokens=st.none() | st.integers(5, 100),
                    priority=st.integers(-1, 2),
                    fit=st.sampled_from([None, "best", "drop_oldest", "truncate"]),
                ),
            ),
            max_size=3,
            unique_by=lambda section: section.name,
        ),
        "cut": st.sampled_from(["grid", "tight"]),
        "grid": st.sampled_from([0.1, 0.25, 1.0]),
        "pinned": st.sampled_from([(), (), (0,), (0, 1)]),
    }
).filter(lambda request: max(request["pinned"], default=-1) < len(request["history"]))


def groups_of(messages: Any) -> Any:
    """Index ranges of messages that belong together, by the rules that plan() documents."""
    groups: Any = []
    for i, message in enumerate(messages):
        if message["role"] == "tool":
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def check_plan(budget: Any, template: Any, encoding: Any, request: Any) -> None:
    before = copy.deepcopy(request)
    available = budget.window - budget.reserve_output
    history, retrieval = request["history"], request["retrieval"]
    sections = request["sections"] or ()
    try:
        made = plan(budget, encoding, template=template, **request)
    except BudgetExceeded as error:
        assert error.needed_tokens > error.available_tokens == available
        assert sum(error.parts.values()) == error.needed_tokens
        assert request == before
        return
    except ArgumentError as error:
        own = {s.name: s for s in sections}
        history_section = own.get("history", Section("history"))
        above = max(
            [own.get("retrieval", Section("retrieval")).priority or 0] * bool(retrieval)
            + [s.priority or 0 for s in sections if s.items],
            default=-9,
        )
        own_priority = 1 if history_section.priority is None else history_section.priority
        assert history_section.min_tokens > available or (
            above > own_priority and request["cut"] == "grid"
        )
        assert ("min_tokens" in str(error)) == (history_section.min_tokens > available)
        return
    assert request == before

    # Never over, by a count of its own.
    messages = list(made.messages)
    counted = count_messages(messages, encoding, template=template, tools=list(made.tools))
    assert made.used == counted <= made.limit <= available
    assert made.left == available - counted
    if made.template.is_rendering:
        assert len(made.token_ids) == counted
    assert sum(section.tokens for section in made.sections) == counted
    assert all(section.tokens >= 0 for section in made.sections)

    # The history keeps a suffix of groups, and before it the user's message and what is pinned.
    lead = 1 if history and history[0]["role"] == "system" else 0
    gone = [d.index for d in made.dropped if d.section == "history"]
    start = max([*gone, lead - 1]) + 1
    groups = groups_of(history)
    last_user = max(i for i, m in enumerate(history) if m["role"] == "user")
    pinned = {i for group in groups for i in group if set(group) & set(request["pinned"])}
    stays = pinned | {last_user} | set(groups[-1]) | set(range(lead))
    if gone:
        assert made.summarize_span is not None
        assert made.summarize_span[0] == lead
        assert made.summarize_span[1] >= start
        assert any(group[0] == start for group in groups)
        turn = max(i for i in range(start + 1) if history[i]["role"] == "user")
        assert turn not in gone
        if start <= last_user:
            stays.add(turn)
    else:
        assert made.summarize_span is None
    assert not stays & set(gone)
    cut_at = made.summarize_span[1] if made.summarize_span else lead
    assert set(range(lead, cut_at)) - set(gone) <= stays
    head = ([{"role": "system", "content": request["system"]}] if request["system"] is not None
            else []) + history[:lead]  # fmt: skip
    kept = [i for i in range(lead, len(history)) if i not in gone]
    expected = head + [history[i] for i in kept]
    assert len(messages) == len(expected)
    carrier = len(head) + kept.index(last_user)
    for i, (message, original) in enumerate(zip(messages, expected, strict=True)):
        if i >= len(head) and i != carrier:
            assert message is original
    tokens = {section.name: section.tokens for section in made.sections}

    # No more of the history than its cap; its exact count can add what only an open turn shows.
    caps = [s.max_tokens for s in sections if s.name == "history" and s.max_tokens is not None]
    if caps and not request["pinned"] and not any("reasoning_content" in m for m in history):
        carried = history[start] if history[start]["role"] == "user" else history[turn]
        assert tokens["history"] <= caps[0] + count_messages([carried], encoding, template=template)

    # Every tool result has its call, and every call its result.
    open_calls: Any = set()
    for message in messages:
        if message["role"] == "tool":
            open_calls.remove(message["tool_call_id"])
        else:
            assert not open_calls
            open_calls = {call["id"] for call in message.get("tool_calls", ())}
    assert not open_calls

    # Pins are kept, groups whole, and every item is in the prompt, cut, or listed as dropped.
    carried_text = messages[carrier]["content"]
    originals = {"retrieval": retrieval}
    for section in sections:
        if section.items:
            originals[section.name] = section.items
    short = {(s.section, s.index) for s in made.shortened}
    for name, section_items in originals.items():
        out = {d.index for d in made.dropped if d.section == name}
        assert all(not section_items[i].pinned for i in out)
        groups_out = {item.group for i, item in enumerate(section_items) if i in out} - {None}
        bounds = [s.max_tokens for s in sections if s.name == name and s.max_tokens is not None]
        for i, item in enumerate(section_items):
            if item.group in groups_out:
                assert i in out
            if (name, i) in short:
                assert f"[{i + 1}] {item.content}" not in carried_text
                assert "[...]" in carried_text
            elif i not in out:
                assert f"[{i + 1}] {item.content}" in carried_text
        # A bound holds by the exact count, as soon as anything is in that need not be.
        pinned_groups = {item.group for item in section_items if item.pinned} - {None}
        optional = [
            i
            for i, item in enumerate(section_items)
            if i not in out and not item.pinned and item.group not in pinned_groups
        ]
        if bounds and optional:
            assert tokens[name] <= bounds[0]
    assert carried_text.endswith(history[last_user]["content"])

    chosen = [choice for choice in made.cuts if choice.chosen]
    assert [choice.cut for choice in chosen] == [request["cut"]]
    if request["cut"] == "grid" and not made.dropped[len(gone) :]:
        assert chosen[0].start == cut_at or not gone

    assert plan(budget, encoding, template=template, **request).to_dict() == made.to_dict()


@pytest.mark.parametrize("template", ["qwen3", "qwen2"])
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(requests, st.integers(0, 900), st.integers(0, 200))
def test_promises_of_a_plan(template: Any, request_: Any, window: Any, reserve: Any) -> None:
    encoding = get_encoding(template)
    budget = Budget(window, min(reserve, window))
    check_plan(budget, Template(template), encoding, request_)


@SETTINGS
@given(requests, st.integers(0, 900))
def test_promises_of_a_plan_by_the_api_rule(request_: Any, window: Any) -> None:
    for message in request_["history"]:
        message.pop("reasoning_content", None)  # which the API models do not take back
    template = Template("openai", estimate_tools=True)
    check_plan(Budget(window), template, get_encoding("o200k_base"), request_)


@pytest.mark.parametrize("partial", ["head", "tail", "ends"])
def test_a_part_that_is_the_whole_text_has_no_gap(qwen3: Any, partial: Any) -> None:
    text = "one two three four"
    _, (section,) = split_sections(None, [Item(text, 1.0, partial=partial)])
    assert section.part(0, 100, qwen3) == section.part(0, qwen3.count(text), qwen3) == text
    part = section.part(0, qwen3.count(text) - 1, qwen3)
    assert GAP in part
    assert text not in part
    assert section.part(0, 0, qwen3) == ""


def test_everything_fits(qwen3: Any) -> None:
    history = conversation(5)
    made = plan(100_000, qwen3, system="Be kind.", history=history, retrieval=["a", "b"])
    assert made.dropped == ()
    assert made.summarize_span is None
    assert made.messages[1:-1] == tuple(history[:-1])


@pytest.fixture(scope="module")
def qwen3() -> Any:
    return get_encoding("qwen3")


def conversation(turns: Any, seed: Any = 0, size: Any = 30) -> Any:
    rng = random.Random(seed)
    messages = []
    for turn in range(turns):
        messages.append({"role": "user", "content": f"question {turn} " * rng.randint(1, size)})
        if turn < turns - 1:
            messages.append(
                {"role": "assistant", "content": f"answer {turn} " * rng.randint(1, size)}
            )
    return messages


# --- the grid ---


def test_grid_cut_never_moves_back_and_seldom_moves(qwen3: Any) -> None:
    full = conversation(120)
    cap = 1500
    starts = []
    for turns in range(1, 120):
        history = full[: 2 * turns - 1]
        made = plan(4000, qwen3, history=history, history_cap=cap, cut="grid", grid=0.25)
        starts.append(made.summarize_span[1] if made.summarize_span else 0)
        older = next(s.tokens for s in made.sections if s.name == "history")
        assert older <= cap
        assert history[starts[-1]]["role"] == "user"
    assert starts == sorted(starts)
    assert starts[-1] > 0
    tokens = count_messages(full, qwen3)
    assert 3 < len(set(starts)) <= tokens / (cap * 0.25) + 1


def turns_of(qwen3: Any, num_turns: Any, tokens: Any) -> Any:
    """Turns of one user message, each of the same number of tokens."""
    message = {"role": "user", "content": ""}
    frame = count_messages([message, message], qwen3) - count_messages([message], qwen3)
    return [{"role": "user", "content": " a" * (tokens - frame)} for _ in range(num_turns)]


def test_what_is_left_out_although_there_is_room_is_said(qwen3: Any) -> None:
    history = turns_of(qwen3, 20, 50)
    window = count_messages(history, qwen3)
    # 1,000 tokens, the cap 3/4 of the window, a step 1/4 of that.
    made = plan(window, qwen3, history=history)
    cap = window - window // 4
    assert made.summarize_span == (0, 8)  # 250 are to go: 2 steps of 188, moved up to 400
    reason = (
        f"older than the stable cut at history[8] (default history cap {cap} of "
        f"{window:,} tokens; cut='tight' keeps more)"
    )
    assert {d.reason for d in made.dropped} == {reason}
    assert made.left == 400
    assert made.note == (f"part of the history is left out although 400 tokens are free: {reason}")
    assert made.note in repr(made)
    assert made.to_dict()["note"] == made.note
    assert "left out although" in made._repr_html_()
    # Nothing that a call brings moves it.
    tools = [{"type": "function", "function": {"name": "f"}}]
    for more in ({"retrieval": ["x"]}, {"tools": tools}, {"system": "Be brief."}):
        assert plan(window, qwen3, history=history, **more).summarize_span == (0, 8)  # type: ignore[arg-type]
    assert plan(window, qwen3, history=history, history_cap=1000).dropped == ()
    capped = plan(window, qwen3, history=history, history_cap=500)
    assert capped.dropped[0].reason.endswith("(history cap 500 tokens)")
    assert plan(window, qwen3, history=history, cut="tight").note is None
    tight = plan(window - 1, qwen3, history=history, cut="tight")
    assert tight.dropped[0].reason == "older than the cut at history[1] (no room for more of it)"
    assert tight.note is None


def test_a_large_last_message_cuts_where_the_next_call_does(qwen3: Any) -> None:
    older = turns_of(qwen3, 20, 50)
    large = turns_of(qwen3, 1, 600)
    now = plan(2000, qwen3, history=older + large, history_cap=1000)
    then = plan(2000, qwen3, history=older + large + older[:1], history_cap=1000)
    assert now.summarize_span == (0, 15)  # 600 + 5 * 50: 750 from the beginning
    assert then.summarize_span == (0, 15)
    # One larger than the cap stands alone, and then is gone.
    huge = turns_of(qwen3, 1, 1100)
    assert plan(2000, qwen3, history=older + huge, history_cap=1000).summarize_span == (0, 20)
    after = plan(2000, qwen3, history=older + huge + older[:1], history_cap=1000)
    assert after.summarize_span == (0, 21)


def test_a_cut_pressed_by_its_call_is_said_and_later_forgotten(qwen3: Any) -> None:
    history = turns_of(qwen3, 20, 50)
    alone = plan(1500, qwen3, history=history, history_cap=1000)
    assert alone.dropped == ()
    pressed = plan(1500, qwen3, history=history, history_cap=1000, system=" a" * 800)
    assert pressed.summarize_span == (0, 10)  # multiples of 250: 250 more would not do
    assert pressed.note == (
        "the history is cut at history[10], though its rule alone would cut it at history[0]: "
        "what is kept in any case leaves too little room"
    )
    assert pressed.dropped[0].reason.endswith("(no room for more of it)")
    assert [c.pressed for c in pressed.cuts] == [True, False]
    assert plan(1500, qwen3, history=history, history_cap=1000) == alone
    # Texts never press: they give way.
    chunks = [(" b" * 400, 1.0)]
    beside = plan(
        1500, qwen3, history=history, history_cap=1000, retrieval=chunks, system=" a" * 200
    )
    assert beside.summarize_span is None
    assert [d.section for d in beside.dropped] == ["retrieval"]


def rounds(first: Any, last: Any, words: Any = 20) -> Any:
    """Tool rounds after one user message."""
    messages = []
    for k in range(first, last):
        call = {"id": f"c{k}", "function": {"name": "f", "arguments": "{}"}}
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": f"c{k}", "content": "word " * words})
    return messages


@pytest.mark.parametrize("cut", ["grid", "tight"])
def test_a_long_tool_loop_is_cut_between_its_rounds(qwen3: Any, cut: Any) -> None:
    question = {"role": "user", "content": "Do all of it."}
    starts = []
    for n in range(1, 60):
        history = [*conversation(3), question, *rounds(0, n)]
        made = plan(600, qwen3, history=history, cut=cut)
        kept = made.messages
        assert question in kept
        assert kept[-2:] == tuple(history[-2:])
        tail = kept[kept.index(question) + 1 :]
        assert tail == tuple(history[len(history) - len(tail) :])
        assert tail[0]["role"] == "assistant"
        starts.append(len(history) - len(tail))
    assert starts == sorted(starts)
    assert starts[-1] > 70
    if cut == "grid":
        assert len(set(starts)) < 25
    # After the answer the turn is an old one, cut at the same place.
    later = [*history, {"role": "assistant", "content": "Done."}, {"role": "user", "content": "ok"}]
    made = plan(600, qwen3, history=later, cut=cut)
    assert question in made.messages
    assert made.summarize_span is not None
    assert made.summarize_span[1] >= starts[-1]
    assert later.index(question) not in {d.index for d in made.dropped}


def test_reasoning_stays_with_its_call(qwen3: Any) -> None:
    question = {"role": "user", "content": "x"}
    loop = []
    for k in range(30):
        call, result = rounds(k, k + 1)
        thought = {"role": "assistant", "content": None, "reasoning_content": "hm " * 9}
        loop += [thought, call, result]
    made = plan(400, qwen3, history=[question, *loop])
    assert made.summarize_span is not None
    assert (made.summarize_span[1] - 1) % 3 == 0
    assert made.messages[1]["content"] is None
    assert made.messages[1]["reasoning_content"]


def test_keep_last(qwen3: Any) -> None:
    history = conversation(20)
    starts = [i for i, m in enumerate(history) if m["role"] == "user"]
    for n in (1, 3, 20, 99):
        made = plan(9000, qwen3, history=history, cut="keep_last", keep_last=n)
        assert made.messages == tuple(history[starts[-n] if n < 20 else 0 :])
    assert (
        "(the last 3 turns are kept)"
        in plan(9000, qwen3, history=history, cut="keep_last", keep_last=3).dropped[0].reason
    )
    chunks = [("chunk " * 2000, 1.0)]
    beside = plan(2500, qwen3, history=history, cut="keep_last", keep_last=9, retrieval=chunks)
    assert beside.messages[:-1] == tuple(history[starts[-9] : -1])
    less = plan(500, qwen3, history=history, cut="keep_last", keep_last=9)
    assert less.used <= 500
    assert less.cuts[-1].pressed
    assert less.note is not None
    capped = plan(9000, qwen3, history=history, cut="keep_last", keep_last=9, history_cap=300)
    assert "history cap 300 tokens" in capped.dropped[0].reason
    for options, problem in (
        ({"cut": "keep_last"}, "keep_last: how many turns"),
        ({"keep_last": 3}, "keep_last: is for cut='keep_last'"),
        ({"cut": "keep_last", "keep_last": 0}, "keep_last: must lie between 1"),
    ):
        with pytest.raises(ArgumentError, match=problem):
            plan(900, qwen3, history=history, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("cut", ["grid", "tight"])
def test_pinned_messages_stay_with_their_group(qwen3: Any, cut: Any) -> None:
    history = [USER, *rounds(0, 2), *conversation(30)]
    made = plan(600, qwen3, history=history, pinned=[2, 0], cut=cut)
    assert made.messages[:3] == tuple(history[:3])
    assert made.summarize_span is not None
    gone = {d.index for d in made.dropped}
    assert {3, 4} <= gone
    assert not {0, 1, 2} & gone
    assert made.messages[3:] == tuple(history[made.summarize_span[1] :])
    with pytest.raises(BudgetExceeded) as caught:
        plan(60, qwen3, history=history, pinned=range(5))
    assert caught.value.parts["history"] > 0
    assert caught.value.needed_tokens == sum(caught.value.parts.values())
    plan(caught.value.needed_tokens, qwen3, history=history, pinned=range(5))
    for pinned, problem in (
        ([99], "pinned: 99, but the history has"),
        ([-1], "pinned"),
        (3, "pin"),
    ):
        with pytest.raises(ArgumentError, match=problem):
            plan(900, qwen3, history=history, pinned=pinned)  # type: ignore[arg-type]


def test_the_plan_compares_the_cuts(qwen3: Any) -> None:
    history = conversation(40)
    made = plan(1500, qwen3, history=history, cut="keep_last", keep_last=3)
    grid, tight, last = made.cuts
    assert [(c.cut, c.chosen) for c in made.cuts] == [
        ("grid", False), ("tight", False), ("keep_last", True)
    ]  # fmt: skip
    for choice, options in ((grid, {}), (tight, {"cut": "tight"})):
        other = plan(1500, qwen3, history=history, **options)  # type: ignore[arg-type]
        assert other.summarize_span == (0, choice.start)
        tokens = {s.name: s.tokens for s in other.sections}
        assert choice.kept_tokens == tokens["history"]
        assert choice.slack == other.left
    assert last.start == made.summarize_span[1] > tight.start
    assert made.to_dict()["cuts"][2]["kept_tokens"] == last.kept_tokens


def test_min_tokens_of_the_history_raise_the_default_cap(qwen3: Any) -> None:
    history = turns_of(qwen3, 40, 50)
    assert count_messages(history, qwen3) > 1900

    def older(**options: Any) -> Any:
        made = plan(1600, qwen3, history=history, **options)
        return next(s.tokens for s in made.sections if s.name == "history")

    assert older(grid=0.01) <= 1200
    assert 1500 - 50 <= older(grid=0.01, sections=[Section("history", min_tokens=1500)]) <= 1500
    with pytest.raises(ArgumentError, match="min_tokens: 1601 is larger than the window without"):
        older(sections=[Section("history", min_tokens=1601)])
    with pytest.raises(ArgumentError, match="min_tokens: 800 is larger than history_cap 700"):
        older(sections=[Section("history", min_tokens=800)], history_cap=700)


def test_grid_cut_does_not_depend_on_the_other_sections(qwen3: Any) -> None:
    history = conversation(60)
    chunks = [("chunk " * 50, 1.0)] * 80
    alone = plan(4000, qwen3, history=history, history_cap=1500)
    crowded = plan(4000, qwen3, history=history, history_cap=1500, retrieval=chunks)
    assert crowded.summarize_span == alone.summarize_span
    assert any(d.section == "retrieval" for d in crowded.dropped)


def test_reasoning_that_the_template_drops_later_does_not_move_the_cut(qwen3: Any) -> None:
    # An open turn shows its reasoning, an older one does not; the cut must not notice.
    older = conversation(60)
    open_turn = [
        {"role": "assistant", "content": "x", "reasoning_content": "thinking " * 200},
    ]
    before = plan(6000, qwen3, history=older, history_cap=1500)
    during = plan(6000, qwen3, history=older + open_turn, history_cap=1500)
    assert during.summarize_span == before.summarize_span


def test_reasoning_of_an_open_turn_comes_on_top_of_the_cap(qwen3: Any) -> None:
    loop = []
    for k in range(6):
        call, result = rounds(k, k + 1)
        loop += [{**call, "reasoning_content": "thinking " * 100}, result]
    history = [USER, *loop]
    during = plan(5000, qwen3, history=history, history_cap=600)
    after = plan(
        5000,
        qwen3,
        history=[*history, {"role": "assistant", "content": "x"}, USER],
        history_cap=600,
    )
    assert (during.summarize_span, after.summarize_span) == (None, None)
    assert after.used < 600 < during.used


def test_tight_cut_keeps_what_fits(qwen3: Any) -> None:
    history = conversation(60)
    tight = plan(2000, qwen3, history=history, cut="tight")
    assert tight.summarize_span is not None
    start = tight.summarize_span[1]
    one_more = next(i for i in range(start - 1, -1, -1) if history[i]["role"] == "user")
    assert count_messages(history[one_more:], qwen3) > 2000
    assert plan(2000, qwen3, history=history, cut="tight", history_cap=300).used < tight.used


# --- sections ---


def test_sections_are_bounded(qwen3: Any) -> None:
    chunks = [(f"chunk {i} " * 30, 1.0) for i in range(30)]
    history = conversation(40)

    def tokens(made: Any, name: Any) -> Any:
        return next(s.tokens for s in made.sections if s.name == name)

    small = plan(
        3000, qwen3, history=history, retrieval=chunks,
        sections=[Section("retrieval", max_tokens=500)],
    )  # fmt: skip
    assert 0 < tokens(small, "retrieval") <= 500
    first = plan(
        3000, qwen3, history=history, retrieval=chunks, cut="tight",
        sections=[Section("retrieval", priority=2), Section("history", priority=1)],
    )  # fmt: skip
    assert (
        not [d for d in first.dropped if d.section == "retrieval"] or tokens(first, "history") < 100
    )
    reserved = plan(
        3000, qwen3, history=history, retrieval=chunks, cut="tight",
        sections=[Section("retrieval", min_tokens=600)],
    )  # fmt: skip
    assert tokens(reserved, "retrieval") >= 500


def test_a_section_of_the_callers_own(qwen3: Any) -> None:
    made = plan(
        500, qwen3,
        history=[{"role": "user", "content": "Who am I?"}],
        retrieval=["Ada wrote programs."],
        sections=[Section("memory", ["The user is Ada."])],
    )  # fmt: skip
    assert made.messages[0]["content"] == (
        "<retrieval>\n[1] Ada wrote programs.\n</retrieval>\n\n"
        "<memory>\n[1] The user is Ada.\n</memory>\n\nWho am I?"
    )
    assert [s.name for s in made.sections] == [
        "template", "system", "tools", "history", "retrieval", "memory", "turn",
    ]  # fmt: skip


def test_pins_come_with_their_group_or_raise(qwen3: Any) -> None:
    items = [
        Item("low " * 20, utility=0, group="g"),
        Item("high " * 20, utility=9),
        Item("pinned", utility=0, pinned=True, group="g"),
    ]
    history = [{"role": "user", "content": "x"}]
    made = plan(70, qwen3, history=history, retrieval=items)
    assert [d.index for d in made.dropped] == [1]
    with pytest.raises(BudgetExceeded) as caught:
        plan(30, qwen3, history=history, retrieval=items)
    assert caught.value.available_tokens == 30
    block = "<retrieval>\n[1] " + "low " * 20 + "\n\n[3] pinned\n</retrieval>\n\nx"
    needed = count_messages([{"role": "user", "content": block}], qwen3)
    assert caught.value.needed_tokens == needed
    assert str(needed) in str(caught.value)
    plan(needed, qwen3, history=history, retrieval=items)


@dataclasses.dataclass(frozen=True)
class Message:
    role: str
    content: object


class ModelLike:
    role = "user"

    def __init__(self, content: Any) -> None:
        self.content = content

    def model_copy(self, update: Any) -> Any:
        return ModelLike(**update)


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": [{"type": "text", "text": "What?"}], "id": "m1"},
        Message("user", "What?"),
        Message("user", [{"type": "text", "text": "What?"}]),
        ModelLike("What?"),
    ],
)
def test_the_carrier_is_a_copy_of_its_own_kind(qwen3: Any, message: Any) -> None:
    made = plan(200, qwen3, history=[message], retrieval=["a text"])
    (carrier,) = made.messages
    assert type(carrier) is type(message)
    assert carrier is not message
    plain = {"role": "user", "content": "<retrieval>\n[1] a text\n</retrieval>\n\nWhat?"}
    expected = encode_messages([plain], qwen3).tolist()
    assert encode_messages([carrier], qwen3).tolist() == expected == made.token_ids.tolist()
    if isinstance(message, dict):
        assert carrier["id"] == "m1"


def test_texts_go_before_parts_only_where_it_is_known_how_they_are_joined() -> None:
    parts = {"role": "user", "content": [{"type": "text", "text": "What?"}]}
    assert plan(200, "gpt-4o", history=[parts]).used > 0
    with pytest.raises(ArgumentError, match="way to join several texts"):
        plan(200, "gpt-4o", history=[parts], retrieval=["a text"])


class FixedContent:
    role = "user"

    @property
    def content(self) -> str:
        return "What?"


class ItsOwnCopy:
    role = "user"
    content = "What?"

    def __copy__(self) -> Any:
        return self


@pytest.mark.parametrize("message", [FixedContent(), ItsOwnCopy()])
def test_a_message_that_cannot_carry_texts_is_refused(qwen3: Any, message: Any) -> None:
    assert plan(200, qwen3, history=[message]).messages == (message,)
    with pytest.raises(
        ArgumentError, match=r"history\[1\]: .* cannot be copied with other content"
    ):
        plan(200, qwen3, history=[USER, message], retrieval=["x"])
    assert message.content == "What?"


def test_encodings_and_models_by_name(qwen3: Any) -> None:
    history = [{"role": "user", "content": "x"}]
    by_name = plan(100, "qwen3", history=history)
    assert by_name == plan(100, qwen3, history=history)
    # The model tells its own template, which its encoding does not.
    made = plan(100, "Qwen/Qwen3-4B-Instruct-2507", history=history)
    assert (made.encoding, made.template.name) == (qwen3, "qwen3-instruct-2507")
    with pytest.raises(UnknownTokenError, match="encoding: 'mistral' is neither an encoding"):
        plan(100, "mistral", history=history)
    with pytest.raises(ArgumentError, match="encoding: must be Encoding or a name, not int"):
        plan(100, 3, history=history)  # type: ignore[arg-type]


def test_what_is_too_large_is_told_by_part(qwen3: Any) -> None:
    system, turn = "Be kind. " * 9, {"role": "user", "content": "question " * 9}
    tools = [{"type": "function", "function": {"name": "f"}}]
    items = [Item("pinned " * 30, pinned=True), "not pinned"]
    whole = plan(1000, qwen3, system=system, tools=tools, history=[turn], retrieval=items[:1])
    with pytest.raises(BudgetExceeded) as caught:
        plan(50, qwen3, system=system, tools=tools, history=[turn], retrieval=items)
    parts = {row.name: row.tokens for row in whole.sections if row.name != "history"}
    assert caught.value.parts == parts
    assert sum(parts.values()) == caught.value.needed_tokens
    listed = ", ".join(f"{name} {parts[name]}" for name in parts)
    assert str(caught.value).endswith(f"): {listed}")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.parts, str(again)) == (parts, str(caught.value))


def test_system_as_message_or_list(qwen3: Any) -> None:
    history = [{"role": "user", "content": "x"}]
    system = {"role": "system", "content": "Be kind."}
    plans = [plan(100, qwen3, system=s, history=history) for s in ("Be kind.", system, [system])]
    assert len({p.used for p in plans}) == 1
    assert plans[1].messages[0] is system


def test_a_wrapped_tool_result_does_not_begin_a_turn(qwen3: Any) -> None:
    wrapped = {"role": "user", "content": "<tool_response>\n4\n</tool_response>"}
    turn = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "f()"}, wrapped]
    made = plan(60, qwen3, history=[*conversation(4), *turn])
    assert made.messages[-3:] == tuple(turn)


def test_only_the_templates_that_wrap_tool_results_so_read_them_so(qwen3: Any) -> None:
    wrapped = {"role": "user", "content": "<tool_response>\n4\n</tool_response>"}
    turn = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "f()"}, wrapped]
    for template, kept in (("qwen3-instruct-2507", 3), ("qwen2", 1), ("chatml", 1)):
        made = plan(Budget(2000), qwen3, history=turn, template=template, history_cap=0)
        assert made.messages == tuple(turn[-kept:])
    # The first message of a user begins a turn whatever it says, and so can carry texts.
    (carrier,) = plan(200, qwen3, history=[wrapped], retrieval=["x"]).messages
    assert carrier["content"].endswith("</retrieval>\n\n" + wrapped["content"])


# --- parts of texts, known sizes, price cliffs ---


LONG = "".join(f"{i} 你好 👩🏽\u200d💻 word, " for i in range(300))


@pytest.mark.parametrize(
    ("partial", "pattern"),
    [
        ("head", r"(?s)<retrieval>\n\[1\] (.+)\n\[\.\.\.\]()\n</retrieval>\n\nx"),
        ("tail", r"(?s)<retrieval>\n\[1\] ()\[\.\.\.\]\n(.+)\n</retrieval>\n\nx"),
        ("ends", r"(?s)<retrieval>\n\[1\] (.+)\n\[\.\.\.\]\n(.+)\n</retrieval>\n\nx"),
    ],
)
def test_a_text_may_go_in_cut(qwen3: Any, partial: Any, pattern: Any) -> None:
    item = Item(LONG, partial=partial)
    for window in range(60, 400, 17):
        made = plan(window, qwen3, history=[USER], retrieval=[item])
        match = re.fullmatch(pattern, made.messages[0]["content"])
        assert match
        head, tail = match.groups()
        assert LONG.startswith(head)
        assert LONG.endswith(tail)
        assert made.dropped == ()
        (short,) = made.shortened
        assert (short.section, short.index, short.item) == ("retrieval", 0, item)
        assert 16 <= short.tokens <= window < short.whole_tokens
        # One character takes a few tokens at most, and the gap is one that cuts cannot fill.
        assert window - 12 <= made.used <= window
        if partial == "ends":
            assert abs(qwen3.count(head) - qwen3.count(tail)) <= 12
    assert plan(35, qwen3, history=[USER], retrieval=[item]).shortened == ()
    whole = plan(20_000, qwen3, history=[USER], retrieval=[item])
    assert (whole.shortened, LONG in whole.messages[0]["content"]) == ((), True)
    assert json.loads(json.dumps(made.to_dict()))["shortened"][0]["tokens"] == short.tokens


def test_the_most_useful_text_for_a_token_is_cut_and_bounds_hold(qwen3: Any) -> None:
    texts = [("alpha " * 200, 1.0), ("beta " * 200, 3.0), ("gamma " * 50, 2.0)]
    for high in (40, 100, 150):
        made = plan(
            2000, qwen3, history=[USER], retrieval=texts,
            sections=[Section("retrieval", max_tokens=high, fit="truncate")],
        )  # fmt: skip
        tokens = {s.name: s.tokens for s in made.sections}["retrieval"]
        assert high - 8 <= tokens <= high
        (short,) = made.shortened
        # The third is the densest; cut when it does not fit, whole when it does.
        assert short.index == (2 if high == 40 else 1)
        assert (made.messages[0]["content"].count("gamma ") == 50) == (high > 40)
    none = plan(2000, qwen3, history=[USER], retrieval=texts,
                sections=[Section("retrieval", max_tokens=100)])  # fmt: skip
    assert none.shortened == ()


def test_oldest_items_are_dropped_first(qwen3: Any) -> None:
    notes = [Item(f"note {i} " * 20, utility=100.0 - i) for i in range(20)]
    section = Section("memory", notes, max_tokens=300, fit="drop_oldest")
    made = plan(2000, qwen3, history=[USER], sections=[section])
    out = [d.index for d in made.dropped]
    assert out == list(range(len(out)))
    assert 0 < len(out) < 20
    assert {d.reason for d in made.dropped} == {"older than the newest that fit"}


def test_reasons_name_what_was_in_the_way(qwen3: Any) -> None:
    texts = ["small", ("word " * 300, 5.0), ("word " * 90, 1.0), ("term " * 90, 2.0)]
    made = plan(200, qwen3, history=[USER], retrieval=texts)
    reasons = {d.index: d.reason for d in made.dropped}
    assert re.fullmatch(r"larger than the \d+ tokens left for texts", reasons[1])
    assert reasons[2] == "more useful texts took the room"
    bounded = plan(900, qwen3, history=[USER], retrieval=texts,
                   sections=[Section("retrieval", max_tokens=50)])  # fmt: skip
    assert bounded.dropped[0].reason == "larger than what max_tokens of retrieval, 50, leaves"


def test_a_given_size_saves_counting_and_never_breaks_the_budget(qwen3: Any) -> None:
    texts = [f"text {i} " * 50 for i in range(40)]
    sizes = [qwen3.count(text) for text in texts]
    counted = plan(1000, qwen3, history=[USER], retrieval=texts)
    given = plan(1000, qwen3, history=[USER],
                 retrieval=[Item(t, tokens=n) for t, n in zip(texts, sizes, strict=True)])  # fmt: skip
    assert given.messages == counted.messages
    for wrong in (0, 1, 10**9, INT64_MAX // 50):
        made = plan(1000, qwen3, history=[USER], retrieval=[Item(t, tokens=wrong) for t in texts])
        assert made.used <= 1000
        if wrong < 2:  # found out, and counted
            assert made.messages == counted.messages
        else:
            assert len(made.dropped) == len(texts)
    with pytest.raises(ArgumentError, match="beyond 2"):
        plan(1000, qwen3, history=[USER], retrieval=[Item("x", tokens=INT64_MAX)] * 2)


def test_soft_limits_keep_the_prompt_below_a_price_cliff(qwen3: Any) -> None:
    history = conversation(40)
    for cut in ("tight", "grid"):
        made = plan(
            Budget(5000, soft_limits=[4000, 900, 1500]), qwen3, history=history, cut=cut,
            retrieval=["chunk " * 100] * 9,
        )  # fmt: skip
        assert made.limit == 900
        assert made.used <= 900
        assert made.left == 5000 - made.used
        assert made.to_dict()["limit"] == 900
    # What must be kept may be dearer; then the next cliff holds, and at last the window.
    for words, limit in ((1000, 1500), (2000, 4000), (4500, 5000)):
        made = plan(
            Budget(5000, soft_limits=[900, 1500, 4000]), qwen3, system=" a" * words,
            history=history, retrieval=["chunk " * 400] * 9, cut="tight",
        )  # fmt: skip
        assert made.limit == limit
        assert words < made.used <= limit
    assert Budget(5, soft_limits=[4, 2, 4]).soft_limits == (2, 4)


@pytest.mark.parametrize("cut", ["tight", "grid"])
def test_what_fits_is_filled(qwen3: Any, cut: Any) -> None:
    chunks = [(f"chunk {i} " * (5 + i % 7), 1.0 + i % 5) for i in range(200)]
    for window in (1000, 3000):
        made = plan(window, qwen3, history=conversation(60), retrieval=chunks, cut=cut)
        assert 0.98 * window <= made.used <= window


# --- duplicates, prediction, display ---


def test_duplicates_are_reported(qwen3: Any) -> None:
    text = "the very same text, said twice over, with some more words to be long enough " * 2
    made = plan(
        1000, qwen3,
        system=text,
        history=[{"role": "user", "content": text}],
        retrieval=[text, "short", "short", "other " * 30],
    )  # fmt: skip
    (duplicate,) = made.duplicates
    assert duplicate.places == ("system[0]", "history[0]", "retrieval[0]")
    assert duplicate.tokens == qwen3.count(text)


def test_prediction(qwen3: Any) -> None:
    history = [{"role": "user", "content": "x"}]
    used = plan(100, qwen3, history=history).used
    assert plan(100, qwen3, history=history, cached_tokens=3).predicted == (3, used - 3, None)
    assert plan(100, qwen3, history=history, cached_tokens=INT64_MAX).predicted == (used, 0, None)


def test_display(qwen3: Any) -> None:
    made = plan(
        Budget(400, 100), qwen3, system="a", history=conversation(30), retrieval=["<b>x</b>"]
    )
    text = repr(made)
    assert text.splitlines()[0].startswith(f"Plan: {made.used:,} of 400 tokens")
    for section in made.sections:
        assert f"{section.name} " in text
    assert "█" in text
    assert json.loads(json.dumps(made.to_dict()))["used"] == made.used
    page = made._repr_html_()
    assert page.startswith("<table>")
    assert "history" in page
    rich_console = pytest.importorskip("rich.console")
    console = rich_console.Console(width=100, record=True, file=io.StringIO())
    console.print(made)
    assert "retrieval" in console.export_text()


def test_token_ids_are_read_only_and_made_once(qwen3: Any) -> None:
    made = plan(100, qwen3, history=[{"role": "user", "content": "x"}])
    assert made.token_ids is made.token_ids
    assert made.token_ids.dtype == "uint32"
    with pytest.raises(ValueError, match="read-only"):
        made.token_ids[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.used = 1  # type: ignore[misc]


def test_token_ids_are_those_that_were_counted(qwen3: Any) -> None:
    message = {"role": "user", "content": [{"type": "text", "text": "short"}]}
    tool = {"type": "function", "function": {"name": "f"}}
    unchanged = plan(200, qwen3, system="s", tools=[tool], history=[copy.deepcopy(message)])
    made = plan(200, qwen3, system="s", tools=[tool], history=[message])
    expected = encode_messages(list(made.messages), qwen3, tools=[tool]).tolist()
    message["content"][0]["text"] = "long " * 500  # type: ignore[index]
    tool["function"]["description"] = "long " * 500  # type: ignore[index]
    assert made.token_ids.tolist() == expected
    assert len(expected) == made.used <= 200
    assert made == unchanged


def test_plans_and_what_they_dropped_are_values(qwen3: Any) -> None:
    history = conversation(30)
    once, again = (plan(300, qwen3, history=copy.deepcopy(history)) for _ in range(2))
    assert once == again
    assert len({once, again}) == 1
    assert once != plan(300, qwen3, history=[*history[:-1], {**history[-1], "content": "other"}])
    assert len(set(once.dropped)) == len(once.dropped) > 0
    assert "question" not in repr(once.dropped)


# --- limits of the domain ---


@pytest.mark.parametrize("window", [0, 1, 2**31, INT64_MAX])
def test_extreme_windows(qwen3: Any, window: Any) -> None:
    history = [{"role": "user", "content": "x"}]
    if window < 8:
        with pytest.raises(BudgetExceeded):
            plan(window, qwen3, history=history)
    else:
        made = plan(window, qwen3, history=conversation(9), retrieval=["a"] * 9)
        assert made.dropped == ()
        assert made.left == window - made.used
    with pytest.raises(BudgetExceeded):
        plan(Budget(window, window), qwen3, history=history)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: Budget(5, -1), "budget.reserve_output: must lie"),
        (lambda: Budget(100, 200), "budget.reserve_output: 200 is larger than the window of 100"),
        (lambda: Budget("8k"), "budget.window: must be an integer, not str"),  # type: ignore[arg-type]
        (lambda: Section("memory", weight=0), r"sections\['memory'\].weight: must be positive"),
        (lambda: Section("history", weight=math.nan), "weight: must be finite"),
        (lambda: Section("history", min_tokens=-1), "min_tokens: must lie"),
        (lambda: Section("history", max_tokens=2**63), "max_tokens: must lie"),
        (
            lambda: Section("history", min_tokens=5, max_tokens=4),
            "min_tokens: 5 is larger than max_tokens 4",
        ),
        (lambda: Section("history", priority=2**63), "priority: must be an integer"),
        (lambda: Section("history", ["x"]), "the history has no items"),
        (lambda: Section("history", fit="best"), "fit: the history can only drop its oldest"),
        (lambda: Section("memory", fit="loose"), "fit: must be 'best'"),  # type: ignore[arg-type]
        (lambda: Budget(5, soft_limits=[-1]), r"budget.soft_limits\[0\]: must lie"),
        (lambda: Budget(5, soft_limits=7), "budget.soft_limits: must be a list"),  # type: ignore[arg-type]
        (lambda: Section("turn"), "always kept"),
        (lambda: Section("a b"), "section name: must be letters"),
        (lambda: Section("memory", "abc"), r"items: must be a list of Item, .* not str"),
    ],
)
def test_what_cannot_be_made_is_named(make: Any, problem: Any) -> None:
    with pytest.raises(ArgumentError, match=problem):
        make()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"budget": -1}, "budget.window: must lie between"),
        ({"budget": 2**63}, "budget.window: must lie between"),
        ({"budget": 1.5}, "budget.window: must be an integer"),
        ({"retrieval": [("x", -1)]}, r"retrieval\[0\].utility: must not be negative"),
        ({"retrieval": ["x", ("x", math.nan)]}, r"retrieval\[1\].utility: must be finite"),
        ({"retrieval": [("x", math.inf)]}, r"retrieval\[0\].utility: must be finite"),
        ({"retrieval": [("x", 10**400)]}, r"retrieval\[0\].utility: must be a number"),
        ({"retrieval": [("x", "y")]}, r"retrieval\[0\].utility: must be a number"),
        ({"retrieval": [3]}, r"retrieval\[0\]: must be Item"),
        ({"retrieval": [(3, 1.0)]}, r"retrieval\[0\].content: must be str"),
        ({"retrieval": [Item("x", group=3)]}, r"retrieval\[0\].group: must be str"),  # type: ignore[arg-type]
        ({"sections": [Section("a"), Section("a")]}, "'a' occurs twice"),
        ({"sections": ["history"]}, "must be Section"),
        ({"sections": [Section("retrieval", ["x"])], "retrieval": ["y"]}, "given twice"),
        ({"history_cap": -1}, "history_cap: must lie"),
        ({"history_cap": 5, "sections": [Section("history", max_tokens=5)]}, "says it already"),
        ({"cut": "loose"}, "cut: must be"),
        ({"retrieval": [Item("x", tokens=-1)]}, r"retrieval\[0\].tokens: must lie"),
        ({"retrieval": [Item("x", partial="top")]}, r"retrieval\[0\].partial: must be 'head'"),  # type: ignore[arg-type]
        ({"retrieval": [Item("x", partial="head", group="a")]}, "partial: a group is kept whole"),
        ({"retrieval": [Item("x", partial="head", pinned=True)]}, "a pinned item is kept whole"),
        (
            {"retrieval": ["x"], "sections": [Section("retrieval", priority=2)]},
            r"sections\['retrieval'\].priority: 2 is above the history's 1, and cut='grid'",
        ),
        ({"grid": 0}, "grid: must lie"),
        ({"grid": 1.1}, "grid: must lie"),
        ({"grid": math.nan}, "grid: must be finite"),
        ({"cached_tokens": -1}, "cached_tokens: must lie"),
        ({"history": [], "retrieval": ["x"]}, "retrieval: its texts stand in the last user"),
        (
            {"history": [{"role": "assistant", "content": "x"}], "retrieval": ["x"]},
            "retrieval: its texts stand in the last user",
        ),
        ({"history": "hi"}, "history: must be a list"),
        ({"retrieval": "abc"}, "retrieval: must be a list of Item, .* not str"),
        ({"retrieval": b"abc"}, "retrieval: must be a list of Item, .* not bytes"),
        ({"retrieval": {"a": 1}}, "retrieval: must be a list of Item, .* not dict"),
        ({"retrieval": 3}, "retrieval: must be a list of Item, .* not int"),
        ({"retrieval": [("a", "0.5")]}, r"retrieval\[0\].utility: must be a number, not '0.5'"),
        ({"grid": "0.5"}, "grid: must be a number"),
        ({"history": [USER, {"role": "judge", "content": "x"}]}, r"history\[1\].role: unknown"),
        ({"history": [USER, {"role": "developer", "content": "x"}]}, r"history\[1\].role: templ"),
        ({"system": {"role": "system"}}, r"system\[0\].content: missing"),
        ({"history": []}, "history: is empty, and so is the system prompt; template 'qwen3'"),
        ({"template": 3}, "template: must be Template or a name, not int"),
        ({"tools": ["f"]}, r"tools\[0\]: must be a mapping"),
    ],
)  # fmt: skip
def test_what_is_refused_is_named(qwen3: Any, options: Any, problem: Any) -> None:
    options = {"budget": 1000, "history": [USER], **options}
    with pytest.raises(ArgumentError, match=problem):
        plan(options.pop("budget"), qwen3, **options)


def test_orphan_tool_results_are_refused(qwen3: Any) -> None:
    call = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}],
    }
    result = {"role": "tool", "tool_call_id": "a", "content": "x"}
    bare = {"role": "tool", "content": "x"}
    two = {**call, "tool_calls": [*call["tool_calls"], {**call["tool_calls"][0], "id": "b"}]}  # type: ignore[dict-item, misc]
    # Calls of the newest group may be open still; it stays whole.
    for good in ([USER, call, result, USER], [USER, call, bare, USER], [USER, two, bare, result],
                 [USER, call], [USER, two, result]):  # fmt: skip
        assert plan(1000, qwen3, history=good).messages == tuple(good)
    refused: list[tuple[list[Any], str]] = [
        ([USER, result], r"history\[1\]: a tool result without a tool call"),
        ([USER, call, result, USER, result], r"history\[4\]: a tool result without a tool call"),
        ([USER, call, USER, result], r"history\[1\].tool_calls: 1 of them have no result"),
        ([USER, call, {**result, "tool_call_id": "b"}], r"history\[2\].tool_call_id: 'b' is none"),
        ([USER, call, result, result], r"history\[3\]: a tool result too many"),
        ([USER, call, bare, bare], r"history\[3\]: a tool result too many for .* history\[1\]"),
        ([USER, two, result, result], r"history\[3\].tool_call_id: 'a' .* or answered already"),
        ([USER, two, result, USER], r"history\[1\].tool_calls: 1 of them have no result"),
        ([USER, call, call, result], r"history\[1\].tool_calls: 1 of them have no result"),
    ]
    for history, problem in refused:
        with pytest.raises(ArgumentError, match=problem):
            plan(1000, qwen3, history=history)


def test_a_system_prompt_alone_can_be_planned(qwen3: Any) -> None:
    for options in ({"system": "x"}, {"history": [{"role": "system", "content": "x"}]}):
        for cut in ("grid", "tight"):
            made = plan(100, qwen3, cut=cut, **options)  # type: ignore[arg-type]
            assert made.used == count_messages([{"role": "system", "content": "x"}], qwen3)
            assert (made.summarize_span, made.dropped) == (None, ())
