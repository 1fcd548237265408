"""What ctxengine is measured beside."""

from __future__ import annotations

import functools

import ctxengine
import tiktoken


@functools.cache
def tiktoken_encoding(name: str) -> tiktoken.Encoding:
    """Return tiktoken's encoding, made from the tables that ctxengine ships."""
    return ctxengine.get_encoding(name).as_tiktoken()
