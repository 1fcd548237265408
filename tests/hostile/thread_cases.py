"""Threads, forks and the end of the interpreter."""

from __future__ import annotations

import multiprocessing
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ctxengine
from cases import case, encoding

TEXT = "The quick brown fox, 12345 <|endoftext|> über alles\n\n" * 40
SINGLE = {bytes([byte]): byte for byte in range(256)}


def tiny(number: int) -> ctxengine.Encoding:
    ranks = SINGLE | {b"a" * (i + 2): 256 + i for i in range(number % 7)}
    return ctxengine.Encoding(
        f"tiny{number}", pat_str=encoding()._pat_str, mergeable_ranks=ranks, special_tokens={}
    )


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def does_not_grow(work: Callable[[], object], rounds: int, limit_bytes: int) -> None:
    """Run rounds; after the first third the resident size may grow by `limit_bytes` at most."""
    for _ in range(rounds // 3):
        work()
    before = resident_bytes()
    for _ in range(rounds - rounds // 3):
        work()
    assert resident_bytes() - before <= limit_bytes


@case("threads: eight use one encoding")
def one_encoding() -> None:
    expected = encoding().encode(TEXT, disallowed_special=())

    def work(_: int) -> None:
        for _ in range(30):
            assert encoding().encode(TEXT, disallowed_special=()) == expected
            assert encoding().count(TEXT) == len(expected)
            assert encoding().decode(expected) == TEXT

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))


@case("threads: eight load the same encoding at once")
def one_load() -> None:
    barrier = threading.Barrier(8)

    def work(_: int) -> ctxengine.Encoding:
        barrier.wait()
        return ctxengine.get_encoding("p50k_base")

    with ThreadPoolExecutor(8) as pool:
        loaded = list(pool.map(work, range(8)))
    assert len({made.fingerprint for made in loaded}) == 1


@case("threads: thousands of encodings made and dropped, no growth")
def made_and_dropped() -> None:
    def work() -> None:
        def make(number: int) -> None:
            assert tiny(number).decode(tiny(number).encode("aaaa")) == "aaaa"

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(make, range(200)))

    does_not_grow(work, 9, 4 << 20)


@case("threads: hundreds started and ended, no growth")
def threads_started() -> None:
    def work() -> None:
        threads = [threading.Thread(target=encoding().count, args=(TEXT,)) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    does_not_grow(work, 12, 4 << 20)


@case("threads: batches made and dropped, no growth")
def batches() -> None:
    texts = [TEXT] * 64
    does_not_grow(
        lambda: encoding().encode_batch(texts, num_threads=8, disallowed_special=()), 30, 4 << 20
    )


@case("threads: never-seen text leaves nothing behind")
def unseen_text() -> None:
    counter = iter(range(10**9))

    def work() -> None:
        encoding().count(" ".join(f"word{next(counter)}x" for _ in range(20_000)))

    does_not_grow(work, 24, 4 << 20)


@case("threads: one appender, eight writers")
def one_appender() -> None:
    appender = encoding().appender()

    def work(_: int) -> None:
        for _ in range(200):
            appender.append(" hello world")
            assert appender.count % 2 == 0

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert appender.ids.tolist() == [24748, 1917] * 1600 == encoding().encode(" hello world" * 1600)


@case("threads: other threads run while a long text is encoded")
def gil_is_released() -> None:
    ticks = 0
    stop = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not stop.wait(0.001):
            ticks += 1

    ticker = threading.Thread(target=tick)
    ticker.start()
    encoding().count("".join(chr(0x4E00 + i * 7919 % 20000) for i in range(400_000)))
    stop.set()
    ticker.join()
    assert ticks >= 5


def in_child(work: Callable[[], None]) -> None:
    """Fork, run the work in the child, and wait for it; a child that hangs is killed."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


@case("fork: after a batch on many threads")
def fork_after_batch() -> None:
    expected = encoding().encode_batch([TEXT] * 32, num_threads=8, disallowed_special=())

    def work() -> None:
        assert (
            encoding().encode_batch([TEXT] * 32, num_threads=8, disallowed_special=()) == expected
        )

    in_child(work)
    work()


@case("fork: while other threads encode")
def fork_while_encoding() -> None:
    stop = threading.Event()

    def encode() -> None:
        while not stop.is_set():
            encoding().encode_batch([TEXT] * 8, num_threads=2, disallowed_special=())

    threads = [threading.Thread(target=encode) for _ in range(4)]
    for thread in threads:
        thread.start()

    def work() -> None:
        assert encoding().count("hello world") == 2
        assert len(encoding().encode_batch([TEXT] * 8, num_threads=4, disallowed_special=())) == 8
        assert ctxengine.get_encoding("gpt2").count("hello") == 1

    try:
        for _ in range(20):
            in_child(work)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@case("fork: a pool of processes takes encodings by pickle")
def pool_of_processes() -> None:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(encoding().count, ["hello world", "a", ""]) == [2, 1, 0]


def ends_well(code: str) -> None:
    """Run a program; it must end with 0 and say nothing."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=50, check=False, text=True
    )
    answer = (done.returncode, done.stdout, done.stderr)
    assert answer == (0, "", ""), answer


@case("exit: with daemon threads that encode")
def exit_with_threads() -> None:
    ends_well("""
import threading, time, ctxengine
e = ctxengine.get_encoding("gpt2")
def run():
    while True:
        e.encode_batch(["hello world " * 1000] * 8, num_threads=2)
for _ in range(4):
    threading.Thread(target=run, daemon=True).start()
time.sleep(0.3)
""")


@case("exit: objects that die with the interpreter")
def exit_with_objects() -> None:
    ends_well("""
import sys, ctxengine
e = ctxengine.get_encoding("gpt2")
sys.kept = [e, e.encode_to_numpy("hello"), e.appender("hello"), e.stream()]
class Late:
    def __del__(self, e=e):
        assert e.count("hello world") == 2
sys.late = Late()
""")


@case("the module says that it needs no GIL")
def no_gil() -> None:
    # What the free-threaded interpreter reads; on others it is only in the source.
    source = Path(__file__).parents[2] / "src/cpp/bindings/module.cc"
    assert "mod_gil_not_used()" in source.read_text()
