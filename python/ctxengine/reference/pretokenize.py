"""Pre-tokenization by a small backtracking matcher that reads the published patterns themselves.

The native scanners (src/cpp/tokenize/pretokenize/scan_*.h) are written by hand, one a pattern.
Here the same patterns are interpreted letter by letter, with the meaning that a backtracking
regular expression engine gives them: alternatives are tried in their order, quantifiers take as
much as they can and give back one character at a time, possessive ones (a ``+`` behind) never give
back.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence

__all__ = ["PATTERNS", "Matcher", "compile_pattern", "pretokenize", "split"]

Matcher = Callable[[str, int], Iterator[int]]
"""Called with a text and a position: yields every end of a match that begins there, best first."""

_Predicate = Callable[[str], bool]

# As in tiktoken 0.14.0 (tiktoken_ext/openai_public.py), in mistral-common's tekken.json, and in the
# models' tokenizer.json. Where there are several, each splits the pieces of the one before.
PATTERNS: dict[str, tuple[str, ...]] = {
    "r50k": (r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",),
    "cl100k": (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
        r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    ),
    "o200k": (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
    "qwen2": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
    "llama3": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
    "qwen35": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
        r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
    "tekken": (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
        r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
    "deepseek": (
        r"\p{N}{1,3}",
        "[一-龥぀-ゟ゠-ヿ]+",
        "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"
        "|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
        "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
    ),
}

# Unicode's White_Space; str.isspace() would add U+001C to U+001F.
_WHITE_SPACE = frozenset(
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)


def pretokenize(
    patterns: Sequence[str], text: str, *, category: Callable[[str], str] = unicodedata.category
) -> list[str]:
    r"""Cut a text as several patterns do, one after the other.

    Parameters
    ----------
    patterns : sequence of str
        One of the values of `PATTERNS`, or other patterns of the same syntax. Each is applied to
        every piece that the one before has left.
    text : str
        The text.
    category : callable
        Gives the general category of a character; by default that of the interpreter's own Unicode
        version, so that characters younger than it count as unassigned.

    Returns
    -------
    list of str
        The pre-tokens, in order. Joined they are the text.

    Raises
    ------
    ValueError
        If a pattern uses other syntax.

    Notes
    -----
    The time is that of a backtracking engine: quadratic in the worst case.

    Examples
    --------
    >>> pretokenize(PATTERNS["cl100k"], "It's 2026:\n\n  done")
    ['It', "'s", ' ', '202', '6', ':\n\n', ' ', ' done']
    """
    pieces = [text] if text else []
    for pattern in patterns:
        match = compile_pattern(pattern, category)
        pieces = [part for piece in pieces for part in split(match, piece)]
    return pieces


def split(match: Matcher, text: str) -> list[str]:
    """Cut a text at its leftmost matches; what lies between two of them is a piece as well."""
    pieces = []
    begin = at = 0
    while at < len(text):
        end = next(match(text, at), at)
        if end == at:  # nothing matches here
            at += 1
            continue
        if begin < at:
            pieces.append(text[begin:at])
        pieces.append(text[at:end])
        begin = at = end
    if begin < len(text):
        pieces.append(text[begin:])
    return pieces


def compile_pattern(pattern: str, category: Callable[[str], str]) -> Matcher:
    """Return the matcher of a whole pattern; `pretokenize` says of which syntax."""
    parser = _Parser(pattern, category)
    matcher = parser.alternatives()
    if parser.rest:
        raise ValueError(f"unbalanced {parser.rest!r}")
    return matcher


class _Parser:
    """Recursive descent over the few forms that the published patterns use."""

    def __init__(self, pattern: str, category: Callable[[str], str]) -> None:
        self.rest = pattern
        self._category = category
        self._fold_case = False

    def _take(self, prefix: str) -> bool:
        if not self.rest.startswith(prefix):
            return False
        self.rest = self.rest[len(prefix) :]
        return True

    def _next_character(self) -> str:
        if not self.rest:
            raise ValueError("the pattern ends too early")
        character, self.rest = self.rest[0], self.rest[1:]
        return character

    def alternatives(self) -> Matcher:
        """Parse ``a|b|c``."""
        branches = [self._sequence()]
        while self._take("|"):
            branches.append(self._sequence())
        return _any_of(branches)

    def _sequence(self) -> Matcher:
        """Parse items one behind the other, up to ``|`` or ``)`` or the end."""
        items = []
        while self.rest and self.rest[0] not in "|)":
            items.append(self._item())
        return _one_after_the_other(items)

    def _item(self) -> Matcher:
        """Parse a group, a look-ahead, ``$``, or a character with its quantifier."""
        if self._take("(?!"):
            return _not_before(self._group())
        if self._take("$"):
            return _at_end
        if self._take("(?i:"):
            self._fold_case = True
            group = self._group()
            self._fold_case = False
            return _optional(group) if self._take("?") else group
        if self._take("(?:"):
            return self._group()
        predicate = self._character()
        least, most = self._quantifier()
        possessive = (least, most) != (1, 1) and self._take("+")
        return _repeat(predicate, least, most, possessive)

    def _group(self) -> Matcher:
        matcher = self.alternatives()
        if not self._take(")"):
            raise ValueError("a group is not closed")
        return matcher

    def _quantifier(self) -> tuple[int, int | None]:
        """Return how often the character before may stand: at least, at most (None: any number)."""
        if self._take("?"):
            return 0, 1
        if self._take("*"):
            return 0, None
        if self._take("+"):
            return 1, None
        if self._take("{"):
            bounds, _, self.rest = self.rest.partition("}")
            least, most = bounds.split(",")
            return int(least), int(most)
        return 1, 1

    def _character(self) -> _Predicate:
        """Parse ``x``, an escape, or ``[...]``."""
        if not self._take("["):
            return self._single()
        negated = self._take("^")
        members = []
        while not self._take("]"):
            members.append(self._member())
        return lambda character: any(member(character) for member in members) != negated

    def _member(self) -> _Predicate:
        """Parse what may stand in brackets: ``x``, an escape, or a range ``a-z``."""
        if self.rest.startswith("\\"):
            return self._single()
        first = self._next_character()
        if self._take("-"):
            last = self._next_character()
            return lambda other: first <= other <= last
        return self._literal(first)

    def _single(self) -> _Predicate:
        character = self._next_character()
        if character == "\\":
            return self._escape()
        if character in "()*+?{}^.":
            raise ValueError(f"{character!r} is not expected before {self.rest!r}")
        return self._literal(character)

    def _literal(self, character: str) -> _Predicate:
        if self._fold_case:
            return lambda other: other.casefold() == character.casefold()
        return lambda other: other == character

    def _escape(self) -> _Predicate:
        name = self._next_character()
        if name == "s":
            return lambda character: character in _WHITE_SPACE
        if name == "S":
            return lambda character: character not in _WHITE_SPACE
        if name in "rn":
            newline = {"r": "\r", "n": "\n"}[name]
            return lambda character: character == newline
        if name == "p" and self._take("{"):
            prefix, _, self.rest = self.rest.partition("}")
            category = self._category
            return lambda character: category(character).startswith(prefix)
        if not name.isalnum():
            return lambda character: character == name
        raise ValueError(f"unknown escape \\{name}")


def _any_of(branches: list[Matcher]) -> Matcher:
    def match(text: str, at: int) -> Iterator[int]:
        for branch in branches:
            yield from branch(text, at)

    return match


def _one_after_the_other(items: list[Matcher]) -> Matcher:
    if not items:
        return _nothing
    first, rest = items[0], _one_after_the_other(items[1:])

    def match(text: str, at: int) -> Iterator[int]:
        for middle in first(text, at):
            yield from rest(text, middle)

    return match


def _nothing(text: str, at: int) -> Iterator[int]:  # noqa: ARG001 - a Matcher
    yield at


def _at_end(text: str, at: int) -> Iterator[int]:
    if at == len(text):
        yield at


def _not_before(matcher: Matcher) -> Matcher:
    def match(text: str, at: int) -> Iterator[int]:
        if next(matcher(text, at), None) is None:
            yield at

    return match


def _optional(matcher: Matcher) -> Matcher:
    def match(text: str, at: int) -> Iterator[int]:
        yield from matcher(text, at)
        yield at

    return match


def _repeat(predicate: _Predicate, least: int, most: int | None, possessive: bool) -> Matcher:
    def match(text: str, at: int) -> Iterator[int]:
        limit = len(text) if most is None else min(len(text), at + most)
        end = at
        while end < limit and predicate(text[end]):
            end += 1
        if possessive:
            if end >= at + least:
                yield end
        else:
            yield from range(end, at + least - 1, -1)

    return match
