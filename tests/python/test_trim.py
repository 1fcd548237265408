"""trim_messages, and what is known of messages that were counted before."""

from __future__ import annotations

import copy
import gc
import json
import os
import pickle
import random
import sys
import threading
from collections import OrderedDict
from typing import Any

import pytest
from ctxengine import _core
from ctxengine.budget import plan, trim_messages
from ctxengine.chat import (
    Conversation,
    Template,
    cache_clear,
    count_messages,
    encode_messages,
)
from ctxengine.chat.table import count_table
from ctxengine.errors import ArgumentError, BudgetExceeded, UnknownTokenError
from ctxengine.tokenize import get_encoding

MOST = 2**63 - 1


def chat(num: int = 20) -> list[Any]:
    messages: list[Any] = [{"role": "system", "content": "Be brief."}]
    for i in range(num):
        messages.append({"role": "user", "content": f"question {i} " * (i % 7 + 1)})
        messages.append({"role": "assistant", "content": f"answer {i} " * (i % 5 + 1)})
    return [*messages, {"role": "user", "content": "and now?"}]


def native(memory: Any, messages: list[Any], limit: int = MOST) -> Any:
    """What is found out natively: kept messages and tokens, None where it cannot be."""
    encoding = get_encoding("qwen2")
    return _core.trim_messages(
        messages, Template("qwen2")._native, [], encoding._native, count_table(), memory,
        limit, MOST, 0,
    )  # fmt: skip


def tokens(memory: Any, messages: list[Any]) -> int:
    known = native(memory, messages)
    assert known is not None
    return known[1]


@pytest.fixture
def memory() -> Any:
    return _core.MessageMemory(1 << 20)


def test_the_messages_are_the_callers_own() -> None:
    messages = chat()
    limit = count_messages(messages, "gpt-4o") * 3 // 4
    kept = trim_messages(messages, "gpt-4o", max_tokens=limit)
    assert kept[0] is messages[0]
    assert [id(m) for m in kept[1:]] == [id(m) for m in messages[1 - len(kept) :]]
    assert limit - 30 < count_messages(kept, "gpt-4o") <= limit
    assert trim_messages(iter(messages), "gpt-4o", max_tokens=limit) == kept
    assert trim_messages(messages, "gpt-4o", max_tokens=MOST) == messages


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 1.0])
def test_a_grid_cut_is_that_of_the_plan(share: float) -> None:
    messages = chat(60)
    limit = int(count_messages(messages, "gpt-4o") * share)
    for _ in range(2):
        kept = trim_messages(messages, "gpt-4o", max_tokens=limit, cut="grid")
        assert kept == list(plan(limit, "gpt-4o", history=messages).messages)


def test_what_must_stay_and_does_not_fit_says_how_much_it_is() -> None:
    messages = chat()
    with pytest.raises(BudgetExceeded) as caught:
        trim_messages(messages, "gpt-4o", max_tokens=10)
    least = trim_messages(messages, "gpt-4o", max_tokens=caught.value.needed_tokens)
    assert len(least) == 2
    assert count_messages(least, "gpt-4o") == caught.value.needed_tokens


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"max_tokens": -1}, ArgumentError),
        ({"max_tokens": 1.5}, ArgumentError),
        ({"cut": "keep_last"}, ArgumentError),
        ({"encoding": "nothing"}, UnknownTokenError),
        ({"template": "nothing"}, UnknownTokenError),
        ({"messages": "text"}, ArgumentError),
        ({"messages": [{"role": "user"}]}, ArgumentError),
        ({"messages": [{"role": "tool", "content": "x"}]}, ArgumentError),
        ({"messages": [*chat(), {"role": "user", "content": "x", "wrong": 1}]}, ArgumentError),
        ({"tools": "text"}, ArgumentError),
    ],
)
def test_wrong_arguments(changes: Any, error: Any) -> None:
    arguments = {"messages": chat(), "encoding": "gpt-4o", "max_tokens": 1000, **changes}
    given, encoding = arguments.pop("messages"), arguments.pop("encoding")
    with pytest.raises(error):
        trim_messages(given, encoding, **arguments)


