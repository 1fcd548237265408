"""Byte-level BPE in the plainest Python: the oracle of the native merge and special-token search.

Slow on purpose: every loop says what the rule is and does nothing else.
"""

from __future__ import annotations

import itertools

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["encode_pre_token", "merge", "split_special"]


def merge(ranks: Mapping[bytes, int], data: bytes) -> list[int]:
    """Merge bytes by rank.

    Parameters
    ----------
    ranks : mapping of bytes to int
        Ids of all tokens, which are their ranks too. Holds the 256 single bytes.
    data : bytes

    Returns
    -------
    list of int

    Notes
    -----
    Cubic. Again and again, of all neighbours whose joined bytes are a token, those are joined whose
    token has the lowest rank, and of equals the leftmost (tiktoken, byte_pair_merge).
    """
    parts = [data[i : i + 1] for i in range(len(data))]
    while True:
        candidates = [
            (ranks[left + right], i)
            for i, (left, right) in enumerate(itertools.pairwise(parts))
            if left + right in ranks
        ]
        if not candidates:
            return [ranks[part] for part in parts]
        _, i = min(candidates)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


def encode_pre_token(ranks: Mapping[bytes, int], data: bytes) -> list[int]:
    """Return the one id of a pre-token that is a token, otherwise merge it."""
    return [ranks[data]] if data in ranks else merge(ranks, data)


def split_special(text: str, spellings: Sequence[str]) -> list[tuple[str, bool]]:
    """Cut a text at the spellings of special tokens.

    Parameters
    ----------
    text : str
    spellings : sequence of str

    Returns
    -------
    list of (str, bool)
        Parts that join to `text`, none empty; True for a special token. Leftmost first, of those
        that begin at the same character the longest.
    """
    parts: list[tuple[str, bool]] = []
    ordinary = ""
    at = 0
    while at < len(text):
        matching = [s for s in spellings if text.startswith(s, at)]
        if not matching:
            ordinary += text[at]
            at += 1
            continue
        if ordinary:
            parts.append((ordinary, False))
            ordinary = ""
        longest = max(matching, key=len)
        parts.append((longest, True))
        at += len(longest)
    if ordinary:
        parts.append((ordinary, False))
    return parts
