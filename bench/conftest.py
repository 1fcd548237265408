"""After the run: the machine, and for each group the medians as multiples of our own.

In the groups of worst cases the multiples are of plain English.
"""

from __future__ import annotations

import platform
from collections import defaultdict
from pathlib import Path

from corpora import worst_cases

# How the benches name what they measure: the parameter of a test that has one of these values.
OURS = ("ctxengine", "ctxengine, numpy", "ctxengine, list")
LABELS = {*OURS, "english", *worst_cases(), "jinja2 + tiktoken", "python", "tiktoken"}


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
            params = {key: str(value) for key, value in (bench.params or {}).items()}
            labels = (params.get(key, "") for key in ("library", "name", "case"))
            label = next((label for label in labels if label in LABELS), "")
            groups[bench.group][label or bench.name] = bench.stats.median
    terminalreporter.section("medians, as multiples of the first")
    terminalreporter.line(
        f"{_cpu_model()}; {platform.system()} {platform.release()}; "
        f"Python {platform.python_version()}"
    )
    for group, medians in sorted(groups.items()):
        base = next((label for label in medians if label in OURS), "english")
        if base not in medians or len(medians) == 1:
            continue
        ratios = ", ".join(
            f"{median / medians[base]:.1f}x {label}"
            for label, median in medians.items()
            if label != base
        )
        terminalreporter.line(f"{group}: {base} {medians[base] * 1e3:.3f} ms, {ratios}")
