"""Reading a request file (docs/request.md): each field is checked, each complaint has its path."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from ctxengine.budget import Budget, CacheRules, Item, Section
from ctxengine.chat import Template, request_parts
from ctxengine.cli.io import InputError, get_encoding, open_encoding, to_text
from ctxengine.errors import ArgumentError, UnknownModelError, UnknownTokenError
from ctxengine.models import ModelFacts, facts
from ctxengine.pricing import PriceTable, prices
from ctxengine.tokenize import encoding_name_for_model
from ctxengine.viz.text import clip, printable

if TYPE_CHECKING:
    from ctxengine.tokenize import Encoding

__all__ = ["FORMAT", "Choices", "Chunk", "Request", "Turn", "read_request"]

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
class Choices:
    """How the planner is to choose: arguments of :meth:`ContextEngine.plan`."""

    sections: tuple[Section, ...] = ()
    cut: Literal["grid", "tight", "keep_last"] = "grid"
    grid: float = 0.25
    keep_last: int | None = None
    pinned: tuple[int, ...] = ()
    placement: Literal["turn", "history", "system"] = "turn"
    summary_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A checked request file, or a request body; docs/request.md describes each field."""

    encoding: Encoding
    template: Template
    budget: Budget
    system: str | None
    tools: tuple[dict[str, Any], ...]
    retrieval: tuple[Chunk, ...]
    history: tuple[dict[str, Any], ...]
    choices: Choices
    block_size: int
    num_blocks: int | None
    rules: CacheRules | None
    prices: PriceTable | None
    model: str
    about: str
    reply: tuple[dict[str, Any], ...]
    turns: tuple[Turn, ...]


def read_request(
    name: str,
    data: bytes,
    *,
    model: str | None = None,
    encoding: str | None = None,
    window: int | None = None,
) -> Request:
    """Read and check a request file, or the body of a request to one of the APIs.

    Parameters
    ----------
    name : str
        What complaints call it.
    data : bytes
        JSON in UTF-8.
    model, encoding, window
        Say so instead of the file.

    Raises
    ------
    InputError
        The bytes are not UTF-8, not JSON, or not a request; the message starts with the name and
        says at which line, or at which path such as ``retrieval[3].score``.
    """
    given = {"model": model, "encoding": encoding, "window": window}
    try:
        value = _parse(name, to_text(name, data))
        if isinstance(value, dict):
            if "format" not in value and ("messages" in value or "input" in value):
                return _body(value, model, encoding, window)
            value = {**value, **{key: own for key, own in given.items() if own is not None}}
        return _request(_Node(value, ""))
    except (_WrongError, ArgumentError, UnknownTokenError) as error:
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
        ("format", "history"),
        (
            "about",
            "model",
            "encoding",
            "template",
            "window",
            "reserve_output",
            "soft_limits",
            "sections",
            "cut",
            "grid",
            "keep_last",
            "pinned",
            "placement",
            "summary_tokens",
            "blocks",
            "rules",
            "prices",
            "system",
            "tools",
            "retrieval",
            "replay",
        ),
    )
    top["format"].one_of(FORMAT)
    model = _Model(top.get("model", _Node.text, ""))
    reserve = top.get("reserve_output", lambda n: n.integer(0), 0)
    window = top.get("window", lambda n: n.integer(1))
    if window is None:
        window = model.window(reserve)
    if reserve > window:
        top["reserve_output"].integer(0, window)
    block_size, num_blocks = top.get("blocks", _blocks, (16, None))
    reply, turns = top.get("replay", _replay, ((), ()))
    history = _messages(top["history"])
    if not history or history[-1]["role"] not in ("user", "tool"):
        raise _WrongError(
            "history: the last message must be one that waits for an answer (user, tool)"
        )
    tools = top.get("tools", lambda n: tuple(map(_tool, n.items())), ())
    encoding, template = model.encoding_and_template(
        top.get("encoding", lambda n: n.text(empty=False)),
        top.get("template", lambda n: n.text(empty=False)),
        has_tools=bool(tools) or any(m["role"] == "tool" or m.get("tool_calls") for m in history),
    )
    choices = _choices(top, len(history))
    rules = top.get("rules", _rules) or model.rules()
    if choices.summary_tokens is not None and rules is None:
        raise _WrongError(
            'summary_tokens: needs cache rules; give "rules", or a model that has some'
        )
    soft_limits = top.get("soft_limits", lambda n: [m.integer(1) for m in n.items()], ())
    return Request(
        encoding=encoding,
        template=template,
        budget=Budget(window, reserve, soft_limits),
        system=top.get("system", _Node.text),
        tools=tools,
        retrieval=top.get("retrieval", _chunks, ()),
        history=history,
        choices=choices,
        block_size=block_size,
        num_blocks=num_blocks,
        rules=rules,
        prices=top.get("prices", _prices) or model.prices(),
        model=model.name,
        about=top.get("about", _Node.text, ""),
        reply=reply,
        turns=turns,
    )


