"""Encodings and texts that several test files use; the tests import it by its bare name."""

from __future__ import annotations

from typing import Any

import ctxengine
from hypothesis import strategies as st

SINGLE_BYTES = {bytes([byte]): byte for byte in range(256)}

any_text = st.text(st.characters(), max_size=60)  # surrogates too


def tiny(
    ranks: dict[bytes, int], special_tokens: dict[str, int] | None = None, **options: Any
) -> ctxengine.Encoding:
    """Make an encoding of a few tokens, with cl100k's pattern."""
    return ctxengine.Encoding(
        "tiny",
        pat_str=ctxengine.get_encoding("cl100k_base")._pat_str,
        mergeable_ranks=ranks,
        special_tokens=special_tokens or {},
        **options,
    )


def repaired(text: str) -> str:
    """Join pairs of surrogates; replace lone ones."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
