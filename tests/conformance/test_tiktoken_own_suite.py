"""tiktoken's public tests pass when ``import tiktoken`` gives ctxengine.

They run in a process of their own, as they change ``sys.modules``; the import checks in them that
start yet another process see the real tiktoken.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SUITE = Path(__file__).resolve().parents[2] / "third_party/tiktoken_tests/tests"

RUNNER = """
import sys
import ctxengine
sys.modules["tiktoken"] = ctxengine
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    "path",
    sorted(set(SUITE.glob("test_*.py")) - {SUITE / "test_helpers.py"}),
    ids=lambda path: path.stem,
)
def test_with_ctxengine_in_its_place(path, tmp_path):
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            RUNNER,
            "-q",
            "-p",
            "no:cacheprovider",
            f"--rootdir={SUITE.parent}",
            "-c",
            os.devnull,
            str(path),
        ],
        cwd=tmp_path,
        env={**os.environ, "TIKTOKEN_MAX_EXAMPLES": "20"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
