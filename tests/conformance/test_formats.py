"""docs/formats.md: its programs run, and the library writes what the page defines."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from ctxengine import BlockHasher

PAGE = (Path(__file__).resolve().parents[2] / "docs/formats.md").read_text(encoding="utf-8")
TOKENS = [1, 23, 24, 255, 256, 65535, 65536, 2147483647, 5]
SALT = {"cache_salt": "tenant-a"}
LORA = ("lora", "sql", "/adapters/sql")
IMAGE = "00112233445566778899aabbccddeeff" * 2  # no vector
ROWS = np.arange(12, dtype=np.uint8).reshape(6, 2)
VLLM = {
    "plain": {},
    "1": SALT,
    "2": {**SALT, "extra_keys": [LORA, ("mm", "img-1", 2, 3), ("mm", "img-2", 5, 2)]},
    "3": {"root": "0"},
    "4": {"extra_keys": [("prompt_embeds", ROWS)]},
}
CASES = {
    **{("vllm_sha256", case): kwargs for case, kwargs in VLLM.items()},
    **{("vllm_sha256_cbor", case): kwargs for case, kwargs in VLLM.items()},
    ("vllm_xxhash", "3"): VLLM["3"],
    ("vllm_xxhash_cbor", "3"): VLLM["3"],
    ("sglang", "plain"): {},
    ("sglang", "salt"): SALT,
    ("dynamo", "plain"): {},
    ("dynamo", "all"): {"extra_keys": [LORA, ("mm", IMAGE, 2, 5)]},
    ("dynamo_sequence", "plain"): {},
    ("lmcache", "plain"): {},
    ("keyed128", "plain"): {"root": bytes(range(32))},
    ("keyed128", "salt"): {"root": bytes(range(32)), **SALT},
}


@pytest.fixture(scope="module")
def vectors():
    for package in ("xxhash", "blake3"):
        pytest.importorskip(package)
    namespace: dict[str, object] = {}
    for program in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(program, "docs/formats.md", "exec"), namespace)
    return namespace["vectors"]


@pytest.mark.parametrize(("scheme", "case"), CASES)
def test_the_library_writes_what_is_printed(scheme, case):
    digests = BlockHasher(4, scheme=scheme, **CASES[scheme, case]).hash_hex(TOKENS)
    assert all(f"`{digest}`" in PAGE for digest in digests)


def test_the_programs_compute_what_is_printed(vectors):
    for (scheme, case), digests in vectors.items():
        assert BlockHasher(4, scheme=scheme, **CASES[scheme, case]).hash_hex(TOKENS) == digests
    assert vectors.keys() == CASES.keys()


def test_the_page_prints_no_other_vectors(vectors):
    printed = re.findall(r"`((?:[0-9a-f]{16}){1,4})`", PAGE)
    assert set(printed) == {IMAGE[:32], *(d for digests in vectors.values() for d in digests)}
