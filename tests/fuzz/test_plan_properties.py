"""Growing conversations with other tools, texts and sizes in every call: what a plan promises.

CTXENGINE_PLAN_CONVERSATIONS sets how many conversations there are.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ctxengine.budget import Budget, Item, Section, plan
from ctxengine.chat import count_messages, count_request
from ctxengine.errors import ArgumentError, BudgetExceeded
from ctxengine.tokenize import Encoding, get_encoding

NUM_CONVERSATIONS = int(os.environ.get("CTXENGINE_PLAN_CONVERSATIONS", "300"))
TEMPLATES = ["qwen2", "qwen3", "qwen3-instruct-2507", "gemma3", "mistral-v7", "mistral-v13"]
# The control tokens of those whose vocabulary we have not: gpt2's words do for a plan.
CONTROL_TOKENS = {
    "gemma3": ["<bos>", "<start_of_turn>", "<end_of_turn>"],
    "mistral-v7": [
        "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]",
        "[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]",
        "[TOOL_CONTENT]", "[CALL_ID]", "[ARGS]",
    ],
}  # fmt: skip
CONTROL_TOKENS["mistral-v13"] = CONTROL_TOKENS["mistral-v7"]
PIECES = [
    "alpha ",
    "beta ",
    "\n",
    "你好",
    "👩🏽\u200d💻",
    "x = 1\n",
    "<|im_end|>",
    "1234",
    "é",
    " the",
]


class Case(NamedTuple):
    """One call: the conversation so far, and what the caller brings along."""

    template: str
    budget: Budget
    history: list[Any]
    options: dict[str, Any]
    is_roomy: bool  # what is kept in any case surely leaves the cap its room


@cache
def encoding_of(template: str) -> Encoding:
    if template not in CONTROL_TOKENS:
        return get_encoding("qwen2" if template == "qwen2" else "qwen3")
    words = get_encoding("gpt2")
    return Encoding(
        template,
        pat_str=words._pat_str,
        mergeable_ranks=words._mergeable_ranks,
        special_tokens={spelling: 50257 + i for i, spelling in enumerate(CONTROL_TOKENS[template])},
    )


def text(rng: random.Random, most: int) -> str:
    return "".join(rng.choices(PIECES, k=rng.randint(0, most)))


def tools(rng: random.Random, most: int) -> Any:
    return [
        {"type": "function", "function": {"name": f"f{i}", "description": text(rng, 8)}}
        for i in range(rng.randint(0, most))
    ]


def items(rng: random.Random, most: int, *, may_pin: bool) -> list[Item]:
    made = []
    for _ in range(rng.randint(0, most)):
        kind = rng.random()
        made.append(
            Item(
                text(rng, 30),
                utility=rng.choice([0.0, 1.0, rng.random()]),
                pinned=may_pin and kind > 0.95,
                group=rng.choice("ab") if 0.5 < kind < 0.7 else None,
                tokens=rng.choice([None, None, 0, 30]),
                partial=rng.choice(["head", "tail", "ends"]) if kind < 0.3 else None,
            )
        )
    return made


def rounds(rng: random.Random, count: int, *, reasons: bool) -> Iterator[list[Any]]:
    for k in range(count):
        calls = [
            {"id": f"call{k:03}{i:02}", "type": "function",
             "function": {"name": "f", "arguments": json.dumps({"q": text(rng, 5)})}}
            for i in range(rng.randint(1, 3))
        ]  # fmt: skip
        answer = {"role": "assistant", "content": None, "tool_calls": calls}
        if reasons and rng.random() < 0.3:
            answer["reasoning_content"] = text(rng, 20)
        results = [
            {"role": "tool", "tool_call_id": call["id"], "content": text(rng, 40)} for call in calls
        ]
        yield [answer, *rng.sample(results, len(results))]


def calls_of(seed: int) -> Iterator[Case]:
    """One growing conversation, planned at every user message and after every tool round."""
    rng = random.Random(seed)
    template = rng.choice(TEMPLATES)
    is_roomy = rng.random() < 0.6
    window = rng.choice([0, 1, 2**31, 2**63 - 1]) if rng.random() < 0.03 else rng.randint(50, 2000)
    if is_roomy:
        window = rng.randint(1700, 2600)
    budget = Budget(
        window,
        0 if is_roomy else rng.randint(0, window // 4),
        soft_limits=[window // 2] if not is_roomy and rng.random() < 0.2 else (),
    )
    config: dict[str, Any] = {"grid": rng.choice([0.1, 0.25, 0.5, 1.0])}
    if is_roomy:
        config["history_cap"] = rng.randint(0, window - 1600)
    elif rng.random() < 0.5:
        config["history_cap"] = rng.randint(0, 1000)
    limit = rng.choice([None, rng.randint(0, 200)])
    fit = rng.choice([None, "drop_oldest", "truncate"])
    bounds = [Section("retrieval", max_tokens=limit, fit=fit)]  # type: ignore[arg-type]
    # Gemma shows one system message and no tools; Mistral no reasoning, and no empty answer.
    is_gemma, is_mistral = template == "gemma3", template.startswith("mistral")
    history: list[Any] = [{"role": "system", "content": "s"}] if rng.random() < 0.3 else []
    # Where no system message is, the first message of these has what begins a prompt, and in Gemma
    # the system's text: so whether there is one must not change.
    is_in_turn = is_gemma or is_mistral
    only_system = rng.choice([None, text(rng, 8)]) if not (is_gemma and history) else None

    def call() -> Case:
        brought: dict[str, Any] = {
            "system": only_system if is_in_turn else rng.choice([None, text(rng, 8)]),
            "tools": None if is_gemma else tools(rng, 2) or None,
            "retrieval": items(rng, 5, may_pin=not is_roomy),
            "sections": bounds,
        }
        return Case(template, budget, list(history), {**config, **brought}, is_roomy)

    for _ in range(rng.randint(1, 5)):
        size = 200 if rng.random() < 0.1 and not is_roomy else 25
        history.append({"role": "user", "content": text(rng, size)})
        if rng.random() < 0.5:
            yield call()
        loop = rng.choice([0, 0, 0, 2]) if rng.random() < 0.9 else 12
        for messages in rounds(rng, 0 if is_gemma else loop, reasons=not is_mistral):
            history += messages
            if rng.random() < 0.5:
                yield call()
        history.append({"role": "assistant", "content": "a" * is_mistral + text(rng, 60)})


def check_messages(case: Case, made: Any) -> None:
    messages, encoding = list(made.messages), encoding_of(case.template)
    counted = count_messages(
        messages, encoding, template=case.template, tools=list(made.tools) or None
    )
    assert made.used == counted <= made.limit
    assert made.used + made.left + case.budget.reserve_output == case.budget.window
    assert sum(section.tokens for section in made.sections) == counted
    # The user's message that is to be answered, and whatever came last, are there.
    last_user = max(i for i, m in enumerate(case.history) if m["role"] == "user")
    question = case.history[last_user]["content"]
    assert any(m["role"] == "user" and m["content"].endswith(question) for m in messages)
    if last_user < len(case.history) - 1:
        assert messages[-1] is case.history[-1]
    # What is kept begins with a question, also where a turn was cut inside.
    assert next(m["role"] for m in messages if m["role"] != "system") == "user"
    # No call without its results, no result without its call.
    open_calls: set[str] = set()
    for message in messages:
        if message["role"] == "tool":
            open_calls.remove(message["tool_call_id"])
        else:
            assert not open_calls
            open_calls = {call["id"] for call in message.get("tool_calls", ())}
    assert not open_calls


def check_texts(case: Case, made: Any) -> None:
    carrier = next(m["content"] for m in reversed(made.messages) if m["role"] == "user")
    given = case.options["retrieval"]
    out = {d.index for d in made.dropped if d.section == "retrieval"}
    assert not any(given[i].pinned for i in out)
    short = {s.index: s for s in made.shortened}
    bound = case.options["sections"][0].max_tokens
    tokens = dict(section[:2] for section in made.sections).get("retrieval", 0)
    pinned_groups = {item.group for item in given if item.pinned} - {None}
    for i, item in enumerate(given):
        if i in short:
            # The beginning and the end are the text's own, in whole characters.
            start = carrier.index(f"[{i + 1}] ") + len(f"[{i + 1}] ")
            head, _, tail = carrier[start:].partition("[...]")
            head, partial = head.removesuffix("\n"), item.partial or "head"
            if partial != "tail":
                assert head
                assert item.content.startswith(head)
            else:
                assert head == ""
            if partial != "head":
                kept = [
                    n for n in range(len(item.content)) if tail[1:].startswith(item.content[n:])
                ]
                assert kept
        elif i not in out:
            assert f"[{i + 1}] {item.content}" in carrier
            assert bound is None or tokens <= bound or item.pinned or item.group in pinned_groups
    assert bound is None or not short or tokens <= bound


def sizes_between_places(case: Case, encoding: Any) -> list[int]:
    """Tokens from each place where the history can be cut to the next, as later prompts show it."""
    in_turn = case.template == "gemma3" and case.history[-1]["role"] == "user"
    later = {"role": "assistant" if in_turn else "user", "content": "x"}
    shown = [*case.history, later]
    counted = count_request({"messages": shown}, encoding, template=case.template).messages
    sizes: list[int] = []
    before = ""
    for message, tokens in zip(case.history, counted, strict=False):
        role = message["role"]
        if role == "user" or (role == "assistant" and before != "user"):
            sizes.append(0)
        if role != "system":
            sizes[-1] += tokens
        before = role
    return sizes


def check_conversation(seed: int) -> int:
    """Check every call of a conversation; return how many were planned."""
    moves = planned = 0
    last_start = None
    for case in calls_of(seed):
        encoding = encoding_of(case.template)
        try:
            made = plan(
                case.budget, encoding, template=case.template, history=case.history, **case.options
            )
        except BudgetExceeded as error:
            available = case.budget.window - case.budget.reserve_output
            assert error.needed_tokens > error.available_tokens == available
            assert sum(error.parts.values()) == error.needed_tokens
            assert not case.is_roomy
            continue
        planned += 1
        check_messages(case, made)
        check_texts(case, made)
        grid = made.cuts[0]
        assert not (grid.pressed and case.is_roomy)
        # Never back: neither from one call to the next, nor behind a place that was pressed.
        lead = int(case.history[0]["role"] == "system")
        last_start = lead if last_start is None else last_start
        assert grid.start == (made.summarize_span[1] if made.summarize_span else lead)
        assert grid.start >= last_start
        if not grid.pressed:
            moves += grid.start != last_start
            last_start = grid.start
        if case.is_roomy and seed % 3 == 0:
            # Nothing but the conversation and the cap decides.
            bare = plan(
                case.budget,
                encoding,
                template=case.template,
                history=case.history,
                system=case.options["system"] if case.template in CONTROL_TOKENS else None,
                grid=case.options["grid"],
                history_cap=case.options["history_cap"],
            )
            assert bare.cuts[0].start == grid.start
            step = max(1, int(case.options["history_cap"] * case.options["grid"]))
            sizes = sizes_between_places(case, encoding)
            over = sum(size > case.options["history_cap"] - step for size in sizes)
            assert moves <= sum(sizes) // step + over
    return planned


def test_promises_of_plans_of_growing_conversations() -> None:
    planned = sum(check_conversation(seed) for seed in range(NUM_CONVERSATIONS))
    assert planned > NUM_CONVERSATIONS


@pytest.mark.parametrize("seed", range(20))
def test_a_half_answered_call_is_never_sent(seed: int) -> None:
    rng = random.Random(seed)
    for case in calls_of(seed):
        history = case.history
        results = [i for i, m in enumerate(history) if m["role"] == "tool"]
        if not results or history[-1]["role"] == "tool":
            continue
        broken = list(history)
        at = rng.choice(results)
        if rng.random() < 0.5:
            del broken[at]
        else:
            broken.insert(at, history[at])
        with pytest.raises(ArgumentError, match=r"history\[\d+\]"):
            plan(10**6, "qwen3", history=broken)


def digest(num_conversations: int) -> str:
    """Hash of all plans of some conversations."""
    hasher = hashlib.sha256()
    for seed in range(num_conversations):
        for case in calls_of(seed):
            try:
                made = plan(
                    case.budget,
                    encoding_of(case.template),
                    template=case.template,
                    history=case.history,
                    **case.options,
                )
            except BudgetExceeded as error:
                hasher.update(str(error).encode())
                continue
            hasher.update(json.dumps(made.to_dict()).encode())
            hasher.update(json.dumps(made.messages).encode())
    return hasher.hexdigest()


def test_another_process_makes_the_same_plans() -> None:
    script = f"import test_plan_properties as t; print(t.digest({min(40, NUM_CONVERSATIONS)}))"
    found = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=Path(__file__).parent,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert found == {digest(min(40, NUM_CONVERSATIONS))}
