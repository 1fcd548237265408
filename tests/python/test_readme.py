"""The README's examples are run: Python sessions as doctests, console sessions as commands."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from doctest_support import assert_sessions_run, blocks

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")


def test_python_sessions() -> None:
    assert README.count(">>>") >= 10
    assert_sessions_run(README, "README.md")


CONSOLE = [
    (command, expected)
    for block in blocks(README, "console")
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
