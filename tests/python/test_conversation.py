"""`Conversation` and `StreamCounter` against rendering and encoding everything anew."""

import copy
import os
import random
import threading

import numpy as np
import pytest
from chat_encodings import encoding_of
from ctxengine import chat
from ctxengine.chat import Conversation, StreamCounter, Template
from ctxengine.errors import ArgumentError, CtxEngineError, UnknownTokenError
from ctxengine.tokenize import get_encoding
from hypothesis import given, settings
from hypothesis import strategies as st


def has_control_tokens(name):
    try:
        chat.encode_messages([{"role": "user", "content": "x"}], encoding_of(name), template=name)
    except ArgumentError as error:
        return "control token" not in str(error)
    return True


RENDERED = [
    name for name in Template.names() if Template(name).is_rendering and has_control_tokens(name)
]
QWEN = ["chatml", "qwen2", "qwen3", "qwen3-instruct-2507", "qwen3-thinking-2507"]
NUM_EXAMPLES = int(os.environ.get("CTXENGINE_CONVERSATIONS", "60"))
TEXTS = [
    "", "Hello", " a b", "\n\n", "你好 <|im_end|>", "<think>\nwhy\n</think>\n\nso", "é\u0301x", "12 345",
    "<tool_response>\nwrapped\n</tool_response>", "word " * 30,
]  # fmt: skip


def whole(conversation, messages, template, tools=None):
    """Check a conversation against the plain functions, for all its messages."""
    assert len(conversation) == len(messages)
    expected = chat.encode_messages(messages, conversation.encoding, template=template, tools=tools)
    assert conversation.ids.tolist() == expected.tolist()
    assert conversation.count == len(expected)
    report = template._native.count(
        chat.convert.convert_messages(messages),
        chat.convert.convert_tools(tools),
        True,
        conversation.encoding._native,
        chat.table.count_table(),
    )
    assert conversation.message_tokens.tolist() == report[0]
    assert conversation.template_tokens == report[1]


def random_message(rng, name):
    role = rng.choice(["user", "user", "assistant", "assistant", "system", "tool"])
    message = {"role": role, "content": rng.choice(TEXTS) + rng.choice(TEXTS)}
    if name in ("chatml", "harmony") and role == "tool":
        message["role"] = role = "user"
    if role == "assistant":
        if name == "harmony":
            message["channel"] = rng.choice(["analysis", "final", "commentary"])
        elif rng.random() < 0.4:
            message["reasoning_content"] = rng.choice(TEXTS)
        if name not in ("chatml", "harmony") and rng.random() < 0.4:
            calls = [{"name": "f", "arguments": {"x": k}} for k in range(rng.randint(1, 2))]
            message["tool_calls"] = [{"type": "function", "function": call} for call in calls]
    return message


