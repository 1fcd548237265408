"""Messages to segments to counts: the model's own chat template, exactly.

A :class:`Template` renders a list of chat messages into *segments*: the template's own text, which
may spell control tokens, and the caller's text, which never does, whatever it says. Counting
tokenizes each message once; an unchanged message is found in a table the next time.

Messages are mappings or objects with attributes of the same names (pydantic models, dataclasses),
or the JSON text of a list of them, and are never changed. Read are ``role``, ``content`` (text, or
a list of text parts, joined by a newline as vLLM does for ChatML's and Qwen's templates),
``name``, ``tool_calls``, ``reasoning_content`` (or ``reasoning``, vLLM's newer name of it), for
gpt-oss ``tool_call_id`` and, for harmony, ``channel``, ``recipient``, ``content_type`` and its
structured contents. Tool-call arguments given as JSON text are parsed first and written as the
templates' ``tojson`` writes them, as vLLM and SGLang do before they render; so the text and the
object form count alike. For gpt-oss vLLM shows the text as it is, and so do we.

Passed over is what does not reach the model: ``tool_call_id`` for the other templates, ``id``,
``status``, ``weight``, marks for prompt caches (``cache_control``), and what only answers carry
(``annotations``, ``parsed``). Every other field of a mapping is an
:class:`~ctxengine.errors.ArgumentError` that names ``messages[i].field``, never a count that is
nearly right: ``refusal``, ``audio``, ``thinking_blocks``, ``reasoning_details`` and so on, which
providers show to the model in ways of their own, and fields that are not known. Null and the empty
list are as absent. Of an object, whose other attributes are its own affair, only such known fields
are refused.

Items of OpenAI's Responses API (messages, ``function_call``, ``function_call_output``,
``reasoning``) and Anthropic's blocks (``thinking``, ``tool_use``, ``tool_result``) become messages
of chat completions where nothing is lost by it; else they are an error. Parts that are no text
(images, audio, files) are counted by the rule that the caller gives as ``part_tokens``.

=========================  ================================================================
template                   what it equals
=========================  ================================================================
``chatml``                 plain ChatML, no default system prompt, no tools
``qwen2``                  the Qwen2.5 instruct models' template, with tools
``qwen3``                  Qwen3 hybrid models, with tools and reasoning
``qwen3-instruct-2507``    Qwen3 2507 instruct releases
``qwen3-thinking-2507``    Qwen3 2507 thinking releases
``llama3``                 Llama 3 instruct models, no tools
``llama3.1``               Llama 3.1, 3.2 (text) and 3.3 instruct models, with tools (in the first
                           user message) and the date that the system message shows
``gpt-oss``                OpenAI chat messages and tools for gpt-oss, mapped onto harmony as
                           vLLM does and rendered as ``openai-harmony`` does
``deepseek-r1``            DeepSeek-R1 (of January 2025), with calls and results but no tools
``gemma2``                 Gemma 2 instruct models, no tools, no system messages
``gemma3``                 Gemma 3 instruct models, no tools; the system's text in the first user
                           message
``mistral-v3``             Mistral's formats by the version of the tokenizer (SentencePiece's or
``mistral-v7``             tekken), as ``mistral-common`` encodes a request, with tools; what it
``mistral-v11``            refuses is refused
``mistral-v13``
``mistral-v13-reasoning``  the same for models whose vocabulary has ``[THINK]``
``harmony``                harmony messages, as the ``to_dict`` of ``openai-harmony`` has them,
                           rendered as it does for completion
``openai``                 the published count rule for API models; a count, not a rendering;
                           an estimate for models that it was not published for
=========================  ================================================================

Any other template: :meth:`Template.from_jinja` has jinja2 render it, as ``transformers`` does, and
splits the text only at special tokens that the template itself wrote.

gpt-oss: there are two references, which differ. ``gpt-oss`` follows vLLM's chat completions (the
version that makes the leading system or developer message the instructions) on top of
``openai-harmony`` 0.0.8: types of parameters as that library writes them, results of tools under
the name that their ``tool_call_id`` tells, several calls in one message. The chat template
published with the weights writes schemas otherwise, an empty line after the instructions, results
as JSON strings, and shows one call a message; give it to servers that use it (transformers,
SGLang). Both drop all reasoning before the last final answer.
"""

from __future__ import annotations

from ctxengine.chat.anchor import UsageAnchor, UsageEstimate
from ctxengine.chat.conversation import Conversation, Cursor, Fit, Generated, Since, Turn
from ctxengine.chat.count import (
    RequestParts,
    count_messages,
    count_request,
    encode_messages,
    request_parts,
)
from ctxengine.chat.harmony import HarmonySystem
from ctxengine.chat.report import CountReport, Reuse
from ctxengine.chat.stream import StreamCounter
from ctxengine.chat.table import CacheInfo, cache_clear, cache_info
from ctxengine.chat.template import Template

__all__ = [
    "CacheInfo",
    "Conversation",
    "CountReport",
    "Cursor",
    "Fit",
    "Generated",
    "HarmonySystem",
    "RequestParts",
    "Reuse",
    "Since",
    "StreamCounter",
    "Template",
    "Turn",
    "UsageAnchor",
    "UsageEstimate",
    "cache_clear",
    "cache_info",
    "count_messages",
    "count_request",
    "encode_messages",
    "request_parts",
]
