"""The fields of a request body beside messages and tools: which of them reach the prompt.

Every field is of one of three kinds. It is known to have no effect on the prompt, and is passed
over; or it is counted; or it is refused, for it would change the prompt in a way that no template
here shows, and so are fields that nobody here knows. The lists are of OpenAI's chat completions
and Responses, Anthropic's messages, and what vLLM and SGLang add to the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from ctxengine.chat.convert import is_absent
from ctxengine.chat.harmony import HarmonySystem
from ctxengine.chat.template import Template
from ctxengine.errors import ArgumentError

# Read by the core.
READ = frozenset(("input", "instructions", "messages", "system", "tools"))
_COUNTED = frozenset(
    ("add_generation_prompt", "chat_template_kwargs", "reasoning_effort", "tool_choice")
)
# Sampling, limits of the output, constrained decoding, what the answer shows, routing, billing.
_WITHOUT_EFFECT = frozenset((
    # OpenAI
    "frequency_penalty", "logit_bias", "logprobs", "max_completion_tokens", "max_tokens",
    "metadata", "model", "moderation", "n", "parallel_tool_calls", "presence_penalty",
    "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "safety_identifier",
    "seed", "service_tier", "stop", "store", "stream", "stream_options", "temperature",
    "top_logprobs", "top_p", "user",
    # OpenAI, Responses
    "background", "include", "max_output_tokens", "max_tool_calls",
    # Anthropic
    "cache_control", "inference_geo", "speed", "stop_sequences", "top_k",
    # vLLM
    "allowed_token_ids", "bad_words", "cache_salt", "ec_transfer_params", "echo", "guided_choice",
    "guided_decoding_backend", "guided_grammar", "guided_json", "guided_regex",
    "guided_whitespace_pattern", "ignore_eos", "include_reasoning", "include_stop_str_in_output",
    "kv_transfer_params", "length_penalty", "logprob_token_ids", "min_p", "min_tokens",
    "priority", "prompt_logprobs", "repetition_detection", "repetition_penalty", "request_id",
    "return_prompt_text", "return_token_ids", "return_token_offsets",
    "return_tokens_as_token_ids", "session_id", "skip_special_tokens",
    "spaces_between_special_tokens", "stop_token_ids", "stream_interval", "structured_outputs",
    "thinking_token_budget", "use_beam_search",
    # SGLang
    "ebnf", "lora_path", "no_stop_trim", "regex", "return_hidden_states", "rid",
    "separate_reasoning", "stop_regex", "stream_reasoning",
))  # fmt: skip
# The one value of a field with which the prompt is as without it.
_NEUTRAL: dict[str, Any] = {
    "add_special_tokens": False,
    "continue_final_message": False,
    "modalities": ["text"],
    "response_format": {"type": "text"},
    "text": {"format": {"type": "text"}},
    "thinking": {"type": "disabled"},
    "truncation": "disabled",
}
_SERVER = "what the model is shown for it is the server's choice; count the body without it"
_REFUSED = {
    "add_special_tokens": "which tokens are added is the server's choice; leave it out",
    "audio": _SERVER,
    "chat_template": "another template is not counted; give one of ours as template",
    "container": _SERVER,
    "context_management": _SERVER,
    "conversation": "messages that the server holds cannot be counted; give them here",
    "continue_final_message": "an open last message is not counted; count it as a whole one",
    "documents": "no template here shows documents; write them into a message",
    "enable_thinking": "give it in chat_template_kwargs",
    "function_call": "not supported, give tools",
    "functions": "not supported, give tools",
    "mcp_servers": _SERVER,
    "media_io_kwargs": _SERVER,
    "mm_processor_kwargs": _SERVER,
    "modalities": "only text is counted",
    "output_config": _SERVER,
    "output_format": _SERVER,
    "prediction": _SERVER,
    "previous_response_id": "messages that the server holds cannot be counted; give them here",
    "prompt": "a prompt that the server holds cannot be counted; give its messages",
    "reasoning": _SERVER,
    "response_format": "whether a schema is written into the prompt is the server's choice; count "
    "the body without it, or with the schema's text in a message",
    "text": _SERVER,
    "thinking": _SERVER,
    "truncate_prompt_tokens": "a prompt that the server cuts is not counted",
    "truncation": "a prompt that the server cuts is not counted",
    "verbosity": _SERVER,
    "web_search_options": _SERVER,
}


class BodyOptions(NamedTuple):
    """What a body says about the rendering of its messages."""

    template: Template
    add_generation_prompt: bool


def _with_kwargs(template: Template, kwargs: Any) -> Template:
    path = "body.chat_template_kwargs"
    if not isinstance(kwargs, Mapping):
        raise ArgumentError(f"{path}: must be a JSON object, not {type(kwargs).__name__}")
    options: dict[str, Any] = {
        "enable_thinking": template.enable_thinking,
        "estimate_tools": template.estimate_tools,
        "date": template.date,
        "published": template.published,
        "system": template.system,
    }
    for name, value in kwargs.items():
        if is_absent(value):
            continue
        if name == "enable_thinking":
            if not isinstance(value, bool):
                raise ArgumentError(
                    f"{path}.{name}: must be true or false, not {type(value).__name__}"
                )
            options["enable_thinking"] = value
        elif name == "date_string":
            options["date"] = value
        else:
            raise ArgumentError(f"{path}.{name}: no template here takes it")
        try:
            template = Template(template.name, **options)
        except ArgumentError as error:
            raise ArgumentError(f"{path}.{name}: {str(error).partition(': ')[2]}") from None
    return template


def _with_effort(template: Template, effort: Any) -> Template:
    if template.name != "gpt-oss":
        raise ArgumentError(f"body.reasoning_effort: {_SERVER}")
    system = HarmonySystem() if template.system is None else template.system
    try:
        system = replace(system, reasoning_effort=effort)
    except ArgumentError as error:
        raise ArgumentError(f"body.{error}") from None
    return Template("gpt-oss", system=system)


def _check_tool_choice(choice: Any, template: Template) -> None:
    if isinstance(choice, Mapping) and choice.keys() <= {"type", "disable_parallel_tool_use"}:
        choice = choice.get("type")  # Anthropic
    if choice in (None, "any", "auto", "required"):
        return
    if not template.is_rendering and not template.exact:
        return
    raise ArgumentError(
        "body.tool_choice: with such a choice some servers show the model fewer tools; count the "
        "body without it, and with the tools that the server shows"
    )


def body_options(body: Mapping[str, Any], has_tools: bool, template: Template) -> BodyOptions:
    """Return how a body asks its messages to be rendered, from its fields that are not in READ.

    An ArgumentError names the field that would change the prompt and is not counted.
    """
    for name, value in body.items():
        if name in _WITHOUT_EFFECT or name in _COUNTED or is_absent(value):
            continue
        neutral = _NEUTRAL.get(name)
        if type(value) is type(neutral) and value == neutral:
            continue
        why = _REFUSED.get(name)
        if why is None:
            why = "unknown field; count the body without it if it does not reach the prompt"
        raise ArgumentError(f"body.{name}: {why}")
    if has_tools:
        _check_tool_choice(body.get("tool_choice"), template)
    kwargs = body.get("chat_template_kwargs")
    if kwargs is not None:
        template = _with_kwargs(template, kwargs)
    effort = body.get("reasoning_effort")
    if effort is not None:
        template = _with_effort(template, effort)
    generation = body.get("add_generation_prompt")
    if generation is None:
        generation = True
    if not isinstance(generation, bool):
        raise ArgumentError(
            f"body.add_generation_prompt: must be true or false, not {type(generation).__name__}"
        )
    if not generation and not template.is_rendering:
        raise ArgumentError("body.add_generation_prompt: the API models always begin a reply")
    return BodyOptions(template, generation)