@pytest.mark.parametrize("name", RENDERED)
@settings(max_examples=NUM_EXAMPLES, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_random_operations_equal_rendering_the_list_anew(name, seed):
    rng = random.Random(seed)
    template, encoding = Template(name), encoding_of(name)
    tools = None
    if name.startswith("qwen") and rng.random() < 0.3:
        tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    branches = [(Conversation(encoding, template=template, tools=tools), [])]
    seen = []  # (conversation, cursor, ids, an array that must not change)
    for _ in range(rng.randint(1, 14)):
        at = rng.randrange(len(branches))
        conversation, messages = branches[at]
        operation = rng.random()
        if operation > 0.9:
            branches.append((conversation.fork(), messages))
            continue
        begin = end = len(messages)
        if operation > 0.75:
            begin = rng.randint(0, len(messages))
            end = rng.randint(begin, len(messages))
        added = [random_message(rng, name) for _ in range(1 if operation < 0.6 else 2)]
        after = [*messages[:begin], *added, *messages[end:]]
        try:
            chat.encode_messages(after, encoding, template=template, tools=tools)
        except ArgumentError:
            with pytest.raises(ArgumentError):
                conversation.replace_span(begin, end, added)
        else:
            if operation < 0.6:
                conversation.append(added[0])
            elif operation < 0.75:
                conversation.extend(added)
            else:
                conversation.replace_span(begin, end, added)
            messages = after
        branches[at] = (conversation, messages)
        if not messages:
            continue
        whole(conversation, messages, template, tools)
        if rng.random() < 0.5:
            ids = conversation.ids
            seen.append((at, conversation.cursor, ids.tolist(), ids))
    for conversation, messages in branches:
        if not messages:
            continue
        whole(conversation, messages, template, tools)
    for at, cursor, before, array in seen:
        assert array.tolist() == before
        ids = branches[at][0].ids.tolist()
        since = branches[at][0].since(cursor)
        assert ids[: since.changed_from] == before[: since.changed_from]
        assert since.ids.tolist() == ids[since.changed_from :]


@pytest.mark.parametrize("name", RENDERED)
def test_changed_from_is_the_first_id_that_differs(name):
    rng = random.Random(5)
    conversation = Conversation(encoding_of(name), template=name)
    try:
        before = conversation.ids.tolist()  # what stands before the first message
    except ArgumentError:
        before = []
    for _ in range(60):
        try:
            conversation.append(random_message(rng, name))
        except ArgumentError:
            continue  # this family has no rendering for it
        ids = conversation.ids.tolist()
        same = next(
            (i for i, (a, b) in enumerate(zip(before, ids, strict=False)) if a != b),
            min(len(before), len(ids)),
        )
        assert conversation.changed_from == same
        before = ids


def test_a_count_rule_counts_and_has_no_ids():
    rng = random.Random(3)
    encoding = get_encoding("o200k_base")
    conversation = Conversation(encoding)
    messages = []
    assert conversation.count == chat.count_messages(messages, encoding)
    for _ in range(30):
        message = {"role": rng.choice(["user", "assistant"]), "content": rng.choice(TEXTS)}
        if rng.random() < 0.5:
            message["name"] = "me"
        messages.append(message)
        assert conversation.append(message) == chat.count_messages(messages, encoding)
    conversation.replace_span(3, 9, [{"role": "user", "content": "in short"}])
    messages[3:9] = [{"role": "user", "content": "in short"}]
    assert conversation.count == chat.count_messages(messages, encoding)
    report = chat.count_request({"messages": messages}, encoding)
    assert tuple(conversation.message_tokens.tolist()) == report.messages
    for wanted in ("ids", "changed_from"):
        with pytest.raises(ArgumentError, match="no token ids"):
            getattr(conversation, wanted)


def test_reasoning_of_earlier_turns_goes_and_only_what_changes_is_reported():
    conversation = Conversation("Qwen/Qwen3-8B", messages=[{"role": "user", "content": "one"}])
    asked = conversation.count
    answer = {"role": "assistant", "content": "1", "reasoning_content": "count " * 50}
    conversation.append(answer)
    assert conversation.changed_from == asked
    cursor, with_reasoning = conversation.cursor, conversation.count
    conversation.append({"role": "user", "content": "two"})
    assert conversation.count < with_reasoning
    assert conversation.changed_from == asked  # "<think>" stood there
    assert conversation.since(cursor).changed_from == asked


@pytest.mark.parametrize("name", QWEN)
def test_canonical_ids_that_were_sampled_change_nothing(name):
    encoding, template = encoding_of(name), Template(name)
    messages = [{"role": "user", "content": "Hello"}]
    conversation = Conversation(encoding, template=template, messages=messages)
    text = "<think>\n\n</think>\n\nHi." if name in ("qwen3", "qwen3-thinking-2507") else "Hi."
    sampled = encoding.encode(text + "<|im_end|>", allowed_special="all")
    prompt = conversation.count
    if name == "qwen3-thinking-2507":  # the prompt has "<think>\n" already
        sampled = encoding.encode("\n</think>\n\nHi.<|im_end|>", allowed_special="all")
        message = {"role": "assistant", "content": "Hi.", "reasoning_content": ""}
        generated = conversation.append_generated(sampled, message)
    else:
        generated = conversation.append_generated(sampled)
    messages.append({"role": "assistant", "content": text})
    if name != "qwen3-thinking-2507":
        assert generated.num_kept == len(sampled)
        assert generated.changed_from == prompt
        assert conversation.ids.tolist()[prompt : prompt + len(sampled)] == sampled
    messages.append({"role": "user", "content": "Bye"})
    conversation.append(messages[-1])
    whole(conversation, messages, template)


def test_sampled_ids_are_kept_although_the_text_would_be_encoded_otherwise():
    encoding = get_encoding("qwen3")
    conversation = Conversation(encoding, template="chatml")
    conversation.append({"role": "user", "content": "Hello"})
    prompt = conversation.ids
    sampled = [i for letter in "Hello world" for i in encoding.encode_ordinary(letter)]
    assert sampled != encoding.encode_ordinary("Hello world")
    end = encoding.encode_single_token("<|im_end|>")
    for ending in ([], [end]):
        branch = conversation.fork()
        assert branch.append_generated([*sampled, *ending]).num_kept == len(sampled) + len(ending)
        newline = encoding.encode_ordinary("\n")
        expected = [*prompt.tolist(), *sampled, end, *newline]
        assert branch.ids.tolist()[: len(expected)] == expected
        branch.append({"role": "user", "content": "And?"})
        assert branch.ids.tolist()[: len(expected)] == expected
        assert encoding.decode(branch.ids.tolist()) == Template("chatml").render(
            [
                {"role": "user", "content": "Hello"},
                {"role": "assistant", "content": "Hello world"},
                {"role": "user", "content": "And?"},
            ]
        )
        branch.replace_span(2, 3)
        assert branch.ids.tolist()[: len(expected)] == expected


def test_what_the_template_shows_otherwise_is_encoded_from_its_text():
    encoding = get_encoding("qwen3")
    conversation = Conversation(encoding, template="qwen3-instruct-2507")
    messages = [{"role": "user", "content": "Hello"}]
    conversation.append(messages[0])
    prompt = conversation.count
    call = {"name": "f", "arguments": {"a": 1}}
    messages.append({"role": "assistant", "content": "", "tool_calls": [{"function": call}]})
    # Written without the blanks that the template writes.
    text = '<tool_call>\n{"name":"f","arguments":{"a":1}}\n</tool_call><|im_end|>'
    sampled = encoding.encode(text, allowed_special="all")
    generated = conversation.append_generated(sampled, messages[1])
    assert generated.num_kept == 1  # "<tool_call>"
    assert generated.changed_from >= prompt
    whole(conversation, messages, Template("qwen3-instruct-2507"))


def test_ids_that_end_amid_a_character_need_a_message():
    encoding = get_encoding("qwen3")
    conversation = Conversation(encoding, template="chatml")
    conversation.append({"role": "user", "content": "Hello"})
    half = encoding.encode_bytes("🜁".encode()[:2])
    before = conversation.ids.tolist()
    with pytest.raises(ArgumentError, match="UTF-8"):
        conversation.append_generated(half)
    with pytest.raises(UnknownTokenError):
        conversation.append_generated([2**31 - 1])
    assert conversation.ids.tolist() == before
    assert conversation.append_generated(half, {"role": "assistant", "content": "x"}).num_kept == 0


def test_harmony_needs_the_messages_and_keeps_the_final_one():
    encoding = get_encoding("o200k_harmony")
    messages = [{"role": "user", "content": "Hello"}]
    conversation = Conversation(encoding, template="harmony", messages=messages)
    text = "<|channel|>final<|message|>Hi.<|return|>"
    sampled = encoding.encode(text, allowed_special="all")
    with pytest.raises(ArgumentError, match="give the messages"):
        conversation.append_generated(sampled)
    messages.append({"role": "assistant", "channel": "final", "content": "Hi."})
    # All but "<|return|>", for which the template writes "<|end|>".
    assert conversation.append_generated(sampled, messages[1]).num_kept == len(sampled) - 1
    whole(conversation, messages, Template("harmony"))


def test_an_empty_conversation():
    conversation = Conversation("Qwen/Qwen3-8B")
    for wanted in ("ids", "count", "message_tokens"):
        with pytest.raises(ArgumentError, match="needs at least one"):
            getattr(conversation, wanted)
    assert conversation.extend([]) == 0
    start = conversation.cursor
    conversation.append({"role": "user", "content": "x"})
    assert conversation.replace_span(0, 1) == 0
    assert len(conversation) == 0
    conversation.append({"role": "user", "content": "x"})
    since = conversation.since(start)
    assert since.changed_from == 0
    assert since.ids.tolist() == conversation.ids.tolist()
    plain = Conversation(get_encoding("qwen3"), template="chatml")
    whole(plain, [], Template("chatml"))


def test_errors_leave_it_unchanged():
    conversation = Conversation("Qwen/Qwen3-8B", messages=[{"role": "user", "content": "x"}])
    before, cursor = conversation.ids.tolist(), conversation.cursor
    bad = [
        lambda: conversation.append({"role": "developer", "content": "x"}),
        lambda: conversation.append({"role": "user"}),
        lambda: conversation.extend([{"role": "user", "content": "y"}, {"role": "bird"}]),
        lambda: conversation.replace_span(1, 0),
        lambda: conversation.replace_span(0, 2),
        lambda: conversation.replace_span(-1, 1),
        lambda: conversation.since((cursor.branch, cursor.version + 1)),
        lambda: conversation.since(Conversation("Qwen/Qwen3-8B").cursor),
    ]
    for call in bad:
        with pytest.raises(CtxEngineError):
            call()
    assert conversation.ids.tolist() == before
    assert conversation.cursor == cursor
    with pytest.raises(ArgumentError, match=r"message\[0\]\.role"):
        conversation.append({"role": "developer", "content": "x"})
    with pytest.raises(ArgumentError, match="generation prompt"):
        Conversation(get_encoding("qwen3"), template="chatml", add_generation_prompt=False
                     ).append_generated([1])  # fmt: skip


def test_a_jinja_template_has_no_conversation():
    encoding = get_encoding("qwen3")
    with pytest.raises(ArgumentError, match="only native"):
        Conversation(encoding, template=Template.from_jinja("{{ messages[0].role }}", encoding))


def test_turns_begin_at_users_messages_that_are_no_results():
    encoding = get_encoding("qwen3")
    call = {"name": "look", "arguments": {}}
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "", "tool_calls": [{"function": call}]},
        {"role": "tool", "content": "seen"},
        {"role": "user", "content": "<tool_response>\nseen again\n</tool_response>"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "three"},
    ]
    conversation = Conversation(encoding, template="qwen3", messages=messages)
    assert [(turn.begin, turn.end) for turn in conversation.turns] == [(1, 6), (6, 7)]
    # Nothing but the system prompt and the beginning of the reply is in no turn.
    alone = Conversation(encoding, template="qwen3", messages=messages[:1])
    assert sum(turn.tokens for turn in conversation.turns) == conversation.count - alone.count
    assert alone.turns == ()
    assert Conversation(encoding, template="chatml").turns == ()
    chatml = Conversation(encoding, template="chatml", messages=messages[4:5])
    assert [(turn.begin, turn.end) for turn in chatml.turns] == [(0, 1)]


