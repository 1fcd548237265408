"""Compare BlockHasher with the engines' own code, on random requests.

Not part of the tests: the engines' packages are needed. Each is compared that is there, and the
script says which were, and why another was not. The vectors of docs/formats.md are computed by the
engines as well.

How to run it::

    mkdir engines && cd engines
    pip download --no-deps --no-clean --no-binary :all: vllm==0.33.0   # unpacks, cannot build
    pip download --no-deps sglang==0.5.23 ai-dynamo-runtime==1.6.1 lmcache==0.5.6
    ...unpack each into a folder: vllm/ sglang/ ai_dynamo_runtime/ lmcache/
    pip install cbor2 xxhash blake3
    python bench/lab_engine_hashes.py engines

What is executed of each, unmodified (their other imports are stood in for by mocks):

- vLLM: ``vllm/utils/hashing.py``, ``vllm/v1/core/kv_cache_utils.py``, and of
  ``vllm/multimodal/utils.py`` the function ``get_mm_features_in_window``.
- SGLang: ``sglang/srt/mem_cache/cpp_utils/hash_binding.cpp``, compiled (OpenSSL's headers are
  needed); of ``sglang/srt/mem_cache/utils.py`` the functions ``storage_namespace_seed`` and
  ``hash_str_to_int64``.
- Dynamo: the binding ``dynamo._core.compute_block_hash_for_seq``.
- LMCache: ``lmcache/v1/multiprocess/token_hasher.py``.

Last run: 2026-11-22, all four, Python 3.11, cbor2 6.2.1, xxhash 4.1.0, blake3 1.0.11: all equal.
"""

from __future__ import annotations
import __future__

import array
import ast
import bisect
import hashlib
import importlib.util
import itertools
import os
import random
import subprocess
import sys
import sysconfig
import tempfile
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
from ctxengine import BlockHasher
from ctxengine.prefix import key_of_group

PAGE = (Path(__file__).resolve().parents[1] / "docs/formats.md").read_text(encoding="utf-8")
PAGE_TOKENS = [1, 23, 24, 255, 256, 65535, 65536, 2147483647]
VLLM_STUBS = (
    "vllm",
    "vllm.envs",
    "vllm.config",
    "vllm.logger",
    "vllm.multimodal",
    "vllm.multimodal.utils",
    "vllm.utils",
    "vllm.utils.math_utils",
    "vllm.v1",
    "vllm.v1.core",
    "vllm.v1.kv_cache_interface",
    "vllm.v1.kv_cache_spec_registry",
    "vllm.v1.request",
    "vllm.v1.utils",
)


class AbsentError(Exception):
    """An engine cannot be compared with; the message says why."""


def need(path: Path) -> Path:
    """Return a path that must be there."""
    if not path.exists():
        raise AbsentError(f"no {path}")
    return path


def load(path: Path, name: str) -> Any:
    """Execute one of an engine's own modules."""
    spec = importlib.util.spec_from_file_location(name, need(path))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def function_of(path: Path, name: str, names: dict[str, Any]) -> Any:
    """Execute one function of a module that cannot be imported here."""
    tree = ast.parse(need(path).read_text(encoding="utf-8"))
    tree.body = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name]
    flags = __future__.annotations.compiler_flag
    exec(compile(tree, str(path), "exec", flags), names)
    return names[name]


def random_tokens(rng: random.Random) -> list[int]:
    """Return up to 120 ids of one or more lengths in bytes."""
    highs = rng.choice([[24], [300], [70000], [2**31 - 1], [24, 300, 70000, 2**31 - 1]])
    return [rng.randint(0, rng.choice(highs)) for _ in range(rng.randint(0, 120))]


def assert_printed(digests: list[bytes], what: str) -> None:
    """Hold a vector of docs/formats.md to what an engine computed."""
    assert len(digests) == 2, what
    for digest in digests:
        assert f"`{digest.hex()}`" in PAGE, what


def vllm_request(
    tokens: list[int],
    salt: str | None = None,
    lora: tuple[str, str] | None = None,
    media: tuple[tuple[str, int, int], ...] = (),
    embeds: np.ndarray[Any, Any] | None = None,
) -> Any:
    """Make a request as vLLM's engine has it: each text came out of a message of its own."""

    def decoded(text: str) -> str:
        return text.encode().decode()

    return types.SimpleNamespace(
        all_token_ids=tokens,
        num_tokens=len(tokens),
        block_hashes=[],
        mm_features=[
            types.SimpleNamespace(
                identifier=decoded(identifier),
                mm_position=types.SimpleNamespace(offset=offset, length=length),
            )
            for identifier, offset, length in media
        ],
        lora_request=lora
        and types.SimpleNamespace(lora_name=decoded(lora[0]), lora_path=decoded(lora[1])),
        cache_salt=salt and decoded(salt),
        prompt_embeds=embeds,
        _prompt_embeds_per_block_hashes={},
    )


