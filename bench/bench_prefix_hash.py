"""Hashing the blocks of a 32k prompt, beside vLLM's algorithm in Python.

Run with ``pytest bench/bench_prefix_hash.py``. The rival is what vLLM does per block: cbor2's
canonical encoding and hashlib's SHA-256. Without cbor2 the reference stands in for it.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from ctxengine import BlockHasher
from ctxengine.reference import block_hash, keyed128

BLOCK_SIZE = 16
TOKENS = np.random.default_rng(0).integers(0, 128_000, 32_768, dtype=np.uint32)
SEED = bytes(range(32))


def vllm_in_python(token_ids):
    try:
        from cbor2 import dumps
    except ImportError:
        return block_hash.block_hashes(token_ids, BLOCK_SIZE)
    parent = hashlib.sha256(dumps("vllm-none-hash", canonical=True)).digest()
    hashes = []
    for begin in range(0, len(token_ids), BLOCK_SIZE):
        block = (parent, tuple(token_ids[begin : begin + BLOCK_SIZE]), None)
        parent = hashlib.sha256(dumps(block, canonical=True)).digest()
        hashes.append(parent)
    return hashes


@pytest.mark.parametrize("name", ["ctxengine, numpy", "ctxengine, list", "python"])
def test_vllm_sha256_cbor(benchmark, name):
    hasher = BlockHasher(BLOCK_SIZE)
    token_ids = TOKENS if name == "ctxengine, numpy" else TOKENS.tolist()
    hash_blocks = vllm_in_python if name == "python" else hasher.hash
    assert hash_blocks(token_ids) == hasher.hash(TOKENS)
    benchmark.group = "vllm_sha256_cbor, 2048 blocks of 16"
    benchmark(hash_blocks, token_ids)


@pytest.mark.parametrize("block_size", [16, 64])
@pytest.mark.parametrize("scheme", ["vllm_sha256_cbor", "keyed128"])
def test_schemes(benchmark, scheme, block_size):
    root = SEED if scheme == "keyed128" else None
    hasher = BlockHasher(block_size, scheme=scheme, root=root)
    sample = TOKENS[:256].tolist()
    if scheme == "keyed128":
        want = keyed128.block_hashes(sample, block_size, seed=SEED)
    else:
        want = block_hash.block_hashes(sample, block_size)
    assert hasher.hash(sample) == want
    benchmark.group = f"32k tokens in blocks of {block_size}"
    benchmark(hasher.hash_int64, TOKENS)
