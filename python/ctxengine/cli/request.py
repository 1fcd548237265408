"""Reading a request file (docs/request.md): each field is checked, each complaint has its path."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from ctxengine.budget import Budget, CacheRules, Item, Section
from ctxengine.chat import Template, request_parts
from ctxengine.cli.io import InputError, open_encoding, to_text
from ctxengine.cli.known_model import KnownModel
from ctxengine.cli.strict_json import Fields, Node, WrongError, join, parse
from ctxengine.errors import ArgumentError, UnknownTokenError
from ctxengine.pricing import PriceTable
from ctxengine.viz.text import clip, printable

if TYPE_CHECKING:
    from ctxengine.tokenize import Encoding

__all__ = ["FORMAT", "Choices", "Chunk", "Request", "Turn", "read_request"]

FORMAT = "ctxengine.request/1"

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
        value = parse(name, to_text(name, data))
        if isinstance(value, dict):
            if "format" not in value and ("messages" in value or "input" in value):
                return _body(value, model, encoding, window)
            value = {**value, **{key: own for key, own in given.items() if own is not None}}
        return _request(Node(value, ""))
    except (WrongError, ArgumentError, UnknownTokenError) as error:
        raise InputError(f"{name}: {error}") from None


def _request(node: Node) -> Request:
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
    model = KnownModel(top.get("model", Node.text, ""))
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
        raise WrongError(
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
        raise WrongError(
            'summary_tokens: needs cache rules; give "rules", or a model that has some'
        )
    soft_limits = top.get("soft_limits", lambda n: [m.integer(1) for m in n.items()], ())
    return Request(
        encoding=encoding,
        template=template,
        budget=Budget(window, reserve, soft_limits),
        system=top.get("system", Node.text),
        tools=tools,
        retrieval=top.get("retrieval", _chunks, ()),
        history=history,
        choices=choices,
        block_size=block_size,
        num_blocks=num_blocks,
        rules=rules,
        prices=top.get("prices", _prices) or model.prices(),
        model=model.name,
        about=top.get("about", Node.text, ""),
        reply=reply,
        turns=turns,
    )


def _body(
    body: dict[str, Any], model: str | None, encoding: str | None, window: int | None
) -> Request:
    """Read the body of a chat completions, Responses or Anthropic request."""
    name = model or body.get("model")
    if not isinstance(name, str):
        raise WrongError("model: missing; give --model")
    known = KnownModel(name)
    if encoding is None and known.encoding_name() is None:
        raise WrongError(
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
    reserve = 0 if key is None else Node(body[key], key).integer(0)
    if window is None:
        window = known.window(reserve)
    if reserve > window:
        raise WrongError(f"{key}: {reserve} is larger than the window of {window}")
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


def _choices(top: Fields, num_messages: int) -> Choices:
    cut = top.get("cut", lambda n: n.one_of("grid", "tight", "keep_last"), "grid")
    keep_last = top.get("keep_last", lambda n: n.integer(1))
    if (keep_last is None) == (cut == "keep_last"):
        why = 'needed for "cut": "keep_last"' if keep_last is None else 'is for "cut": "keep_last"'
        raise WrongError(f"keep_last: {why}")
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


def _rules(node: Node) -> CacheRules:
    try:
        return CacheRules.by_name(node.text(empty=False))
    except UnknownTokenError as error:
        raise WrongError(f"{node.path}: {error}") from None


def _blocks(node: Node) -> tuple[int, int]:
    fields = node.fields(("block_size", "num_blocks"))
    return fields["block_size"].integer(1, 1 << 16), fields["num_blocks"].integer(1, 1 << 24)


def _prices(node: Node) -> PriceTable:
    try:
        return PriceTable.from_dict(node.object())
    except ArgumentError as error:
        raise WrongError(f"{node.path}.{error}") from None


def _sections(node: Node) -> tuple[Section, ...]:
    found = []
    for name in node.object():
        if name not in ("history", "retrieval"):
            raise WrongError(f"{join(node.path, name)}: unknown section; known: history, retrieval")
        section = Node(node.value[name], join(node.path, name))
        fit = ("fit",) if name == "retrieval" else ()
        fields = section.fields((), ("min_tokens", "max_tokens", "weight", "priority", *fit))
        low = fields.get("min_tokens", lambda n: n.integer(0), 0)
        found.append(
            Section(
                name,
                min_tokens=low,
                max_tokens=fields.get("max_tokens", partial(Node.integer, low=low)),
                weight=fields.get("weight", lambda n: n.number(positive=True), 1.0),
                priority=fields.get("priority", lambda n: n.integer(0, 1 << 16)),
                fit=fields.get("fit", lambda n: n.one_of("best", "drop_oldest", "truncate")),
            )
        )
    return tuple(found)


def _tool(node: Node) -> dict[str, Any]:
    fields = node.fields(("type", "function"))
    fields["type"].one_of("function")
    function = fields["function"].fields(("name",), ("description", "parameters", "strict"))
    function["name"].text(empty=False)
    function.get("description", Node.text)
    function.get("parameters", Node.object)
    function.get("strict", Node.boolean)
    return node.object()


def _chunks(node: Node) -> tuple[Chunk, ...]:
    chunks: list[Chunk] = []
    seen: dict[str, str] = {}
    for item in node.items():
        fields = item.fields(("id", "score", "text"), ("pinned", "group", "partial"))
        name = fields["id"].text(empty=False)
        if name in seen:
            raise WrongError(f"{item.path}.id: {clip(printable(name), 40)} is also {seen[name]}.id")
        seen[name] = item.path
        chunks.append(
            Chunk(
                name,
                Item(
                    fields["text"].text(empty=False),
                    fields["score"].number(),
                    fields.get("pinned", Node.boolean, False),
                    fields.get("group", lambda n: n.text(empty=False)),
                    partial=_partial(fields),
                ),
            )
        )
    return tuple(chunks)


def _partial(fields: Fields) -> Any:
    part = fields.get("partial", lambda n: n.one_of("head", "tail", "ends"))
    whole = [key for key in ("group", "pinned") if fields.get(key, lambda n: n.value)]
    if part is not None and whole:
        fields["partial"].fail(f"none beside {whole[0]}, which keeps the text whole")
    return part


def _messages(node: Node) -> tuple[dict[str, Any], ...]:
    return tuple(map(_message, node.items()))


def _message(node: Node) -> dict[str, Any]:
    role = Node(node.object().get("role"), join(node.path, "role")).one_of(*_ROLES)
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
        fields.get(key, Node.text)
    for call in fields["tool_calls"].items() if "tool_calls" in node.value else ():
        parts = call.fields(("id", "type", "function"))
        parts["id"].text(empty=False)
        parts["type"].one_of("function")
        function = parts["function"].fields(("name", "arguments"))
        function["name"].text(empty=False)
        function["arguments"].text()
    return node.object()


def _replay(node: Node) -> tuple[tuple[dict[str, Any], ...], tuple[Turn, ...]]:
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


def _reply(node: Node) -> tuple[dict[str, Any], ...]:
    messages = _messages(node)
    if not messages or messages[-1]["role"] != "assistant":
        raise WrongError(f"{node.path}: the last message must be the assistant's")
    for i, message in enumerate(messages):
        if message["role"] not in ("assistant", "tool"):
            raise WrongError(f'{node.path}[{i}].role: expected "assistant" or "tool" in a reply')
    return messages
