"""ctxengine.limits in this process: against its reference and a token bucket in fractions."""

from __future__ import annotations

import pickle
import sys
import threading
from fractions import Fraction
from typing import Any

import pytest
from ctxengine.errors import ArgumentError, CapacityError, CtxEngineError
from ctxengine.limits import Key, Limit, Limiter, RetryAfter, Ticket
from ctxengine.reference.gcra import Charge, ReferenceLimiter, cost_us
from hypothesis import given
from hypothesis import strategies as st


class Clock:
    def __init__(self, now: int = 0) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


limit_numbers = st.tuples(
    st.integers(1, 1000),
    st.integers(1, 10_000_000) | st.sampled_from([60_000_000, 86_400_000_000]),
    st.integers(1, 500),
)
# (kind, microseconds since the last event, tokens, which of the open tickets, which descriptors)
events = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "reserve", "settle", "release"]),
        st.integers(0, 20) | st.integers(0, 5_000_000),
        st.integers(1, 600),
        st.integers(0, 1000),
        st.sampled_from(["a", "b", "c"]),
    ),
    max_size=60,
)


@given(st.lists(limit_numbers, min_size=1, max_size=3), events)
def test_native_equals_the_reference(limits: list[tuple[int, int, int]], steps: list[Any]) -> None:
    reference = ReferenceLimiter(limits)
    clock = Clock(1000)
    limiter = Limiter(
        [Limit(tokens, period / 1_000_000, burst) for tokens, period, burst in limits], clock=clock
    )
    tickets: list[tuple[Ticket, tuple[str, ...], list[Charge]]] = []
    for kind, pause, tokens, choice, name in steps:
        clock.now += pause
        if kind == "reserve":
            descriptors = ("shared", *[name] * (len(limits) - 1))
            key = limiter.key(*descriptors)
            if tokens > min(burst for _, _, burst in limits):
                with pytest.raises(CapacityError):
                    key.reserve(tokens)
                continue
            expected = reference.reserve(descriptors, tokens, clock.now)
            result = key.reserve(tokens)
            if isinstance(expected, tuple):
                assert result == RetryAfter(expected[0] / 1_000_000, expected[1])
            else:
                assert isinstance(result, Ticket)
                tickets.append((result, descriptors, expected))
        elif tickets:
            ticket, descriptors, charges = tickets.pop(choice % len(tickets))
            used = 0 if kind == "release" else tokens
            reference.settle(descriptors, charges, used, clock.now)
            if kind == "release":
                ticket.release()
            else:
                ticket.settle(used)


@given(
    st.integers(1, 100),
    st.integers(1, 1000),
    st.integers(1, 200),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 200)), max_size=50),
)
def test_without_settling_it_is_a_token_bucket(
    tokens: int, cost: int, burst: int, requests: list[tuple[int, int]]
) -> None:
    # `cost` us per token exactly, so that rounding plays no part.
    clock = Clock()
    key = Limiter([Limit(tokens, tokens * cost / 1_000_000, burst)], clock=clock).key("k")
    level, filled_at = Fraction(burst), 0
    for pause, num_tokens in requests:
        clock.now += pause
        if num_tokens > burst:
            continue
        level = min(Fraction(burst), level + Fraction(clock.now - filled_at, cost))
        filled_at = clock.now
        passes = level >= num_tokens
        result = key.reserve(num_tokens)
        assert bool(result) == passes
        if passes:
            level -= num_tokens
        else:
            assert isinstance(result, RetryAfter)
            assert round(result.seconds * 1_000_000) == (num_tokens - level) * cost


@given(limit_numbers, events)
def test_what_was_used_never_exceeds_the_limit(
    numbers: tuple[int, int, int], steps: list[Any]
) -> None:
    """Whatever is reserved and refunded when: usage, counted when reserved, obeys the limit."""
    tokens, period, burst = numbers
    clock = Clock(1000)
    key = Limiter([Limit(tokens, period / 1_000_000, burst)], clock=clock).key("k")
    used: list[list[int]] = []  # [when, tokens]
    tickets: list[tuple[Ticket, list[int]]] = []
    for kind, pause, amount, choice, _ in steps:
        clock.now += pause
        if kind == "reserve":
            result = key.reserve(min(amount, burst))
            if isinstance(result, Ticket):
                used.append([clock.now, min(amount, burst)])
                tickets.append((result, used[-1]))
        elif tickets:
            ticket, record = tickets.pop(choice % len(tickets))
            record[1] = min(record[1], amount)
            ticket.settle(record[1])
    backlog_end = 0  # of a bucket that is charged only what was used
    for when, amount in used:
        backlog_end = max(backlog_end, when) + cost_us(amount, tokens, period)
        assert backlog_end - when <= cost_us(burst, tokens, period)


@given(limit_numbers, st.lists(st.integers(1, 500), min_size=1, max_size=20))
def test_the_wait_is_exact(numbers: tuple[int, int, int], amounts: list[int]) -> None:
    tokens, period, burst = numbers
    clock = Clock(7)
    key = Limiter([Limit(tokens, period / 1_000_000, burst)], clock=clock).key("k")
    for amount in amounts:
        result = key.reserve(min(amount, burst))
        if isinstance(result, RetryAfter):
            clock.now += round(result.seconds * 1_000_000) - 1
            assert key.reserve(min(amount, burst)) == RetryAfter(1e-6, 0)
            clock.now += 1
            assert key.reserve(min(amount, burst))


