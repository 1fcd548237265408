"""After the run: the machine, and for each group how many times faster than each rival we are."""

from __future__ import annotations

import platform
from collections import defaultdict
from pathlib import Path

# How the benches name what they measure: the parameter of a test that has one of these values.
OURS = ("ctxengine", "ctxengine, numpy", "ctxengine, list")
LABELS = {*OURS, "jinja2 + tiktoken", "python", "tiktoken"}


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
            label = next((str(v) for v in (bench.params or {}).values() if str(v) in LABELS), "")
            groups[bench.group][label or bench.name] = bench.stats.median
    terminalreporter.section("ratios of medians, ctxengine against each rival")
    terminalreporter.line(
        f"{_cpu_model()}; {platform.system()} {platform.release()}; "
        f"Python {platform.python_version()}"
    )
    for group, medians in sorted(groups.items()):
        ours = next((median for label, median in medians.items() if label in OURS), None)
        if ours is None or len(medians) == 1:
            continue
        ratios = ", ".join(
            f"{median / ours:.1f}x {label}" for label, median in medians.items() if median != ours
        )
        terminalreporter.line(f"{group}: {ours * 1e3:.3f} ms, {ratios}")
