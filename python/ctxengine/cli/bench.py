"""``ctxengine bench``: this machine's speeds on your own text, beside the rivals installed."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from ctxengine.cli import io
from ctxengine.viz.text import printable

if TYPE_CHECKING:
    from ctxengine.cli.contenders import Contender
    from ctxengine.tokenize import Encoding

_EPILOG = """\
examples:
  ctxengine bench                                  Python's own documentation
  ctxengine bench --encoding cl100k_base *.txt     your own text
  ctxengine bench --validate notes.txt && echo 'the ids are those of tiktoken'
  ctxengine bench --json notes.txt

Measures ctxengine and whichever of fastokens, gigatoken, quicktok-v1, splintr-rs, rs-bpe and
tiktoken are installed, in turns, on one thread: MB of UTF-8 per second of processor time, medians
of seven rounds over documents of about 64 kB that were encoded once before. A library that gives
other ids than tiktoken is named and not timed; with --validate the exit code is then 1.
docs/benchmarks.md says more."""

# What is measured: the heading, and the call of a contender.
_CALLS: tuple[tuple[str, str], ...] = (
    ("buffer", "to_buffer"),
    ("list", "to_list"),
    ("count", "count"),
)
_CONTEXT_TOKENS = 4


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "bench",
        help="measure beside the other tokenizers installed",
        description="Measure encoding and counting beside the other tokenizers installed.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "file",
        nargs="*",
        metavar="FILE",
        help="UTF-8 text to measure with; '-' reads standard input",
    )
    parser.add_argument(
        "--validate",
        action="store_true",
        help="compare all ids with tiktoken's; exit with code 1 when one differs",
    )
    io.add_common_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Load, compare, measure and print."""
    from ctxengine.cli.contenders import OURS, REFERENCE, Absent, load_all, version, write_tables
    from ctxengine.cli.rounds import machine

    encoding = io.get_encoding(args.encoding)
    texts, left_out = _texts(args.file, encoding)
    with tempfile.TemporaryDirectory() as folder:
        try:
            tables = write_tables(encoding, Path(folder))
        except Absent as absent:
            raise io.InputError(str(absent)) from None
        contenders, absences = load_all(tables)
    if OURS not in contenders:
        raise io.InputError(f"{OURS}: {absences[OURS]}")
    if args.validate and REFERENCE not in contenders:
        raise io.InputError(f"--validate needs {REFERENCE}: {absences[REFERENCE]}")
    differences = _differences(contenders, texts, encoding)
    exact = {name: contender for name, contender in contenders.items() if name not in differences}
    speeds = _measure(exact, texts)
    report = {
        "machine": machine(),
        "encoding": encoding.name,
        "num_documents": len(texts),
        "num_documents_left_out": left_out,
        "size_bytes": sum(len(text.encode()) for text in texts),
        "reference": REFERENCE if REFERENCE in contenders else OURS,
        "contenders": [
            {
                "name": name,
                "version": version(name),
                "exact": name not in differences,
                **speeds.get(name, {}),
            }
            for name in contenders
        ],
        "differences": differences,
        "absent": absences,
    }
    if args.json:
        io.write_json(report)
    else:
        _print(report)
    return io.EXIT_NO if args.validate and differences else io.EXIT_OK


def _texts(files: Sequence[str], encoding: Encoding) -> tuple[list[str], int]:
    """Return the documents, and how many are left out because they spell a special token.

    The libraries differ in what they do with one.
    """
    from ctxengine.cli.rounds import documents

    if files:
        texts = [io.to_text(*io.read_bytes(file)) for file in files]
    else:
        from pydoc_data.topics import topics

        texts = ["\n".join(topics.values())]
    parts = [part for text in texts for part in documents(text)]
    kept = [part for part in parts if not any(map(part.__contains__, encoding.special_tokens_set))]
    if not kept:
        raise io.InputError("no text to measure with")
    return kept, len(parts) - len(kept)


def _differences(
    contenders: dict[str, Contender], texts: Sequence[str], encoding: Encoding
) -> dict[str, str]:
    """Return, for each contender whose ids are not the reference's, the first place."""
    from ctxengine.cli.contenders import OURS, REFERENCE

    reference = contenders.get(REFERENCE, contenders[OURS])
    found: dict[str, str] = {}
    for number, text in enumerate(texts, 1):
        expected = reference.to_list(text)
        for name, contender in contenders.items():
            if name not in found:
                difference = _difference(contender, text, expected, encoding)
                if difference:
                    found[name] = f"document {number}, {difference}"
    return found