def test_a_minute_of_tokens() -> None:
    clock = Clock()
    limiter = Limiter([Limit(tokens=100_000, per_seconds=60)], clock=clock)
    key = limiter.key("ann")
    ticket = key.reserve(100_000)
    assert isinstance(ticket, Ticket)
    assert ticket.tokens == 100_000
    refused = key.reserve(500)
    assert refused == RetryAfter(0.3, 0)  # 100 000 a minute: 500 take 0.3 s
    assert not refused
    ticket.settle(99_000)
    assert key.reserve(1_000)
    assert key.reserve(1) == RetryAfter(0.0006, 0)
    clock.now = 60_000_000
    assert key.reserve(100_000)


def test_one_descriptor_under_two_rates() -> None:
    clock = Clock()
    limits = [Limit(tokens=10, per_seconds=1), Limit(tokens=100, per_seconds=86_400)]
    key = Limiter(limits, clock=clock).key("ann", "ann")
    for second in range(10):
        clock.now = second * 1_000_000
        assert key.reserve(10)
    clock.now = 10_000_000
    refused = key.reserve(10)
    assert isinstance(refused, RetryAfter)
    assert refused.limit_index == 1
    assert refused.seconds == pytest.approx(8640 - 10)


def test_tickets_settle_once() -> None:
    key = Limiter([Limit(10, 1)], clock=Clock()).key("k")
    ticket = key.reserve(10)
    assert isinstance(ticket, Ticket)
    for bad in (-1, 2**63, 2**60, 1.5, True, "1"):
        with pytest.raises(ArgumentError):
            ticket.settle(bad)  # type: ignore[arg-type]
    ticket.settle(4)
    ticket.release()
    with pytest.raises(CtxEngineError, match="settled or released already"):
        ticket.settle(4)
    assert key.reserve(6)
    assert not key.reserve(1)


@pytest.mark.parametrize("tokens", [0, -1, 2**63, 1.0, True, None, "3"])
def test_bad_reservations(tokens: Any) -> None:
    with pytest.raises(ArgumentError, match="tokens"):
        Limiter([Limit(10, 1)]).key("k").reserve(tokens)


def test_what_can_never_pass() -> None:
    key = Limiter([Limit(100, 1), Limit(100, 1, burst_tokens=30)]).key("a", "b")
    with pytest.raises(CapacityError, match="can never pass limit 1, whose burst is 30") as caught:
        key.reserve(31)
    assert (caught.value.needed, caught.value.capacity) == (31, 30)


@pytest.mark.parametrize(
    "arguments",
    [
        (0, 1), (-5, 1), (1.5, 1), (True, 1), (1, 0), (1, -1), (1, 1e-7), (1, float("nan")),
        (1, float("inf")), (1, "60"), (1, 60, 0), (1, 60, 2.0), (1, 2**30, 2**21), (2**63, 1),
    ],
)  # fmt: skip
def test_bad_limits(arguments: Any) -> None:
    with pytest.raises(ArgumentError):
        Limit(*arguments)


def test_bad_keys_and_limiters() -> None:
    with pytest.raises(ArgumentError, match="at least one limit"):
        Limiter([])
    with pytest.raises(ArgumentError, match="Limit objects"):
        Limiter([(1, 2)])  # type: ignore[list-item]
    limiter = Limiter([Limit(1, 1)])
    with pytest.raises(ArgumentError, match="one descriptor for each of 1 limits, not 2"):
        limiter.key("a", "b")
    with pytest.raises(ArgumentError, match="a descriptor is a str, not int"):
        limiter.key(5)  # type: ignore[arg-type]


def test_descriptors_are_any_text() -> None:
    limiter = Limiter([Limit(1, 1000)], clock=Clock())
    names = ["", "\0", "\0\0", "a:b", "ü", "\ud800", "\udfff", "x" * 100_000]
    assert all(limiter.key(name).reserve(1) for name in names)
    assert not any(limiter.key(name).reserve(1) for name in names)


def test_threads_never_pass_more_than_the_burst() -> None:
    limiter = Limiter([Limit(tokens=5_000, per_seconds=60)], clock=Clock())
    passed: list[int] = []

    def work(key: Key) -> None:
        count = 0
        for tokens in (7, 1):
            while ticket := key.reserve(tokens):
                assert isinstance(ticket, Ticket)
                ticket.settle(1)
                count += 1
        passed.append(count)

    threads = [threading.Thread(target=work, args=[limiter.key("k")]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(passed) == 5_000


def test_without_a_clock_time_passes() -> None:
    key = Limiter([Limit(tokens=1_000_000, per_seconds=1, burst_tokens=1)]).key("k")
    assert key.reserve(1)
    while not key.reserve(1):
        pass


def test_limits_are_values() -> None:
    limit = Limit(tokens=100, per_seconds=0.5)
    assert limit == Limit(100, 0.5, 100)
    assert pickle.loads(pickle.dumps(limit)) == limit
    assert limit.period_us == 500_000
    assert limit.cost_us(3) == 15_000


def test_without_the_redis_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ImportError, match=r"pip install ctxengine\[redis\]"):
        Limiter([Limit(1, 1)], store="redis://localhost")
