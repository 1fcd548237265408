"""Messages and tools of any accepted shape to what the core takes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

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

_ROLES = frozenset(("system", "developer", "user", "assistant", "tool"))
_TEXT_PARTS = frozenset(("text", "input_text", "output_text"))
_HARMONY_PARTS = frozenset(("system_content", "developer_content"))
_READ = frozenset((
    "role", "content", "name", "tool_calls", "tool_call_id", "reasoning", "reasoning_content",
    "channel", "type", "recipient", "content_type",
))  # fmt: skip
# Known not to reach the prompt: marks for prompt caches, and what only answers carry.
_PART_WITHOUT_EFFECT = frozenset(
    ("annotations", "cache_control", "logprobs", "prompt_cache_breakpoint")
)
_WITHOUT_EFFECT = frozenset(("annotations", "cache_control", "id", "parsed", "status", "weight"))
_NOT_SHOWN = "no template shows this field"
_CONTINUED = "an open message that the model continues is not counted"
_REFUSED = {
    "audio": _NOT_SHOWN,
    "function_call": _NOT_SHOWN,
    "images": _NOT_SHOWN,
    "partial": _CONTINUED,
    "phase": _NOT_SHOWN,
    "prefix": _CONTINUED,
    "reasoning_details": "no template shows this field; give the text as reasoning_content",
    "refusal": _NOT_SHOWN,
    "thinking": "no template shows this field; give the text as reasoning_content",
    "thinking_blocks": "no template shows this field; give the text as reasoning_content",
    "tools": "no template shows this field; give the tools of the request",
}
_MESSAGE_FIELDS = _READ | _WITHOUT_EFFECT
_PART_FIELDS = _PART_WITHOUT_EFFECT | {"type", "text"}
_CALL_FIELDS = frozenset(("id", "type", "index", "function", "cache_control"))
_FUNCTION_FIELDS = frozenset(("name", "arguments", "parsed_arguments"))
_BARE_CALL_FIELDS = _CALL_FIELDS | _FUNCTION_FIELDS


def field_of(message: Any, name: str) -> Any:
    """Return a field of a mapping or an object; None when it has no such field."""
    if isinstance(message, Mapping):
        return message.get(name)
    return getattr(message, name, None)


def is_absent(value: Any) -> bool:
    """Return whether a field's value says as much as no field: null or an empty list."""
    return value is None or (isinstance(value, (list, tuple)) and not value)


def _refuse_others(value: Any, known: frozenset[str], path: str) -> None:
    """Raise for a field of a mapping that is not known, unless it is absent."""
    if not isinstance(value, Mapping) or value.keys() <= known:
        return
    for name, inner in value.items():
        if name not in known and not is_absent(inner):
            raise ArgumentError(
                f"{path}.{name}: unknown field; leave it out if it does not reach the prompt"
            )


def _check_fields(message: Any, path: str) -> None:
    if isinstance(message, Mapping):
        if message.keys() <= _MESSAGE_FIELDS:
            return
        names = [name for name in message if name in _REFUSED]
    else:
        # What else an object has is its own affair; these a request would carry.
        names = list(_REFUSED)
    for name in names:
        value = field_of(message, name)
        if not is_absent(value) and value is not False:
            raise ArgumentError(f"{path}.{name}: {_REFUSED[name]}")
    _refuse_others(message, _MESSAGE_FIELDS | _REFUSED.keys(), path)


def _text_or_none(message: Any, name: str, path: str) -> str | None:
    value = field_of(message, name)
    if value is None or isinstance(value, str):
        return value
    raise ArgumentError(f"{path}.{name}: must be a string, not {type(value).__name__}")


def _part(part: Any, path: str) -> tuple[str, str]:
    if isinstance(part, str):
        return "text", part
    kind = field_of(part, "type")
    if not isinstance(kind, str):
        raise ArgumentError(f"{path}.type: missing or not a string")
    if kind in _HARMONY_PARTS and isinstance(part, Mapping):
        return kind, _to_json(dict(part), path)
    if kind not in _TEXT_PARTS:
        raise ArgumentError(f"{path}.type: cannot count a part of type {kind!r}, only text")
    text = field_of(part, "text")
    if not isinstance(text, str):
        raise ArgumentError(f"{path}.text: missing or not a string")
    _refuse_others(part, _PART_FIELDS, path)
    return "text", text


def _to_json(value: Any, path: str) -> str:
    # What transformers' chat templates call tojson.
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ArgumentError(f"{path}: cannot be written as JSON: {error}") from None


def _arguments_json(arguments: Any, path: str) -> str:
    if arguments is None or arguments == "":
        return "{}"
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError) as error:
            raise ArgumentError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(arguments, Mapping):
        raise ArgumentError(f"{path}: must be a JSON object, not {type(arguments).__name__}")
    return _to_json(dict(arguments), path)


