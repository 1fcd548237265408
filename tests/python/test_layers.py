"""The layer rule holds for every include and import."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools/check_layers.py"


@pytest.fixture
def check_layers() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_layers", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_include_and_import_follows_the_rule(check_layers: ModuleType) -> None:
    assert check_layers.violations() == []


def test_a_planted_violation_is_found(
    check_layers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "src/cpp/tokenize").mkdir(parents=True)
    (tmp_path / "src/cpp/tokenize/bad.h").write_text('#include "kv/manager.h"\n')
    (tmp_path / "src/cuda").mkdir()
    (tmp_path / "src/cuda/good.cu").write_text('#include "kv/manager.h"\n#include "cuda/x.h"\n')
    (tmp_path / "python/ctxengine").mkdir(parents=True)
    (tmp_path / "python/ctxengine/prefix.py").write_text("from ctxengine import budget, kv\n")
    (tmp_path / "python/ctxengine/limits.py").write_text("import ctxengine.engine\n")
    (tmp_path / "python/ctxengine/viz.py").write_text("from ctxengine._core import x\n")
    monkeypatch.setattr(check_layers, "ROOT", tmp_path)
    assert check_layers.violations() == [
        "src/cpp/tokenize/bad.h: tokenize may not use kv",
        "python/ctxengine/limits.py: limits may not use engine",
        "python/ctxengine/prefix.py: prefix may not use budget",
        "python/ctxengine/prefix.py: prefix may not use kv",
        "python/ctxengine/viz.py: viz may not use _core",
    ]
