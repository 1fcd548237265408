"""The README's examples are run: Python sessions as doctests, console sessions as commands."""

from __future__ import annotations

import doctest
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_python_sessions() -> None:
    source = "\n".join(blocks("pycon"))
    assert source.count(">>>") >= 10
    test = doctest.DocTestParser().get_doctest(source, {}, "README.md", "README.md", 0)
    runner = doctest.DocTestRunner(
        optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS, verbose=False
    )
    report: list[str] = []
    runner.run(test, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)


CONSOLE = [
    (command, expected)
    for block in blocks("console")
    for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
    if "ctxengine" in command and expected
]


@pytest.mark.parametrize(("command", "expected"), CONSOLE, ids=[c for c, _ in CONSOLE])
def test_console_sessions(command: str, expected: str) -> None:
    program = f"{shlex.quote(sys.executable)} -m ctxengine "
    script = re.sub(r"(^|\| )ctxengine ", lambda found: found[1] + program, command)
    result = subprocess.run(
        ["bash", "-c", script],
        check=False,
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=Path(__file__).resolve().parents[2],
    )
    assert result.stdout == expected, result.stderr


def test_the_console_examples_are_found() -> None:
    assert len(CONSOLE) >= 2
