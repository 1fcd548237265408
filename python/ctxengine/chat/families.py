"""Which chat template the models of a name or of an encoding have."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ctxengine import _core
from ctxengine.errors import UnknownTokenError

if TYPE_CHECKING:
    from ctxengine.tokenize import Encoding

_FOR_ENCODING = {
    "cl100k_base": "openai",
    "o200k_base": "openai",
    "o200k_harmony": "gpt-oss",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
}
_FOR_MODEL = (
    (r"qwen2\.5-(coder-)?[\d.]+b-instruct(-1m)?", "qwen2"),
    (r"qwen3-[\d.]+b(-a[\d.]+b)?", "qwen3"),
    (r"qwen3-[\d.]+b(-a[\d.]+b)?-instruct-2507", "qwen3-instruct-2507"),
    (r"qwen3-[\d.]+b(-a[\d.]+b)?-thinking-2507", "qwen3-thinking-2507"),
    (r"gpt-oss-(20b|120b)", "gpt-oss"),
    (r"(meta-)?llama-3-[\d]+b-instruct", "llama3"),
    (r"(meta-)?llama-3\.1-[\d]+b-instruct", "llama3.1"),
    (r"llama-3\.2-[13]b-instruct", "llama3.1"),
    (r"llama-3\.3-[\d]+b-instruct", "llama3.1"),
    (r"deepseek-r1", "deepseek-r1"),
    (r"gemma-2-\d+b-it", "gemma2"),
    (r"gemma-3-(270m|\d+b)-it", "gemma3"),
    (r"mistral-7b-instruct-v0\.3|mixtral-8x22b-instruct-v0\.1", "mistral-v3"),
    (r"mistral-(nemo|large)-instruct-2407|ministral-8b-instruct-2410", "mistral-v3"),
    (r"mistral-large-instruct-2411|mistral-small-24b-instruct-2501", "mistral-v7"),
    (r"mistral-small-3\.1-24b-instruct-2503", "mistral-v7"),
    (r"mistral-small-3\.2-24b-instruct-2506", "mistral-v11"),
    (r"gpt-3\.5-turbo(?!-0301)(-.*)?", "openai"),
    (r"(gpt-4|gpt-4o|gpt-4\.1|gpt-4\.5|gpt-5|chatgpt-4o|o1|o3|o4)(-.*)?", "openai"),
)
# The models that the cookbook's rule names, with their short names. It has another rule for
# gpt-3.5-turbo-0301.
_RULE_PUBLISHED = re.compile(
    r"gpt-3\.5-turbo(-16k)?(-0613)?|gpt-3\.5-turbo-0125|gpt-4(-32k)?(-0314|-0613)?"
    r"|gpt-4o(-2024-08-06)?|gpt-4o-mini(-2024-07-18)?"
)
# Weight formats of a published model, which leave its template as it is.
_QUANTIZED = re.compile(r"-(awq|gguf|fp8|gptq(-int[48])?|int[48]|mlx.*|bnb-4bit|bf16)$")


def _short_name(model: str) -> str:
    return _QUANTIZED.sub("", model.rsplit("/", 1)[-1].lower())


def name_for_model(model: str) -> str:
    """Return the template's name.

    Raises
    ------
    UnknownTokenError
        For a model whose prompt is none of our templates' alone.
    """
    short = _short_name(model)
    for pattern, name in _FOR_MODEL:
        if re.fullmatch(pattern, short):
            return name
    raise UnknownTokenError(
        f"no template is known for model {model!r}; known: {', '.join(_core.chat_template_names())}"
    )


def shows_today(model: str) -> bool:
    """Return whether the model's template asks the clock for the date that it shows."""
    return _short_name(model).startswith("llama-3.2-")


def has_published_rule(model: str) -> bool:
    """Return whether OpenAI published the count rule for this model, of those it counts."""
    return _RULE_PUBLISHED.fullmatch(_short_name(model)) is not None


def name_for_encoding(encoding: Encoding) -> str | None:
    """Return the template's name; None when the encoding's models have none, or several.

    Another vocabulary under the name of a shipped one does not tell either.
    """
    from ctxengine.tokenize import get_encoding

    name = _FOR_ENCODING.get(encoding.name)
    if name is None:
        return None
    shipped = get_encoding(encoding.name)
    return name if encoding is shipped or encoding == shipped else None
