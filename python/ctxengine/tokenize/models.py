"""Which encoding a model uses."""

from __future__ import annotations

from ctxengine.errors import UnknownTokenError
from ctxengine.tokenize.registry import get_encoding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ctxengine.tokenize.encoding import Encoding

# Facts of tiktoken 0.14 (tiktoken/model.py), then open models: gpt-oss, and the Qwen generations
# whose vocabulary and added tokens are the shipped ones, by their names on the Hugging Face hub.
# Qwen2 has fewer added tokens than Qwen2.5 and Qwen3.5 another vocabulary, so neither is here.
_ENCODING_OF_MODEL = {
    "o1": "o200k_base",
    "o3": "o200k_base",
    "o4-mini": "o200k_base",
    "gpt-5": "o200k_base",
    "gpt-4.1": "o200k_base",
    "gpt-4o": "o200k_base",
    "gpt-4": "cl100k_base",
    "gpt-3.5-turbo": "cl100k_base",
    "gpt-3.5": "cl100k_base",
    "gpt-35-turbo": "cl100k_base",
    "davinci-002": "cl100k_base",
    "babbage-002": "cl100k_base",
    "text-embedding-ada-002": "cl100k_base",
    "text-embedding-3-small": "cl100k_base",
    "text-embedding-3-large": "cl100k_base",
    "text-davinci-003": "p50k_base",
    "text-davinci-002": "p50k_base",
    "text-davinci-001": "r50k_base",
    "text-curie-001": "r50k_base",
    "text-babbage-001": "r50k_base",
    "text-ada-001": "r50k_base",
    "davinci": "r50k_base",
    "curie": "r50k_base",
    "babbage": "r50k_base",
    "ada": "r50k_base",
    "code-davinci-002": "p50k_base",
    "code-davinci-001": "p50k_base",
    "code-cushman-002": "p50k_base",
    "code-cushman-001": "p50k_base",
    "davinci-codex": "p50k_base",
    "cushman-codex": "p50k_base",
    "text-davinci-edit-001": "p50k_edit",
    "code-davinci-edit-001": "p50k_edit",
    "text-similarity-davinci-001": "r50k_base",
    "text-similarity-curie-001": "r50k_base",
    "text-similarity-babbage-001": "r50k_base",
    "text-similarity-ada-001": "r50k_base",
    "text-search-davinci-doc-001": "r50k_base",
    "text-search-curie-doc-001": "r50k_base",
    "text-search-babbage-doc-001": "r50k_base",
    "text-search-ada-doc-001": "r50k_base",
    "code-search-babbage-code-001": "r50k_base",
    "code-search-ada-code-001": "r50k_base",
    "gpt2": "gpt2",
    "gpt-2": "gpt2",
    "gpt-oss": "o200k_harmony",
    "qwen2.5": "qwen2",
    "qwen3": "qwen3",
}
_ENCODING_OF_MODEL_PREFIX = {
    "o1-": "o200k_base",
    "o3-": "o200k_base",
    "o4-mini-": "o200k_base",
    "gpt-5": "o200k_base",
    "gpt-4.5-": "o200k_base",
    "gpt-4.1-": "o200k_base",
    "chatgpt-4o-": "o200k_base",
    "gpt-4o-": "o200k_base",
    "gpt-4-": "cl100k_base",
    "gpt-3.5-turbo-": "cl100k_base",
    "gpt-35-turbo-": "cl100k_base",
    "gpt-oss-": "o200k_harmony",
    "ft:gpt-4o": "o200k_base",
    "ft:gpt-4": "cl100k_base",
    "ft:gpt-3.5-turbo": "cl100k_base",
    "ft:davinci-002": "cl100k_base",
    "ft:babbage-002": "cl100k_base",
    "openai/gpt-oss-": "o200k_harmony",
    "qwen2.5-": "qwen2",
    "Qwen2.5-": "qwen2",
    "Qwen/Qwen2.5-": "qwen2",
    "qwen3-": "qwen3",
    "Qwen3-": "qwen3",
    "Qwen/Qwen3-": "qwen3",
}


def encoding_name_for_model(model_name: str) -> str:
    """Return the name of the encoding that a model uses.

    Versions and fine-tunes are known by their prefixes, so a name that no model has may have one.

    Raises
    ------
    UnknownTokenError
        If the name is not known (a KeyError too).
    """
    if model_name in _ENCODING_OF_MODEL:
        return _ENCODING_OF_MODEL[model_name]
    for prefix, name in _ENCODING_OF_MODEL_PREFIX.items():
        if model_name.startswith(prefix):
            return name
    raise UnknownTokenError(
        f"no encoding is known for the model {model_name!r}; name one with get_encoding"
    )


def encoding_for_model(model_name: str) -> Encoding:
    """Return the encoding that a model uses.

    Raises
    ------
    UnknownTokenError
        If the name is not known (a KeyError too).
    """
    return get_encoding(encoding_name_for_model(model_name))