def random_vllm_request(rng: random.Random) -> tuple[Any, dict[str, Any]]:
    """Make a random request: as vLLM sees it, and as parameters of BlockHasher."""
    tokens = random_tokens(rng)
    salt = rng.choice([None, "a", "tenant-a", "cache_salt", "ü" * rng.randint(1, 300)])
    lora = rng.choice([None, ("sql", "/adapters/sql"), ("", ""), ("same", "same"), ("a", "lora")])
    media = []
    position = rng.randint(0, 10)
    for _ in range(rng.randint(0, 4)):
        length = rng.randint(1, 50)
        name = rng.choice(["a", "ü", "ab", "mm", "Ā", "same", f"image-{rng.random()}"])
        media.append((name, position, length))
        position += length + rng.choice([0, 0, 1, 30])
    rows = rng.choice([None, None, 0, 5, 200])
    embeds = None if rows is None else np.full((rows, 3), rng.random(), np.float16)
    theirs = vllm_request(tokens, salt, lora, tuple(media), embeds)
    extra_keys: list[tuple[Any, ...]] = [("lora", *lora)] if lora else []
    extra_keys += [("mm", *item) for item in media]
    extra_keys += [] if embeds is None else [("prompt_embeds", embeds)]
    return theirs, {"cache_salt": salt, "extra_keys": extra_keys}


def vllm_modules(root: Path) -> tuple[Any, Any]:
    """Load vLLM's hashing and its use."""
    need(root / "vllm/utils/hashing.py")
    for name in VLLM_STUBS:
        sys.modules[name] = MagicMock(__name__=name, __path__=[])
    sys.modules["vllm.multimodal.utils"].get_mm_features_in_window = function_of(
        root / "vllm/multimodal/utils.py", "get_mm_features_in_window", {"bisect": bisect}
    )
    sys.modules["vllm.v1.utils"].tensor_data = lambda tensor: tensor.tobytes()
    hashing = load(root / "vllm/utils/hashing.py", "vllm.utils.hashing")
    utils = load(root / "vllm/v1/core/kv_cache_utils.py", "vllm.v1.core.kv_cache_utils")
    sys.modules["vllm.envs"].VLLM_KV_EVENTS_USE_INT_BLOCK_HASHES = True
    utils.envs = sys.modules["vllm.envs"]
    return hashing, utils


def compare_vllm(root: Path) -> str:
    """Compare the four algorithms, with the default seed, PYTHONHASHSEED=0, and a random one."""
    hashing, utils = vllm_modules(root)
    rng = random.Random(1)
    num_requests = num_blocks = 0
    for algorithm, seed in itertools.product(
        ("sha256", "sha256_cbor", "xxhash", "xxhash_cbor"), (None, "0", "ü1")
    ):
        function = hashing.get_hash_fn_by_name(algorithm)
        os.environ.pop("PYTHONHASHSEED", None)
        if seed is not None:
            os.environ["PYTHONHASHSEED"] = seed
        utils.init_none_hash(function)
        is_random = seed is None and algorithm.startswith("xxhash")
        root_of = {"root": utils.NONE_HASH if is_random else seed}
        for _ in range(2000):
            theirs, ours = random_vllm_request(rng)
            block_size = rng.choice([1, 2, 3, 4, 16, 24, 64])
            hasher = utils.get_request_block_hasher(block_size, function)
            mine = BlockHasher(block_size, scheme=f"vllm_{algorithm}", **root_of, **ours)
            tokens = theirs.all_token_ids
            theirs.num_tokens = rng.randint(0, len(tokens))  # first the prompt, then the rest
            theirs.block_hashes += hasher(theirs)
            num_first = len(theirs.block_hashes)
            theirs.num_tokens = len(tokens)
            theirs.block_hashes += hasher(theirs)
            assert mine.hash(tokens) == theirs.block_hashes, (algorithm, tokens, ours)
            if num_first > 0:
                start = num_first * block_size
                rest = mine.hash(
                    tokens[start:], parent=theirs.block_hashes[num_first - 1], start=start
                )
                assert rest == theirs.block_hashes[num_first:]
            integers = [utils.maybe_convert_block_hash(h) for h in theirs.block_hashes]
            assert mine.hash_int64(tokens).tolist() == integers
            for block_hash in theirs.block_hashes[:1]:
                key = utils.make_block_hash_with_group_id(block_hash, num_blocks)
                assert key_of_group(block_hash, num_blocks) == key
            num_requests += 1
            num_blocks += len(integers)
        if algorithm.startswith("xxhash") and seed != "0":
            continue
        cases: list[dict[str, Any]] = [{}]
        if not algorithm.startswith("xxhash") and seed is None:
            cases += [
                {"salt": "tenant-a"},
                {
                    "salt": "tenant-a",
                    "lora": ("sql", "/adapters/sql"),
                    "media": (("img-1", 2, 3), ("img-2", 5, 2)),
                },
                {"embeds": np.arange(12, dtype=np.uint8).reshape(6, 2)},
            ]
        for case in [] if seed not in (None, "0") else cases:
            hasher = utils.get_request_block_hasher(4, function)
            assert_printed(hasher(vllm_request(PAGE_TOKENS, **case)), f"{algorithm} {case}")
    return f"{num_requests} requests, {num_blocks} blocks, 4 algorithms"


