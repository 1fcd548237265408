"""Messages to segments to counts: the model's own chat template, exactly.

A :class:`Template` renders a list of chat messages into *segments*: the template's own text, which
may spell control tokens, and the caller's text, which never does, whatever it says. Counting
tokenizes each message once; an unchanged message is found in a table the next time.

Messages are mappings or objects with attributes of the same names (pydantic models, dataclasses),
or the JSON text of a list of them, and are never changed. Read are ``role``, ``content`` (text, or
a list of text parts, which are joined by a newline as vLLM does for templates that take text),
``name``, ``tool_calls``, ``reasoning_content`` and, for harmony, ``channel``. Tool-call arguments
given as JSON text are parsed first and written as the templates' ``tojson`` writes them, as vLLM
and SGLang do before they render; so the text and the object form count alike. What a template
cannot show is an :class:`~ctxengine.errors.ArgumentError` that names ``messages[i].field``, never
a count that is nearly right.

=========================  ================================================================
template                   what it equals
=========================  ================================================================
``chatml``                 plain ChatML, no default system prompt, no tools
``qwen2``                  the Qwen2.5 instruct models' template, with tools
``qwen3``                  Qwen3 hybrid models, with tools and reasoning
``qwen3-instruct-2507``    Qwen3 2507 instruct releases
``qwen3-thinking-2507``    Qwen3 2507 thinking releases
``harmony``                gpt-oss as ``openai-harmony`` renders a list of messages; no tools
``openai``                 the published count rule for API models; a count, not a rendering
=========================  ================================================================
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ctxengine import _core
from ctxengine.errors import ArgumentError, UnknownTokenError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ctxengine.tokenize import Encoding

__all__ = [
    "CountReport",
    "Reuse",
    "Template",
    "cache_clear",
    "cache_info",
    "count_messages",
    "count_request",
    "encode_messages",
]

# One message as the core takes it: role, content, name, reasoning, channel, tool calls.
_Converted: TypeAlias = tuple[
    str, str, str | None, str | None, str | None, tuple[tuple[str, str], ...]
]

_ROLES = frozenset(("system", "developer", "user", "assistant", "tool"))
_TEXT_PARTS = frozenset(("text", "input_text", "output_text"))
# Fields of request bodies that change the prompt and that no template here shows.
_UNSUPPORTED_FIELDS = ("function_call", "refusal", "audio", "recipient", "content_type")

_FOR_ENCODING = {
    "cl100k_base": "openai",
    "o200k_base": "openai",
    "o200k_harmony": "harmony",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
}
_FOR_MODEL = (
    (r"qwen2\.5-(coder-)?[\d.]+b-instruct(-1m)?", "qwen2"),
    (r"qwen3-[\d.]+b(-a[\d.]+b)?", "qwen3"),
    (r"qwen3-[\d.]+b(-a[\d.]+b)?-instruct-2507", "qwen3-instruct-2507"),
    (r"qwen3-[\d.]+b(-a[\d.]+b)?-thinking-2507", "qwen3-thinking-2507"),
    (r"gpt-oss(-safeguard)?-\d+b", "harmony"),
    (r"(gpt-3\.5-turbo|gpt-4|gpt-4o|gpt-4\.1|gpt-4\.5|gpt-5|chatgpt-4o|o1|o3|o4)(-.*)?", "openai"),
)
# Weight formats of a published model, which leave its template as it is.
_QUANTIZED = re.compile(r"-(awq|gguf|fp8|gptq(-int[48])?|int[48]|mlx.*|bnb-4bit|bf16)$")

_TABLE_BYTES = 64 << 20
# Look it up here at every call: a forked child has another.
_table = _core.CountTable(_TABLE_BYTES)


def _renew_table() -> None:
    # Another thread may have held the table's mutex, or been amid a change, at the fork: the child
    # neither uses nor destroys what it inherited.
    global _table  # noqa: PLW0603 - one table per process is the point
    _table.abandon()
    _table = _core.CountTable(_TABLE_BYTES)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_table)


class CacheInfo(NamedTuple):
    """State of the process-wide count table; sizes in bytes."""

    hits: int
    misses: int
    evictions: int
    num_entries: int
    size_bytes: int
    capacity_bytes: int


class Reuse(NamedTuple):
    """How much of a conversation's KV cache the next turn can use; both in tokens."""

    num_tokens: int
    reusable_tokens: int


def cache_info() -> CacheInfo:
    """Return the hit counters and the size of the process-wide count table."""
    return CacheInfo(*_table.stats())


