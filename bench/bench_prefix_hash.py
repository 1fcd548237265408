"""Hashing the blocks of a 32k prompt, beside the engines' own code.

Run with ``pytest bench/bench_prefix_hash.py --benchmark-enable``. With
``CTXENGINE_BENCH_ENGINES=FOLDER``, of which bench/lab_engine_hashes.py says how to fill it, the
rivals are vLLM, SGLang, Dynamo and LMCache themselves; vLLM's algorithm in plain Python is always
one. Hashes are compared before anything is timed.
"""

from __future__ import annotations

import array
import os
from pathlib import Path

import lab_engine_hashes as lab
import numpy as np
import pytest
from ctxengine import BlockHasher
from ctxengine.reference import block_hash, keyed128

BLOCK_SIZE = 16
TOKENS = np.random.default_rng(0).integers(0, 128_000, 32_768, dtype=np.uint32)
LIST = TOKENS.tolist()
SEED = bytes(range(32))
ENGINES = Path(os.environ.get("CTXENGINE_BENCH_ENGINES", "none"))


def engine(make, name):
    try:
        return make(ENGINES / name)
    except (lab.AbsentError, ImportError) as absent:
        pytest.skip(f"{name}: {absent}")


@pytest.fixture(scope="module")
def vllm():
    hashing, utils = engine(lab.vllm_modules, "vllm")
    os.environ.pop("PYTHONHASHSEED", None)

    def hasher(algorithm):
        function = hashing.get_hash_fn_by_name(algorithm)
        utils.init_none_hash(function)
        hash_request = utils.get_request_block_hasher(BLOCK_SIZE, function)
        return lambda: hash_request(lab.vllm_request(LIST))

    return hasher


def timed(benchmark, group, call, want):
    got = call()
    assert (got.tolist() if isinstance(got, np.ndarray) else got) == want
    benchmark.group = f"{group}, 2048 blocks of 16"
    benchmark(call)


@pytest.mark.parametrize("name", ["ctxengine, numpy", "ctxengine, list", "python", "vLLM"])
@pytest.mark.parametrize("algorithm", ["sha256", "sha256_cbor"])
def test_vllm(benchmark, request, algorithm, name):
    hasher = BlockHasher(BLOCK_SIZE, scheme=f"vllm_{algorithm}")
    serialize = block_hash.cbor if algorithm == "sha256_cbor" else block_hash.pickled
    group = f"vllm_{algorithm}"
    if name == "vLLM":
        timed(benchmark, group, request.getfixturevalue("vllm")(algorithm), hasher.hash(TOKENS))
    elif name == "python":

        def plain():
            return block_hash.block_hashes(LIST, BLOCK_SIZE, serialize=serialize)

        timed(benchmark, group, plain, hasher.hash(TOKENS))
    elif name == "ctxengine, list":
        timed(benchmark, group, lambda: hasher.hash(LIST), hasher.hash(TOKENS))
    else:
        want = [list(digest) for digest in hasher.hash(TOKENS)]
        timed(benchmark, group, lambda: hasher.hash_to_numpy(TOKENS), want)


@pytest.mark.parametrize(
    "name", ["ctxengine, numpy", "ctxengine, list", "ctxengine, hex", "SGLang"]
)
def test_sglang(benchmark, name):
    hasher = BlockHasher(BLOCK_SIZE, scheme="sglang")
    ids = array.array("q", LIST)  # SGLang's own form
    if name == "SGLang":
        get_hash = engine(lab.sglang_hash, "sglang")
        timed(benchmark, "sglang", lambda: get_hash(ids, BLOCK_SIZE), hasher.hash_hex(TOKENS))
    elif name == "ctxengine, hex":
        timed(benchmark, "sglang", lambda: hasher.hash_hex(ids), hasher.hash_hex(TOKENS))
    elif name == "ctxengine, list":
        timed(benchmark, "sglang", lambda: hasher.hash(ids), hasher.hash(TOKENS))
    else:
        want = [list(digest) for digest in hasher.hash(TOKENS)]
        timed(benchmark, "sglang", lambda: hasher.hash_to_numpy(ids), want)


@pytest.mark.parametrize("name", ["ctxengine, numpy", "ctxengine, list", "Dynamo"])
def test_dynamo(benchmark, name):
    hasher = BlockHasher(BLOCK_SIZE, scheme="dynamo")
    want = hasher.hash_int64(TOKENS).tolist()
    if name == "Dynamo":
        native = engine(lab.dynamo_hash, "ai_dynamo_runtime")
        timed(benchmark, "dynamo", lambda: native(LIST, BLOCK_SIZE), want)
    else:
        ids = LIST if name == "ctxengine, list" else TOKENS
        timed(benchmark, "dynamo", lambda: hasher.hash_int64(ids), want)


@pytest.mark.parametrize("name", ["ctxengine, numpy", "LMCache"])
def test_lmcache(benchmark, name):
    hasher = BlockHasher(BLOCK_SIZE, scheme="lmcache")
    if name == "LMCache":
        theirs = engine(lab.lmcache_hasher, "lmcache")(BLOCK_SIZE)
        call = lambda: theirs.compute_chunk_hashes(LIST)  # noqa: E731
    else:
        call = lambda: hasher.hash(TOKENS)  # noqa: E731
    timed(benchmark, "lmcache", call, hasher.hash(TOKENS))


@pytest.mark.parametrize("scheme", ["vllm_sha256", "vllm_sha256_cbor", "sglang"])
def test_batches(benchmark, scheme):
    """Eight prompts; compare with eight times one."""
    hasher = BlockHasher(BLOCK_SIZE, scheme=scheme)
    prompts = [np.roll(TOKENS, i) for i in range(8)]
    benchmark.group = f"{scheme}, 8 prompts of 2048 blocks of 16"
    assert hasher.hash_batch(prompts) == [hasher.hash(prompt) for prompt in prompts]
    benchmark(hasher.hash_batch, prompts)


@pytest.mark.parametrize("block_size", [16, 64])
@pytest.mark.parametrize("scheme", ["vllm_sha256_cbor", "keyed128"])
def test_block_sizes(benchmark, scheme, block_size):
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
