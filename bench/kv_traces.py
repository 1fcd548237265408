"""Traces of requests for the benches and labs of ``kv``.

A trace in Mooncake's form is a file of JSON lines, plain or xz, each with ``input_length``,
``output_length`` and ``hash_ids``: equal ids stand for equal runs of 512 tokens at the start of
prompts.
"""

from __future__ import annotations

import json
import lzma
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

_RUN = 512  # tokens per hash id
_NUM_IDS = 128_000  # of the vocabulary


class TraceRequest(NamedTuple):
    """A request of a trace.

    Attributes
    ----------
    token_ids : numpy.ndarray
        uint32, the prompt: made from the hash ids, the same in every run.
    num_output_tokens : int
    """

    token_ids: npt.NDArray[np.uint32]
    num_output_tokens: int


def tokens_of(hash_ids: list[int], num_tokens: int) -> npt.NDArray[np.uint32]:
    """Return token ids for a prompt: a multiplicative hash of (hash id, position)."""
    index = np.asarray(hash_ids, np.uint64)[:, None] * np.uint64(_RUN)
    mixed = (index + np.arange(_RUN, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
    ids = (mixed >> np.uint64(40)) % np.uint64(_NUM_IDS)
    return ids.ravel()[:num_tokens].astype(np.uint32)


def read_mooncake(path: Path, limit: int | None = None) -> Iterator[TraceRequest]:
    """Read a trace in Mooncake's form, at most `limit` requests of it."""
    opened: Any = lzma.open if path.suffix == ".xz" else open
    with opened(path, "rt", encoding="utf-8") as lines:
        for i, line in enumerate(lines):
            if i == limit:
                return
            fields = json.loads(line)
            tokens = tokens_of(fields["hash_ids"], fields["input_length"])
            if len(tokens) != fields["input_length"]:
                raise ValueError(f"line {i + 1}: too few hash_ids for input_length")
            yield TraceRequest(tokens, fields["output_length"])
