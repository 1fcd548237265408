"""Counts and token ids of chat prompts and request bodies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ctxengine.chat.body import body_options
from ctxengine.chat.convert import convert_messages, convert_tools, load_json
from ctxengine.chat.families import has_published_rule
from ctxengine.chat.report import CountReport
from ctxengine.chat.table import count_table
from ctxengine.chat.template import Template, resolve
from ctxengine.errors import ArgumentError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ctxengine.tokenize import Encoding


def count_messages(
    messages: Any,
    encoding: Encoding | str,
    *,
    template: Template | str | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
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
    _, _, total = chosen._native.count(
        convert_messages(messages), convert_tools(tools), True, encoding._native, count_table()
    )
    return total


def count_request(
    body: bytes | bytearray | str | Mapping[str, Any],
    encoding: Encoding | str | None = None,
    *,
    template: Template | str | None = None,
) -> CountReport:
    """Count a chat-completion request: its ``messages`` and ``tools``.

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
        As in :func:`count_messages`, for a body without messages, for one without a model when no
        encoding is given, and for a field that may change the prompt and is not counted, such as
        ``system`` (give it as a message), ``response_format`` with a schema,
        ``continue_final_message`` or ``reasoning_effort``.
    """
    if isinstance(body, (bytes, bytearray, str)):
        body = load_json(body, "body")
    if not isinstance(body, Mapping):
        raise ArgumentError(f"body: must be a JSON object, not {type(body).__name__}")
    if body.get("messages") is None:
        raise ArgumentError("body.messages: missing")
    path = "encoding"
    if encoding is None:
        encoding, path = body.get("model"), "body.model"
        if not isinstance(encoding, str):
            raise ArgumentError("body.model: missing or not a string, and no encoding is given")
    chosen, encoding = resolve(template, encoding, path)
    model = body.get("model")
    if template is None and chosen.name == "openai" and isinstance(model, str):
        # The encoding alone does not tell for which of its models the rule is published.
        chosen = Template("openai", published=has_published_rule(model))
    chosen, generation = body_options(body, chosen)
    messages = convert_messages(body["messages"])
    tools_json = convert_tools(body.get("tools"))
    per_message, template_tokens, total = chosen._native.count(
        messages, [], generation, encoding._native, count_table()
    )
    tools_tokens = 0
    if tools_json:
        with_tools = chosen._native.count(
            messages, tools_json, generation, encoding._native, count_table()
        )[2]
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
    return CountReport(
        total + tools_tokens,
        tuple(per_message),
        roles,
        sections,
        chosen.exact,
        chosen.why_not_exact,
    )


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
