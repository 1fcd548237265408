"""Reading input, writing output, and showing that something is going on."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctxengine.viz.text import Style, printable

if TYPE_CHECKING:
    from ctxengine.tokenize import Encoding

EXIT_OK = 0
EXIT_NO = 1
EXIT_BAD_INPUT = 3

DEFAULT_ENCODING = "o200k_base"

_PIECE_CHARS = 1 << 18
_CUT = re.compile(r"(?<=\S\n)(?=[^\W_])")


class InputError(Exception):
    """The input is not what it must be; the message says which, where and why."""


def add_common_options(parser: argparse.ArgumentParser, *, encoding: bool = True) -> None:
    """Add the options that every command has."""
    if encoding:
        parser.add_argument(
            "-e",
            "--encoding",
            default=DEFAULT_ENCODING,
            metavar="NAME",
            help="encoding (cl100k_base, qwen3), model (gpt-4o) or the path of a vocabulary "
            f"(default: {DEFAULT_ENCODING})",
        )
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")


def add_text_options(parser: argparse.ArgumentParser, *, many: bool = False) -> None:
    """Add the ways to hand over a text: files, standard input, or ``--text``."""
    parser.add_argument(
        "file",
        nargs="*" if many else "?",
        metavar="FILE",
        help="UTF-8 text; '-' or nothing reads standard input",
    )
    parser.add_argument("--text", help="the text itself, instead of a file")


def token_count(text: str) -> int:
    """Parse the value of an option that is a number of tokens."""
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected a whole number of tokens, got {text!r}")
    if len(text) > 19 or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"expected at most 2**63 - 1 tokens, got {text}")
    return int(text)


def read_bytes(name: str | None) -> tuple[str, bytes]:
    """Read a file, or standard input for ``None`` and ``-``; return (name to show, content)."""
    if name is None or name == "-":
        if sys.stdin is None:
            raise InputError("standard input is closed")
        if sys.stdin.isatty():
            print("ctxengine: reading the keyboard; Ctrl-D ends it", file=sys.stderr)
        return "<stdin>", sys.stdin.buffer.read()
    return name, Path(name).read_bytes()


def to_text(name: str, data: bytes) -> str:
    """Decode UTF-8, or say where it stops being UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{name}: not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start} "
            f"(line {line}): {error.reason}"
        ) from None


def read_text(args: argparse.Namespace) -> str:
    """Return the text that the command line names."""
    if args.text is not None:
        if args.file:
            raise InputError("give either FILE or --text, not both")
        return from_argument(args.text)
    return to_text(*read_bytes(args.file))


def from_argument(text: str, option: str = "--text") -> str:
    """Return a command line argument, which Python decodes with stand-ins for broken bytes."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"{option}: not UTF-8 at character {error.start}") from None
    return text


def get_encoding(name: str) -> Encoding:
    """Return the encoding, that of the model, or say which encodings exist."""
    from ctxengine import tokenize
    from ctxengine.errors import UnknownTokenError

    try:
        return tokenize.get_encoding(name)
    except (UnknownTokenError, ValueError):
        pass
    try:
        return tokenize.encoding_for_model(name)
    except UnknownTokenError:
        known = ", ".join(tokenize.list_encoding_names())
        raise InputError(f"unknown encoding '{printable(name)}'; known: {known}") from None


def open_encoding(name: str) -> Encoding:
    """Likewise, or load the vocabulary at that path."""
    from ctxengine import tokenize

    try:
        return get_encoding(name)
    except InputError:
        if not Path(name).exists():
            raise
    return tokenize.load(name)


def pieces(text: str, size: int = _PIECE_CHARS) -> Iterator[str]:
    r"""Cut ``text`` so that encoding the pieces one by one gives the ids of the whole.

    A cut lies between a newline and a letter or digit, where the newline follows a character that
    is not white space. In every shipped pattern no pre-token holds a newline together with a
    letter or digit after it, so a pre-token ends there; and the white-space run to the left is
    that one newline, which ``\s+(?!\S)`` and ``\s+`` take alike, so nothing to the left depends
    on what follows. A text without such a place stays whole.
    """
    start = 0
    while len(text) - start > size:
        cut = _CUT.search(text, start + size)
        if cut is None:
            break
        yield text[start : cut.start()]
        start = cut.start()
    yield text[start:] if start else text


def encode_pieces(text: str, label: str) -> Iterator[str]:
    """Yield the pieces of ``text``, with a progress bar on a terminal."""
    with Progress(label, len(text)) as progress:
        for piece in pieces(text):
            yield piece
            progress.advance(len(piece))


class Progress(AbstractContextManager["Progress"]):
    """A bar on standard error; silent unless that is a terminal and the work takes a while."""

    _QUIET_SECONDS = 0.3

    def __init__(self, label: str, total: int) -> None:
        self._stream = sys.stderr
        self._live = self._stream is not None and self._stream.isatty()
        self._style = Style.of(self._stream) if self._live else Style()
        self._label, self._total, self._done = label, total, 0
        self._begin = time.monotonic()
        self._drawn = 0.0

    def __exit__(self, *_: object) -> None:
        if self._drawn:
            self._stream.write("\r" + " " * (self._style.width - 1) + "\r")
            self._stream.flush()

    def advance(self, amount: int) -> None:
        """Report that ``amount`` more of the total is done."""
        self._done += amount
        now = time.monotonic()
        if not self._live or now - self._begin < self._QUIET_SECONDS or now - self._drawn < 0.05:
            return
        self._drawn = now
        share = self._done / max(1, self._total)
        filled = round(share * 30)
        bar = self._style.glyph("█", "#") * filled + self._style.glyph("░", ".") * (30 - filled)
        self._stream.write(f"\r{self._label} {bar} {share:4.0%}")
        self._stream.flush()


def write_json(value: Any) -> None:
    """Print one JSON object; ASCII only, so that every pipe carries it."""
    print(json.dumps(value, indent=2))
