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

from ctxengine.tokenize.appender import Appender
from ctxengine.tokenize.encoding import Encoding, ModelFacts
from ctxengine.tokenize.files import load
from ctxengine.tokenize.models import encoding_for_model, encoding_name_for_model
from ctxengine.tokenize.offsets import Offsets
from ctxengine.tokenize.ragged import Ragged
from ctxengine.tokenize.registry import get_encoding, list_encoding_names
from ctxengine.tokenize.stream import DecodeStream, DecodeStreamBatch

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
