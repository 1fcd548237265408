"""Pictures made of text: section bars, the block pool, the tokens of a text, a whole frame."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING

from ctxengine.viz.frame import Blocks, Frame, LeftOut
from ctxengine.viz.text import PLAIN, Style, cell_width, clip, pad, printable

if TYPE_CHECKING:
    from ctxengine.pricing import Cost
    from ctxengine.tokenize import Encoding

__all__ = ["block_map", "colored_tokens", "frame_text", "section_bars", "token_texts"]

_EIGHTHS = " ▏▎▍▌▋▊▉"
_SECTION_COLORS = {
    "system": "blue",
    "tools": "cyan",
    "history": "green",
    "retrieval": "magenta",
    "turn": "yellow",
}
_LABEL_COLUMNS = 11
_GLUE = "\0"  # a space at which no line is broken
_SGR = re.compile(r"\x1b\[[0-9;]*m")
_TOKEN_BACKGROUNDS = ("42", "43", "44", "45", "46")
# What a block holds: glyph, ASCII form, colour.
_BLOCK_KINDS = {
    "hit": ("█", "#", "green"),
    "new": ("▓", "n", "yellow"),
    "kept": ("░", "-", "blue"),
    "free": ("·", ".", "dim"),
}


def section_bars(frame: Frame, *, style: Style = PLAIN) -> str:
    """Draw one bar for each section, on the scale of the largest; shares are of the window.

    A section without tokens has none.
    """
    rows = [
        (name, tokens, _SECTION_COLORS.get(name, "cyan"))
        for name, tokens in frame.sections
        if tokens
    ]
    free = frame.window - frame.reserved_output - frame.prompt_tokens
    if frame.reserved_output:
        rows.append(("answer", frame.reserved_output, "dim"))
    rows.append(("free", free, "dim"))
    room = style.width - _LABEL_COLUMNS - 20
    scale = max(1, *(tokens for _, tokens, _ in rows))
    lines = []
    for name, tokens, color in rows:
        hollow = name in ("answer", "free")
        bar = _bar(tokens, scale, room, style, hollow=hollow)
        label = pad(clip(printable(name), _LABEL_COLUMNS - 1), _LABEL_COLUMNS)
        figure = f"{tokens:>8,}  {tokens / max(1, frame.window):>6.1%}"
        lines.append(f"  {label}{style.paint(bar, color)}{' ' * (room - cell_width(bar))}{figure}")
    return "\n".join(lines)


def block_map(blocks: Blocks, *, style: Style = PLAIN, columns: int | None = None) -> str:
    """Draw the pool as one strip; each kind of block that exists gets at least one cell."""
    counts = {
        "hit": blocks.hit,
        "new": blocks.allocated,
        "kept": blocks.kept,
        "free": blocks.free,
    }
    cells = _apportion(list(counts.values()), columns or style.width - _LABEL_COLUMNS - 2)
    strip = []
    for kind, length in zip(counts, cells, strict=True):
        glyph, ascii_form, color = _BLOCK_KINDS[kind]
        strip.append(style.paint(style.glyph(glyph, ascii_form) * length, color))
    return "".join(strip)


def token_texts(encoding: Encoding, ids: Sequence[int]) -> list[str]:
    r"""Return a printable form of each token; bytes that are not text appear as ``\xNN``."""
    return [
        printable(encoding.decode_single_token_bytes(i).decode("utf-8", "backslashreplace"))
        for i in ids
    ]


def colored_tokens(encoding: Encoding, ids: Sequence[int], *, style: Style = PLAIN) -> str:
    """Write the text of the tokens, told apart by background colour, or by ``|`` without colour.

    A line break is shown as an arrow and then made.
    """
    texts = token_texts(encoding, ids)
    if not style.unicode:
        texts = [text.encode("ascii", "backslashreplace").decode() for text in texts]
    arrow = style.glyph("↵", "\\u21b5")
    if not style.color:
        return "|".join(text.replace(arrow, arrow + "\n") for text in texts)
    painted = []
    for text, background in zip(texts, cycle(_TOKEN_BACKGROUNDS)):
        code = f"\x1b[30;{background}m"
        painted.append(code + text.replace(arrow, f"{arrow}\x1b[0m\n{code}") + "\x1b[0m")
    return "".join(painted)


def frame_text(frame: Frame, *, style: Style = PLAIN, legend: bool = True) -> str:
    """Draw everything that a frame knows, about fifteen lines."""
    lines = [style.paint(_encodable(clip(frame.title, style.width), style), "bold")]
    if frame.message:
        first = _encodable(printable(_first_line(frame.message)), style)
        first = clip(first, style.width - 6, style.glyph("…", "..."))
        quote = style.glyph("“{}”", '"{}"').format(first)
        lines.append("  " + style.paint(quote, "dim"))
    lines.append(section_bars(frame, style=style))
    lines += [_row("left out", _left_out(group), style) for group in frame.left_out]
    lines += [_row("twice", printable(", ".join(places)), style) for places in frame.duplicates]
    lines += [_row(label, text, style) for label, text in frame.details]
    cached, sent = frame.cached_tokens, frame.prompt_tokens
    share = f"{cached / max(1, sent):.0%}"
    lines.append(
        _row(
            "prompt",
            f"{sent:,} tokens = {cached:,} cached ({share}) + {sent - cached:,} new",
            style,
        )
    )
    if frame.blocks is not None:
        lines += _block_rows(frame.blocks, style, legend=legend)
    if frame.stages:
        total = sum(ns for _, ns in frame.stages)
        parts = [f"{name} {format_duration(ns)}".replace(" ", _GLUE) for name, ns in frame.stages]
        lines.append(_row("time", f"{format_duration(total)} = " + " + ".join(parts), style))
    if frame.cost is not None:
        lines.append(_row("cost", _cost(frame.cost, frame.cost_without_cache), style))
    return "\n".join(lines)


def format_duration(ns: int) -> str:
    """Write a duration with three significant digits and its unit.

    >>> format_duration(1_234_567)
    '1.23 ms'
    """
    value, unit = float(ns), "ns"
    for larger in ("us", "ms", "s"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    if unit == "ns":
        return f"{ns} ns"
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f} {unit}"


def _bar(value: int, scale: int, room: int, style: Style, *, hollow: bool) -> str:
    if not style.unicode:
        return ("." if hollow else "#") * round(value * room / scale)
    eighths = round(value * room * 8 / scale)
    if hollow:
        return "░" * ((eighths + 7) // 8)
    if value and not eighths:
        eighths = 1  # a section that exists is never invisible
    full, rest = divmod(eighths, 8)
    return "█" * full + (_EIGHTHS[rest] if rest else "")


def _apportion(counts: Sequence[int], columns: int) -> list[int]:
    """Largest remainders: cells add up to ``columns``, and what exists gets one at least."""
    total = sum(counts)
    if not total:
        return [0] * len(counts)
    cells = [max(count * columns // total, 1 if count else 0) for count in counts]
    order = sorted(range(len(counts)), key=lambda i: counts[i] * columns % total, reverse=True)
    for i in cycle(order):
        if sum(cells) >= columns:
            break
        cells[i] += 1 if counts[i] else 0
    while sum(cells) > columns and max(cells) > 1:
        cells[cells.index(max(cells))] -= 1
    return cells


def _block_rows(blocks: Blocks, style: Style, *, legend: bool) -> list[str]:
    figures = (
        f"{blocks.hit:,} hit, {blocks.allocated:,} allocated, {blocks.evicted:,} evicted; "
        f"pool: {blocks.kept:,} kept, {blocks.free:,} free"
    )
    rows = [_row("blocks", figures, style), _row("", block_map(blocks, style=style), style)]
    if legend:
        names = {"hit": "hit", "new": "allocated", "kept": "kept for later", "free": "free"}
        marks = [
            f"{style.paint(style.glyph(glyph, ascii_form), color)} {names[kind]}"
            for kind, (glyph, ascii_form, color) in _BLOCK_KINDS.items()
        ]
        rows.append(_row("", "   ".join(marks), style))
    return rows


def _left_out(group: LeftOut) -> str:
    count = f"{len(group.labels)} of {group.out_of}"
    text = f"{group.section}: {count}, {group.tokens:,} tokens; {group.reason}"
    if len(group.labels) <= 3:
        text += f" ({', '.join(group.labels)})"
    return printable(text)


def _cost(cost: Cost, without: Cost | None) -> str:
    if without is None or without.total == cost.total:
        return str(cost)  # which no cache has changed
    saved = 1 - cost.total / without.total if without.total else 0.0
    change = f"{saved:.0%} saved"
    if saved < 0:
        change = f"{-saved:.0%} more: cache writes cost more than plain input, later reads earn it"
    return f"{cost} with the cache, {without} without: {change}"


def _row(label: str, text: str, style: Style) -> str:
    """One labelled line, wrapped at spaces with the continuation under the text."""
    room = style.width - _LABEL_COLUMNS - 2
    lines = [""]
    for word in _encodable(text, style).split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if cell_width(_SGR.sub("", longer)) <= room:
            lines[-1] = longer
        else:
            fits = cell_width(_SGR.sub("", word)) <= room
            lines.append(word if fits else clip(word, room, style.glyph("…", "...")))
    head = "  " + style.paint(pad(label, _LABEL_COLUMNS), "dim")
    joined = ("\n" + " " * (_LABEL_COLUMNS + 2)).join([head + lines[0], *lines[1:]])
    return joined.replace(_GLUE, " ")


def _encodable(text: str, style: Style) -> str:
    return text if style.unicode else text.encode("ascii", "replace").decode()


def _first_line(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip()), "").strip()
