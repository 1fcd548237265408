"""The layer rule holds for every include and import."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools/check_layers.py"


@pytest.fixture
def check_layers():
    spec = importlib.util.spec_from_file_location("check_layers", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_include_and_import_follows_the_rule(check_layers):
    assert check_layers.violations() == []


def test_a_planted_violation_is_found(check_layers, tmp_path, monkeypatch):
    (tmp_path / "src/cpp/tokenize").mkdir(parents=True)
    (tmp_path / "src/cpp/tokenize/bad.h").write_text('#include "kv/manager.h"\n')
    (tmp_path / "python/ctxengine").mkdir(parents=True)
    (tmp_path / "python/ctxengine/prefix.py").write_text("from ctxengine import budget, kv\n")
    (tmp_path / "python/ctxengine/limits.py").write_text("from ctxengine.engine import x\n")
    monkeypatch.setattr(check_layers, "ROOT", tmp_path)
    assert check_layers.violations() == [
        "src/cpp/tokenize/bad.h: tokenize may not include kv",
        "python/ctxengine/limits.py: limits may not import engine",
        "python/ctxengine/prefix.py: prefix may not import budget",
        "python/ctxengine/prefix.py: prefix may not import kv",
    ]
