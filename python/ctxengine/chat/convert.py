"""Messages and tools of any accepted shape to what the core takes.

The rules for messages are the core's (``src/cpp/chat/input.h``), for JSON text and for Python's
objects alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from ctxengine import _core
from ctxengine.errors import ArgumentError

# A call's name, its arguments as JSON and, where they came so, as text, and its id.
ConvertedCall: TypeAlias = tuple[str, str, str | None, str | None]
# What few messages have: tool_call_id, recipient, content_type, and the type and text of each part
# of a content that was not one text.
RareFields: TypeAlias = tuple[str | None, str | None, str | None, tuple[tuple[str, str], ...]]
# One message as the core takes it: role, content, name, reasoning, channel, tool calls, rare
# fields, and whether the content was several texts, now joined by a newline.
Converted: TypeAlias = tuple[
    str,
    str,
    str | None,
    str | None,
    str | None,
    tuple[ConvertedCall, ...],
    RareFields | None,
    bool,
]


def field_of(message: Any, name: str) -> Any:
    """Return a field of a mapping or an object; None when it has no such field."""
    if isinstance(message, Mapping):
        return message.get(name)
    return getattr(message, name, None)


def is_absent(value: Any) -> bool:
    """Return whether a field's value says as much as no field: null or an empty list."""
    return value is None or (isinstance(value, (list, tuple)) and not value)


def read_messages(messages: Any, path: str = "messages") -> _core.Messages:
    """Read messages of any accepted shape; an ArgumentError names ``path[i].field``."""
    return _core.read_messages(messages, path, None)


def convert_messages(
    messages: Any, path: str = "messages", *, one_each: bool = False
) -> list[Converted]:
    """Convert messages of any accepted shape; an ArgumentError names ``path[i].field``.

    With `one_each`, every item must be one message.
    """
    return read_messages(messages, path).tuples(one_each)


def chat_message(message: Converted) -> dict[str, Any]:
    """Return a converted message as chat completions have it; converted again, it is the same."""
    role, content, name, reasoning, channel, calls, rare, _ = message
    call_id, recipient, content_type, parts = rare or (None, None, None, ())
    fields: dict[str, Any] = {
        "name": name,
        "reasoning_content": reasoning,
        "channel": channel,
        "tool_call_id": call_id,
        "recipient": recipient,
        "content_type": content_type,
    }
    made: dict[str, Any] = {
        "role": role,
        "content": [{"type": kind, "text": text} for kind, text in parts] if parts else content,
    }
    made |= {key: value for key, value in fields.items() if value is not None}
    if calls:
        made["tool_calls"] = [
            {
                **({} if call_id is None else {"id": call_id}),
                "type": "function",
                "function": {"name": name, "arguments": arguments if text is None else text},
            }
            for name, arguments, text, call_id in calls
        ]
    return made


def convert_tools(tools: Sequence[Mapping[str, Any]] | None) -> list[str]:
    """Return each tool as its JSON text; an ArgumentError names ``tools[i]``."""
    if tools is None:
        return []
    if isinstance(tools, (str, bytes, Mapping)) or not isinstance(tools, Iterable):
        raise ArgumentError(f"tools: must be a list of mappings, not {type(tools).__name__}")
    converted = []
    for i, tool in enumerate(tools):
        if not isinstance(tool, Mapping):
            raise ArgumentError(f"tools[{i}]: must be a mapping, not {type(tool).__name__}")
        # What transformers' chat templates call tojson.
        plain = tool if type(tool) is dict else dict(tool)
        converted.append(_core.json_text(plain, f"tools[{i}]"))
    return converted
