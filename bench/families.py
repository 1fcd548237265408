"""Families of hostile text: forty ways to make time or memory grow faster than the text.

Each is made for any number of characters, always the same.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Iterator
from itertools import count

LOWER = string.ascii_lowercase
SYMBOLS = '!"#$%&()*+,-./:;=?@[]^_`{}~'


def _repeat(unit: str) -> Callable[[int], str]:
    return lambda size: (unit * (size // len(unit) + 1))[:size]


def _choose(alphabet: str, seed: int = 3) -> Callable[[int], str]:
    return lambda size: "".join(random.Random(seed).choices(alphabet, k=size))


def _join(parts: Callable[[], Iterator[str]]) -> Callable[[int], str]:
    def make(size: int) -> str:
        made: list[str] = []
        num_made = 0
        for part in parts():
            made.append(part)
            num_made += len(part)
            if num_made >= size:
                break
        return "".join(made)[:size]

    return make


def _words(shortest: int, longest: int, between: str) -> Callable[[], Iterator[str]]:
    def parts() -> Iterator[str]:
        chance = random.Random(4)
        while True:
            yield "".join(chance.choices(LOWER, k=chance.randint(shortest, longest))) + between

    return parts


def _growing(letter: str, between: str) -> Callable[[], Iterator[str]]:
    return lambda: (letter * i + between for i in count(1))


def _fibonacci(size: int) -> str:
    first, second = "a", "ab"
    while len(second) < size:
        first, second = second, second + first
    return second[:size]


def _thue_morse(size: int) -> str:
    return "".join("ab"[i.bit_count() % 2] for i in range(size))


FAMILIES: dict[str, Callable[[int], str]] = {
    "one letter": _repeat("a"),
    "one capital": _repeat("A"),
    "one accented letter": _repeat("é"),
    "one letter of four bytes": _repeat("\U00010400"),
    "one han character": _repeat("的"),
    "two letters in turn": _repeat("ab"),
    "a long word again and again": _repeat("antidisestablishmentarianism"),
    "random letters": _choose(LOWER),
    "random letters of two": _choose("ab"),
    "random letters, both cases": _choose(string.ascii_letters),
    "random letters of Latin-1": _choose("àáâãäåæçèéêëìíîïðñòóôõö"),
    "random han": _choose("".join(map(chr, range(0x4E00, 0x9FFF)))),
    "random hangul": _choose("".join(map(chr, range(0xAC00, 0xD7A4)))),
    "random letters, all scripts": _choose("aбγאعकกあア中한ꀀᚠ"),
    "Fibonacci word": _fibonacci,
    "Thue-Morse word": _thue_morse,
    "runs that grow": _join(_growing("a", " ")),
    "runs of spaces that grow": _join(_growing(" ", "x")),
    "short random words": _join(_words(1, 6, " ")),
    "long random words": _join(_words(500, 5000, " ")),
    "spaces": _repeat(" "),
    "spaces, then a letter": lambda size: " " * (size - 1) + "x",
    "newlines": _repeat("\n"),
    "carriage returns": _repeat("\r\n"),
    "spaces and newlines": _repeat("       \n"),
    "random white space": _choose(" \t\n\r\u00a0\u3000\u2003"),
    "wide spaces": _repeat("\u3000"),
    "digits": _choose(string.digits),
    "one digit": _repeat("0"),
    "digits of other scripts": _choose("०१٣४፩"),
    "one symbol": _repeat("^"),
    "random symbols": _choose(SYMBOLS),
    "symbols and newlines": _repeat("!\n/\n"),
    "apostrophes": _repeat("'"),
    "contractions": _repeat("'s't're'LL"),
    "camel case": _repeat("someVeryLongIdentifierName"),
    "marks": _repeat("e" + "\u0301" * 50),
    "emoji sequences": _repeat("\U0001f468\u200d\U0001f469\u200d\U0001f467\ufe0f"),
    "begun special tokens": _repeat("<|endoftext<|im_"),
    "base64": _choose(string.ascii_letters + string.digits + "+/"),
}
