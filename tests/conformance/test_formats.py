"""docs/formats.md: its programs run, and the library writes what the page defines."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ctxengine import BlockHasher

PAGE = (Path(__file__).resolve().parents[2] / "docs/formats.md").read_text(encoding="utf-8")
TOKENS = [1, 23, 24, 255, 256, 65535, 65536, 2147483647, 5]
SALT = "tenant-a"
EXTRA_KEYS = [("lora", "sql", "/adapters/sql"), ("mm", "img-1", 2, 5)]
KEYED = {"scheme": "keyed128", "root": bytes(range(32))}


@pytest.fixture(scope="module")
def vectors():
    namespace: dict[str, object] = {}
    for program in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(program, "docs/formats.md", "exec"), namespace)
    return namespace["vectors"]


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("plain", {}),
        ("salt", {"cache_salt": SALT}),
        ("all", {"cache_salt": SALT, "extra_keys": EXTRA_KEYS}),
        ("seed", {"root": "0"}),
        ("keyed plain", KEYED),
        ("keyed salt", {**KEYED, "cache_salt": SALT}),
    ],
)
def test_vectors(vectors, name, kwargs):
    digests = [digest.hex() for digest in BlockHasher(4, **kwargs).hash(TOKENS)]
    assert digests == vectors[name]
    assert all(f"`{digest}`" in PAGE for digest in digests)


def test_the_page_prints_no_other_vectors(vectors):
    printed = set(re.findall(r"`([0-9a-f]{32}(?:[0-9a-f]{32})?)`", PAGE))
    assert printed == {digest for digests in vectors.values() for digest in digests}
