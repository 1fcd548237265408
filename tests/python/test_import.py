"""Importing the package stays cheap: nothing heavy, nothing that the caller did not ask for."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import ctxengine
import pytest
from ctxengine import tokenize

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


def test_a_first_encoding_loads_little() -> None:
    code = "ctxengine.get_encoding('gpt2').encode('hello')\n"
    loaded = set(run(LIGHT.replace("print", code + "print")).splitlines()[-1].split())
    heavy = {"numpy", "typing", "asyncio", "importlib.resources", "pathlib"}
    assert loaded & heavy == set()
    names = {name.removeprefix("ctxengine.tokenize.") for name in loaded if "tokenize." in name}
    assert names == {"batch", "encoding", "registry", "single", "special_modes"}


@pytest.mark.parametrize("module", [ctxengine, tokenize])
def test_every_public_name_resolves(module: ModuleType) -> None:
    for name in module.__all__:
        assert getattr(module, name) is not None
    assert set(module.__all__) <= set(dir(module))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'tokenise'"):
        _ = tokenize.tokenise  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="no attribute 'tokenise'"):
        _ = ctxengine.tokenise  # type: ignore[attr-defined]
