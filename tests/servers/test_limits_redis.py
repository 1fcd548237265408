"""The shared limiter against a real server, which each test run starts for itself."""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from ctxengine.errors import ArgumentError, CapacityError, CtxEngineError
from ctxengine.limits import Limit, Limiter, RetryAfter, Ticket


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = shutil.which("valkey-server") or shutil.which("redis-server")
    assert server, "redis-server or valkey-server must be on PATH"
    folder: Path = tmp_path_factory.mktemp("redis")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            *(server, "--bind", "127.0.0.1", "--port", str(port)),
            *("--save", "", "--appendonly", "no", "--dir", str(folder)),
        ],
        stdout=subprocess.DEVNULL,
    )
    try:
        client = redis.Redis(port=port)
        for _ in range(200):
            try:
                client.ping()
                break
            except redis.ConnectionError:
                assert process.poll() is None, "the server ended"
                time.sleep(0.05)
        client.close()
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(autouse=True)
def empty(url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(url) as client:
        client.flushall()
        yield client


class Clock:
    def __init__(self, now: int) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


@pytest.mark.parametrize("seed", range(4))
def test_same_decisions_as_in_this_process(url: str, seed: int) -> None:
    rng = random.Random(seed)
    limits = [
        Limit(100_000, 60, burst_tokens=20_000),
        Limit(7, 0.003, burst_tokens=9_000),  # 428.57 us a token: rounding matters
        Limit(3_000_000, 0.5),  # 6 tokens a microsecond
    ][: 1 + seed % 3]
    # Today in microseconds: the numbers that a server's clock gives.
    clock = Clock(1_790_000_000_000_000 + seed)
    local = Limiter(limits, clock=clock)
    shared = Limiter(limits, store=url, clock=clock)
    tickets: list[tuple[Ticket, Ticket]] = []
    outcomes = {True: 0, False: 0}
    for _ in range(700):
        clock.now += rng.choice([0, 1, 17, 1000, 100_000, 700_000])
        descriptors = rng.choices(["ann", "bob", "\ud800 é"], k=len(limits))
        if rng.random() < 0.6 or not tickets:
            tokens = rng.choice([1, 2, 30, 1000, 8999])
            here = local.key(*descriptors).reserve(tokens)
            there = shared.key(*descriptors).reserve(tokens)
            outcomes[bool(here)] += 1
            if isinstance(here, RetryAfter):
                assert there == here
            else:
                assert isinstance(there, Ticket)
                tickets.append((here, there))
        else:
            pair = tickets.pop(rng.randrange(len(tickets)))
            used = rng.choice([0, 1, 20, 500, 9000])
            for ticket in pair:
                ticket.settle(used)
    assert min(outcomes.values()) > 30


def test_concurrent_clients_never_pass_more_than_the_burst(url: str) -> None:
    passed: list[int] = []

    def work() -> None:
        # Each thread is a client of its own, with its own connection; the clock stands still.
        key = Limiter([Limit(1_000, 3600)], store=url, clock=Clock(5)).key("k")
        count = 0
        for tokens in (7, 1):
            while ticket := key.reserve(tokens):
                assert isinstance(ticket, Ticket)
                if tokens == 7:
                    ticket.settle(3)
                count += 3 if tokens == 7 else 1
        passed.append(count)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(passed) == 1_000


def test_the_servers_clock_refills_and_forgets(url: str, empty: redis.Redis) -> None:
    limiter = Limiter([Limit(1_000, 1, burst_tokens=100)], store=url)
    key = limiter.key("ann")
    assert key.reserve(100)
    refused = key.reserve(100)
    assert isinstance(refused, RetryAfter)
    assert 0 < refused.seconds <= 0.1
    time.sleep(refused.seconds + 0.001)
    assert key.reserve(100)
    (name,) = empty.keys()
    assert name == b"{ctxengine:limits}:0:1000/1000000:ann"
    assert 0 < empty.pttl(name) <= 60_101


def test_all_or_nothing(url: str) -> None:
    limits = [Limit(100, 1000), Limit(100, 1000, burst_tokens=30)]
    limiter = Limiter(limits, store=url, clock=Clock(0))
    assert limiter.key("acme", "ann").reserve(30)
    assert limiter.key("acme", "ann").reserve(30) == RetryAfter(300.0, 1)
    assert limiter.key("acme", "bob").reserve(30)
    assert limiter.key("acme", "cid").reserve(30)
    assert limiter.key("acme", "dan").reserve(10)
    assert limiter.key("acme", "eve").reserve(1) == RetryAfter(10.0, 0)


def test_mistakes_are_the_same_as_in_this_process(url: str, empty: redis.Redis) -> None:
    key = Limiter([Limit(10, 1)], store=url, clock=Clock(0)).key("k")
    with pytest.raises(CapacityError, match="11 tokens can never pass limit 0") as caught:
        key.reserve(11)
    assert (caught.value.needed, caught.value.capacity) == (11, 10)
    assert empty.keys() == []
    ticket = key.reserve(10)
    assert isinstance(ticket, Ticket)
    with pytest.raises(ArgumentError):
        ticket.settle(2**60)
    ticket.settle(4)
    ticket.release()
    with pytest.raises(CtxEngineError, match="settled or released already"):
        ticket.settle(4)
    assert key.reserve(6)
    assert not key.reserve(1)


def test_a_bad_store_is_named() -> None:
    with pytest.raises(ArgumentError, match="is not a Redis URL"):
        Limiter([Limit(1, 1)], store="http://example.org")


def test_namespaces_and_limits_do_not_meet(url: str) -> None:
    clock = Clock(0)
    for namespace in ("one", "two"):
        for limit in (Limit(10, 1), Limit(10, 2)):
            key = Limiter([limit], store=url, namespace=namespace, clock=clock).key("k")
            assert key.reserve(10)
            assert not key.reserve(1)


def test_a_server_that_is_not_there_is_redis_own_error() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        key = Limiter([Limit(10, 1)], store=f"redis://127.0.0.1:{port}").key("k")
        with pytest.raises(redis.ConnectionError):
            key.reserve(1)


def test_the_script_is_sent_again_after_the_server_forgot_it(url: str, empty: Any) -> None:
    key = Limiter([Limit(10, 1)], store=url, clock=Clock(0)).key("k")
    assert key.reserve(5)
    empty.script_flush()
    assert key.reserve(5)
    assert not key.reserve(1)
