"""``ctxengine plan``: what goes into the window of one request, and what is left out."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctxengine.cli import io
from ctxengine.viz import Style, frame_text, report_html

if TYPE_CHECKING:
    from ctxengine.budget import CacheRules, Sent
    from ctxengine.cli.request import Request
    from ctxengine.engine import EnginePlan

_EPILOG = """\
examples:
  ctxengine plan request.json
  ctxengine plan request.json --window 8192          the same request in a smaller window
  ctxengine plan body.json --model gpt-4o            the body of a request to an API
  ctxengine plan now.json --previous before.json     what a provider's cache holds since that call
  ctxengine plan request.json --html plan.html
  ctxengine plan request.json --messages | jq .      the messages that fit, ready to be sent
  ctxengine plan - --json < request.json | jq .used

A request is described in docs/request.md; examples/support_chat.json and examples/research.json
are complete ones. A body of chat completions, Responses or Anthropic's messages is one too. The
exit code is 1 when what must be kept (system prompt, tools, the last turn, what is pinned) is
larger than the window."""


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
    parser.add_argument("--model", metavar="NAME", help="plan for this model")
    parser.add_argument(
        "-e", "--encoding", metavar="NAME", help="count with this encoding or vocabulary"
    )
    parser.add_argument(
        "--window", type=io.token_count, metavar="N", help="use a window of N tokens"
    )
    parser.add_argument("--previous", metavar="FILE", help="the request sent before this one")
    parser.add_argument("--html", metavar="FILE", help="also write a report for the browser")
    parser.add_argument("--envelope", metavar="FILE", help="also write ids, hashes and sections")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--messages", action="store_true", help="print the chosen messages as JSON")
    output.add_argument("--json", action="store_true", help="print one JSON object, for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Plan and print."""
    from ctxengine.budget import lint
    from ctxengine.cli.session import Session

    name, request = _read(args, args.file)
    session = Session(request)
    sent, before = None, None
    if args.previous:
        if request.rules is None:
            raise io.InputError('--previous: no cache rules are known; give "rules" or a model')
        sent, before = _sent(_read(args, args.previous)[1], request.rules)
    planned = session.plan(request.history, request.retrieval, sent)
    findings = []
    if request.rules is not None:
        body = planned.plan.request | {"model": request.model}
        findings = lint(body, request.rules, previous=before, tokens=planned.plan.counts)
    if args.envelope:
        Path(args.envelope).write_bytes(session.engine.envelope(planned))
    frame = session.frame(
        f"Plan of {name}" + f" for {request.model}" * bool(request.model),
        planned,
        request.history,
        request.retrieval,
        findings=findings,
    )
    if args.html:
        page = report_html(frame.title, request.about, [frame])
        Path(args.html).write_text(page, encoding="utf-8")
    if args.messages:
        io.write_json(list(planned.plan.messages))
    elif args.json:
        io.write_json(_report(planned) | {"lint": [asdict(finding) for finding in findings]})
    else:
        print(frame_text(frame, style=Style.of(sys.stdout)))
    return io.EXIT_OK


def _read(args: argparse.Namespace, file: str) -> tuple[str, Request]:
    from ctxengine.cli.request import read_request

    name, data = io.read_bytes(file)
    return name, read_request(
        name, data, model=args.model, encoding=args.encoding, window=args.window
    )


def _sent(request: Request, rules: CacheRules) -> tuple[Sent | None, dict[str, Any]]:
    """Plan the request that was sent before: what is stored of it, and what was to stay of it."""
    from ctxengine.cli.session import Session

    planned = Session(replace(request, rules=rules)).plan(request.history, request.retrieval)
    body = planned.plan.request | {"model": request.model}
    if request.choices.placement == "turn":
        # Texts in the last user's message were not meant to stay.
        own = [message for message in request.history if message["role"] == "user"]
        users = [i for i, message in enumerate(body["messages"]) if message["role"] == "user"]
        if users:
            body["messages"][users[-1]] = own[-1]
    return None if planned.cache is None else planned.cache.sent, body


def _report(planned: EnginePlan) -> dict[str, Any]:
    report = planned.plan.to_dict()
    report["requested"] = planned.requested_tokens
    report["prefix"] = [block_hash.hex() for block_hash in planned.prefix]
    report["stages_ns"] = dict(planned.stages)
    cost = planned.cost
    report["cost"] = None if cost is None else cost.to_dict()
    return report
