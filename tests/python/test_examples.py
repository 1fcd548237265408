"""The examples do what they say, and their own checks can fail."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def paged_decode(monkeypatch):
    spec = importlib.util.spec_from_file_location("paged_decode", EXAMPLES / "paged_decode.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "paged_decode", module)  # where dataclasses looks
    spec.loader.exec_module(module)
    return module


def test_every_scene_of_paged_decode(paged_decode, capsys):
    paged_decode.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [s.__name__ for s in paged_decode.SCENES]
    assert len(lines) == 5


@pytest.mark.parametrize(
    ("scene", "fault"),
    [
        ("fork_and_copy", lambda step: step._replace(copies=step.copies[:0])),
        ("share_a_prefix", lambda step: step._replace(table_patch=step.table_patch[1:])),
        ("guess_ahead", lambda step: step._replace(slots=step.slots[::-1])),
        ("preempt_and_return", lambda step: step._replace(slots=step.slots // 8 * 8)),
        ("store_and_load", lambda step: step._replace(table_patch=step.table_patch[:-1])),
    ],
)
def test_a_device_that_does_not_follow_is_found_out(paged_decode, monkeypatch, scene, fault):
    class Wrong(paged_decode.KVCacheManager):
        def reserve(self, *arguments):
            step = super().reserve(*arguments)
            return step if step.oom_row is not None else fault(step)

    monkeypatch.setattr(paged_decode, "KVCacheManager", Wrong)
    with pytest.raises(AssertionError):
        getattr(paged_decode, scene)()