def sglang_hash(root: Path) -> Callable[..., list[str]]:
    """Compile SGLang's hasher; the result takes ids, page size and prior digest."""
    import pybind11

    source = need(root / "sglang/srt/mem_cache/cpp_utils/hash_binding.cpp")
    folder = tempfile.mkdtemp()
    library = Path(folder) / f"hicache_hash_cpp{sysconfig.get_config_var('EXT_SUFFIX')}"
    includes = [pybind11.get_include(), sysconfig.get_paths()["include"]]
    command = ["c++", "-shared", "-fPIC", "-O3", "-std=c++17", "-DNDEBUG", "-mavx2"]
    command += ["-DTORCH_EXTENSION_NAME=hicache_hash_cpp", *(f"-I{path}" for path in includes)]
    built = subprocess.run(
        [*command, str(source), "-o", str(library), "-lcrypto"],
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode != 0:
        raise AbsentError(f"its hasher does not compile: {built.stderr[:200]}")
    native = load(library, "hicache_hash_cpp")

    def get_hash(ids: array.array[int], page_size: int, prior: bytes | None = None) -> list[str]:
        pages: list[str] = native.get_hash(ids, len(ids), 1, False, prior, page_size)
        return pages

    return get_hash


def compare_sglang(root: Path) -> str:
    """Compare page hashes, salted seeds and the integer form."""
    get_hash = sglang_hash(root)
    utils = root / "sglang/srt/mem_cache/utils.py"
    seed_of = function_of(utils, "storage_namespace_seed", {"hashlib": hashlib})
    to_int64 = function_of(utils, "hash_str_to_int64", {})
    rng = random.Random(2)
    num_requests = num_pages = 0
    for _ in range(4000):
        tokens = random_tokens(rng)
        page_size = rng.choice([1, 2, 16, 24, 64])
        salt = rng.choice([None, None, "tenant-a", "ü" * 100])
        full = tokens[: len(tokens) // page_size * page_size]
        seed = seed_of(None, salt)
        prior = bytes.fromhex(seed) if seed else None
        want = get_hash(array.array("q", full), page_size, prior)
        mine = BlockHasher(page_size, scheme="sglang", cache_salt=salt)
        assert mine.hash_hex(tokens) == want
        assert mine.hash_int64(tokens).view(np.int64).tolist() == [to_int64(h) for h in want]
        own = seed_of("extra", salt)
        rooted = BlockHasher(page_size, scheme="sglang", root=bytes.fromhex(own))
        want = get_hash(array.array("q", full), page_size, bytes.fromhex(own))
        assert rooted.hash_hex(tokens) == want
        num_requests += 1
        num_pages += len(want)
    for salt in (None, "tenant-a"):
        seed = seed_of(None, salt)
        prior = bytes.fromhex(seed) if seed else None
        pages = get_hash(array.array("q", PAGE_TOKENS), 4, prior)
        assert_printed([bytes.fromhex(page) for page in pages], f"sglang {salt}")
    return f"{num_requests} requests, {num_pages} pages"


def dynamo_hash(root: Path) -> Any:
    """Import Dynamo's binding; the result takes ids and block size."""
    sys.path.insert(0, str(need(root)))
    from dynamo._core import compute_block_hash_for_seq

    return compute_block_hash_for_seq


def compare_dynamo(root: Path) -> str:
    """Compare local hashes with adapters and media; the chain step is an XXH3 of four words."""
    compute_block_hash_for_seq = dynamo_hash(root)

    def split(x: int) -> list[int]:
        return [x & 0xFFFFFFFF, x >> 32]

    def chained(local: list[int]) -> Iterator[int]:
        parent = None
        for x in local:
            words = None if parent is None else [*split(parent), *split(x)]
            parent = x if words is None else compute_block_hash_for_seq(words, 4)[0]
            yield parent

    rng = random.Random(3)
    num_requests = num_blocks = 0
    for _ in range(4000):
        tokens = random_tokens(rng)
        block_size = rng.choice([1, 2, 4, 16, 24, 64, 100])
        lora = rng.choice([None, "", "sql", "ü" * rng.randint(1, 300)])
        media: list[tuple[str, int, int]] = []
        position = rng.randint(0, 10)
        for _ in range(rng.randint(0, 4)):
            length = rng.randint(1, 50)
            media.append((rng.randbytes(32).hex(), position, length))
            position += length + rng.choice([0, 0, 1, 30])
        infos = []
        for begin in range(0, len(tokens) - block_size + 1, block_size):
            objects = [
                {"mm_hash": int(name[:16], 16), "offsets": [[0, 1]]}
                for name, offset, length in media
                if offset < begin + block_size and offset + length > begin
            ]
            infos.append({"mm_objects": objects} if objects else None)
        want = compute_block_hash_for_seq(tokens, block_size, infos or None, lora_name=lora)
        extra_keys: list[tuple[Any, ...]] = [] if lora is None else [("lora", lora, "ignored")]
        extra_keys += [("mm", *item) for item in media]
        mine = BlockHasher(block_size, scheme="dynamo", extra_keys=extra_keys)
        assert mine.hash_int64(tokens).tolist() == want
        sequence = BlockHasher(block_size, scheme="dynamo_sequence", extra_keys=extra_keys)
        assert sequence.hash_int64(tokens).tolist() == list(chained(want))
        num_requests += 1
        num_blocks += len(want)
    image = {"mm_objects": [{"mm_hash": 0x0011223344556677, "offsets": [[0, 1]]}]}
    plain = compute_block_hash_for_seq(PAGE_TOKENS, 4)
    every = compute_block_hash_for_seq(PAGE_TOKENS, 4, [image, image], lora_name="sql")
    for hashes in (plain, every, list(chained(plain))):
        assert_printed([x.to_bytes(8, "big") for x in hashes], "dynamo")
    return f"{num_requests} requests, {num_blocks} blocks"


def lmcache_hasher(root: Path) -> Any:
    """Load LMCache's class that hashes chunks of a size."""
    for name in ("lmcache", "lmcache.logging", "numba"):
        sys.modules[name] = MagicMock(__name__=name, __path__=[])
    module = load(root / "lmcache/v1/multiprocess/token_hasher.py", "token_hasher")
    return module.TokenHasher


def compare_lmcache(root: Path) -> str:
    """Compare the chunk hashes of the multiprocess server."""
    token_hasher = lmcache_hasher(root)
    rng = random.Random(4)
    num_requests = num_chunks = 0
    for _ in range(1000):
        chunk_size = rng.choice([1, 16, 64, 256, 300])
        tokens = random_tokens(rng) * rng.choice([1, 1, 12])
        theirs = token_hasher(chunk_size)
        want = theirs.compute_chunk_hashes(tokens)
        mine = BlockHasher(chunk_size, scheme="lmcache")
        assert mine.hash(tokens) == want
        rest = theirs.compute_chunk_hashes(tokens, prefix_hash=bytes(32))
        assert BlockHasher(chunk_size, scheme="lmcache", root=bytes(32)).hash(tokens) == rest
        num_requests += 1
        num_chunks += len(want)
    assert_printed(token_hasher(4).compute_chunk_hashes(PAGE_TOKENS), "lmcache")
    return f"{num_requests} requests, {num_chunks} chunks"


def outcome(compare: Callable[[Path], str], root: Path) -> str:
    """Return what was compared, or why nothing was."""
    try:
        return f"{compare(root)}: all hashes equal"
    except (AbsentError, ImportError) as absent:
        return f"not compared: {absent}"


def main(folder: Path) -> int:
    """Compare with each engine, and say what was compared."""
    engines = {
        "vllm": compare_vllm,
        "sglang": compare_sglang,
        "ai_dynamo_runtime": compare_dynamo,
        "lmcache": compare_lmcache,
    }
    for name, compare in engines.items():
        print(f"{name}: {outcome(compare, folder / name)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