def test_a_fork_knows_cursors_from_before_it_and_not_those_after():
    conversation = Conversation(get_encoding("qwen3"), template="chatml")
    conversation.append({"role": "user", "content": "one"})
    early = conversation.cursor
    fork = copy.copy(conversation)
    conversation.append({"role": "user", "content": "two"})
    fork.append({"role": "user", "content": "three"})
    fork.append({"role": "user", "content": "four"})
    assert fork.since(early).changed_from == conversation.since(early).changed_from
    with pytest.raises(ArgumentError, match="cursor"):
        fork.since(conversation.cursor)
    with pytest.raises(ArgumentError, match="cursor"):
        conversation.since(fork.cursor)
    for _ in range(200):
        fork = fork.fork()
    assert fork.since(fork.cursor).ids.size == 0
    with pytest.raises(ArgumentError, match="cursor"):
        fork.since(early)


def test_an_array_of_ids_is_read_only_and_outlives_the_conversation():
    conversation = Conversation(get_encoding("qwen3"), template="chatml")
    conversation.append({"role": "user", "content": "one"})
    ids = conversation.ids
    assert ids.dtype == np.uint32
    with pytest.raises(ValueError, match="read-only"):
        ids[0] = 1
    before = ids.tolist()
    conversation.replace_span(0, 1, [{"role": "user", "content": "other"}])
    del conversation
    assert ids.tolist() == before


