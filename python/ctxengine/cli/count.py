"""``ctxengine count``: exact token counts, like ``wc``."""

from __future__ import annotations

import argparse
from typing import Any

from ctxengine.cli import io
from ctxengine.viz.text import printable

_EPILOG = """\
examples:
  ctxengine count README.md docs/*.md
  git diff | ctxengine count --encoding qwen3
  ctxengine count --limit 8000 prompt.txt || echo 'too long'
  ctxengine count --text 'Hello' --json

The spelling of a special token, such as <|endoftext|>, is counted as plain text: what a user typed
is never a control token. With --limit the exit code is 1 when the sum of all files is over it."""


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "count",
        help="count the tokens of text",
        description="Count the tokens of text exactly; one line for each file.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    io.add_text_options(parser, many=True)
    parser.add_argument(
        "--limit",
        type=io.token_count,
        metavar="N",
        help="exit with code 1 when there are more than N",
    )
    io.add_common_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Count and print."""
    encoding = io.open_encoding(args.encoding)
    rows: list[tuple[str, int]] = []
    if args.text is not None:
        if args.file:
            raise io.InputError("give either FILE or --text, not both")
        rows.append(("<text>", encoding.count(io.from_argument(args.text))))
    else:
        for file in args.file or ["-"]:
            name, data = io.read_bytes(file)
            text = io.to_text(name, data)
            rows.append((name, sum(map(encoding.count, io.encode_pieces(text, "counting")))))
    total = sum(tokens for _, tokens in rows)
    fits = args.limit is None or total <= args.limit
    if args.json:
        report: dict[str, Any] = {"encoding": encoding.name, "num_tokens": total}
        if args.limit is not None:
            report |= {"limit": args.limit, "fits": fits}
        report["files"] = [{"name": name, "num_tokens": tokens} for name, tokens in rows]
        io.write_json(report)
    elif len(rows) == 1:
        print(total)
    else:
        width = len(str(total))
        for name, tokens in [*rows, ("total", total)]:
            print(f"{tokens:{width}}  {printable(name)}")
    return io.EXIT_OK if fits else io.EXIT_NO
