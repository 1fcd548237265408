"""What the providers' own Python packages return, put back into a history as it came."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.types import Message, TextBlock, ThinkingBlock, ToolUseBlock, Usage
from ctxengine import chat
from ctxengine.budget import Budget, CachePlan, plan
from ctxengine.errors import ArgumentError, BudgetExceeded
from ctxengine.tokenize import get_encoding
from openai.types.chat import ChatCompletionMessage
from openai.types.chat.chat_completion_message_function_tool_call import (
    ChatCompletionMessageFunctionToolCall,
    Function,
)
from openai.types.responses import (
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
    ResponseReasoningItem,
)
from openai.types.responses.response_reasoning_item import Content

ARGUMENTS = '{"city": "Zürich"}'
CALL = ChatCompletionMessageFunctionToolCall(
    id="c1", type="function", function=Function(name="weather", arguments=ARGUMENTS)
)
CHAT = [
    {"role": "user", "content": "Is it cold?"},
    ChatCompletionMessage(role="assistant", content=None, tool_calls=[CALL]),
    {"role": "tool", "tool_call_id": "c1", "content": "-3 °C"},
    ChatCompletionMessage(role="assistant", content="Yes.", refusal=None, annotations=[]),
    {"role": "user", "content": "And tomorrow?"},
]
RESPONSES = [
    {"role": "user", "content": "Is it cold?"},
    ResponseReasoningItem(
        id="r1",
        type="reasoning",
        summary=[],
        content=[Content(type="reasoning_text", text="I shall look.")],
    ),
    ResponseFunctionToolCall(
        arguments=ARGUMENTS, call_id="c1", name="weather", type="function_call", id="fc1"
    ),
    {"type": "function_call_output", "call_id": "c1", "output": "-3 °C"},
    ResponseOutputMessage(
        id="m1",
        type="message",
        role="assistant",
        status="completed",
        content=[ResponseOutputText(type="output_text", text="Yes.", annotations=[])],
    ),
    {"role": "user", "content": "And tomorrow?"},
]
BLOCKS = [
    ThinkingBlock(type="thinking", thinking="I shall look.", signature="s"),
    TextBlock(type="text", text="One moment."),
    ToolUseBlock(type="tool_use", id="c1", name="weather", input=json.loads(ARGUMENTS)),
]
RESULT = {"type": "tool_result", "tool_use_id": "c1", "content": "-3 °C"}
ANTHROPIC = [
    {"role": "user", "content": "Is it cold?"},
    {"role": "assistant", "content": BLOCKS},
    {"role": "user", "content": [RESULT]},
]


def dumped(value: Any) -> Any:
    """Return the plain data that is sent over the wire."""
    if isinstance(value, list):
        return [dumped(each) for each in value]
    if isinstance(value, dict):
        return {key: dumped(each) for key, each in value.items()}
    if hasattr(value, "model_dump"):
        return value.model_dump(exclude_none=True)
    return value


@pytest.mark.parametrize(
    "history", [CHAT, RESPONSES, ANTHROPIC], ids=["chat", "responses", "anthropic"]
)
def test_count_as_their_data(history: list[Any]) -> None:
    encoding = get_encoding("qwen3")
    before = dumped(history)
    plain = chat.encode_messages(before, encoding, template="qwen3")
    text = encoding.decode(plain.tolist())
    assert "Zürich" in text
    assert "-3 °C" in text
    objects = chat.encode_messages(history, encoding, template="qwen3")
    assert objects.tolist() == plain.tolist()
    assert chat.count_messages(history, encoding, template="qwen3") == len(plain)
    assert dumped(history) == before


def test_a_whole_message_of_anthropic_is_one_of_the_history() -> None:
    message = Message(
        id="msg", type="message", role="assistant", model="claude-sonnet-4-5", content=BLOCKS[1:2],
        stop_reason="end_turn", usage=Usage(input_tokens=1, output_tokens=1),
    )  # fmt: skip
    encoding = get_encoding("qwen3")
    history = [{"role": "user", "content": "Is it cold?"}, message]
    plain = [history[0], {"role": "assistant", "content": "One moment."}]
    assert chat.count_messages(history, encoding, template="qwen3") == chat.count_messages(
        plain, encoding, template="qwen3"
    )


def test_reasoning_that_nobody_can_count_is_refused() -> None:
    hidden = ResponseReasoningItem(id="r1", type="reasoning", summary=[], encrypted_content="gAAAA")
    with pytest.raises(ArgumentError, match=r"input\[1\]"):
        chat.count_request(
            {"input": [RESPONSES[0], hidden, *RESPONSES[2:]]},
            get_encoding("qwen3"),
            template="qwen3",
        )


def test_a_plan_keeps_the_same_objects_and_calls_with_their_results() -> None:
    encoding = get_encoding("qwen3")
    whole = plan(Budget(1000), encoding, history=CHAT, template="qwen3")
    assert [id(message) for message in whole.messages] == [id(message) for message in CHAT]
    for window in range(whole.used, 0, -1):
        try:
            made = plan(Budget(window), encoding, history=CHAT, template="qwen3", cut="tight")
        except BudgetExceeded:
            assert window < 20  # the question alone
            break
        kept = {id(message) for message in made.messages}
        assert made.used <= window
        assert (id(CHAT[1]) in kept) == (id(CHAT[2]) in kept)


def test_a_cache_plan_reads_them() -> None:
    body = {"model": "claude-sonnet-4-5", "max_tokens": 10, "messages": ANTHROPIC}
    tokens = {"messages": [2000, 300, 50]}
    made = [
        CachePlan.for_request(each, "claude-sonnet-4-5", tokens=tokens, now=0.0)
        for each in (body, dumped(body))
    ]
    assert made[0] == made[1]
    assert made[0].total_tokens == 2350
