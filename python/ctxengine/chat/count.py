"""Counts and token ids of chat prompts and request bodies."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ctxengine import _core
from ctxengine.chat.body import READ, body_options
from ctxengine.chat.convert import (
    Converted,
    chat_message,
    convert_messages,
    convert_tools,
    is_absent,
)
from ctxengine.chat.families import has_published_rule
from ctxengine.chat.report import CountReport
from ctxengine.chat.table import body_memory, count_table
from ctxengine.chat.template import Template, resolve
from ctxengine.errors import ArgumentError, UnknownModelError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ctxengine.tokenize import Encoding

PartTokens: TypeAlias = "Callable[[Any], int] | Mapping[str, int | Callable[[Any], int]]"


def count_messages(
    messages: Any,
    encoding: Encoding | str,
    *,
    template: Template | str | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
    part_tokens: PartTokens | None = None,
) -> int:
    """Count the tokens of a chat prompt, exactly as the model will see it.

    An estimate where the template says so (:attr:`Template.exact`): for API models for which the
    count rule is not published.

    Parameters
    ----------
    messages : sequence of message, or bytes
        As the text of :mod:`ctxengine.chat` says; bytes are the JSON text of such a list.
    encoding : Encoding or str
        The model's encoding, or the name of an encoding or of a model.
    template : Template or str, optional
        By default the template of the named model, else of the encoding's models.
    tools : sequence of mapping, optional
        Tool definitions as in a request body.
    part_tokens : callable or mapping, optional
        What parts of a content cost that are no text (images, audio, files): a function of the
        part, or a mapping from a part's ``type`` to a number of tokens or such a function. Without
        one, and for a type that it does not have, such a part is an error.

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
    chosen, encoding = resolve(template, encoding)
    rule = _rule_for(chosen, part_tokens)
    read = _core.read_messages(messages, "messages", rule)
    tools_json = convert_tools(tools)
    if chosen._jinja is not None:
        return chosen._native.count(
            read.tuples(False), tools_json, True, encoding._native, count_table()
        )[2]
    return _core.count_messages(chosen._native, read, tools_json, encoding._native, count_table())


def _rule_for(template: Template, part_tokens: PartTokens | None) -> PartTokens | None:
    rule = _checked_rule(part_tokens)
    if rule is not None and template._jinja is not None:
        raise ArgumentError("part_tokens: parts that are no text are not counted under jinja")
    return rule


def _checked_rule(part_tokens: PartTokens | None) -> PartTokens | None:
    if part_tokens is None or callable(part_tokens) or isinstance(part_tokens, Mapping):
        return part_tokens
    raise ArgumentError(
        f"part_tokens: must be callable or a mapping, not {type(part_tokens).__name__}"
    )


