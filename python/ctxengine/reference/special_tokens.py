r"""Special tokens in text, found by trying every spelling at every position.

The native search (src/cpp/tokenize/special_tokens.h) reads each byte once. Here the rules stand as
Hugging Face has them (``find_matches`` of tokenizers 0.23, added_vocabulary.rs): the spelling that
begins leftmost, of those the longest, and on behind it; then, match by match, ``single_word``,
``lstrip`` and ``rstrip``.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple

__all__ = ["AddedToken", "Match", "find_special_tokens"]

# Unicode's White_Space; str.isspace() would add U+001C to U+001F.
_WHITE_SPACE = frozenset(
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)


class AddedToken(NamedTuple):
    """A spelling that is one token wherever trusted text has it."""

    spelling: str
    id: int
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False


class Match(NamedTuple):
    """Where a token stands, in characters; stripped white space is part of it."""

    begin: int
    end: int
    id: int


def is_word_character(character: str) -> bool:
    r"""Tell whether a character is ``\w``: letters, marks, decimal and letter numbers, and a few.

    The Unicode of the running Python decides, which may be older than 16.0.
    """
    code_point = ord(character)
    is_circled_letter = (
        0x24B6 <= code_point <= 0x24E9
        or 0x1F130 <= code_point <= 0x1F149
        or 0x1F150 <= code_point <= 0x1F169
        or 0x1F170 <= code_point <= 0x1F189
    )
    category = unicodedata.category(character)
    return (
        category[0] in "LM"
        or category in ("Nd", "Nl", "Pc")
        or character in "\u200c\u200d"
        or is_circled_letter
    )


def find_special_tokens(
    tokens: Sequence[AddedToken],
    segments: Sequence[tuple[str, bool]],
    *,
    is_word: Callable[[str], bool] = is_word_character,
) -> list[Match]:
    r"""Find the special tokens of a prompt.

    Parameters
    ----------
    tokens
        The spellings, each once.
    segments
        ``(text, trusted)``: a spelling counts only where it lies wholly inside one trusted text.
        Words and white space beside it are those of the joined text.
    is_word
        What ``\w`` is.

    Returns
    -------
    list of Match
        In order, without overlap. Where Hugging Face's matches overlap (a token that begins within
        the white space that the one before has stripped), the earlier one ends where the later one
        begins, which gives the same ids. A token of which nothing is left (``lstrip``, and all of
        it was stripped before) is dropped; Hugging Face panics in some of these cases.

    Notes
    -----
    O(text * total size of the spellings).
    """
    text = "".join(segment for segment, _ in segments)
    found: list[Match] = []
    done = 0
    offset = 0
    for segment, trusted in segments:
        if trusted:
            for at, token in _spellings(tokens, text, offset, offset + len(segment)):
                begin, end = at, at + len(token.spelling)
                if token.single_word and (
                    (begin > 0 and is_word(text[begin - 1]))
                    or (end < len(text) and is_word(text[end]))
                ):
                    continue
                if token.lstrip:
                    while begin > 0 and text[begin - 1] in _WHITE_SPACE:
                        begin -= 1
                    begin = max(begin, done)
                while token.rstrip and end < len(text) and text[end] in _WHITE_SPACE:
                    end += 1
                if begin >= end:
                    continue
                if found and found[-1].end > at:
                    found[-1] = found[-1]._replace(end=at)
                    begin = at
                found.append(Match(begin, end, token.id))
                done = end
        offset += len(segment)
    return found


def _spellings(
    tokens: Sequence[AddedToken], text: str, at: int, end: int
) -> list[tuple[int, AddedToken]]:
    found = []
    while at < end:
        here = [token for token in tokens if text.startswith(token.spelling, at, end)]
        if here:
            longest = max(here, key=lambda token: len(token.spelling))
            found.append((at, longest))
            at += len(longest.spelling)
        else:
            at += 1
    return found
