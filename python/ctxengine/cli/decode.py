"""``ctxengine decode``: token ids to text."""

from __future__ import annotations

import argparse
import re
import sys
from typing import Any

from ctxengine.cli import io
from ctxengine.errors import UnknownTokenError
from ctxengine.viz.text import printable

_EPILOG = """\
examples:
  ctxengine decode --ids '13225 11 2375'
  ctxengine encode notes.txt | ctxengine decode | cmp - notes.txt
  echo '[13225, 11, 2375]' | ctxengine decode --json

Ids may be separated by white space or commas, with or without the brackets of a JSON list. The
bytes are written as they are; --json replaces what is not UTF-8 by U+FFFD and says so."""

_SEPARATORS = re.compile(r"[\s,\[\]]+")
_MAX_DIGITS = 10


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "decode",
        help="turn token ids into text",
        description="Turn token ids into text.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "file", nargs="?", metavar="FILE", help="token ids; '-' or nothing reads standard input"
    )
    parser.add_argument("--ids", metavar="IDS", help="the ids themselves, instead of a file")
    io.add_common_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Decode and print."""
    encoding = io.open_encoding(args.encoding)
    if args.ids is not None and args.file:
        raise io.InputError("give either FILE or --ids, not both")
    if args.ids is not None:
        ids = _parse("--ids", io.from_argument(args.ids, "--ids"))
    else:
        name, data = io.read_bytes(args.file)
        ids = _parse(name, io.to_text(name, data))
    try:
        content = encoding.decode_bytes(ids)
    except UnknownTokenError as error:
        raise io.InputError(f"{name}: {error}") from None
    if args.json:
        text = content.decode("utf-8", errors="replace")
        exact = text.encode() == content
        io.write_json({"encoding": encoding.name, "text": text, "valid_utf8": exact})
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    return io.EXIT_OK


def _parse(name: str, text: str) -> list[int]:
    ids = []
    words = (word for word in _SEPARATORS.split(text) if word)
    for position, word in enumerate(words):
        if not (word.isascii() and word.isdecimal() and len(word) <= _MAX_DIGITS):
            shown = printable(word[:40])
            raise io.InputError(f"{name}: id {position}: expected a token id, got '{shown}'")
        ids.append(int(word))
    return ids