def _difference(
    contender: Contender, text: str, expected: list[int], encoding: Encoding
) -> str | None:
    from ctxengine.cli.contenders import brief, ids_of

    try:
        results = [contender.to_list(text)]
        if contender.to_buffer:
            results.append(ids_of(contender.to_buffer(text)))
        count = contender.count(text)
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # a panic of Rust is no Exception
        return brief(error)
    for ids in results:
        if ids != expected:
            return _first_difference(ids, expected, encoding)
    if count != len(expected):
        return f"count: {count} tokens instead of {len(expected)}"
    return None


def _first_difference(ids: Sequence[int], expected: Sequence[int], encoding: Encoding) -> str:
    pairs = enumerate(zip(ids, expected, strict=False))
    index = next((i for i, (a, b) in pairs if a != b), min(len(ids), len(expected)))
    begin = max(0, index - _CONTEXT_TOKENS)
    here = slice(index, index + _CONTEXT_TOKENS)
    return (
        f"token {index}: after {encoding.decode(expected[begin:index])!r} "
        f"{_tokens(ids[here], encoding)} instead of {_tokens(expected[here], encoding)}"
    )


def _tokens(ids: Sequence[int], encoding: Encoding) -> str:
    from ctxengine.errors import UnknownTokenError

    try:
        parts = [encoding.decode([token]) for token in ids]
    except UnknownTokenError:
        parts = ["?"]
    return f"{list(ids)} {'|'.join(parts)!r}"


def _measure(contenders: dict[str, Contender], texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return speeds, and ours as multiples of them, by contender and call."""
    from ctxengine.cli.contenders import OURS
    from ctxengine.cli.rounds import each, ratio, take_turns

    size_mb = sum(len(text.encode()) for text in texts) / 1e6
    measured: dict[str, dict[str, Any]] = {name: {} for name in contenders}
    with io.Progress("measuring", len(_CALLS)) as progress:
        for heading, attribute in _CALLS:
            calls: dict[str, Callable[[str], object]] = {
                name: call
                for name, contender in contenders.items()
                if (call := getattr(contender, attribute)) is not None
            }
            seconds = take_turns({name: each(call, texts) for name, call in calls.items()})
            for name in calls:
                measured[name][f"{heading}_mb_per_s"] = size_mb / median(seconds[name])
                if OURS in seconds:
                    measured[name][f"{heading}_ours_times"] = ratio(seconds[name], seconds[OURS])
            progress.advance(1)
    return measured


def _print(report: dict[str, Any]) -> None:
    documents, left_out = report["num_documents"], report["num_documents_left_out"]
    print(report["machine"])
    print(
        f"{report['encoding']}, {report['size_bytes'] / 1e6:.2f} MB in {documents} "
        f"document{'s'[: documents != 1]}, one thread"
    )
    if left_out:
        print(f"{left_out} more left out: special tokens are spelled there")
    print("MB/s, and how many times as fast ctxengine is")
    headings = "".join(f"{heading:>18}" for heading, _ in _CALLS)
    print(f"\n{'':24}{headings}")
    for row in report["contenders"]:
        cells = "".join(_cell(row, heading) for heading, _ in _CALLS)
        mark = "" if row["exact"] else "   not the same ids"
        print(f"{row['name'] + ' ' + row['version']:24}{cells}{mark}")
    for name, reason in report["absent"].items():
        print(f"{name:24}{printable(reason)}")
    print()
    for name, place in report["differences"].items():
        print(f"{name} differs from {report['reference']}: {printable(place)}")
    equal = [row["name"] for row in report["contenders"] if row["exact"]]
    print(f"the same ids in every document: {', '.join(equal)}")


def _cell(row: dict[str, Any], heading: str) -> str:
    speed, times = row.get(f"{heading}_mb_per_s"), row.get(f"{heading}_ours_times")
    if speed is None:
        return f"{'-':>18}"
    return f"{speed:9.1f} {'' if times is None else f'({times:.2f}x)':>8}"
