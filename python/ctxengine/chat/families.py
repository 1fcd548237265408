"""Which chat template the models of a name or of an encoding have."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ctxengine.tokenize import Encoding

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


def name_for_model(model: str) -> str | None:
    """Return the template's name; None for a model whose template is not one of ours."""
    short = _QUANTIZED.sub("", model.rsplit("/", 1)[-1].lower())
    for pattern, name in _FOR_MODEL:
        if re.fullmatch(pattern, short):
            return name
    return None


def name_for_encoding(encoding: Encoding) -> str | None:
    """Return the template's name; None when the encoding's models have none, or several."""
    return _FOR_ENCODING.get(encoding.name)
