"""The KV block managers of vLLM and SGLang, as published, for the benches and labs of ``kv``.

Neither package can be imported whole without a GPU stack, so each is unpacked into a folder, and
the modules that manage blocks are executed from there, unmodified; what they import besides is
stood in for.

How to get them::

    mkdir engines && cd engines
    pip download --no-deps --no-clean --no-binary :all: vllm==0.33.0   # unpacks, cannot build
    pip download --no-deps sglang==0.5.23
    ...unpack each into a folder: vllm/ sglang/
    export CTXENGINE_BENCH_ENGINES=$PWD

What each needs:

- vLLM 0.33.0 runs its block pool, free queue, hash map, coordinators, managers of each kind of
  attention, hashing and requests with the standard library alone. Stood in for: torch, msgspec, zmq
  and cbor2 (unless they are there), configuration, logging, multimodal and LoRA modules; three
  small definitions are taken out of modules that cannot be executed (`_TAKEN`). Events stay off.
- SGLang 0.5.23 has its tree in Rust, ``sglang/srt/mem_cache/rust_tree_core/mem_cache.*.so``. It is
  loaded alone and driven through its own bindings, without the Python adapter above it. It is
  linked with libtorch: torch (the CPU build will do) must be importable.
"""

from __future__ import annotations
import __future__

import ast
import bisect
import functools
import importlib.machinery
import importlib.util
import itertools
import os
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload
from unittest.mock import MagicMock

import pytest
from ctxengine.cli.contenders import OURS
from ctxengine.cli.rounds import take_turns

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Mapping

    from report import Report, Unit

T = TypeVar("T")

ENGINES = "CTXENGINE_BENCH_ENGINES"
_SGLANG_MODULE = "sglang/srt/mem_cache/rust_tree_core"


class Absent(Exception):  # noqa: N818 - like contenders.Absent
    """A rival cannot be loaded; the message says why."""


# vLLM's own modules, each before those that import it.
_MODULES = (
    "vllm.utils.math_utils",
    "vllm.utils.hashing",
    "vllm.v1.kv_cache_layout",
    "vllm.v1.kv_cache_spec_registry",
    "vllm.v1.kv_cache_interface",
    "vllm.v1.metrics.cache_hit_source",
    "vllm.v1.metrics.stats",
    "vllm.v1.request",
    "vllm.v1.core.kv_cache_utils",
    "vllm.v1.core.kv_cache_metrics",
    "vllm.v1.core.block_pool",
    "vllm.v1.hisparse.block_pool",
    "vllm.v1.core.single_type_kv_cache_manager",
    "vllm.v1.core.kv_cache_coordinator",
    "vllm.v1.core.kv_cache_manager",
)
_PACKAGES = (
    "vllm",
    "vllm.compilation",
    "vllm.config",
    "vllm.distributed",
    "vllm.lora",
    "vllm.multimodal",
    "vllm.usage",
    "vllm.utils",
    "vllm.v1",
    "vllm.v1.attention",
    "vllm.v1.attention.backends",
    "vllm.v1.core",
    "vllm.v1.hisparse",
    "vllm.v1.metrics",
    "vllm.v1.spec_decode",
    "vllm.v1.structured_output",
)
_MOCKS = (
    "torch",
    "vllm.compilation.cuda_graph",
    "vllm.distributed.kv_events",
    "vllm.envs",
    "vllm.logger",
    "vllm.lora.request",
    "vllm.multimodal.inputs",
    "vllm.multimodal.utils",
    "vllm.platforms",
    "vllm.pooling_params",
    "vllm.sampling_params",
    "vllm.utils.torch_utils",
    "vllm.v1.attention.backends.registry",
    "vllm.v1.engine",
    "vllm.v1.kv_hints",
    "vllm.v1.metrics.perf",
    "vllm.v1.spec_decode.metrics",
    "vllm.v1.structured_output.request",
    "vllm.v1.utils",
)
_THIRD_PARTY = ("cbor2", "msgspec", "zmq")  # real ones, where they are installed
# module, file, name: one definition of a module that cannot be executed
_TAKEN = (
    ("vllm.v1.utils", "vllm/v1/utils.py", "ConstantList"),
    ("vllm.utils", "vllm/utils/__init__.py", "length_from_prompt_token_ids_or_embeds"),
    ("vllm.multimodal.utils", "vllm/multimodal/utils.py", "get_mm_features_in_window"),
)


def _take(path: Path, name: str) -> Any:
    """Execute one definition of a module that cannot be imported here."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    definitions = (ast.FunctionDef, ast.ClassDef)
    tree.body = [n for n in tree.body if isinstance(n, definitions) and n.name == name]
    names = {"bisect": bisect, "Generic": Generic, "Sequence": Sequence, "T": T}
    names |= {"overload": overload}
    flags = __future__.annotations.compiler_flag
    exec(compile(tree, str(path), "exec", flags), names)
    return names[name]


def _folder(name: str, contents: str) -> Path:
    if ENGINES not in os.environ:
        raise Absent(f"{ENGINES} is not set")
    root = Path(os.environ[ENGINES]) / name
    if not (root / contents).exists():
        raise Absent(f"no {contents} in {root}")
    return root


def _version(metadata: Path) -> str:
    """Return the version that a package's metadata states."""
    for line in metadata.read_text(encoding="utf-8").splitlines():
        if line.startswith("Version: "):
            return line.removeprefix("Version: ")
    raise Absent(f"{metadata} states no version")


