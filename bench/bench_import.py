"""What ``import ctxengine`` costs beyond the interpreter's own start, as whole processes."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from typing import Any

import pytest

ROUNDS = 15


def start_ms(code: str) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return (time.perf_counter() - begin) * 1e3


@pytest.mark.parametrize("module", ["ctxengine", "tiktoken"])
def test_import(benchmark: Any, module: str) -> None:
    # Interleaved with the bare interpreter, so that a busy machine slows both alike.
    extra_ms = [start_ms(f"import {module}") - start_ms("pass") for _ in range(ROUNDS)]
    benchmark.extra_info["median_ms_beyond_python"] = round(statistics.median(extra_ms), 2)
    print(f"import {module}: {statistics.median(extra_ms):.1f} ms beyond Python's own start")
    benchmark.pedantic(start_ms, args=(f"import {module}",), rounds=3)
