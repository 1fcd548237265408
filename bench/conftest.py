"""After the run: the machine, and for each group how many times faster than each rival we are."""

from __future__ import annotations

import platform
from collections import defaultdict
from pathlib import Path


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), "?")


def pytest_terminal_summary(terminalreporter, config):
    session = getattr(config, "_benchmarksession", None)
    if session is None or not session.benchmarks:
        return
    groups = defaultdict(dict)
    for bench in session.benchmarks:
        if bench.group and bench.stats.rounds:
            library = (bench.params or {}).get("library", bench.name)
            groups[bench.group][library] = bench.stats.median
    terminalreporter.section("ratios of medians, ctxengine against each rival")
    terminalreporter.line(
        f"{_cpu_model()}; {platform.system()} {platform.release()}; "
        f"Python {platform.python_version()}"
    )
    for group, medians in sorted(groups.items()):
        ours = medians.pop("ctxengine", None)
        if ours is None:
            continue
        ratios = ", ".join(f"{median / ours:.1f}x {name}" for name, median in medians.items())
        terminalreporter.line(f"{group}: {ours * 1e3:.3f} ms" + (f", {ratios}" if ratios else ""))
