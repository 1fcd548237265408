"""``ctxengine plan``: what goes into the window of one request, and what is left out."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from ctxengine.cli import io
from ctxengine.viz import Style, frame_text, report_html

_EPILOG = """\
examples:
  ctxengine plan request.json
  ctxengine plan request.json --window 8192          the same request in a smaller window
  ctxengine plan - --json < request.json | jq .used
  ctxengine plan request.json --html plan.html
  ctxengine plan request.json --messages | jq .      the messages that fit, ready to be sent

The file is described in docs/request.md; examples/support_chat.json is a complete one. The exit
code is 1 when what must be kept (system prompt, tools, the last turn, pinned chunks) is larger
than the window."""


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "plan",
        help="fit a request into its window",
        description="Choose what goes into the window of a request; token-exact, never over.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="request as JSON; '-' reads standard input")
    parser.add_argument(
        "--window", type=io.token_count, metavar="N", help="use a window of N tokens"
    )
    parser.add_argument("--html", metavar="FILE", help="also write a report for the browser")
    parser.add_argument("--envelope", metavar="FILE", help="also write ids, hashes and sections")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--messages", action="store_true", help="print the chosen messages as JSON")
    output.add_argument("--json", action="store_true", help="print one JSON object, for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Plan and print."""
    from ctxengine.cli.request import read_request
    from ctxengine.cli.session import Session

    name, data = io.read_bytes(args.file)
    request = read_request(name, data)
    if args.window is not None:
        request = replace(request, budget=replace(request.budget, window=args.window))
    session = Session(request)
    planned = session.plan(request.history, request.retrieval)
    frame = session.frame(f"Plan of {name}", planned, request.history, request.retrieval)
    if args.envelope:
        Path(args.envelope).write_bytes(session.engine.envelope(planned))
    if args.html:
        page = report_html(frame.title, request.about, [frame])
        Path(args.html).write_text(page, encoding="utf-8")
    if args.messages:
        io.write_json(list(planned.plan.messages))
    elif args.json:
        report = planned.plan.to_dict()
        report["requested"] = planned.requested_tokens
        report["prefix"] = [block_hash.hex() for block_hash in planned.prefix]
        report["stages_ns"] = dict(planned.stages)
        cost = planned.cost_without_cache()
        report["cost"] = None if cost is None else cost.to_dict()
        io.write_json(report)
    else:
        print(frame_text(frame, style=Style.of(sys.stdout)))
    return io.EXIT_OK