def test_threads_append_to_one_conversation_and_to_forks():
    encoding = get_encoding("qwen3")
    conversation = Conversation(encoding, template="chatml")
    texts = [f"message {i} " + "x" * (i % 50) for i in range(200)]
    failed = []

    def run(part):
        for text in part:
            conversation.append({"role": "user", "content": text})
            fork = conversation.fork()
            count = fork.count
            ids = fork.ids
            fork.append({"role": "user", "content": "aside"})
            if len(ids) != count or fork.ids.tolist()[: count - 3] != ids.tolist()[:-3]:
                failed.append(text)

    threads = [threading.Thread(target=run, args=(texts[k::4],)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    expected = sum(chat.count_messages([{"role": "user", "content": t}], encoding, template="chatml")
                   - 3 for t in texts) + 3  # fmt: skip
    assert conversation.count == expected


@pytest.mark.parametrize("name", ["o200k_base", "qwen3", "gpt2"])
@settings(max_examples=NUM_EXAMPLES, deadline=None)
@given(pieces=st.lists(st.text(st.characters(codec="utf-8"), max_size=8), max_size=20))
def test_a_stream_is_counted_as_the_text_so_far(name, pieces):
    encoding = get_encoding(name)
    limit = len("".join(pieces)) // 3
    counter = StreamCounter(encoding, limit=limit)
    text = ""
    for piece in pieces:
        expected = encoding.count(text + piece)
        assert counter.would_exceed(piece) == (expected > limit)
        assert counter.count == encoding.count(text)
        assert counter.feed(piece) == expected
        assert counter.exceeded == (expected > limit)
        text += piece


def test_a_stream_without_a_limit_never_exceeds():
    counter = StreamCounter("gpt-4o")
    assert counter.feed("Hello world") == 2
    assert not counter.exceeded
    assert not counter.would_exceed("x" * 1000)
    with pytest.raises(ArgumentError, match="limit"):
        StreamCounter("gpt-4o", limit=-1)
    with pytest.raises(UnknownTokenError):
        StreamCounter("no-such-model")


@pytest.mark.parametrize("limit", [1.5, float("nan"), "9", -1])
def test_limits_that_are_no_numbers_of_tokens(limit):
    with pytest.raises(ArgumentError, match="limit"):
        StreamCounter("qwen3", limit=limit)
    conversation = Conversation("qwen3", messages=[{"role": "user", "content": "hi"}])
    for wrong in (limit, 2**63):
        with pytest.raises(ArgumentError, match="max_tokens"):
            conversation.fit(wrong)