def cache_clear() -> None:
    """Forget all stored counts."""
    _table.clear()


def _field(message: Any, name: str) -> Any:
    if isinstance(message, Mapping):
        return message.get(name)
    return getattr(message, name, None)


def _text_or_none(message: Any, name: str, path: str) -> str | None:
    value = _field(message, name)
    if value is None or isinstance(value, str):
        return value
    raise ArgumentError(f"{path}.{name}: must be a string, not {type(value).__name__}")


def _part_text(part: Any, path: str) -> str:
    if isinstance(part, str):
        return part
    kind = _field(part, "type")
    if not isinstance(kind, str):
        raise ArgumentError(f"{path}.type: missing or not a string")
    if kind not in _TEXT_PARTS:
        raise ArgumentError(f"{path}.type: cannot count a part of type {kind!r}, only text")
    text = _field(part, "text")
    if not isinstance(text, str):
        raise ArgumentError(f"{path}.text: missing or not a string")
    return text


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


def _tool_calls(message: Any, path: str) -> tuple[tuple[str, str], ...]:
    calls = _field(message, "tool_calls")
    if calls is None:
        return ()
    if not isinstance(calls, Sequence) or isinstance(calls, (str, bytes)):
        raise ArgumentError(f"{path}.tool_calls: must be a list, not {type(calls).__name__}")
    converted = []
    for k, call in enumerate(calls):
        where = f"{path}.tool_calls[{k}]"
        kind = _field(call, "type")
        if kind not in (None, "function"):
            raise ArgumentError(f"{where}.type: cannot count a call of type {kind!r}")
        function = _field(call, "function")
        if function is None:
            function = call
        else:
            where += ".function"
        name = _field(function, "name")
        if not isinstance(name, str):
            raise ArgumentError(f"{where}.name: missing or not a string")
        arguments = _arguments_json(_field(function, "arguments"), f"{where}.arguments")
        converted.append((name, arguments))
    return tuple(converted)


def _convert_message(message: Any, path: str) -> _Converted:
    role = _field(message, "role")
    role = getattr(role, "value", role)
    if not isinstance(role, str):
        raise ArgumentError(f"{path}.role: missing or not a string")
    if role not in _ROLES:
        raise ArgumentError(f"{path}.role: unknown role {role!r}")
    for name in _UNSUPPORTED_FIELDS:
        if _field(message, name) is not None:
            raise ArgumentError(f"{path}.{name}: no template shows this field")
    calls = _tool_calls(message, path)
    reasoning = _text_or_none(message, "reasoning_content", path)
    _text_or_none(message, "tool_call_id", path)
    content = _field(message, "content")
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
        parts = [_part_text(part, f"{path}.content[{k}]") for k, part in enumerate(content)]
        content = "\n".join(parts)
    elif not isinstance(content, str):
        raise ArgumentError(
            f"{path}.content: must be text or a list of parts, not {type(content).__name__}"
        )
    return (
        role,
        content,
        _text_or_none(message, "name", path),
        reasoning,
        _text_or_none(message, "channel", path),
        calls,
    )


