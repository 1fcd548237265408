"""Which chat template the models of a name or of an encoding have."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from ctxengine import _core, models
from ctxengine.errors import UnknownModelError, UnknownTokenError

if TYPE_CHECKING:
    from ctxengine.tokenize import Encoding

_FOR_ENCODING = {
    "cl100k_base": "openai",
    "o200k_base": "openai",
    "o200k_harmony": "gpt-oss",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
}


def name_for_model(model: str) -> str:
    """Return the template's name.

    Raises
    ------
    UnknownTokenError
        For a model whose prompt is none of our templates' alone.
    """
    facts = _facts(model)
    if facts is None or facts.template is None:
        raise UnknownTokenError(
            f"no template is known for model {model!r}; known: "
            f"{', '.join(_core.chat_template_names())}"
        )
    return facts.template


def shows_today(model: str) -> bool:
    """Return whether the model's template asks the clock for the date that it shows."""
    facts = _facts(model)
    return facts is not None and facts.name.startswith("llama-3.2-")


def has_published_rule(model: str) -> bool:
    """Return whether OpenAI published the count rule for this model, of those it counts."""
    facts = _facts(model)
    return facts is not None and facts.template == "openai" and facts.count_rule == "published"


def _facts(model: str) -> models.ModelFacts | None:
    """Return what is known of a model, whatever organisation stands before its name."""
    for name in (model, model.rsplit("/", 1)[-1]):
        with suppress(UnknownModelError):
            return models.facts(name)
    return None


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
