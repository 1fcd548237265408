"""Importing the package stays cheap: nothing heavy, nothing that the caller did not ask for."""

from __future__ import annotations

import subprocess
import sys

import ctxengine
import pytest

LIGHT = """
import sys
before = set(sys.modules)
import ctxengine
print(*sorted(set(sys.modules) - before))
"""


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-S", "-c", "import site; site.main()\n" + code],
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def test_import_loads_only_the_package_and_its_core() -> None:
    loaded = set(run(LIGHT).splitlines()[-1].split())
    # An editable install brings its build hook along; these must not come either way.
    assert loaded & {"numpy", "typing", "dataclasses", "asyncio", "json", "rich", "cupy"} == set()
    assert {name for name in loaded if name.startswith("ctxengine")} == {
        "ctxengine",
        "ctxengine._core",
    }


def test_every_public_name_resolves() -> None:
    for name in ctxengine.__all__:
        assert getattr(ctxengine, name) is not None
    assert set(ctxengine.__all__) <= set(dir(ctxengine))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'tokenise'"):
        _ = ctxengine.tokenise  # type: ignore[attr-defined]
