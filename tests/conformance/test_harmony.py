"""Ids and counts of the harmony template equal openai-harmony's."""

from __future__ import annotations

import base64
import struct
from pathlib import Path
from typing import Any

import pytest
from ctxengine.chat import Template, count_messages, encode_messages
from ctxengine.tokenize import get_encoding
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
SNIPPETS = [
    "", " ", "\n", "Hello", " world", "'s", "42", "你好", "👩🏽\u200d💻", "नमस्ते", "<|end|>",
    "<|start|>",
    "<|message|>", "<|channel|>final", "<|return|>", "<|", "def f():\n\treturn 1\n", ":", "\x00",
]  # fmt: skip


@pytest.fixture(scope="module")
def harmony(tmp_path_factory: Any) -> Any:
    """openai-harmony's gpt-oss encoding, its rank file written from the packed table."""
    folder = tmp_path_factory.mktemp("ranks")
    data = (ROOT / "python/ctxengine/vocabularies/o200k_base.vocab").read_bytes()
    num_rows, first = struct.unpack_from("<II", data, 8)
    at, lines = 16, []
    for rank in range(first, first + num_rows):
        size = data[at]
        lines.append(b"%s %d\n" % (base64.b64encode(data[at + 1 : at + 1 + size]), rank))
        at += 1 + size
    (folder / "o200k_base.tiktoken").write_bytes(b"".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_ENCODINGS_BASE", str(folder))
        import openai_harmony

        yield openai_harmony.load_harmony_encoding("HarmonyGptOss")


def reference_ids(harmony: Any, messages: Any) -> Any:
    import openai_harmony

    converted = []
    for message in messages:
        author = openai_harmony.Author(
            role=openai_harmony.Role(message["role"]), name=message.get("name")
        )
        made = openai_harmony.Message.from_author_and_content(author, message["content"])
        if "channel" in message:
            made = made.with_channel(message["channel"])
        converted.append(made)
    conversation = openai_harmony.Conversation.from_messages(converted)
    return harmony.render_conversation_for_completion(conversation, openai_harmony.Role.ASSISTANT)


texts = st.lists(st.sampled_from(SNIPPETS) | st.text(max_size=8), max_size=6).map("".join)
messages = st.lists(
    st.builds(
        lambda role, content, name, channel: {
            "role": role,
            "content": content,
            **({"name": name} if name is not None else {}),
            **({"channel": channel} if channel is not None else {}),
        },
        st.sampled_from(["system", "developer", "user", "assistant", "assistant", "assistant"]),
        texts,
        st.none() | st.sampled_from(["bob", "Bob_7", "12", " x", "<|end|>"]),
        st.none() | st.sampled_from(["analysis", "analysis", "commentary", "final", "odd one"]),
    ),
    max_size=8,
)


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(messages)
@example([])
def test_ids_and_counts_equal_openai_harmony(harmony: Any, messages: Any) -> None:
    expected = reference_ids(harmony, messages)
    encoding = get_encoding("o200k_harmony")
    assert encode_messages(messages, encoding).tolist() == expected
    assert count_messages(messages, encoding) == len(expected)


def test_reasoning_of_an_answered_turn_is_not_reusable(harmony: Any) -> None:
    encoding = get_encoding("o200k_harmony")
    prompt = [{"role": "user", "content": "2 + 2?"}]
    reply = [
        {"role": "assistant", "channel": "analysis", "content": "Easy sum."},
        {"role": "assistant", "channel": "final", "content": "4"},
    ]
    reuse = Template("harmony").reusable_after_generation(prompt, reply, encoding)
    # As generated, the reasoning stands in the cache; the next prompt goes on with the answer.
    generated = (
        reference_ids(harmony, [*prompt, reply[0]])[:-2] + reference_ids(harmony, [reply[1]])[:-2]
    )
    following = reference_ids(harmony, [*prompt, *reply, {"role": "user", "content": ""}])
    common = 0
    while generated[common] == following[common]:
        common += 1
    assert reuse == (len(generated), common)
    assert common < len(generated)