# --- what is known of messages ---


def test_a_change_at_any_depth_is_noticed(memory: Any) -> None:
    call = {
        "id": "c1",
        "type": "function",
        "function": {"name": "f", "arguments": {"a": [1, {"b": ["deep"]}], "c": 2.5}},
    }
    messages: list[Any] = [
        *chat(3),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "found"}]},
        {"role": "user", "content": "thanks"},
    ]
    arguments = call["function"]["arguments"]  # type: ignore[index]
    changes: list[Any] = [
        lambda: messages[2].update(content="another answer"),
        lambda: arguments["a"][1]["b"].append("deeper still, in a list"),
        lambda: arguments["a"].__setitem__(0, 123456),
        lambda: arguments.update(c=2.75),
        lambda: arguments.update(c=True),
        lambda: arguments["a"].__setitem__(1, [{"b": "a list"}]),
        lambda: messages[-2]["content"].append({"type": "text", "text": "more was found"}),
        lambda: messages[-2]["content"][0].update(text=""),
        lambda: messages[1].update(role="system"),
        lambda: messages[1].pop("content") and messages[1].update(content="in another order"),
        lambda: messages.pop(3) and messages.pop(3),
    ]
    seen = set()
    for change in changes:
        for _ in range(3):
            assert tokens(memory, messages) == count_messages(messages, "qwen2")
        seen.add(tokens(memory, messages))
        change()
        assert tokens(memory, messages) == count_messages(messages, "qwen2")
    assert len(seen) > 5


def test_equal_messages_are_known_whatever_objects_they_are(memory: Any) -> None:
    messages = chat()
    expected = tokens(memory, messages)
    entries = memory.num_entries
    for _ in range(20):
        fresh = json.loads(json.dumps(messages))
        assert tokens(memory, fresh) == expected
        assert tokens(memory, fresh[:7] + fresh[5:]) == count_messages(
            fresh[:7] + fresh[5:], "qwen2"
        )
    assert memory.num_entries == entries


def test_dicts_are_not_kept_and_texts_are_given_back(memory: Any) -> None:
    messages = [
        {"role": "user", "content": "".join(["not a ", "shared text ", str(i)])} for i in range(9)
    ]
    texts = [m["content"] for m in messages]
    dicts = [sys.getrefcount(m) for m in messages]
    before = [sys.getrefcount(t) for t in texts]
    for _ in range(40):
        native(memory, messages)
        native(memory, copy.deepcopy(messages), 60)
    assert [sys.getrefcount(m) for m in messages] == dicts
    assert [sys.getrefcount(t) for t in texts] == [count + 1 for count in before]
    memory.clear()
    assert memory.num_entries == memory.size_bytes == 0
    assert [sys.getrefcount(t) for t in texts] == before


def test_the_memory_is_bounded() -> None:
    memory = _core.MessageMemory(200_000)
    for i in range(300):
        messages = [
            {"role": "user", "content": f"{i} {k} " + "x" * random.Random(k).randrange(3000)}
            for k in range(10)
        ]
        assert tokens(memory, messages) == count_messages(messages, "qwen2")
        assert memory.size_bytes <= 200_000
    large = [{"role": "user", "content": "y " * 100_000}]
    assert native(memory, large) is None
    assert trim_messages(large, "qwen2", max_tokens=MOST) == large
    assert memory.size_bytes <= 200_000


def test_messages_that_agree_where_one_looks_first_are_told_apart(memory: Any) -> None:
    middle = ["a", "b", "cc", "e e", "é"]
    rng = random.Random(1)
    for _ in range(100):
        messages = [
            {"role": "user", "content": "x" * 1000 + rng.choice(middle) + "y" * 1000}
            for _ in range(10)
        ]
        assert tokens(memory, messages) == count_messages(messages, "qwen2")


