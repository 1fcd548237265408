"""Reading a request file (docs/request.md): each field is checked, each complaint has its path."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

from ctxengine.budget import Budget, Item, Section
from ctxengine.cli.io import InputError, to_text
from ctxengine.errors import ArgumentError
from ctxengine.pricing import PriceTable
from ctxengine.viz.text import clip, printable

__all__ = ["FORMAT", "Chunk", "Request", "Turn", "read_request"]

FORMAT = "ctxengine.request/1"

_MAX_INT = 2**63 - 1
_MAX_DEPTH = 64
_ROLES = ("system", "developer", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A retrieved text with the name by which reports call it."""

    id: str
    item: Item


@dataclass(frozen=True, slots=True)
class Turn:
    """What happens next in a replay: a question, what was retrieved for it, the model's reply."""

    user: str
    retrieval: tuple[Chunk, ...]
    reply: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Request:
    """A checked request file; docs/request.md describes each field."""

    encoding: str
    template: str | None
    budget: Budget
    system: str | None
    tools: tuple[dict[str, Any], ...]
    retrieval: tuple[Chunk, ...]
    history: tuple[dict[str, Any], ...]
    sections: tuple[Section, ...]
    block_size: int
    num_blocks: int | None
    prices: PriceTable | None
    model: str
    about: str
    reply: tuple[dict[str, Any], ...]
    turns: tuple[Turn, ...]


def read_request(name: str, data: bytes) -> Request:
    """Read and check a request.

    Raises
    ------
    InputError
        The bytes are not UTF-8, not JSON, or not a request; the message starts with the name and
        says at which line, or at which path such as ``retrieval[3].score``.
    """
    try:
        return _request(_Node(_parse(name, to_text(name, data)), ""))
    except _WrongError as error:
        raise InputError(f"{name}: {error}") from None


class _WrongError(Exception):
    """A complaint that begins with the path of the value."""


class _Object(dict[str, Any]):
    """A JSON object that remembers a key it was given twice."""

    repeated: str | None = None


