"""Reserve and settle under two limits: native beside the plain Python reference."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from ctxengine.limits import Limit, Limiter, Ticket
from ctxengine.reference.gcra import ReferenceLimiter

LIMITS = [(1_000_000, 60_000_000, 1_000_000), (100_000, 60_000_000, 100_000)]
DESCRIPTORS = ("acme", "acme/ann")
PAUSE_US = 1_700_000  # 2 500 tokens refill in 1.5 s: every reservation passes


def stepping_clock() -> Callable[[], int]:
    times = itertools.count(PAUSE_US, PAUSE_US)
    return lambda: next(times)


def native() -> Callable[[], bool]:
    limits = [Limit(tokens, period / 1_000_000, burst) for tokens, period, burst in LIMITS]
    key = Limiter(limits, clock=stepping_clock()).key(*DESCRIPTORS)

    def step() -> bool:
        ticket = key.reserve(4_000)
        if not isinstance(ticket, Ticket):
            return False
        ticket.settle(2_500)
        return True

    return step


def reference() -> Callable[[], bool]:
    limiter = ReferenceLimiter(LIMITS)
    clock = stepping_clock()

    def step() -> bool:
        charges = limiter.reserve(DESCRIPTORS, 4_000, clock())
        if isinstance(charges, tuple):
            return False
        limiter.settle(DESCRIPTORS, charges, 2_500, clock())
        return True

    return step


MAKERS = {"ctxengine": native, "python": reference}


@pytest.mark.parametrize("name", MAKERS)
def test_reserve_and_settle(benchmark: Any, name: str) -> None:
    first, second = native(), reference()
    assert [first() for _ in range(1000)] == [second() for _ in range(1000)] == [True] * 1000
    benchmark.group = "reserve and settle under two limits"
    benchmark(MAKERS[name]())
