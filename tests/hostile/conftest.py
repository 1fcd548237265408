"""Print the board after the run: each case with its verdict, and the count."""

from __future__ import annotations

from collections import Counter

import pytest

VERDICTS = pytest.StashKey[dict]()


def pytest_configure(config):
    config.stash[VERDICTS] = {}


@pytest.fixture
def verdicts(request):
    return request.config.stash[VERDICTS]


def pytest_terminal_summary(terminalreporter, config):
    verdicts = config.stash[VERDICTS]
    if not verdicts:
        return
    terminalreporter.section("hostile board")
    if config.get_verbosity() > 0 or set(verdicts.values()) != {"pass"}:
        for name, verdict in verdicts.items():
            terminalreporter.line(f"{verdict:6} {name}")
    counts = Counter(verdicts.values())
    terminalreporter.line(
        f"{len(verdicts)} cases: " + ", ".join(f"{n} {verdict}" for verdict, n in counts.items())
    )
