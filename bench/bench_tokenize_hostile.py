"""Time and memory over forty families of hostile text: linear in the text, whatever it holds.

``pytest bench/bench_tokenize_hostile.py -p no:cacheprovider`` prints a table: for each family and
call the speed at a million characters, the exponent of the time from 250,000 characters on, and
the peak memory per byte of text above what stood before. Fails past `MAX_EXPONENT` and
`MAX_BYTES`. ``-k cut`` is the table of `truncate`, for a prefix and a suffix of a sixteenth of the
text's tokens at most, and of `split`; where runs grow, from a million characters to four.
"""

from __future__ import annotations

import ctypes
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import ctxengine
import pytest
from families import FAMILIES

SMALL, LARGE = 250_000, 1_000_000
MAX_EXPONENT = 1.10
MIN_TRIES, MAX_TRIES = 3, 15  # a busy machine makes measurements too slow, never too fast
# Of text: the ids themselves are up to four of the bytes.
MAX_BYTES = {"encode": 16.0, "count": 1.0, "fits": 1.0, "append": 16.0}

CALLS: dict[str, Callable[[ctxengine.Encoding, str], object]] = {
    "encode": lambda encoding, text: encoding.encode_to_numpy(text, disallowed_special=()),
    "count": lambda encoding, text: encoding.count(text),
    "fits": lambda encoding, text: encoding.fits(text, len(text) * 4),
    "append": lambda encoding, text: encoding.appender(text).count,
}


# What a cut costs is the work around it, many times that of a token there.
CUTS: dict[str, Callable[[ctxengine.Encoding, str], object]] = {
    "right": lambda encoding, text: encoding.truncate(text, len(text) // 16),
    "left": lambda encoding, text: encoding.truncate(text, len(text) // 16, side="left"),
    "split": lambda encoding, text: encoding.split(text, 256),
}

LIBC = ctypes.CDLL(None)
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


@pytest.fixture(scope="module")
def table(request):
    """Rows of cells, which are printed in the end under a header for each kind of call."""
    keep_memory(True)
    rows: dict[str, list[str]] = {}
    yield rows
    with request.config.pluginmanager.get_plugin("capturemanager").global_and_fixture_disabled():
        for header, lines in rows.items():
            print("", header, *lines, sep="\n")


def seconds(call: Callable[[], object]) -> float:
    """Return the processor time of a call: what other processes take does not count."""
    begin = time.process_time()
    call()
    return time.process_time() - begin


def keep_memory(keep: bool) -> None:
    """Let glibc keep what is freed, or give large blocks back as it does by default.

    Blocks that it gives back the system clears anew for each call: a step in the time that says
    nothing of the algorithm. Blocks that it keeps count as taken.
    """
    assert LIBC.mallopt(M_MMAP_MAX, 0 if keep else 65536)
    assert LIBC.mallopt(M_TRIM_THRESHOLD, 1 << 30 if keep else 128 << 10)


def texts_of(name: str, scale: int = 1) -> tuple[list[str], str]:
    """Return as many smaller texts as the larger one is longer, and that one.

    The smaller ones are the same text, unless words are made by chance: what the memos remember of
    a text that comes again and again is more of a small one, so that they are its quarters.
    """
    small_size, ratio = SMALL * scale, LARGE // SMALL
    large = FAMILIES[name](small_size * ratio)
    if "random" in name or name == "base64":
        return [large[i * small_size : (i + 1) * small_size] for i in range(ratio)], large
    return [FAMILIES[name](small_size)] * ratio, large


def exponent(call: Callable[[str], object], smalls: list[str], large: str) -> tuple[float, float]:
    """Return the exponent of the time and the seconds that the larger text took, at best.

    All the smaller texts are one measurement, so that both are equally likely to be disturbed.
    """
    ratio = len(smalls)
    of_small = of_large = math.inf
    for num_tries in range(1, MAX_TRIES + 1):
        of_small = min(of_small, seconds(lambda: [call(text) for text in smalls]) / ratio)
        of_large = min(of_large, seconds(lambda: call(large)))
        found = math.log(of_large / of_small) / math.log(ratio)
        if num_tries >= MIN_TRIES and found <= MAX_EXPONENT:
            break
    return found, of_large


def peak_bytes(call: Callable[[], object]) -> int:
    """Return how far the resident size rose above what it was before the call."""
    keep_memory(False)
    LIBC.malloc_trim(0)  # else memory kept from before would hide what is taken
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak
    before = _status("VmRSS")
    call()
    peak = _status("VmHWM")
    keep_memory(True)
    return max(0, peak - before)


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("encoding_name", ["cl100k_base", "o200k_base"])
def test_hostile(encoding_name, name, table):
    encoding = ctxengine.get_encoding(encoding_name)
    smalls, large = texts_of(name)
    size_bytes = len(large.encode())
    cells, too_much = [], []
    for call_name, call in CALLS.items():
        call(encoding, large)  # tables that are made at the first call stay
        growth, fastest = exponent(partial(call, encoding), smalls, large)
        per_byte = peak_bytes(partial(call, encoding, large)) / size_bytes
        cells.append(f"{size_bytes / fastest / 1e6:14.1f} {growth:6.2f} {per_byte:5.1f}")
        if growth > MAX_EXPONENT:
            too_much.append(f"{call_name}: exponent {growth:.2f}")
        if per_byte > MAX_BYTES[call_name]:
            too_much.append(f"{call_name}: {per_byte:.1f} bytes of memory for each of text")
    header = f"{'family':33}" + "".join(f"{call:>8}: MB/s    exp   B/B" for call in CALLS)
    table.setdefault(header, []).append(f"{encoding_name[:5]} {name:27}" + "".join(cells))
    assert not too_much, too_much


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("encoding_name", ["cl100k_base", "qwen3"])
def test_cut(encoding_name, name, table):
    encoding = ctxengine.get_encoding(encoding_name)
    # A run costs more the longer it is, up to the size of a part: these runs are all longer.
    smalls, large = texts_of(name, scale=4 if "grow" in name else 1)
    size_bytes = len(large.encode())
    cells, too_much = [], []
    for call_name, call in CUTS.items():
        call(encoding, large)
        growth, fastest = exponent(partial(call, encoding), smalls, large)
        cells.append(f"{size_bytes / fastest / 1e6:14.1f} {growth:6.2f}")
        if growth > MAX_EXPONENT:
            too_much.append(f"{call_name}: exponent {growth:.2f}")
    header = f"{'family':33}" + "".join(f"{call:>8}: MB/s    exp" for call in CUTS)
    table.setdefault(header, []).append(f"{encoding_name[:5]} {name:27}" + "".join(cells))
    assert not too_much, too_much
