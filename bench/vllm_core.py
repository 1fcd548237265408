"""vLLM's own block manager, run unmodified from an unpacked sdist.

Only the modules of `REAL` are executed; whatever else they import is stood in for by mocks. How to
get the sdist says `lab_vllm_hashes.py`; its folder is named by ``CTXENGINE_BENCH_VLLM``.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

REAL = {
    "vllm.utils.hashing",
    "vllm.utils.math_utils",
    "vllm.v1.core.block_pool",
    "vllm.v1.core.kv_cache_coordinator",
    "vllm.v1.core.kv_cache_manager",
    "vllm.v1.core.kv_cache_metrics",
    "vllm.v1.core.kv_cache_utils",
    "vllm.v1.core.single_type_kv_cache_manager",
    "vllm.v1.kv_cache_interface",
    "vllm.v1.kv_cache_spec_registry",
}
PACKAGES = {"vllm", "vllm.utils", "vllm.v1", "vllm.v1.core"}


class _Mocked(types.ModuleType):
    """A module of which everything can be imported."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = MagicMock(name=name)
        setattr(self, name, value)
        return value


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, root: Path) -> None:
        self.root = root

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:  # noqa: ARG002
        if fullname.partition(".")[0] not in {"vllm", "torch", "cbor2", "regex"}:
            return None
        if fullname in REAL:
            file = self.root / (fullname.replace(".", "/") + ".py")
            return importlib.util.spec_from_file_location(fullname, file)
        return importlib.machinery.ModuleSpec(
            fullname, self, is_package=fullname in PACKAGES or "." not in fullname
        )

    def create_module(self, spec: Any) -> types.ModuleType:
        return _Mocked(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


class Request:
    """What the manager reads of a request."""

    def __init__(self, request_id: str, token_ids: list[int]) -> None:
        self.request_id = request_id
        self.all_token_ids = token_ids
        self.num_prompt_tokens = len(token_ids)
        self.num_computed_tokens = 0
        self.num_in_flight_tokens = 0
        self.num_preemptions = 0
        self.shared_prefix_boundary = 0
        self.block_hashes: list[Any] = []
        self.mm_features: list[Any] = []
        self.lora_request = self.cache_salt = self.prompt_embeds = self.session_id = None
        self.skip_reading_prefix_cache = False
        self.status = "running"

    @property
    def num_tokens(self) -> int:
        """Tokens so far."""
        return len(self.all_token_ids)


class VllmManager:
    """vLLM's KVCacheManager, with the calls that a scheduler makes."""

    def __init__(
        self,
        num_blocks: int,
        block_size: int,
        *,
        groups: Sequence[tuple[str, int]] = (("full", 0),),
        max_model_len: int = 1 << 20,
    ) -> None:
        folder = os.environ.get("CTXENGINE_BENCH_VLLM")
        if folder is None:
            raise ImportError("CTXENGINE_BENCH_VLLM names no folder with vLLM's sdist")
        if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
            sys.meta_path.append(_Finder(Path(folder)))
        sha256 = importlib.import_module("vllm.utils.hashing").sha256
        interface = importlib.import_module("vllm.v1.kv_cache_interface")
        kv_cache_manager = importlib.import_module("vllm.v1.core.kv_cache_manager")
        kv_cache_utils = importlib.import_module("vllm.v1.core.kv_cache_utils")
        single = importlib.import_module("vllm.v1.core.single_type_kv_cache_manager")

        kv_cache_utils.init_none_hash(sha256)
        single.register_all_kvcache_specs(None)
        common = {"block_size": block_size, "num_kv_heads": 1, "head_size": 1, "dtype": None}
        specs = []
        for kind, window in groups:
            if kind == "full":
                specs.append(interface.FullAttentionSpec(**common))
            elif kind == "sliding_window":
                specs.append(interface.SlidingWindowSpec(**common, sliding_window=window))
            else:
                specs.append(
                    interface.ChunkedLocalAttentionSpec(**common, attention_chunk_size=window)
                )
        config = interface.KVCacheConfig(
            num_blocks=num_blocks + 1,  # block 0 is its null block
            kv_cache_tensors=[],
            kv_cache_groups=[
                interface.KVCacheGroupSpec([f"layer{i}"], spec) for i, spec in enumerate(specs)
            ],
        )
        self.core = kv_cache_manager.KVCacheManager(
            config, max_model_len, scheduler_block_size=block_size, hash_block_size=block_size
        )
        self.hasher = kv_cache_utils.get_request_block_hasher(block_size, sha256)

    def request(self, request_id: str, token_ids: list[int]) -> Request:
        """Return a request whose full blocks are hashed."""
        made = Request(request_id, token_ids)
        made.block_hashes += self.hasher(made)
        return made

    def admit(self, request: Request) -> int | None:
        """Look up and allocate the whole prompt; None when blocks are short."""
        blocks, num_cached, _ = self.core.get_computed_blocks(request)
        # Without others scheduled there is no watermark, and no mocked status to compare.
        slots = self.core.allocate_slots(
            request,
            request.num_tokens - num_cached,
            num_cached,
            blocks,
            has_scheduled_reqs=False,
        )
        if slots is None:
            return None
        request.num_computed_tokens = request.num_tokens
        return int(num_cached)

    def decode(self, request: Request, token_id: int) -> bool:
        """Append one token."""
        request.all_token_ids.append(token_id)
        request.block_hashes += self.hasher(request)
        if self.core.allocate_slots(request, 1, has_scheduled_reqs=False) is None:
            return False
        request.num_computed_tokens += 1
        return True

    def free(self, request: Request) -> None:
        """Let a request go."""
        self.core.free(request)

    def block_ids(self, request: Request) -> list[list[int]]:
        """Return the tables as ours: from block 0 on, -1 for none."""
        return [[b - 1 for b in ids] for ids in self.core.get_block_ids(request.request_id)]
