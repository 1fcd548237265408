"""``ctxengine models``: what is known of models."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from ctxengine.cli import io

_EPILOG = """\
examples:
  ctxengine models                                 all of them, a line each
  ctxengine models azure/gpt-4o-2024-08-06         one, with the sources of its figures
  ctxengine models claude-opus-5 --json
  ctxengine models acme-1 --table acme.json        with a table of your own over the shipped one

docs/models.md explains the names, the rules and the form of a table."""


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "models",
        help="show windows, encodings and templates of models",
        description="Show what is known of models: windows, encodings, templates, rules.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="a model; all when absent")
    parser.add_argument("--table", metavar="FILE", help="a table of your own")
    io.add_common_options(parser, encoding=False)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Look up and print."""
    from ctxengine.models import shipped

    table = shipped() if args.table is None else shipped().with_file(args.table)
    if args.name is not None:
        facts = asdict(table.facts(args.name))
        if args.json:
            io.write_json(facts)
        else:
            width = max(map(len, facts))
            for field, value in facts.items():
                for line in value if isinstance(value, tuple) else [_shown(value)]:
                    print(f"{field:{width}}  {line}")
        return io.EXIT_OK
    known = [asdict(table.facts(name)) for name in table.names()]
    if args.json:
        io.write_json({"as_of": table.as_of, "models": known})
        return io.EXIT_OK
    columns = ("name", "context_window", "max_input_tokens", "max_output_tokens", "encoding")
    rows = [columns, *(tuple(_shown(facts[column]) for column in columns) for facts in known)]
    widths = [max(len(row[index]) for row in rows) for index in range(len(columns))]
    for row in rows:
        cells = zip(row, widths, columns, strict=True)
        print(
            "  ".join(
                f"{cell:>{width}}" if "token" in column or "window" in column else f"{cell:{width}}"
                for cell, width, column in cells
            ).rstrip()
        )
    return io.EXIT_OK


def _shown(value: object) -> str:
    return "-" if value is None else str(value)