def count_request(
    body: bytes | bytearray | str | Mapping[str, Any],
    encoding: Encoding | str | None = None,
    *,
    template: Template | str | None = None,
    part_tokens: PartTokens | None = None,
) -> CountReport:
    """Count a request: its messages, leading system text and tools.

    The body is one of OpenAI's chat completions (``messages``), of its Responses API (``input``,
    ``instructions``) or of Anthropic's messages (``messages``, ``system``); the latter two become
    the messages and tools of the first, without loss, or are an error.

    Of the other fields of OpenAI's chat completions, Anthropic's messages, vLLM and SGLang, those
    that do not reach the prompt (sampling, limits, metadata, constrained decoding) are passed over.
    ``add_generation_prompt`` is heeded, and ``enable_thinking`` and ``date_string`` of
    ``chat_template_kwargs`` where the template knows them, whatever `template` says. A field that
    would change the prompt and is not counted is an error that names it, and so is a field that is
    not known; null is as absent.

    Parameters
    ----------
    body : bytes, str or mapping
        The request body, as JSON text or parsed.
    encoding, template, part_tokens
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
        As in :func:`count_messages`, for a body without messages, for one without a model when no
        encoding is given, and for a field that may change the prompt and is not counted, such as
        ``response_format`` with a schema, ``continue_final_message`` or ``reasoning_effort``.

    Notes
    -----
    O(text). Of JSON text that begins like that of an earlier call only what follows is read and
    counted; the last bodies are kept for this, 32 of them or 64 MiB.
    """
    rule = _checked_rule(part_tokens)
    others: Mapping[Any, Any]
    if isinstance(body, (bytes, bytearray, str)):
        read = _core.read_body(body, rule, body_memory())
        others = json.loads(read.other_fields)
    elif isinstance(body, Mapping):
        read = _read_mapping(body, rule)
        others = {name: value for name, value in body.items() if name not in READ}
    else:
        raise ArgumentError(f"body: must be a JSON object, not {type(body).__name__}")
    given = encoding
    chosen, encoding = _resolve_body(others, read, encoding, template)
    chosen, generation = body_options(others, read.has_tools, chosen)
    if chosen._jinja is None:
        total, per_item, roles, *by_section = _core.count_request(
            chosen._native, read, generation, encoding._native, count_table()
        )
    else:
        _rule_for(chosen, rule)
        total, per_item, roles, *by_section = _count_in_python(chosen, read, generation, encoding)
    sections = dict(zip(("template", "system", "tools", "messages"), by_section, strict=True))
    why_not = chosen.why_not_exact
    if not why_not and given is not None and isinstance(others.get("model"), str):
        why_not = _why_stand_in(others["model"], encoding.name, encoding.fingerprint)
    return CountReport(total, per_item, roles, sections, not why_not, why_not)


@functools.lru_cache(maxsize=256)
def _why_stand_in(model: str, name: str, fingerprint: str) -> str:
    """Return why an encoding does not tell what a model counts; empty when it may."""
    from ctxengine import models, tokenize

    try:
        facts = models.facts(model)
    except UnknownModelError:
        return ""
    if facts.closed:
        return f"no tokenizer is published for the model {model!r}; {name!r} stands in for it"
    if facts.encoding is None or facts.encoding == name:
        return ""
    if tokenize.get_encoding(facts.encoding).fingerprint == fingerprint:
        return ""
    return f"the model {model!r} has the encoding {facts.encoding!r}, not {name!r}"


def _resolve_body(
    others: Mapping[Any, Any],
    read: _core.Messages,
    encoding: Encoding | str | None,
    template: Template | str | None,
) -> tuple[Template, Encoding]:
    model = others.get("model")
    path = "encoding"
    if encoding is None:
        encoding, path = model, "body.model"
        if not isinstance(encoding, str):
            raise ArgumentError("body.model: missing or not a string, and no encoding is given")
    chosen, encoding = resolve(template, encoding, path)
    if template is None and chosen.name == "openai" and isinstance(model, str):
        # The encoding alone does not tell for which of its models the rule is published.
        chosen = Template("openai", published=has_published_rule(model))
    if chosen.name == "openai" and read.is_responses:
        # And for no model for this API.
        chosen = Template("openai", estimate_tools=chosen.estimate_tools, published=False)
    return chosen, encoding


def _count_in_python(
    template: Template, read: _core.Messages, generation: bool, encoding: Encoding
) -> tuple[int, tuple[int, ...], dict[str, int], int, int, int, int]:
    """Count as ``_core.count_request`` does, for a template that is not the core's."""
    messages = read.tuples(False)
    native, table = encoding._native, count_table()
    per_message, template_tokens, without_tools = template._native.count(
        messages, [], generation, native, table
    )
    total = without_tools
    if read.has_tools:
        total = template._native.count(messages, read.tools_json, generation, native, table)[2]
    per_item = [0] * read.num_items
    roles: dict[str, int] = {}
    system_tokens = 0
    leading = True
    for message, item, num_tokens in zip(messages, read.items, per_message, strict=True):
        role = message[0]
        roles[role] = roles.get(role, 0) + num_tokens
        leading = leading and role in ("system", "developer")
        system_tokens += num_tokens if leading else 0
        if item >= 0:
            per_item[item] += num_tokens
    others = sum(per_message) - system_tokens
    tools_tokens = total - without_tools
    return total, tuple(per_item), roles, template_tokens, system_tokens, tools_tokens, others


