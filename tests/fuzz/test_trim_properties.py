"""Trimmed lists of random conversations: exact whatever happened to their messages meanwhile.

CTXENGINE_TRIM_CONVERSATIONS sets how many conversations there are.
"""

from __future__ import annotations

import copy
import json
import os
import random
from typing import Any

import pytest
from ctxengine import _core
from ctxengine.budget import Budget, plan, trim_messages
from ctxengine.chat import Conversation, Template, count_messages, count_request
from ctxengine.chat.convert import convert_messages, convert_tools
from ctxengine.chat.table import count_table, message_memory
from ctxengine.errors import BudgetExceeded
from ctxengine.reference.budget import group_messages
from ctxengine.tokenize import Encoding, get_encoding
from vocabulary_families import LLAMA3_PATTERN as PATTERN

NUM_CONVERSATIONS = int(os.environ.get("CTXENGINE_TRIM_CONVERSATIONS", "60"))
PIECES = ["alpha ", "\n", "你好", "👩🏽\u200d💻", "<|im_end|>", "</think>", "1234", " the", " ", ""]
TEMPLATES = {
    "chatml": "qwen2",
    "openai": "o200k_base",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "qwen3-instruct-2507": "qwen3",
    "qwen3-thinking-2507": "qwen3",
    "llama3": "llama3",
    "llama3.1": "llama3",
}
WITH_TOOLS = ("openai", "qwen2", "qwen3", "qwen3-instruct-2507", "qwen3-thinking-2507", "llama3.1")


def encoding_for(name: str) -> Any:
    """An encoding with the control tokens that a template needs."""
    if TEMPLATES[name] != "llama3":
        return get_encoding(TEMPLATES[name])
    base = get_encoding("cl100k_base")
    tokens = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    return Encoding(
        "llama3",
        pat_str=PATTERN,
        mergeable_ranks={token: i for i, token in enumerate(base.token_byte_values())},
        special_tokens={token: 110_000 + i for i, token in enumerate(tokens)},
    )


def template_for(name: str) -> Template:
    return Template(name, estimate_tools=True) if name == "openai" else Template(name)


def text(rng: random.Random, most: int = 12) -> str:
    return "".join(rng.choices(PIECES, k=rng.randint(0, most)))


def user(rng: random.Random, name: str, *, may_wrap: bool) -> Any:
    content: Any = text(rng)
    if rng.random() < 0.15:
        content = [{"type": "text", "text": text(rng)}]
        if name not in ("openai",) and rng.random() < 0.5:
            content.append({"type": "text", "text": text(rng)})
    if may_wrap and name.startswith("qwen3") and rng.random() < 0.1:
        content = "<tool_response>\nx\n</tool_response>"
    message = {"role": "user", "content": content}
    if name == "openai" and rng.random() < 0.2:
        message["name"] = rng.choice(["ann", "bob"])
    return message


def rounds(rng: random.Random, name: str, k: int) -> list[Any]:
    num_calls = 1 if name == "llama3.1" else rng.randint(1, 3)
    calls = [
        {"id": f"c{k}{i}", "type": "function",
         "function": {"name": "f", "arguments": rng.choice(
             [json.dumps({"q": text(rng, 3)}), {"q": text(rng, 3), "n": [1, 2.5, None, True]}])}}
        for i in range(num_calls)
    ]  # fmt: skip
    answer = {"role": "assistant", "content": rng.choice([None, text(rng, 3)]), "tool_calls": calls}
    if name.startswith("qwen3") and rng.random() < 0.4:
        answer["reasoning_content"] = text(rng)
    results = [{"role": "tool", "tool_call_id": c["id"], "content": text(rng)} for c in calls]
    rng.shuffle(results)
    return [answer, *results]


def conversation(rng: random.Random, name: str, turns: int) -> list[Any]:
    messages: list[Any] = []
    if rng.random() < 0.6:
        messages.append({"role": "system", "content": text(rng)})
    for _ in range(turns):
        if rng.random() < 0.9:
            after_results = bool(messages) and messages[-1]["role"] == "tool"
            messages.append(user(rng, name, may_wrap=not after_results))
        if name in WITH_TOOLS:
            for _ in range(rng.choice([0, 0, 1, 3])):
                messages += rounds(rng, name, len(messages))
        if rng.random() < 0.1 and messages:
            messages.append({"role": "system", "content": text(rng, 4)})
        if rng.random() < 0.9:
            answer = {"role": "assistant", "content": text(rng)}
            if name.startswith("qwen3") and rng.random() < 0.4:
                answer["reasoning_content"] = text(rng)
            messages.append(answer)
    if rng.random() < 0.8 or not messages:
        messages.append(user(rng, name, may_wrap=False))
    return messages


def native(messages: list[Any], encoding: Any, template: Template, limit: int, tools: Any) -> Any:
    return _core.trim_messages(
        messages, template._native, convert_tools(tools), encoding._native, count_table(),
        message_memory(), limit, 2**63 - 1, 0,
    )  # fmt: skip


def oracle(messages: list[Any], count: Any, limit: int, wraps: bool) -> list[int] | None:
    """The first cut that fits, each counted by itself; None where nothing does."""
    lead, starts, heads, places = group_messages(convert_messages(messages), wraps)
    if not starts:
        return list(range(len(messages))) if count(messages) <= limit else None
    ends = [*starts[1:], len(messages)]
    for place in places:
        stays = {heads[-1], heads[place], len(starts) - 1}
        kept = [
            *range(lead),
            *(
                i
                for group, (begin, end) in enumerate(zip(starts, ends, strict=True))
                if group >= place or group in stays
                for i in range(begin, end)
            ),
        ]
        if count([messages[i] for i in kept]) <= limit:
            return kept
    return None


