"""The hostile board: text, vocabulary files, calls, threads and forks that try to do harm.

Every case runs in a process of its own limits. A crash or a hang is a verdict like a wrong answer,
and the next case gets a new process. ``pytest -v tests/hostile`` prints the whole table.
"""

from __future__ import annotations

import importlib
import json
import selectors
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
TIMEOUT_S = 60


def names() -> list[str]:
    sys.path.insert(0, str(FOLDER))
    try:
        for module in ("text_cases", "file_cases", "api_cases", "thread_cases", "cut_cases"):
            importlib.import_module(module)
        return list(importlib.import_module("cases").CASES)
    finally:
        sys.path.remove(str(FOLDER))


NAMES = names()


class Worker:
    def __init__(self) -> None:
        self.process: subprocess.Popen | None = None

    def run(self, name: str) -> tuple[str, str]:
        """Return the verdict and what is known about it."""
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, str(FOLDER / "worker.py")],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
        self.process.stdin.write(name + "\n")
        self.process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            answered = selector.select(TIMEOUT_S)
        if not answered:
            self.close()
            return "hang", f"no answer in {TIMEOUT_S} s"
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            self.close()
            return "crash", f"exit code {code}"
        what = json.loads(line)
        return ("fail", what) if what else ("pass", "")

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


@pytest.fixture(scope="module")
def worker():
    worker = Worker()
    yield worker
    worker.close()


def test_there_are_cases_enough():
    assert len(NAMES) >= 120


@pytest.mark.parametrize("name", NAMES)
def test_case(name, worker, verdicts):
    verdict, what = worker.run(name)
    verdicts[name] = verdict
    assert verdict == "pass", what