def _tool_calls(message: Any, path: str) -> tuple[ConvertedCall, ...]:
    calls = field_of(message, "tool_calls")
    if calls is None:
        return ()
    if not isinstance(calls, Sequence) or isinstance(calls, (str, bytes)):
        raise ArgumentError(f"{path}.tool_calls: must be a list, not {type(calls).__name__}")
    converted = []
    for k, call in enumerate(calls):
        where = f"{path}.tool_calls[{k}]"
        kind = field_of(call, "type")
        if kind not in (None, "function"):
            raise ArgumentError(f"{where}.type: cannot count a call of type {kind!r}")
        function = field_of(call, "function")
        if function is None:
            function = call
            _refuse_others(call, _BARE_CALL_FIELDS, where)
        else:
            _refuse_others(call, _CALL_FIELDS, where)
            where += ".function"
            _refuse_others(function, _FUNCTION_FIELDS, where)
        name = field_of(function, "name")
        if not isinstance(name, str):
            raise ArgumentError(f"{where}.name: missing or not a string")
        given = field_of(function, "arguments")
        arguments = _arguments_json(given, f"{where}.arguments")
        text = "" if given is None else given if isinstance(given, str) else None
        call_id = field_of(call, "id")
        converted.append((name, arguments, text, call_id if isinstance(call_id, str) else None))
    return tuple(converted)


def _reasoning(message: Any, path: str) -> str | None:
    text = _text_or_none(message, "reasoning_content", path)
    other = _text_or_none(message, "reasoning", path)
    if text is not None and other is not None and text != other:
        raise ArgumentError(f"{path}.reasoning: differs from reasoning_content")
    return other if text is None else text


def _convert_message(message: Any, path: str) -> Converted:
    kind = field_of(message, "type")
    if kind is not None and kind != "message":
        raise ArgumentError(f"{path}.type: cannot count an item of type {kind!r}, only a message")
    role = field_of(message, "role")
    role = getattr(role, "value", role)
    if not isinstance(role, str):
        raise ArgumentError(f"{path}.role: missing or not a string")
    if role not in _ROLES:
        raise ArgumentError(f"{path}.role: unknown role {role!r}")
    _check_fields(message, path)
    calls = _tool_calls(message, path)
    reasoning = _reasoning(message, path)
    content = field_of(message, "content")
    parts: tuple[tuple[str, str], ...] = ()
    has_joined_parts = False
    if content is None:
        if role != "assistant" or not (calls or reasoning):
            has_field = (
                "content" in message
                if isinstance(message, Mapping)
                else hasattr(message, "content")
            )
            why = "is null" if has_field else "missing"
            if role == "assistant":
                why += ", and there are no tool_calls"
            raise ArgumentError(f"{path}.content: {why}")
        content = ""
    elif isinstance(content, Sequence) and not isinstance(content, (str, bytes, bytearray)):
        parts = tuple([_part(part, f"{path}.content[{k}]") for k, part in enumerate(content)])
        content = "\n".join([text for _, text in parts])
        has_joined_parts = len(parts) > 1
        if len(parts) == 1 and parts[0][0] == "text":
            parts = ()
    elif not isinstance(content, str):
        raise ArgumentError(
            f"{path}.content: must be text or a list of parts, not {type(content).__name__}"
        )
    call_id = _text_or_none(message, "tool_call_id", path)
    recipient = _text_or_none(message, "recipient", path)
    content_type = _text_or_none(message, "content_type", path)
    rare: RareFields | None = None
    if parts or call_id is not None or recipient is not None or content_type is not None:
        rare = (call_id, recipient, content_type, parts)
    return (
        role,
        content,
        _text_or_none(message, "name", path),
        reasoning,
        _text_or_none(message, "channel", path),
        calls,
        rare,
        has_joined_parts,
    )


def load_json(text: bytes | bytearray | str, path: str) -> Any:
    """Return what JSON text says; an ArgumentError that names `path` for what is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArgumentError(f"{path}: not valid JSON: {error}") from None


def convert_messages(messages: Any, path: str = "messages") -> list[Converted]:
    """Convert messages of any accepted shape; an ArgumentError names ``path[i].field``."""
    if isinstance(messages, (bytes, bytearray)):
        messages = load_json(messages, path)
    if isinstance(messages, (str, Mapping)) or not isinstance(messages, Iterable):
        raise ArgumentError(f"{path}: must be a list of messages, not {type(messages).__name__}")
    return [_convert_message(message, f"{path}[{i}]") for i, message in enumerate(messages)]


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
        converted.append(_to_json(dict(tool), f"tools[{i}]"))
    return converted
