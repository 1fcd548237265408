"""After the run: the machine, and what was measured, beside what.

Rows of `report` are one table; of pytest-benchmark's groups the medians are given as multiples of
our own.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import corpora
import pytest
import rivals
from ctxengine.cli.contenders import ONE_THREAD
from ctxengine.cli.rounds import machine
from report import Report

os.environ.update(ONE_THREAD)  # before any rival is imported

# How the benches name what they measure: the parameter of a test that has one of these values.
OURS = ("ctxengine", "ctxengine, numpy", "ctxengine, list")
LABELS = {*OURS, "jinja2", "jinja2 + tiktoken", "minijinja", "python", "tiktoken"}

REPORT = Report()


def pytest_addoption(parser):
    parser.addoption(
        "--record", metavar="FILE", type=Path, help="also write the table of tokenizers here"
    )


@pytest.fixture(scope="session")
def report():
    return REPORT


def pytest_terminal_summary(terminalreporter, config):
    write_line = terminalreporter.line
    if REPORT.rows:
        texts = ", ".join(f"{name} {corpora.origin(name)}" for name in corpora.TEXTS)
        REPORT.notes.append(f"Texts: {texts}.")
        REPORT.notes += [f"{lib}: {why}" for (lib, _), why in rivals.ABSENT.items()]
        terminalreporter.section("tokenizers")
        for line in [machine(), *REPORT.notes, *REPORT.lines()]:
            write_line(line)
        if config.option.record:
            REPORT.write(config.option.record)
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
    write_line(machine())
    for group, medians in sorted(groups.items()):
        base = next((label for label in medians if label in OURS), None)
        if base is None or len(medians) == 1:
            continue
        ratios = ", ".join(
            f"{value / medians[base]:.1f}x {label}"
            for label, value in medians.items()
            if label != base
        )
        write_line(f"{group}: {base} {medians[base] * 1e3:.3f} ms, {ratios}")