def _first_repeated(keys: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            return key
        seen.add(key)
    return None


def _parse(name: str, text: str) -> Any:
    def pairs(items: list[tuple[str, Any]]) -> _Object:
        value = _Object(items)
        if len(value) < len(items):
            value.repeated = _first_repeated(key for key, _ in items)
        return value

    def constant(word: str) -> NoReturn:
        raise InputError(f"{name}: {word} is not JSON")

    def integer(digits: str) -> int:
        if len(digits) > 20:
            raise InputError(f"{name}: number too large: {digits[:20]}... ({len(digits)} digits)")
        return int(digits)

    try:
        value = json.loads(
            text, object_pairs_hook=pairs, parse_constant=constant, parse_int=integer
        )
        _check_tree(value)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise InputError(f"{name}: not JSON: {error.msg} at {where}") from None
    except RecursionError:
        raise InputError(f"{name}: nested deeper than {_MAX_DEPTH} levels") from None
    return value


def _check_tree(root: Any) -> None:
    """Refuse what JSON can spell but no prompt can hold; iterative, so depth costs no stack."""
    stack: list[tuple[Any, str, int]] = [(root, "", 1)]
    while stack:
        value, path, depth = stack.pop()
        if depth > _MAX_DEPTH:
            raise _WrongError(f"nested deeper than {_MAX_DEPTH} levels")
        if isinstance(value, str):
            _check_text(value, path)
        elif isinstance(value, float):
            if value in (float("inf"), float("-inf")):
                raise _WrongError(f"{path}: number too large")
        elif isinstance(value, list):
            stack += [(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
        elif isinstance(value, _Object):
            if value.repeated is not None:
                raise _WrongError(f"{_join(path, value.repeated)}: the key stands twice")
            for key, item in value.items():
                _check_text(key, f"{path or 'top level'}: a key")
                stack.append((item, _join(path, key), depth + 1))


def _check_text(text: str, path: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        raise _WrongError(
            f"{path}: lone surrogate U+{code:04X} at character {error.start}"
        ) from None


def _join(path: str, key: str) -> str:
    shown = clip(printable(key), 40)
    return f"{path}.{shown}" if path else shown


class _Node:
    """A value and its path, with one method for each thing it may have to be."""

    def __init__(self, value: Any, path: str) -> None:
        self.value, self.path = value, path

    def fail(self, expected: str) -> NoReturn:
        shown = clip(printable(json.dumps(self.value, ensure_ascii=False)), 60)
        raise _WrongError(f"{self.path or 'top level'}: expected {expected}, got {shown}")

    def fields(self, required: Collection[str], optional: Collection[str] = ()) -> _Fields:
        if not isinstance(self.value, dict):
            self.fail("an object")
        for key in self.value:
            if key not in required and key not in optional:
                known = ", ".join([*required, *optional])
                raise _WrongError(f"{_join(self.path, key)}: unknown field; known: {known}")
        for key in required:
            if key not in self.value:
                raise _WrongError(f"{_join(self.path, key)}: missing")
        return _Fields(self)

    def items(self) -> Iterator[_Node]:
        if not isinstance(self.value, list):
            self.fail("a list")
        return (_Node(item, f"{self.path}[{i}]") for i, item in enumerate(self.value))

    def object(self) -> dict[str, Any]:
        if not isinstance(self.value, dict):
            self.fail("an object")
        return self.value

    def text(self, *, empty: bool = True) -> str:
        if not isinstance(self.value, str) or not (empty or self.value):
            self.fail("a string" if empty else "a string that is not empty")
        return self.value

    def one_of(self, *choices: str) -> str:
        if self.value not in choices:
            self.fail(" or ".join(json.dumps(choice) for choice in choices))
        return str(self.value)

    def boolean(self) -> bool:
        if not isinstance(self.value, bool):
            self.fail("true or false")
        return self.value

    def integer(self, low: int, high: int = _MAX_INT) -> int:
        bounds = f"of at least {low}" if high == _MAX_INT else f"from {low} to {high}"
        whole = isinstance(self.value, int) and not isinstance(self.value, bool)
        if not whole or not low <= self.value <= high:
            self.fail(f"a whole number {bounds}")
        return int(self.value)

    def number(self, *, positive: bool = False) -> float:
        if not isinstance(self.value, (int, float)) or isinstance(self.value, bool):
            self.fail("a number")
        if self.value < 0 or (positive and self.value == 0):
            self.fail("a positive number" if positive else "a number that is not negative")
        return float(self.value)


class _Fields:
    """The fields of an object whose names have been checked."""

    def __init__(self, node: _Node) -> None:
        self._node = node

    def __getitem__(self, key: str) -> _Node:
        return _Node(self._node.value[key], _join(self._node.path, key))

    def get(self, key: str, read: Callable[[_Node], Any], default: Any = None) -> Any:
        return read(self[key]) if key in self._node.value else default


def _request(node: _Node) -> Request:
    top = node.fields(
        ("format", "encoding", "window", "history"),
        (
            "about",
            "model",
            "template",
            "reserve_output",
            "sections",
            "blocks",
            "prices",
            "system",
            "tools",
            "retrieval",
            "replay",
        ),
    )
    top["format"].one_of(FORMAT)
    window = top["window"].integer(1)
    block_size, num_blocks = top.get("blocks", _blocks, (16, None))
    reply, turns = top.get("replay", _replay, ((), ()))
    history = _messages(top["history"])
    if not history or history[-1]["role"] not in ("user", "tool"):
        raise _WrongError(
            "history: the last message must be one that waits for an answer (user, tool)"
        )
    return Request(
        encoding=top["encoding"].text(empty=False),
        template=top.get("template", lambda n: n.text(empty=False)),
        budget=Budget(window, top.get("reserve_output", lambda n: n.integer(0, window), 0)),
        system=top.get("system", _Node.text),
        tools=top.get("tools", lambda n: tuple(map(_tool, n.items())), ()),
        retrieval=top.get("retrieval", _chunks, ()),
        history=history,
        sections=top.get("sections", _sections, ()),
        block_size=block_size,
        num_blocks=num_blocks,
        prices=top.get("prices", _prices),
        model=top.get("model", _Node.text, ""),
        about=top.get("about", _Node.text, ""),
        reply=reply,
        turns=turns,
    )


def _blocks(node: _Node) -> tuple[int, int]:
    fields = node.fields(("block_size", "num_blocks"))
    return fields["block_size"].integer(1, 1 << 16), fields["num_blocks"].integer(1, 1 << 24)


def _prices(node: _Node) -> PriceTable:
    try:
        return PriceTable.from_dict(node.object())
    except ArgumentError as error:
        raise _WrongError(f"{node.path}.{error}") from None


def _sections(node: _Node) -> tuple[Section, ...]:
    found = []
    for name in node.object():
        if name not in ("history", "retrieval"):
            raise _WrongError(
                f"{_join(node.path, name)}: unknown section; known: history, retrieval"
            )
        section = _Node(node.value[name], _join(node.path, name))
        fields = section.fields((), ("min_tokens", "max_tokens", "weight", "priority"))
        low = fields.get("min_tokens", lambda n: n.integer(0), 0)
        found.append(
            Section(
                name,
                min_tokens=low,
                max_tokens=fields.get("max_tokens", partial(_Node.integer, low=low)),
                weight=fields.get("weight", lambda n: n.number(positive=True), 1.0),
                priority=fields.get("priority", lambda n: n.integer(0, 1 << 16)),
            )
        )
    return tuple(found)


def _tool(node: _Node) -> dict[str, Any]:
    fields = node.fields(("type", "function"))
    fields["type"].one_of("function")
    function = fields["function"].fields(("name",), ("description", "parameters", "strict"))
    function["name"].text(empty=False)
    function.get("description", _Node.text)
    function.get("parameters", _Node.object)
    function.get("strict", _Node.boolean)
    return node.object()


def _chunks(node: _Node) -> tuple[Chunk, ...]:
    chunks: list[Chunk] = []
    seen: dict[str, str] = {}
    for item in node.items():
        fields = item.fields(("id", "score", "text"), ("pinned", "group"))
        name = fields["id"].text(empty=False)
        if name in seen:
            raise _WrongError(
                f"{item.path}.id: {clip(printable(name), 40)} is also {seen[name]}.id"
            )
        seen[name] = item.path
        chunks.append(
            Chunk(
                name,
                Item(
                    fields["text"].text(empty=False),
                    fields["score"].number(),
                    fields.get("pinned", _Node.boolean, False),
                    fields.get("group", lambda n: n.text(empty=False)),
                ),
            )
        )
    return tuple(chunks)


def _messages(node: _Node) -> tuple[dict[str, Any], ...]:
    return tuple(map(_message, node.items()))


def _message(node: _Node) -> dict[str, Any]:
    role = _Node(node.object().get("role"), _join(node.path, "role")).one_of(*_ROLES)
    optional = {
        "assistant": ("name", "tool_calls", "reasoning_content"),
        "tool": ("name",),
    }.get(role, ("name",))
    required = ("role", "content", "tool_call_id") if role == "tool" else ("role", "content")
    fields = node.fields(required, optional)
    content = fields["content"]
    if not (content.value is None and "tool_calls" in node.value):
        content.text()
    for key in ("name", "tool_call_id", "reasoning_content"):
        fields.get(key, _Node.text)
    for call in fields["tool_calls"].items() if "tool_calls" in node.value else ():
        parts = call.fields(("id", "type", "function"))
        parts["id"].text(empty=False)
        parts["type"].one_of("function")
        function = parts["function"].fields(("name", "arguments"))
        function["name"].text(empty=False)
        function["arguments"].text()
    return node.object()


def _replay(node: _Node) -> tuple[tuple[dict[str, Any], ...], tuple[Turn, ...]]:
    fields = node.fields(("reply", "turns"))
    turns = []
    for item in fields["turns"].items():
        turn = item.fields(("user", "retrieval", "reply"))
        turns.append(
            Turn(
                turn["user"].text(empty=False),
                _chunks(turn["retrieval"]),
                _reply(turn["reply"]),
            )
        )
    return _reply(fields["reply"]), tuple(turns)


def _reply(node: _Node) -> tuple[dict[str, Any], ...]:
    messages = _messages(node)
    if not messages or messages[-1]["role"] != "assistant":
        raise _WrongError(f"{node.path}: the last message must be the assistant's")
    for i, message in enumerate(messages):
        if message["role"] not in ("assistant", "tool"):
            raise _WrongError(f'{node.path}[{i}].role: expected "assistant" or "tool" in a reply')
    return messages
