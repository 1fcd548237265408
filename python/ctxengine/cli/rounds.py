"""Time several contenders in turns, so that a busy machine slows all of them alike."""

from __future__ import annotations

import gc
import math
import os
import platform
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

# One that is this many times slower than the fastest rests after so many rounds.
_SLOW, _SLOW_ROUNDS = 5.0, 2


def each(call: Callable[[Any], object], inputs: Sequence[Any]) -> Callable[[], object]:
    """Return a run that makes the call with every input and drops what it returns."""
    return lambda: deque(map(call, inputs), maxlen=0)  # the cheapest loop that Python has


@contextmanager
def on_one_processor(round_number: int) -> Iterator[None]:
    """Keep this thread, and processes that it starts, on one processor, in each round another one.

    Processors differ in speed while others share them: all contenders of a round must have the
    same, or their ratio is that of the processors.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(allowed)[round_number % len(allowed)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def take_turns(
    runs: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 7,
    min_seconds: float = 0.01,
    clock: Callable[[], float] = time.process_time,
    one_processor: bool = True,
) -> dict[str, list[float]]:
    """Run each in every round, beginning with another one each time.

    Parameters
    ----------
    runs : mapping of str to callable
        What to time. Each is run once before, untimed.
    rounds : int
    min_seconds : float
        Short runs are repeated until they take about so long.
    clock : callable
        By default the processor time of all threads of the process: what other processes take does
        not count, and what helper threads take does.
    one_processor : bool
        Whether a round stays on one processor; see `on_one_processor`.

    Returns
    -------
    dict of str to list of float
        Seconds of one run, in the order of the rounds; of slow ones only the first rounds.
    """
    passes = {}
    for name, run in runs.items():
        begin = clock()
        run()
        passes[name] = max(1, math.ceil(min_seconds / max(clock() - begin, 1e-9)))
    samples: dict[str, list[float]] = {name: [] for name in runs}
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        for number in range(rounds):
            with on_one_processor(number) if one_processor else nullcontext():
                for name in rotated(list(runs), number):
                    if number >= _SLOW_ROUNDS and _rests(samples, name):
                        continue
                    begin = clock()
                    for _ in range(passes[name]):
                        runs[name]()
                    samples[name].append((clock() - begin) / passes[name])
    finally:
        if was_enabled:
            gc.enable()
    return samples


def rotated(names: Sequence[str], number: int) -> Iterator[str]:
    """Yield the names, in each round beginning with another one."""
    for i in range(len(names)):
        yield names[(i + number) % len(names)]


def _rests(samples: Mapping[str, list[float]], name: str) -> bool:
    return min(samples[name]) > _SLOW * min(map(min, samples.values()))


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> float:
    """Return how many times as long theirs take: the median over the rounds that both ran."""
    return statistics.median(their / our for their, our in zip(theirs, ours, strict=False))


def documents(text: str, size_chars: int = 1 << 16) -> list[str]:
    """Cut a text behind newlines into documents of about this size, or anywhere if there are none.

    The parts are what is encoded, each by itself, by every contender.
    """
    parts = []
    start = 0
    while start < len(text):
        end = start + size_chars
        newline = text.rfind("\n", start + size_chars // 2, end)
        if newline >= 0 and end < len(text):
            end = newline + 1
        parts.append(text[start:end])
        start = end
    return parts


def machine() -> str:
    """Return the processor, the system and the interpreter, in one line."""
    return (
        f"{_cpu_model()}, {platform.system()} {platform.release()}, "
        f"{platform.python_implementation()} {platform.python_version()}"
    )


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123
            lines = file.read().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    found = (line.split(": ", 1)[1] for line in lines if line.startswith("model name"))
    return next(found, platform.machine())