class RequestParts(NamedTuple):
    """A request body as :func:`ctxengine.budget.plan` takes its parts.

    Attributes
    ----------
    messages : list of mapping
        As in chat completions: the body's own objects, or made from those of another API, with its
        system prompt in front.
    tools : list of mapping
        Likewise.
    encoding : Encoding
    template : Template
        With what the body says about it.
    """

    messages: list[Any]
    tools: list[Any]
    encoding: Encoding
    template: Template


def request_parts(
    body: Mapping[str, Any],
    encoding: Encoding | str | None = None,
    *,
    template: Template | str | None = None,
) -> RequestParts:
    """Read a request body of any of the APIs into the parts of a chat completions request.

    Parameters, and errors, are those of :func:`count_request`, which counts these parts as it
    counts the body. Tools are counted by an estimate where no exact rule is published for them.

    Raises
    ------
    UnknownTokenError, ArgumentError
        As in :func:`count_request`.
    """
    if not isinstance(body, Mapping):
        raise ArgumentError(f"body: must be a JSON object, not {type(body).__name__}")
    read = _read_mapping(body, None)
    others = {name: value for name, value in body.items() if name not in READ}
    chosen, encoding = _resolve_body(others, read, encoding, template)
    converted = read.tuples(False)
    has_calls = any(message[0] == "tool" or message[5] for message in converted)
    if chosen.name == "openai" and (read.has_tools or has_calls):
        chosen = Template("openai", estimate_tools=True, published=chosen.published)
    chosen, generation = body_options(others, read.has_tools, chosen)
    if not generation:
        raise ArgumentError("body.add_generation_prompt: a plan is of a prompt to be answered")
    messages = [chat_message(message) for message in converted]
    tools = [json.loads(text) for text in read.tools_json]
    own_tools = body.get("tools") or ()
    if all("function" in tool for tool in own_tools):
        tools = list(own_tools)
    own = body.get("messages")
    if own is not None and len(own) == len(messages) and all(map(_is_chat, own, converted)):
        messages = list(own)
    return RequestParts(messages, tools, encoding, chosen)


def _is_chat(own: Any, converted: Converted) -> bool:
    """Return whether a message is as in chat completions already."""
    return (
        isinstance(own, Mapping)
        and own.get("role") == converted[0]
        and bool(own.get("tool_calls")) == bool(converted[5])
    )


def _read_mapping(body: Mapping[str, Any], rule: PartTokens | None) -> _core.Messages:
    items, others = body.get("messages"), body.get("input")
    if items is None and others is None:
        raise ArgumentError("body.messages: missing")
    if items is not None and others is not None:
        raise ArgumentError("body.input: messages and input are given both, or twice")
    is_responses = items is None
    names = ("instructions", "system") if is_responses else ("system", "instructions")
    if not is_absent(body.get(names[1])):
        raise ArgumentError(
            f"body.{names[1]}: belongs to another API; give it as the first message, with role "
            "'system'"
        )
    lead, tools = body.get(names[0]), body.get("tools")
    return _core.read_parts(others if is_responses else items, is_responses, lead, tools, rule)


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
    the messages never becomes a control token. O(text), without the GIL; the ids of a message
    encoded before are looked up, in the same table as counts.
    """
    chosen, encoding = resolve(template, encoding)
    return chosen._native.encode(
        convert_messages(messages),
        convert_tools(tools),
        add_generation_prompt,
        encoding._native,
        count_table(),
    )
