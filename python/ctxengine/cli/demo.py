"""``ctxengine demo``: a support chat, planned and played on this machine."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctxengine.cli import io
from ctxengine.viz import Frame, Style, frame_text, report_html
from ctxengine.viz.charts import format_duration
from ctxengine.viz.text import clip, wrap

if TYPE_CHECKING:
    from ctxengine.cli.request import Request

_EPILOG = """\
examples:
  ctxengine demo
  ctxengine demo --html report.html     the same as a page for the browser
  ctxengine demo --request > my.json    the conversation as a file; docs/request.md explains it
  ctxengine demo my.json                your own conversation
  ctxengine demo --json

No network, no GPU, no model: the replies stand in the file. Everything else is real: token ids,
block hashes, the block pool and its evictions, and the times."""


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "demo",
        help="see it work on a support chat; start here",
        description="Plan a long support chat and play its next turns.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help="another request with a replay")
    parser.add_argument("--html", metavar="FILE", help="also write a report for the browser")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--request", action="store_true", help="print the request file and stop")
    output.add_argument("--json", action="store_true", help="print one JSON object, for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Play and print."""
    from ctxengine.cli.request import read_request

    name, data = io.read_bytes(args.file or str(example_path()))
    request = read_request(name, data)
    if args.request:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        return io.EXIT_OK
    style = Style.of(sys.stdout)
    if not args.json:
        print(_introduction(request, style))
    frames = []
    for frame in play(request):
        frames.append(frame)
        if not args.json:
            print(frame_text(frame, style=style, legend=len(frames) == 1), end="\n\n")
    if args.html:
        page = report_html("ctxengine demo", request.about, frames)
        Path(args.html).write_text(page, encoding="utf-8")
    if args.json:
        io.write_json({"requests": [frame.to_dict() for frame in frames]})
    else:
        print(_summary(frames, style))
        print(_what_next(style))
    return io.EXIT_OK


def example_path() -> Path:
    """Where the example lies in the installed package."""
    import ctxengine

    for place in ctxengine.__path__:
        path = Path(place) / "examples/support_chat.json"
        if path.is_file():
            return path
    raise io.InputError("examples/support_chat.json is missing from the installation")


def play(request: Request) -> Iterator[Frame]:
    """Send the request and then each turn of its replay; yield the frame of each prompt.

    A turn's prompt holds the whole conversation so far, with the chunks retrieved for its question.
    The sequence stays in the pool while the reply is generated, and is then released: its blocks
    remain findable until the room is needed.
    """
    from ctxengine.cli.session import Session

    session = Session(request)
    history = list(request.history)
    steps = [("The request", request.retrieval, request.reply)]
    for number, turn in enumerate(request.turns, 1):
        steps.append((f"Turn {number} of {len(request.turns)}", turn.retrieval, turn.reply))
    for number, (title, retrieval, reply) in enumerate(steps):
        if number:
            history.append({"role": "user", "content": request.turns[number - 1].user})
        planned = session.plan(history, retrieval)
        generated, answer_ids = session.say(planned, reply)
        with session.place(planned) as sequence:
            yield session.frame(
                title,
                planned,
                history,
                retrieval,
                sequence=sequence,
                output_tokens=generated,
            )
            sequence.compute()
            sequence.extend(answer_ids)
        history += reply


def _introduction(request: Request, style: Style) -> str:
    window, reserved = request.budget.window, request.budget.reserve_output
    text = (
        f"{len(request.history)} messages, {len(request.tools)} tools and "
        f"{len(request.retrieval)} retrieved chunks, for a window of {window:,} tokens with "
        f"{reserved:,} kept for the answer. Encoding {request.encoding}, blocks of "
        f"{request.block_size} tokens. What does not fit is left out; what was sent before is "
        f"found in the block pool and not computed again. No model runs here: the replies "
        f"stand in the file."
    )
    return wrap(text, style.width) + "\n"


def _summary(frames: list[Frame], style: Style) -> str:
    sent = sum(frame.prompt_tokens for frame in frames)
    cached = sum(frame.cached_tokens for frame in frames)
    time = sum(ns for frame in frames for _, ns in frame.stages)
    text = (
        f"{len(frames)} prompts: {sent:,} tokens sent, {cached:,} of them cached "
        f"({cached / max(1, sent):.0%}), planned, hashed and placed in {format_duration(time)}."
    )
    costs = [(f.cost, f.cost_without_cache) for f in frames if f.cost and f.cost_without_cache]
    if costs:
        total, without = costs[0]
        for cost, plain in costs[1:]:
            total, without = total + cost, without + plain
        text += f" Estimated cost {total}; without a cache {without}."
    return style.paint(wrap(text, style.width), "bold")


def _what_next(style: Style) -> str:
    steps = [
        ("ctxengine demo --html demo.html", "the same for the browser"),
        ("ctxengine demo --request > my.json", "this conversation as a file to edit"),
        ("ctxengine plan my.json --window 9000", "what fits into a smaller window"),
        ("git diff | ctxengine count", "exact token counts of anything"),
    ]
    width = max(len(command) for command, _ in steps)
    lines = [
        f"  {style.paint(command.ljust(width), 'cyan')}   {clip(why, style.width - width - 5)}"
        for command, why in steps
    ]
    return "\n".join(["", "Try next:", *lines])