class Text(str):
    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = str.__hash__


class Always:
    """Equal to everything."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


class Watched(dict):  # type: ignore[type-arg]
    def __getitem__(self, key: Any) -> Any:
        raise RuntimeError("not to be asked")


def cyclic() -> Any:
    items: list[Any] = []
    items.append(items)
    return items


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "message",
    [
        OrderedDict(role="user", content="x"),
        Watched(role="user", content="x"),
        {"role": "user", "content": Text("x")},
        {"role": Text("user"), "content": "x"},
        {"role": "user", "content": [Text("x")]},
        {Text("role"): "user", "content": "x"},
    ],
)
def test_what_is_not_plain_is_counted_by_the_long_way(memory: Any, message: Any) -> None:
    messages = [*chat(2), message]
    assert native(memory, messages) is None
    assert trim_messages(messages, "qwen2", max_tokens=MOST) == messages
    assert plan(MOST, "qwen2", history=messages).used == count_messages(messages, "qwen2")


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": Always()},
        {"role": "user", "content": cyclic()},
        {"role": "user", "content": nested(1000)},
        {"role": "user", "content": ["x"] * 100_000, "wrong": 1},
        {"role": "user", "content": 10**5000},
        {"role": "assistant", "tool_calls": cyclic()},
        {1: 2},
        [{"role": "user", "content": "x"}],
        None,
    ],
)
def test_what_cannot_be_counted_is_an_error(memory: Any, message: Any) -> None:
    messages = [*chat(2), message, {"role": "user", "content": "x"}]
    assert native(memory, messages) is None
    with pytest.raises(ArgumentError):
        trim_messages(messages, "qwen2", max_tokens=MOST)


def test_many_equal_short_and_many_long_messages_take_linear_time(memory: Any) -> None:
    messages = [{"role": "user", "content": "ok"}, {"role": "assistant", "content": "yes"}] * 5000
    assert tokens(memory, messages) == count_messages(messages, "qwen2")
    same_ends = [{"role": "user", "content": "x" * 500 + f"{i:06}"} for i in range(2000)]
    assert tokens(memory, same_ends) == count_messages(same_ends, "qwen2")


def test_another_thread_may_change_the_messages_meanwhile() -> None:
    messages = chat(50)
    stop = threading.Event()

    def change() -> None:
        rng = random.Random(1)
        while not stop.is_set():
            message = rng.choice(messages[1:])
            message["content"] = "changed " * rng.randrange(9)
            message.pop("name", None)
            message["name"] = "n"
            del message["name"]

    threads = [threading.Thread(target=change) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(200):
            trim_messages(messages, "qwen2", max_tokens=500)
            plan(500, "qwen2", history=messages)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert plan(MOST, "qwen2", history=messages).used == count_messages(messages, "qwen2")


def test_several_threads_share_the_memory() -> None:
    cache_clear()
    lists = [chat(n) for n in (5, 10, 20, 40)]
    expected = [count_messages(messages, "qwen2") for messages in lists]
    wrong: list[Any] = []

    def work(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(60):
            i = rng.randrange(4)
            messages = lists[i] if rng.random() < 0.5 else json.loads(json.dumps(lists[i]))
            used = plan(MOST, "qwen2", history=messages).used
            if used != expected[i]:
                wrong.append((i, used))
            if rng.random() < 0.05:
                cache_clear()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_goes_on_with_what_is_known() -> None:
    messages = chat()
    expected = trim_messages(messages, "qwen2", max_tokens=200)
    child = os.fork()
    if child == 0:
        same = trim_messages(messages, "qwen2", max_tokens=200) == expected
        cache_clear()
        same = same and trim_messages(messages, "qwen2", max_tokens=200) == expected
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_one_message_in_several_encodings_and_templates() -> None:
    messages = chat()
    for _ in range(2):
        for name, encodings in {
            "chatml": ["qwen2", "qwen3"],
            "qwen2": ["qwen2", "qwen3"],
            "qwen3": ["qwen3"],
            "openai": ["qwen2", "o200k_base", "cl100k_base", "gpt2"],
        }.items():
            for encoding in encodings:
                used = plan(MOST, encoding, template=name, history=messages).used
                assert used == count_messages(messages, encoding, template=name)


# --- plans of messages that are known ---


def test_a_plan_keeps_what_it_was_made_of() -> None:
    messages = chat()
    limit = count_messages(messages, "qwen2") * 3 // 4
    planned, again = (plan(limit, "qwen2", history=messages, cut="tight") for _ in range(2))
    kept = copy.deepcopy(list(planned.messages))
    for message in messages:
        message["content"] = "changed"
    cache_clear()
    gc.collect()
    assert planned.token_ids.tolist() == encode_messages(kept, "qwen2").tolist()
    assert len(planned.token_ids) == planned.used
    assert planned == again
    assert pickle.loads(pickle.dumps(planned)) == planned
    assert copy.deepcopy(planned) == planned
    messages[-1]["content"] = "changed once more"
    assert plan(limit, "qwen2", history=messages, cut="tight") != planned


def test_duplicates_are_found_among_known_messages() -> None:
    long = "the same text, long enough to be worth telling of, word for word " * 3
    messages: list[Any] = [{"role": "system", "content": long}, *chat(3)[1:]]
    messages[3]["content"] = long
    made = plan(MOST, "qwen2", system=long, history=messages, retrieval=[long, "other"])
    assert [d.places for d in made.duplicates] == [
        ("system[0]", "history[0]", "history[3]", "retrieval[0]")
    ]


def test_calls_in_parts_are_grouped_with_their_results() -> None:
    messages: list[Any] = [
        {"role": "user", "content": "look"},
        {"role": "assistant", "content": [
            {"type": "text", "text": "wait"},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"q": "x" * 50}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": "found " * 50}]},
        {"role": "assistant", "content": "it is there"},
        {"role": "user", "content": "and now?"},
    ]  # fmt: skip
    whole = count_messages(messages, "qwen2")
    assert trim_messages(messages, "qwen2", max_tokens=whole) == messages
    kept = trim_messages(messages, "qwen2", max_tokens=whole - 1)
    assert kept == [messages[0], *messages[3:]]
    messages[2]["content"][0]["tool_use_id"] = "t2"
    with pytest.raises(ArgumentError, match=r"history\[2\].tool_call_id"):
        trim_messages(messages, "qwen2", max_tokens=whole)


def test_a_conversation_that_does_not_fit_or_add_up_says_so() -> None:
    talk = Conversation("qwen2", messages=chat())
    with pytest.raises(BudgetExceeded) as caught:
        talk.fit(1)
    assert talk.fit(caught.value.needed_tokens).tokens == caught.value.needed_tokens
    harmony = Conversation("o200k_harmony", template="gpt-oss", messages=chat())
    with pytest.raises(ArgumentError, match="gpt-oss"):
        harmony.fit(1000)
    talk.append({"role": "tool", "content": "of no call"})
    for _ in range(2):
        with pytest.raises(ArgumentError, match=r"messages\[42\]"):
            talk.fit(1000)
    talk.replace_span(42, 43)
    assert talk.fit(MOST).start == talk.fit(MOST).lead
    with pytest.raises(ArgumentError):
        Conversation("qwen2").fit(1000)
    with pytest.raises(ArgumentError, match="must be an integer"):
        talk.fit(1.5)  # type: ignore[arg-type]


def test_sampled_ids_count_as_they_are() -> None:
    talk = Conversation("qwen2", messages=chat(3))
    split = [talk.encoding.encode_single_token(byte) for byte in "sampled"]
    talk.append_generated(split)
    talk.append({"role": "user", "content": "and?"})
    fit = talk.fit(talk.count - 1)
    assert fit.start > fit.lead
    talk.replace_span(fit.lead, fit.start)
    assert talk.count == fit.tokens
