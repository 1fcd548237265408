"""``ctxengine encode``: text to token ids."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ctxengine.cli import io
from ctxengine.viz import Style, colored_tokens

_EPILOG = """\
examples:
  ctxengine encode --text 'Hello, world'          ids on one line
  ctxengine encode notes.txt > notes.ids          whole files, any size
  ctxengine encode --show --text 'naïve café'     the pieces, in colour on a terminal
  ctxengine encode < notes.txt | ctxengine decode the same bytes again
  ctxengine encode --special --text 'a<|endoftext|>'

Without --special the spelling of a special token is encoded as the plain text that it is."""


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "encode",
        help="turn text into token ids",
        description="Turn text into token ids, separated by spaces.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    io.add_text_options(parser)
    parser.add_argument("--special", action="store_true", help="recognise special tokens")
    parser.add_argument("--show", action="store_true", help="show the text of each token")
    io.add_common_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Encode and print."""
    encoding = io.open_encoding(args.encoding)
    text = io.read_text(args)
    ids: list[int] = []
    for piece in io.encode_pieces(text, "encoding"):
        if args.special:
            ids += encoding.encode(piece, allowed_special="all")
        else:
            ids += encoding.encode_ordinary(piece)
    if args.json:
        io.write_json({"encoding": encoding.name, "num_tokens": len(ids), "ids": ids})
    elif args.show:
        print(colored_tokens(encoding, ids, style=Style.of(sys.stdout)))
    else:
        print(" ".join(map(str, ids)))
    return io.EXIT_OK