@functools.cache
def _vllm_modules(root: Path) -> types.SimpleNamespace:
    """Execute `_MODULES`. What is not vLLM's own is taken out of ``sys.modules`` again."""
    mocks = [*_MOCKS, *(name for name in _THIRD_PARTY if importlib.util.find_spec(name) is None)]
    kept = {name: sys.modules.pop(name) for name in mocks if name in sys.modules}
    for name in (*_PACKAGES, *mocks):
        sys.modules[name] = MagicMock(__name__=name, __path__=[], __spec__=None)
    for name in _PACKAGES:
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = []
    sys.modules["vllm"].envs = sys.modules["vllm.envs"]
    sys.modules["vllm.config"].VllmConfig = object
    sys.modules["vllm.config"].get_current_vllm_config_or_none = lambda: None
    for name, file, definition in _TAKEN:
        setattr(sys.modules[name], definition, _take(root / file, definition))
    structured = sys.modules["vllm.v1.structured_output.request"]
    structured.StructuredOutputRequest.from_sampling_params = lambda _: None
    loaded = {}
    for name in _MODULES:
        path = root / (name.replace(".", "/") + ".py")
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        loaded[name.rpartition(".")[2]] = module
    # Now, while what it imports is what is here: others stand in for vLLM's modules, too.
    loaded["kv_cache_spec_registry"].KVCacheSpecRegistry._ensure_registered()
    for name in mocks:
        if not name.startswith("vllm"):
            del sys.modules[name]
    sys.modules.update(kept)
    return types.SimpleNamespace(**loaded)


class VLLM:
    """vLLM's `KVCacheManager`, driven as its scheduler drives it.

    Parameters
    ----------
    num_blocks : int
        Blocks that can be used; vLLM's null block, id 0, comes on top.
    block_size : int
    sliding_window : int, optional
        Adds a second group of blocks with this window.
    watermark : float, optional
    """

    def __init__(
        self,
        num_blocks: int,
        block_size: int,
        *,
        sliding_window: int | None = None,
        watermark: float = 0.0,
        max_model_len: int = 1 << 20,
    ) -> None:
        root = _folder("vllm", "vllm/v1/core")
        modules = _vllm_modules(root)
        self.version = _version(root / "PKG-INFO")
        interface, utils = modules.kv_cache_interface, modules.kv_cache_utils
        shape = {"num_kv_heads": 1, "head_size": 1, "dtype": None}
        specs = [interface.FullAttentionSpec(block_size=block_size, **shape)]
        if sliding_window is not None:
            specs.append(
                interface.SlidingWindowSpec(
                    block_size=block_size, sliding_window=sliding_window, **shape
                )
            )
        groups = [
            interface.KVCacheGroupSpec(layer_names=[f"layer {i}"], kv_cache_spec=spec)
            for i, spec in enumerate(specs)
        ]
        config = interface.KVCacheConfig(
            num_blocks=num_blocks + 1, kv_cache_tensors=[], kv_cache_groups=groups
        )
        self.manager = modules.kv_cache_manager.KVCacheManager(
            config, max_model_len, block_size, block_size, watermark=watermark
        )
        sha256 = modules.hashing.sha256
        utils.init_none_hash(sha256)
        self.hasher = utils.get_request_block_hasher(block_size, sha256)
        self._request = modules.request.Request
        self._status = modules.request.RequestStatus
        self._sampling = types.SimpleNamespace(
            max_tokens=1, extra_args=None, skip_reading_prefix_cache=None
        )
        self._names = itertools.count()

    def request(self, token_ids: list[int], *, cache_salt: str | None = None) -> Any:
        """Make a request; its hashes are computed here."""
        return self._request(
            request_id=str(next(self._names)),
            prompt_token_ids=token_ids,
            sampling_params=self._sampling,
            pooling_params=None,
            cache_salt=cache_salt,
            block_hasher=self.hasher,
        )

    def admit(self, request: Any) -> int | None:
        """Look up, allocate and publish a waiting prompt; return the number of cached tokens.

        None when blocks are short.
        """
        blocks, num_cached, _ = self.manager.get_computed_blocks(request)
        num_new = request.num_tokens - num_cached
        if self.manager.allocate_slots(request, num_new, num_cached, blocks) is None:
            return None
        request.status = self._status.RUNNING
        request.num_computed_tokens = request.num_tokens
        return num_cached

    def admitted(self, token_ids: list[int]) -> Any:
        """Return a new request that has been admitted."""
        request = self.request(token_ids)
        if self.admit(request) is None:
            raise ValueError("the prompt does not fit")
        return request

    def append(self, request: Any, token_id: int) -> None:
        """Append a sampled token; hashes a block that is full now."""
        request.append_output_token_ids(token_id)

    def decode(self, request: Any) -> bool:
        """Allocate and publish one token; False when blocks are short."""
        if self.manager.allocate_slots(request, 1) is None:
            return False
        request.num_computed_tokens += 1
        return True

    def table(self, request: Any, group: int = 0) -> list[int]:
        """Return the blocks of a request, in our numbering: the null block is -1."""
        return [block - 1 for block in self.manager.get_block_ids(request.request_id)[group]]

    def last_blocks(self, request: Any) -> list[int]:
        """Return the last block of a request in each group, in our numbering."""
        groups = self.manager.get_blocks(request.request_id).blocks
        return [blocks[-1].block_id - 1 for blocks in groups]

    def free(self, request: Any) -> None:
        """Free a request."""
        self.manager.free(request)