def _load_json(text: bytes | bytearray | str, path: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArgumentError(f"{path}: not valid JSON: {error}") from None


def _convert_messages(messages: Any, path: str = "messages") -> list[_Converted]:
    if isinstance(messages, (bytes, bytearray)):
        messages = _load_json(messages, path)
    if isinstance(messages, (str, Mapping)) or not isinstance(messages, Iterable):
        raise ArgumentError(f"{path}: must be a list of messages, not {type(messages).__name__}")
    return [_convert_message(message, f"{path}[{i}]") for i, message in enumerate(messages)]


def _convert_tools(tools: Sequence[Mapping[str, Any]] | None) -> list[str]:
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


class Template:
    """A family's chat template, or the count rule of the closed API models.

    Parameters
    ----------
    name : str
        One of :meth:`names`; the module's own text says what each is.
    enable_thinking : bool
        ``qwen3`` only: False closes an empty reasoning block in the generation prompt, as the
        family's template does for ``enable_thinking=False``.
    estimate_tools : bool
        ``openai`` only: count tools, tool calls and tool results although OpenAI publishes no exact
        rule for them. Each tool counts as its JSON text, each call as its name and arguments and 3
        tokens, each result as a message. JSON text is longer than what the models are believed to
        see, so the estimate errs on the high side. Reports then say ``exact=False``.

    Raises
    ------
    UnknownTokenError
        For a name that there is no template for.
    ArgumentError
        For an option that the template does not have.

    Notes
    -----
    Immutable; safe to use from several threads.
    """

    __slots__ = ("_native", "enable_thinking", "estimate_tools", "name")

    def __init__(
        self, name: str, *, enable_thinking: bool = True, estimate_tools: bool = False
    ) -> None:
        if not enable_thinking and name != "qwen3":
            raise ArgumentError(f"enable_thinking: template {name!r} has no such choice")
        if estimate_tools and name != "openai":
            raise ArgumentError(f"estimate_tools: template {name!r} is exact")
        self._native = _core.ChatTemplate(name, enable_thinking, estimate_tools)
        self.name = name
        self.enable_thinking = enable_thinking
        self.estimate_tools = estimate_tools

    @staticmethod
    def names() -> list[str]:
        """Return the names of all templates."""
        return _core.chat_template_names()

    @classmethod
    def for_model(
        cls, model: str, *, enable_thinking: bool = True, estimate_tools: bool = False
    ) -> Template:
        """Return the template of a published model.

        Parameters
        ----------
        model : str
            Such as ``"Qwen/Qwen3-8B"``, ``"gpt-oss-20b"`` or ``"gpt-4o-mini"``; an organisation in
            front and a weight format behind are passed over.
        enable_thinking, estimate_tools : bool
            As in the constructor.

        Raises
        ------
        UnknownTokenError
            When the model's template is none of these; give one by name if you know it to be equal.
        ArgumentError
            For an option that the model's template does not have.
        """
        short = _QUANTIZED.sub("", model.rsplit("/", 1)[-1].lower())
        for pattern, name in _FOR_MODEL:
            if re.fullmatch(pattern, short):
                return cls(name, enable_thinking=enable_thinking, estimate_tools=estimate_tools)
        raise UnknownTokenError(
            f"no template is known for model {model!r}; known: {', '.join(cls.names())}"
        )

    @classmethod
    def for_encoding(cls, encoding: Encoding) -> Template:
        """Return the template of the models that an encoding belongs to.

        Raises
        ------
        ArgumentError
            When the encoding does not tell, because its models have no chat template or several.
        """
        name = _FOR_ENCODING.get(encoding.name)
        if name is None:
            raise ArgumentError(
                f"template: encoding {encoding.name!r} does not tell which; known: "
                f"{', '.join(cls.names())}"
            )
        return cls(name)

    @property
    def exact(self) -> bool:
        """Whether counts are exact, not an estimate that the caller asked for."""
        return not self.estimate_tools

    @property
    def is_rendering(self) -> bool:
        """Whether there is text to render and encode; False for the count rule ``openai``."""
        return self._native.is_rendering

    def render_segments(
        self,
        messages: Any,
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        add_generation_prompt: bool = True,
    ) -> list[tuple[str, bool]]:
        """Render messages to segments.

        Parameters
        ----------
        messages : sequence of message, or bytes
            As the module's own text says; bytes are the JSON text of such a list.
        tools : sequence of mapping, optional
            Tool definitions as in a request body.
        add_generation_prompt : bool
            End with the beginning of the assistant's next message.

        Returns
        -------
        list of (str, bool)
            Text and whether it is the template's own; only such text can spell control tokens.
            Joined, the texts are the rendered prompt.

        Raises
        ------
        ArgumentError
            For a message, a role, a field or tools that the template cannot show, and for a
            template that is a count rule.
        """
        return self._native.render(
            _convert_messages(messages), _convert_tools(tools), add_generation_prompt
        )

    def render(
        self,
        messages: Any,
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        add_generation_prompt: bool = True,
    ) -> str:
        """Render messages to text, as the family's Jinja template would.

        The text does not tell control tokens from the same spelling in a message: encode the
        segments, not the text. Parameters and errors as in :meth:`render_segments`.
        """
        segments = self.render_segments(
            messages, tools, add_generation_prompt=add_generation_prompt
        )
        return "".join(text for text, _ in segments)

    def reusable_after_generation(
        self,
        messages: Any,
        reply: Any,
        encoding: Encoding | str,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> Reuse:
        """Tell how much of the KV cache survives when the conversation goes on.

        Some families show a reply differently once the next turn has begun (Qwen3 and harmony drop
        reasoning); from there on the cached keys and values are of no use.

        Parameters
        ----------
        messages, tools
            The prompt that was answered, as in :meth:`render_segments`.
        reply : message or list of message
            The answer as generated, with its reasoning.
        encoding : Encoding or str
            The model's encoding, or the name of an encoding or of a model.

        Returns
        -------
        Reuse
            Tokens of the conversation up to the end of the reply as it was generated, and how many
            of them are a prefix of the next prompt. The next message is the user's, or the result
            of the reply's tool call.

        Notes
        -----
        O(text): both renderings are encoded and compared.
        """
        prompt = _convert_messages(messages)
        tools_json = _convert_tools(tools)
        replies = _convert_messages(reply if isinstance(reply, (list, tuple)) else [reply], "reply")
        if not replies:
            raise ArgumentError("reply: must hold at least one message")
        following = "tool" if replies[-1][5] else "user"
        next_message: _Converted = (following, "", None, None, None, ())
        native = _resolve(self, encoding)[1]._native

        def encode(part: list[_Converted], part_tools: list[str]) -> npt.NDArray[np.uint32]:
            return self._native.encode(part, part_tools, False, native)

        if self.name == "harmony":
            # Rendered together with what precedes it, reasoning would be gone already.
            generated = [int(i) for m in replies for i in encode([m], [])]
            before = [*encode(prompt, tools_json).tolist(), *generated]
        else:
            before = encode([*prompt, *replies], tools_json).tolist()
        after = encode([*prompt, *replies, next_message], tools_json).tolist()
        reusable = next(
            (i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b),
            min(len(before), len(after)),
        )
        return Reuse(len(before), reusable)

    def __repr__(self) -> str:
        options = "" if self.enable_thinking else ", enable_thinking=False"
        options += ", estimate_tools=True" if self.estimate_tools else ""
        return f"Template({self.name!r}{options})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Template) and self.__reduce__() == other.__reduce__()

    def __hash__(self) -> int:
        return hash((self.name, self.enable_thinking, self.estimate_tools))

    def __reduce__(self) -> tuple[Any, ...]:
        return _make_template, (self.name, self.enable_thinking, self.estimate_tools)


def _make_template(name: str, enable_thinking: bool, estimate_tools: bool) -> Template:
    return Template(name, enable_thinking=enable_thinking, estimate_tools=estimate_tools)


def _resolve(
    template: Template | str | None, encoding: Encoding | str, path: str = "encoding"
) -> tuple[Template, Encoding]:
    """Return the template and the encoding that a caller gave, or left to the model's name."""
    model = None
    if isinstance(encoding, str):
        from ctxengine import tokenize

        names = tokenize.list_encoding_names()
        if encoding in names:
            encoding = tokenize.get_encoding(encoding)
        else:
            model = encoding
            try:
                encoding = tokenize.encoding_for_model(model)
            except UnknownTokenError:
                raise UnknownTokenError(
                    f"{path}: {model!r} is neither an encoding ({', '.join(names)}) nor a model "
                    "whose encoding is known"
                ) from None
    elif not isinstance(getattr(encoding, "_native", None), _core.Encoding):
        raise ArgumentError(f"{path}: must be Encoding or a name, not {type(encoding).__name__}")
    if isinstance(template, str):
        return Template(template), encoding
    if template is None:
        chosen = Template.for_encoding(encoding) if model is None else Template.for_model(model)
        return chosen, encoding
    if not isinstance(template, Template):
        raise ArgumentError(f"template: must be Template or a name, not {type(template).__name__}")
    return template, encoding


@dataclass(frozen=True, slots=True)
class CountReport:
    """Tokens of a request, by message, role and section.

    Attributes
    ----------
    total : int
        Tokens of the whole prompt, the beginning of the reply included.
    messages : tuple of int
        Tokens per message. Where a template puts consecutive tool results into one turn, the
        turn's tokens stand at the first of them.
    roles : dict of str to int
        Tokens per role.
    sections : dict of str to int
        ``"template"`` (default system prompt, priming), ``"system"`` (leading system and developer
        messages), ``"tools"`` and ``"messages"`` (all others); they add up to `total`.
    exact : bool
        False only for a template that was told to estimate.
    """

    total: int
    messages: tuple[int, ...]
    roles: dict[str, int]
    sections: dict[str, int]
    exact: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-ready data."""
        return {
            "total": self.total,
            "messages": list(self.messages),
            "roles": dict(self.roles),
            "sections": dict(self.sections),
            "exact": self.exact,
        }


def count_messages(
    messages: Any,
    encoding: Encoding | str,
    *,
    template: Template | str | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
) -> int:
    """Count the tokens of a chat prompt, exactly as the model will see it.

    Parameters
    ----------
    messages : sequence of message, or bytes
        As the module's own text says; bytes are the JSON text of such a list.
    encoding : Encoding or str
        The model's encoding, or the name of an encoding or of a model.
    template : Template or str, optional
        By default the template of the named model, else of the encoding's models.
    tools : sequence of mapping, optional
        Tool definitions as in a request body.

    Returns
    -------
    int
        Number of tokens, the beginning of the assistant's reply included.

    Raises
    ------
    UnknownTokenError
        For a name that is neither an encoding's nor a known model's.
    ArgumentError
        For what the template cannot show, naming the field; for an encoding without the template's
        control tokens; for tools under ``openai``, whose exact count is not published (see
        :class:`Template`, `estimate_tools`).

    Notes
    -----
    O(text). A message seen before is looked up, not tokenized: the table compares whole contents
    and holds 64 MiB (see :func:`cache_info`). Runs without the GIL.

    Examples
    --------
    >>> from ctxengine.tokenize import get_encoding
    >>> count_messages([{"role": "user", "content": "Hello"}], get_encoding("o200k_base"))
    8
    """
    chosen, encoding = _resolve(template, encoding)
    _, _, total = chosen._native.count(
        _convert_messages(messages), _convert_tools(tools), True, encoding._native, _table
    )
    return total


def count_request(
    body: bytes | bytearray | str | Mapping[str, Any],
    encoding: Encoding | str | None = None,
    *,
    template: Template | str | None = None,
) -> CountReport:
    """Count a chat-completion request: its ``messages`` and ``tools``.

    Parameters
    ----------
    body : bytes, str or mapping
        The request body, as JSON text or parsed.
    encoding, template
        As in :func:`count_messages`; without an encoding ``body["model"]`` tells it.

    Returns
    -------
    CountReport
        Tokens by message, role and section.

    Raises
    ------
    UnknownTokenError
        As in :func:`count_messages`, and for a model whose encoding or template is not known.
    ArgumentError
        As in :func:`count_messages`, for a body without messages, and for one without a model when
        no encoding is given.
    """
    if isinstance(body, (bytes, bytearray, str)):
        body = _load_json(body, "body")
    if not isinstance(body, Mapping):
        raise ArgumentError(f"body: must be a JSON object, not {type(body).__name__}")
    if body.get("messages") is None:
        raise ArgumentError("body.messages: missing")
    if body.get("functions"):
        raise ArgumentError("body.functions: not supported, give tools")
    path = "encoding"
    if encoding is None:
        encoding, path = body.get("model"), "body.model"
        if not isinstance(encoding, str):
            raise ArgumentError("body.model: missing or not a string, and no encoding is given")
    chosen, encoding = _resolve(template, encoding, path)
    messages = _convert_messages(body["messages"])
    tools_json = _convert_tools(body.get("tools"))
    per_message, template_tokens, total = chosen._native.count(
        messages, [], True, encoding._native, _table
    )
    tools_tokens = 0
    if tools_json:
        with_tools = chosen._native.count(messages, tools_json, True, encoding._native, _table)[2]
        tools_tokens = with_tools - total
    roles: dict[str, int] = {}
    system_tokens = 0
    leading = True
    for message, num_tokens in zip(messages, per_message, strict=True):
        role = message[0]
        roles[role] = roles.get(role, 0) + num_tokens
        leading = leading and role in ("system", "developer")
        system_tokens += num_tokens if leading else 0
    sections = {
        "template": template_tokens,
        "system": system_tokens,
        "tools": tools_tokens,
        "messages": sum(per_message) - system_tokens,
    }
    return CountReport(total + tools_tokens, tuple(per_message), roles, sections, chosen.exact)


def encode_messages(
    messages: Any,
    encoding: Encoding | str,
    *,
    template: Template | str | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
    add_generation_prompt: bool = True,
) -> npt.NDArray[np.uint32]:
    """Encode a chat prompt to token ids, uint32[n].

    Parameters and errors as in :func:`count_messages` and :meth:`Template.render_segments`; text of
    the messages never becomes a control token. O(text), without the GIL.
    """
    chosen, encoding = _resolve(template, encoding)
    return chosen._native.encode(
        _convert_messages(messages),
        _convert_tools(tools),
        add_generation_prompt,
        encoding._native,
    )
