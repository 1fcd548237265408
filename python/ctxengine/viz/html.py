"""A report as one HTML file: no scripts, no fonts, nothing loaded from anywhere.

All text of the request is escaped where it enters the page, and a Content-Security-Policy forbids
scripts and requests, so that hostile text in a prompt stays text.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import cycle
from typing import TYPE_CHECKING

from ctxengine import __version__
from ctxengine.viz.charts import format_duration, token_texts
from ctxengine.viz.frame import Blocks, Frame, LeftOut

if TYPE_CHECKING:
    from ctxengine.tokenize import Encoding

__all__ = ["report_html", "tokens_html"]

_KNOWN_SECTIONS = ("template", "system", "tools", "history", "retrieval", "turn", "answer", "free")
_HEADINGS = {
    "cuts": "Ways to cut the history",
    "cache": "The provider's cache",
    "marks": "Where to mark it",
    "summary": "A summary instead",
    "lint": "What breaks the prefix",
}
_GRID_COLUMNS = 96
_CELL = 8  # pixels, one of them the gap

_STYLE = """
:root { color-scheme: light dark; --page: #f7f7f5; --card: #fff; --ink: #1d2129; --soft: #667080;
  --line: #e3e5e8; --system: #4269d0; --tools: #27a2b0; --history: #3ca951; --retrieval: #a463f2;
  --turn: #e0a100; --template: #9c6b4e; --other: #ff725c; --answer: #b5bcc6; --free: #e9ebee;
  --hit: #3ca951; --new: #e0a100; --kept: #8fa9e0; }
@media (prefers-color-scheme: dark) { :root { --page: #14171c; --card: #1d2129; --ink: #e6e9ee;
  --soft: #98a2b1; --line: #323843; --answer: #596273; --free: #2a2f38; --kept: #445b94; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 2.5rem 1rem; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 58rem; margin: 0 auto; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .4rem; } h2 { font-size: 1.1rem; margin: 0; }
p { margin: .3rem 0; } .soft { color: var(--soft); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 1.2rem 1.4rem; margin: 1.2rem 0; }
blockquote { margin: .5rem 0 1rem; padding-left: .8rem; border-left: 3px solid var(--line);
  color: var(--soft); white-space: pre-wrap; overflow-wrap: anywhere; max-height: 7.5em;
  overflow: auto; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: 1rem; }
.tile b { display: block; font-size: 1.5rem; line-height: 1.3; }
.bar { display: flex; height: 26px; border-radius: 6px; overflow: hidden; background: var(--free);
  margin: .3rem 0 .7rem; }
.bar.thin { height: 12px; }
.bar i { display: block; min-width: 1px; box-shadow: inset -1px 0 var(--card); }
.key { display: flex; flex-wrap: wrap; gap: .2rem 1.3rem; font-variant-numeric: tabular-nums; }
.key span::before { content: ""; display: inline-block; width: .75em; height: .75em;
  border-radius: 3px; margin-right: .45em; background: var(--c); }
h3 { font-size: .78rem; letter-spacing: .05em; text-transform: uppercase; color: var(--soft);
  margin: 1.1rem 0 .1rem; font-weight: 600; }
svg { display: block; width: 100%; height: auto; margin: .4rem 0; }
details { margin: .25rem 0; } summary { cursor: pointer; }
.labels { color: var(--soft); font-size: .85rem; overflow-wrap: anywhere; margin-left: 1.1rem; }
.tokens { white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.9;
  font-family: ui-monospace, "DejaVu Sans Mono", monospace; }
.tokens span { border-radius: 3px; color: #1d2129; }
footer { color: var(--soft); font-size: .85rem; }
"""
_TOKEN_COLORS = ("#cfe0ff", "#d4f0d2", "#ffe3b0", "#ecd7ff", "#ffd5d0")


def report_html(title: str, about: str, frames: Sequence[Frame]) -> str:
    """Return a complete HTML document with one card for each frame."""
    cards = "\n".join(_card(frame) for frame in frames)
    head = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
    )
    return (
        f"{head}<body>\n<main>\n<h1>{_text(title)}</h1>\n"
        f'<p class="soft">{_text(about)}</p>\n{_tiles(frames)}\n{cards}\n'
        f"<footer>Made by ctxengine {__version__}; this page loads nothing.</footer>\n"
        "</main>\n</body>\n</html>\n"
    )


def tokens_html(encoding: Encoding, ids: Sequence[int]) -> str:
    """Return an HTML fragment: the text of each token on a background of its own, id as tooltip."""
    spans = [
        f'<span style="background:{color}" title="{token}">{_text(text)}</span>'
        for token, text, color in zip(ids, token_texts(encoding, ids), cycle(_TOKEN_COLORS))
    ]
    return f'<div class="tokens">{"".join(spans)}</div>'.replace("↵</span>", "↵</span>\n")


def _tiles(frames: Sequence[Frame]) -> str:
    sent = sum(frame.prompt_tokens for frame in frames)
    cached = sum(frame.cached_tokens for frame in frames)
    tiles = [
        (f"{sent:,}", "prompt tokens sent"),
        (f"{cached:,}", f"of them cached already ({cached / max(1, sent):.0%})"),
    ]
    costs = [frame.cost for frame in frames if frame.cost]
    plain = [frame.cost_without_cache for frame in frames if frame.cost_without_cache]
    if costs and len(costs) == len(plain):
        with_cache, without = sum(costs[1:], costs[0]), sum(plain[1:], plain[0])
        tiles.append((str(with_cache), f"estimated cost; {without} without the cache"))
    time = sum(ns for frame in frames for _, ns in frame.stages)
    if time:
        tiles.append((format_duration(time), "spent planning, hashing and placing"))
    cells = "".join(
        f'<div class="tile"><b>{_text(big)}</b><span class="soft">{_text(small)}</span></div>'
        for big, small in tiles
    )
    return f'<section class="card tiles">{cells}</section>'


def _card(frame: Frame) -> str:
    parts = [f"<h2>{_text(frame.title)}</h2>"]
    if frame.message:
        parts.append(f"<blockquote>{_text(frame.message)}</blockquote>")
    free = frame.window - frame.reserved_output - frame.prompt_tokens
    rows = [(name, tokens) for name, tokens in frame.sections if tokens]
    rows += [("answer", frame.reserved_output)] * bool(frame.reserved_output) + [("free", free)]
    parts.append(f"<h3>Window of {frame.window:,} tokens</h3>")
    parts.append(_bar([(n, t, _section_color(n)) for n, t in rows], frame.window))
    cached, new = frame.cached_tokens, frame.prompt_tokens - frame.cached_tokens
    parts.append(f"<h3>Prompt of {frame.prompt_tokens:,} tokens</h3>")
    parts.append(
        _bar([("cached", cached, "--hit"), ("new", new, "--new")], frame.prompt_tokens, thin=True)
    )
    if frame.left_out or frame.duplicates:
        parts.append("<h3>Left out</h3>")
        parts += [_left_out(group) for group in frame.left_out]
        for places in frame.duplicates:
            parts.append(f'<p class="soft">the same text twice: {_text(", ".join(places))}</p>')
    parts += [_detail(*detail) for detail in frame.details]
    if frame.blocks is not None:
        parts.append(_block_grid(frame.blocks))
    if frame.stages:
        total = sum(ns for _, ns in frame.stages)
        named = ", ".join(f"{name} {format_duration(ns)}" for name, ns in frame.stages)
        parts.append(f"<h3>Time: {format_duration(total)}</h3><p>{_text(named)}</p>")
    if frame.cost is not None:
        text = str(frame.cost)
        if frame.cost_without_cache not in (None, frame.cost):
            text += f" with the cache, {frame.cost_without_cache} without"
        parts.append(f"<h3>Estimated cost</h3><p>{_text(text)}</p>")
    return '<section class="card">' + "\n".join(parts) + "</section>"


def _detail(label: str, text: str) -> str:
    heading = f"<h3>{_text(_HEADINGS.get(label, label))}</h3>" if label else ""
    return f"{heading}<p>{_text(text)}</p>"


def _bar(rows: Sequence[tuple[str, int, str]], total: int, *, thin: bool = False) -> str:
    pieces, key = [], []
    for name, tokens, color in rows:
        share = 100 * tokens / max(1, total)
        shown = f"{_text(name)} {tokens:,} ({share:.1f} %)"
        if tokens and name != "free":
            style = f"width:{share:.3f}%;background:var({color})"
            pieces.append(f'<i style="{style}" title="{shown}"></i>')
        key.append(f'<span style="--c:var({color})">{shown}</span>')
    return (
        f'<div class="bar{" thin" if thin else ""}">{"".join(pieces)}</div>'
        f'<div class="key">{"".join(key)}</div>'
    )


def _left_out(group: LeftOut) -> str:
    count = f"{len(group.labels)} of {group.out_of}"
    head = f"{group.section}: {count}, {group.tokens:,} tokens; {group.reason}"
    return (
        f"<details><summary>{_text(head)}</summary>"
        f'<div class="labels">{_text(", ".join(group.labels))}</div></details>'
    )


def _block_grid(blocks: Blocks) -> str:
    runs = [
        ("hit", blocks.hit, "--hit"),
        ("allocated", blocks.allocated, "--new"),
        ("kept for later", blocks.kept, "--kept"),
        ("free", blocks.free, "--free"),
    ]
    total = sum(count for _, count, _ in runs)
    side = _CELL - 1
    paths, begin = [], 0
    for _, count, color in runs:
        cells = (divmod(i, _GRID_COLUMNS) for i in range(begin, begin + count))
        d = "".join(f"M{x * _CELL} {y * _CELL}h{side}v{side}h-{side}z" for y, x in cells)
        paths.append(f'<path d="{d}" style="fill:var({color})"/>')
        begin += count
    height = -(-total // _GRID_COLUMNS) * _CELL
    key = "".join(f'<span style="--c:var({c})">{n} {count:,}</span>' for n, count, c in runs)
    return (
        f"<h3>Pool of {total:,} blocks with {blocks.size} tokens each; "
        f"{blocks.evicted:,} evicted for this request</h3>"
        f'<svg viewBox="0 0 {_GRID_COLUMNS * _CELL} {max(height, _CELL)}" role="img" '
        f'aria-label="block pool">{"".join(paths)}</svg><div class="key">{key}</div>'
    )


def _section_color(name: str) -> str:
    return f"--{name}" if name in _KNOWN_SECTIONS else "--other"


def _text(text: str) -> str:
    # Controls and lone surrogates cannot stand in a document; &quot; too, for attributes.
    clean = "".join(
        c if c in "\n\t" or (c.isprintable() or c.isspace()) else "\N{REPLACEMENT CHARACTER}"
        for c in text
    )
    return escape(clean.encode("utf-8", "replace").decode(), quote=True)