def _body(
    body: dict[str, Any], model: str | None, encoding: str | None, window: int | None
) -> Request:
    """Read the body of a chat completions, Responses or Anthropic request."""
    name = model or body.get("model")
    if not isinstance(name, str):
        raise _WrongError("model: missing; give --model")
    known = _Model(name)
    if encoding is None and known.encoding_name() is None:
        raise _WrongError(
            f"model: no vocabulary of {printable(name)} is here; --encoding o200k_base counts "
            "with another, which is an estimate"
        )
    foreign = encoding is not None and known.encoding_name() is None
    parts = request_parts(
        {**body, "model": name},
        None if encoding is None else open_encoding(encoding),
        template=Template("openai", estimate_tools=True, published=False) if foreign else None,
    )
    limits = ("max_completion_tokens", "max_output_tokens", "max_tokens")
    key = next((key for key in limits if body.get(key) is not None), None)
    reserve = 0 if key is None else _Node(body[key], key).integer(0)
    if window is None:
        window = known.window(reserve)
    if reserve > window:
        raise _WrongError(f"{key}: {reserve} is larger than the window of {window}")
    return Request(
        encoding=parts.encoding,
        template=parts.template,
        budget=Budget(window, reserve),
        system=None,
        tools=tuple(parts.tools),
        retrieval=(),
        history=tuple(parts.messages),
        choices=Choices(),
        block_size=16,
        num_blocks=None,
        rules=known.rules(),
        prices=known.prices(),
        model=name,
        about="",
        reply=(),
        turns=(),
    )


class _Model:
    """What the name of a model tells where the file does not."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._facts: ModelFacts | None = None
        with suppress(UnknownModelError):
            self._facts = facts(name) if name else None

    def window(self, reserve_output: int) -> int:
        """Return the window that leaves as much for the prompt as the model takes."""
        if self._facts is None:
            raise _WrongError(self._missing("window"))
        try:
            return self._facts.input_limit(reserve_output) + reserve_output
        except UnknownModelError:
            raise _WrongError(self._missing("window")) from None

    def encoding_name(self) -> str | None:
        """Return the name of the encoding, None when it is not known."""
        with suppress(UnknownTokenError):
            return encoding_name_for_model(self.name)
        return None

    def encoding_and_template(
        self, encoding: str | None, template: str | None, *, has_tools: bool
    ) -> tuple[Encoding, Template]:
        """Return both, from what the file says and else from the model."""
        name = encoding or self.encoding_name()
        if name is None:
            raise _WrongError(self._missing("encoding"))
        opened = get_encoding(name)
        published = True
        if template is not None:
            chosen = Template(template)
        elif encoding is None:
            chosen = Template.for_model(self.name)
            published = chosen.published
        else:
            chosen = Template.for_encoding(opened)
        if chosen.name == "openai":
            chosen = Template("openai", estimate_tools=has_tools, published=published)
        return opened, chosen

    def rules(self) -> CacheRules | None:
        """Return the cache rules, None when none are known."""
        with suppress(UnknownModelError):
            return CacheRules.for_model(self.name)
        return None

    def prices(self) -> PriceTable | None:
        """Return the prices, None when none are known."""
        with suppress(UnknownModelError):
            return prices(self.name)
        return None

    def _missing(self, field: str) -> str:
        if not self.name:
            return f"{field}: missing"
        return f"{field}: missing, and none is known for the model {printable(self.name)}"


def _choices(top: _Fields, num_messages: int) -> Choices:
    cut = top.get("cut", lambda n: n.one_of("grid", "tight", "keep_last"), "grid")
    keep_last = top.get("keep_last", lambda n: n.integer(1))
    if (keep_last is None) == (cut == "keep_last"):
        why = 'needed for "cut": "keep_last"' if keep_last is None else 'is for "cut": "keep_last"'
        raise _WrongError(f"keep_last: {why}")
    grid = top.get("grid", lambda n: n.number(positive=True), 0.25)
    if grid > 1:
        top["grid"].fail("a number that is at most 1")
    return Choices(
        sections=top.get("sections", _sections, ()),
        cut=cut,
        grid=grid,
        keep_last=keep_last,
        pinned=top.get(
            "pinned", lambda n: tuple(m.integer(0, num_messages - 1) for m in n.items()), ()
        ),
        placement=top.get("placement", lambda n: n.one_of("turn", "history", "system"), "turn"),
        summary_tokens=top.get("summary_tokens", lambda n: n.integer(1)),
    )


def _rules(node: _Node) -> CacheRules:
    try:
        return CacheRules.by_name(node.text(empty=False))
    except UnknownTokenError as error:
        raise _WrongError(f"{node.path}: {error}") from None


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
        fit = ("fit",) if name == "retrieval" else ()
        fields = section.fields((), ("min_tokens", "max_tokens", "weight", "priority", *fit))
        low = fields.get("min_tokens", lambda n: n.integer(0), 0)
        found.append(
            Section(
                name,
                min_tokens=low,
                max_tokens=fields.get("max_tokens", partial(_Node.integer, low=low)),
                weight=fields.get("weight", lambda n: n.number(positive=True), 1.0),
                priority=fields.get("priority", lambda n: n.integer(0, 1 << 16)),
                fit=fields.get("fit", lambda n: n.one_of("best", "drop_oldest", "truncate")),
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
        fields = item.fields(("id", "score", "text"), ("pinned", "group", "partial"))
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
                    partial=_partial(fields),
                ),
            )
        )
    return tuple(chunks)


def _partial(fields: _Fields) -> Any:
    part = fields.get("partial", lambda n: n.one_of("head", "tail", "ends"))
    whole = [key for key in ("group", "pinned") if fields.get(key, lambda n: n.value)]
    if part is not None and whole:
        fields["partial"].fail(f"none beside {whole[0]}, which keeps the text whole")
    return part


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