def mutate(rng: random.Random, messages: list[Any]) -> None:
    """Change something, at any depth, in place."""
    message = rng.choice(messages)
    if message.get("tool_calls") and rng.random() < 0.7:
        function = rng.choice(message["tool_calls"])["function"]
        if isinstance(function["arguments"], dict) and rng.random() < 0.5:
            function["arguments"]["n"][rng.randrange(4)] = rng.choice([7, "seven", False])
        else:
            function["arguments"] = json.dumps({"q": text(rng)})
    elif isinstance(message.get("content"), list):
        message["content"][0]["text"] = text(rng)
    else:
        message["content"] = text(rng) or "x"


TOOLS = [{"type": "function", "function": {"name": "f", "description": "looks things up"}}]


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_trimmed_list_is_the_longest_that_fits(name: str) -> None:
    rng = random.Random(name)
    encoding, template = encoding_for(name), template_for(name)
    num_native = num_cut = 0
    for _ in range(NUM_CONVERSATIONS):
        messages = conversation(rng, name, rng.randint(1, 8))
        tools = TOOLS if name in WITH_TOOLS and name != "llama3.1" and rng.random() < 0.3 else None
        for _ in range(4):

            def count(kept: list[Any], tools: Any = tools) -> int:
                return count_messages(kept, encoding, template=template, tools=tools)

            whole = count(messages)
            limit = rng.choice([whole, whole - 1, rng.randint(0, whole), int(0.9 * whole)])
            expected = oracle(messages, count, limit, template._native.wraps_tool_results)
            known = native(messages, encoding, template, limit, tools)
            before = copy.deepcopy(messages)
            if expected is None:
                assert known is None
                with pytest.raises(BudgetExceeded):
                    trim_messages(
                        messages, encoding, template=template, tools=tools, max_tokens=limit
                    )
            else:
                kept = trim_messages(
                    messages, encoding, template=template, tools=tools, max_tokens=limit
                )
                assert [id(m) for m in kept] == [id(messages[i]) for i in expected]
                planned = plan(
                    Budget(limit), encoding, template=template, tools=tools, history=messages,
                    cut="tight",
                )  # fmt: skip
                assert [id(m) for m in planned.messages] == [id(m) for m in kept]
                assert planned.used == count(kept) <= limit
                num_cut += len(kept) < len(messages)
                if known is not None:
                    num_native += 1
                    assert [id(m) for m in known[0]] == [id(m) for m in kept]
                    assert known[1] == count(kept)
            assert messages == before
            if rng.random() < 0.5:
                messages = json.loads(json.dumps(messages))
            mutate(rng, messages)
    assert num_native > NUM_CONVERSATIONS
    assert num_cut > NUM_CONVERSATIONS / 2


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_plan_counts_each_message_as_the_whole_prompt_does(name: str) -> None:
    rng = random.Random(f"plan {name}")
    encoding, template = encoding_for(name), template_for(name)
    for _ in range(NUM_CONVERSATIONS // 2):
        messages = conversation(rng, name, rng.randint(1, 6))
        whole = count_messages(messages, encoding, template=template)
        pinned = rng.sample(range(len(messages)), rng.randint(0, 2))
        texts = [text(rng) for _ in range(rng.randint(0, 2))]
        texts = texts if any(m["role"] == "user" for m in messages) else []
        try:
            made = plan(
                rng.randint(whole // 2, whole + 60), encoding, template=template, history=messages,
                retrieval=texts, pinned=pinned, cut=rng.choice(["grid", "tight"]),
            )  # fmt: skip
        except BudgetExceeded:
            continue
        report = count_request({"messages": list(made.messages)}, encoding, template=template)
        assert made.used == report.total
        assert made.message_tokens == report.messages
        assert sum(section.tokens for section in made.sections) == made.used


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_conversation_knows_what_of_it_fits(name: str) -> None:
    rng = random.Random(f"fit {name}")
    encoding, template = encoding_for(name), template_for(name)
    num_cut = 0
    for _ in range(NUM_CONVERSATIONS):
        messages = conversation(rng, name, rng.randint(1, 8))
        tools = TOOLS if name in WITH_TOOLS and name != "llama3.1" and rng.random() < 0.3 else None
        chat = Conversation(encoding, template=template, tools=tools)
        shown: list[Any] = []

        def count(kept: list[Any], tools: Any = tools) -> int:
            return count_messages(kept, encoding, template=template, tools=tools)

        for message in messages:
            chat.append(message)
            shown.append(message)
            if rng.random() < 0.7:
                continue
            limit = rng.choice([chat.count, chat.count - 1, rng.randint(0, chat.count)])
            wraps = template._native.wraps_tool_results
            expected = oracle(shown, count, limit, wraps)
            if expected is None:
                with pytest.raises(BudgetExceeded):
                    chat.fit(limit)
                continue
            fit = chat.fit(limit)
            kept = [*range(fit.lead), *fit.carried, *range(fit.start, len(shown))]
            assert kept == expected
            assert fit.tokens == count([shown[i] for i in kept]) <= limit
            num_cut += len(kept) < len(shown)
            if rng.random() < 0.3:
                other = chat.fork()
                other.replace_span(fit.lead, fit.start, [shown[i] for i in fit.carried])
                assert other.count == fit.tokens == other.fit(limit).tokens
                assert chat.fit(limit) == fit
    assert num_cut > NUM_CONVERSATIONS / 3
