"""Compare BlockHasher("vllm_sha256_cbor") with vLLM's own code, on random requests.

Not part of the tests: vLLM's source is needed, and cbor2. It verifies the hashes and their integer
form for token ids of all lengths, cache salt, adapter, several media items that cross blocks,
requests that are hashed in two goes, and the seeds (default, and PYTHONHASHSEED=0).

Last run: vLLM 0.33.0 (sdist from PyPI), cbor2 6.2.1, Python 3.11: 4,000 requests, 62,486 blocks,
all hashes equal.

How to run it::

    pip download --no-deps --no-binary :all: --no-clean vllm==0.33.0   # unpacks, cannot build
    python bench/lab_vllm_hashes.py PATH_OF_THE_UNPACKED_SDIST

Only ``vllm/utils/hashing.py`` and ``vllm/v1/core/kv_cache_utils.py`` are executed, unmodified; the
modules which the latter imports but does not need for hashing are stood in for by mocks, and of
``vllm/multimodal/utils.py`` only the function ``get_mm_features_in_window`` is taken.
"""

from __future__ import annotations
import __future__

import ast
import bisect
import importlib.util
import os
import random
import sys
import types
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

from ctxengine import BlockHasher

STUBS = (
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


def load(root: Path, name: str) -> Any:
    """Execute one of vLLM's own modules."""
    path = root / (name.replace(".", "/") + ".py")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def function_of(path: Path, name: str, names: dict[str, Any]) -> Any:
    """Execute one function of a module that cannot be imported here."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name]
    flags = __future__.annotations.compiler_flag
    exec(compile(tree, str(path), "exec", flags), names)
    return names[name]


def request(rng: random.Random) -> tuple[Any, dict[str, Any]]:
    """Make a random request: as vLLM sees it, and as parameters of BlockHasher."""
    high = rng.choice([24, 300, 70000, 2**31 - 1])
    tokens = [rng.randint(0, high) for _ in range(rng.randint(0, 120))]
    salt = rng.choice([None, "tenant-a", "ü" * rng.randint(1, 300)])
    lora = rng.choice([None, ("sql", "/adapters/sql"), ("", "")])
    extra_keys: list[tuple[Any, ...]] = [("lora", *lora)] if lora else []
    features = []
    position = rng.randint(0, 10)
    for _ in range(rng.randint(0, 4)):
        length = rng.randint(1, 50)
        features.append(
            types.SimpleNamespace(
                identifier=f"image-{rng.random()}",
                mm_position=types.SimpleNamespace(offset=position, length=length),
            )
        )
        extra_keys.append(("mm", features[-1].identifier, position, length))
        position += length + rng.choice([0, 0, 1, 30])
    theirs = types.SimpleNamespace(
        all_token_ids=tokens,
        num_tokens=len(tokens),
        block_hashes=[],
        mm_features=features,
        lora_request=types.SimpleNamespace(lora_name=lora[0], lora_path=lora[1]) if lora else None,
        cache_salt=salt,
        prompt_embeds=None,
    )
    return theirs, {"cache_salt": salt, "extra_keys": extra_keys}


def main(root: Path) -> None:
    """Compare, and say what was compared."""
    for name in STUBS:
        sys.modules[name] = MagicMock(__name__=name, __path__=[])
    sys.modules["vllm.multimodal.utils"].get_mm_features_in_window = function_of(
        root / "vllm/multimodal/utils.py", "get_mm_features_in_window", {"bisect": bisect}
    )
    hashing = load(root, "vllm.utils.hashing")
    utils = load(root, "vllm.v1.core.kv_cache_utils")
    sys.modules["vllm.envs"].VLLM_KV_EVENTS_USE_INT_BLOCK_HASHES = True
    utils.envs = sys.modules["vllm.envs"]
    rng = random.Random(1)
    num_requests = num_blocks = 0
    for seed in (None, "0"):
        os.environ.pop("PYTHONHASHSEED", None)
        if seed is not None:
            os.environ["PYTHONHASHSEED"] = seed
        utils.init_none_hash(hashing.sha256_cbor)
        for _ in range(2000):
            theirs, ours = request(rng)
            block_size = rng.choice([1, 4, 16, 24, 64])
            hasher = utils.get_request_block_hasher(block_size, hashing.sha256_cbor)
            mine = BlockHasher(block_size, root=seed, **ours)
            tokens = theirs.all_token_ids
            theirs.num_tokens = rng.randint(0, len(tokens))  # first the prompt, then the rest
            theirs.block_hashes += hasher(theirs)
            theirs.num_tokens = len(tokens)
            theirs.block_hashes += hasher(theirs)
            assert mine.hash(tokens) == theirs.block_hashes, (tokens, ours)
            integers = [utils.maybe_convert_block_hash(h) for h in theirs.block_hashes]
            assert mine.hash_int64(tokens).tolist() == integers
            num_requests += 1
            num_blocks += len(integers)
    print(f"{num_requests} requests, {num_blocks} blocks: all hashes equal")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