@functools.cache
def _sglang_core(root: Path) -> tuple[Any, Any]:
    """Load the Rust extension alone, and torch, which it is linked with."""
    try:
        import torch  # loads the libraries that the extension is linked with
    except ImportError:
        raise Absent("SGLang's tree core is linked with torch, which is not installed") from None
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    path = root / _SGLANG_MODULE / f"mem_cache{suffix}"
    if not path.exists():
        raise Absent(f"{path} is not there: made for another Python")
    spec = importlib.util.spec_from_file_location("mem_cache", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        raise Absent(f"SGLang's tree core: {error}") from None
    return module, torch


class SGLangTree:
    """SGLang's Rust tree core, driven as its scheduler drives it, with an allocator of slots.

    Parameters
    ----------
    num_tokens : int
        Slots in the pool.
    page_size : int
    """

    def __init__(self, num_tokens: int, page_size: int) -> None:
        self._core, torch = _sglang_core(_folder("sglang", _SGLANG_MODULE))
        torch.set_num_threads(1)
        self._torch = torch
        self.page_size = page_size
        parameters = self._core.TreeCoreInitParamsBinding(
            eviction_policy="lru", page_size=page_size, device="cpu"
        )
        self.tree = self._core.RustUnifiedTreeCoreBinding(parameters, [0])
        self.num_free = num_tokens // page_size * page_size

    def match(self, key: array[int]) -> Any:
        """Match a key of int64 token ids."""
        return self.tree.match_prefix(self._core.MatchParamsBinding(key=key))

    def serve(self, key: array[int]) -> int:
        """Match, lock, evict, allocate, insert and unlock a prompt; return the hit in tokens."""
        usable = (len(key) - 1) // self.page_size * self.page_size
        result = self.match(key[:usable])
        num_cached: int = result.device_prefix_len
        lock = self.tree.inc_lock_ref(result.last_device_node_id)
        num_new = -(-(len(key) - num_cached) // self.page_size) * self.page_size
        if num_new > self.num_free:
            self._evict(num_new - self.num_free)
        self.num_free -= num_new
        full = len(key) // self.page_size * self.page_size
        values = self._torch.empty(full, dtype=self._torch.int64)
        inserted = self.tree.insert(
            self._core.InsertParamsBinding(key=key[:full], value=values, prev_prefix_len=num_cached)
        )
        # The page of the tail, and pages that were there already, are not the tree's.
        self.num_free += num_new - (full - inserted.prefix_len)
        self.tree.dec_lock_ref(
            lock.node_id,
            self._core.DecLockRefParamsBinding(
                node_id=lock.node_id,
                skipped_lock_components=lock.skipped_lock_components,
                component_lock_uuids=lock.component_lock_uuids,
                component_host_lock_uuids=lock.component_host_lock_uuids,
            ),
        )
        return num_cached

    def _evict(self, num_tokens: int) -> None:
        tree = self.tree
        evicted = 0
        tree.evict_device_start(0, num_tokens)
        while evicted < num_tokens:
            step = tree.evict_device_next_node(0, {0: evicted})
            evicted += step.tracker.get(0, 0)
            if step.node_id is None:
                if not step.made_progress:
                    break
            else:
                evicted += tree.evict_device_leaf(step.node_id).tracker.get(0, 0)
        tree.evict_device_end(0)
        self.num_free += evicted


def make(rival: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Make a rival's manager, or skip the test that asks, with the reason."""
    try:
        return rival(*arguments, **options)
    except Absent as absent:
        pytest.skip(str(absent))


def add_rows(
    report: Report,
    what: str,
    runs: Mapping[str, Callable[[], object]],
    unit: Unit,
    targets: Mapping[str, float],
) -> None:
    """Time all in turns, and add a row for each rival."""
    seconds = take_turns(runs)
    for name in runs:
        if name != OURS:
            pair = {OURS: seconds[OURS], name: seconds[name]}
            report.add_seconds(what, pair, unit, targets.get(name))
