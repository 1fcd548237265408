"""Hostile text of a megabyte that is counted and cut: memory and work stay in bounds."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import sys
import time
from pathlib import Path

import ctxengine
from cases import case, encoding

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
from families import FAMILIES

SIZE = 1_000_000


@functools.cache
def vocabulary(name: str) -> ctxengine.Encoding | None:
    """Return the encoding, or nothing when the package that carries it is not installed."""
    if name != "mistral_v3":
        return encoding(name)
    spec = importlib.util.find_spec("mistral_common")
    if spec is None or spec.origin is None:
        return None
    data = Path(spec.origin).parent / "data"
    return ctxengine.load(data / "mistral_instruct_tokenizer_240323.model.v3")


def status_bytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024


def peak_bytes(call) -> int:
    """Return how far the resident size rose above what it was before the call."""
    ctypes.CDLL(None).malloc_trim(0)  # else memory kept from before would hide what is taken
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak
    before = status_bytes("VmRSS")
    call()
    return max(0, status_bytes("VmHWM") - before)


# What NFC changes, what SentencePiece makes longer, and one pre-token of it all.
LONG_TEXTS = {
    "spaces": " " * (4 * SIZE),
    "letters": "a" * (4 * SIZE),
    "words": "some words " * (SIZE // 2),
    "accents apart": "e\u0301" * SIZE,
    "accented words": "cafe\u0301 " * SIZE,
    "hangul in parts": "\u1112\u1161\u11ab" * (SIZE // 2),
    "one letter changed": "\u212b" + "a" * (4 * SIZE),
    "kelvin signs": "\u212a" * SIZE,
}


def takes_little_memory(name: str, text: str) -> None:
    ours = vocabulary(name)
    if ours is None:
        return
    size_bytes = len(text.encode())
    expected = len(ours.encode_to_numpy(text, disallowed_special=()))
    utf8_bytes = 0 if text.isascii() else size_bytes  # made for each call
    assert ours.count(text) == expected
    for call in (lambda: ours.count(text), lambda: ours.fits(text, size_bytes)):
        assert peak_bytes(call) <= utf8_bytes + size_bytes


for _name in ("cl100k_base", "qwen3", "mistral_v3"):
    for _what, _text in LONG_TEXTS.items():
        case(f"memory to count: {_name}, {_what}", _name, _text)(takes_little_memory)


# --- truncate and split ---

SLOW = {"marks"}  # split at some 0.2 MB/s: every length between two letters is tried

# One letter, runs, marks, scripts: what makes pre-tokens long and cuts change much.
CUT_FAMILIES = [
    "one letter", "random letters of two", "spaces, then a letter", "newlines",
    "digits", "one symbol", "runs that grow", "random hangul", "marks", "emoji sequences", "short random words",
]  # fmt: skip
CUT_TEXTS = {name: FAMILIES[name] for name in CUT_FAMILIES} | {
    "accents apart": lambda size: ("e\u0301" * size)[:size],
    "hangul in parts": lambda size: ("\u1112\u1161\u11ab" * size)[:size],
}


def is_cut_in_linear_time(name: str, make, size: int) -> None:
    """Eight times the text takes at most 16 times as long; 64 times would be quadratic."""
    ours = vocabulary(name)
    if ours is None:
        return
    small, large = make(size // 8), make(size)
    calls = {
        "right": lambda text: ours.truncate(text, len(text) // 16),
        "left": lambda text: ours.truncate(text, len(text) // 16, side="left"),
        "split": lambda text: ours.split(text, 128),
    }
    for what, call in calls.items():
        of_small = min(processor_seconds(call, small) for _ in range(3))
        of_large = processor_seconds(call, large)
        assert of_large < 16 * max(of_small, 0.01), (what, of_small, of_large)
    limit = size // 16
    kept = ours.truncate(large, limit)
    assert large.startswith(kept)
    assert ours.count(kept) <= limit
    longer = large[: len(kept) + 1]
    assert longer == kept or ours.count(longer) > limit
    kept = ours.truncate(large, limit, side="left")
    assert large.endswith(kept)
    assert ours.count(kept) <= limit
    longer = large[len(large) - len(kept) - 1 :] if len(kept) < len(large) else kept
    assert longer == kept or ours.count(longer) > limit
    parts = ours.split(large, 128)
    assert "".join(parts) == large
    assert all(0 < ours.count(part) <= 128 for part in parts)


def processor_seconds(call, text: str) -> float:
    begin = time.process_time()
    call(text)
    return time.process_time() - begin


for _name in ("cl100k_base", "qwen3", "mistral_v3"):
    for _what, _make in CUT_TEXTS.items():
        _size = SIZE // 4 if _what in SLOW else SIZE
        case(f"cuts: {_name}, {_what}", _name, _make, _size)(is_cut_in_linear_time)
