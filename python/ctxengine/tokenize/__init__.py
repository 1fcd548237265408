"""Exact byte-level BPE: text to token ids, counts, and back.

The encodings' tables are package data; nothing is downloaded. Names and behaviour are tiktoken's
wherever tiktoken has them, so ``import ctxengine as tiktoken`` is enough to change over, and the
ids are the same for every text.

>>> import ctxengine
>>> encoding = ctxengine.get_encoding("o200k_base")
>>> encoding.encode("hello world")
[24912, 2375]
>>> encoding.count("hello world")
2
>>> encoding.decode([24912, 2375])
'hello world'

An `Encoding` never changes; every method may be called from any thread, and long calls release the
GIL.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ctxengine.tokenize.appender import Appender
    from ctxengine.tokenize.encoding import Encoding
    from ctxengine.tokenize.files import load
    from ctxengine.tokenize.model_facts import ModelFacts
    from ctxengine.tokenize.models import encoding_for_model, encoding_name_for_model
    from ctxengine.tokenize.offsets import Offsets
    from ctxengine.tokenize.ragged import Ragged
    from ctxengine.tokenize.registry import get_encoding, list_encoding_names
    from ctxengine.tokenize.stream import DecodeStream, DecodeStreamBatch

# Imported on first use: what the first encoding needs takes 3 ms, all of them 12.
_MODULE_OF = {
    "Appender": "appender",
    "DecodeStream": "stream",
    "DecodeStreamBatch": "stream",
    "Encoding": "encoding",
    "ModelFacts": "model_facts",
    "Offsets": "offsets",
    "Ragged": "ragged",
    "encoding_for_model": "models",
    "encoding_name_for_model": "models",
    "get_encoding": "registry",
    "list_encoding_names": "registry",
    "load": "files",
}

__all__ = [
    "Appender",
    "DecodeStream",
    "DecodeStreamBatch",
    "Encoding",
    "ModelFacts",
    "Offsets",
    "Ragged",
    "encoding_for_model",
    "encoding_name_for_model",
    "get_encoding",
    "list_encoding_names",
    "load",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
