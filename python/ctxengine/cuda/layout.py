"""Where each entry of a KV pool lies: sizes, strides, and the memory they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ctxengine import _core
from ctxengine.cuda.arrays import is_device, memory_of
from ctxengine.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["DevicePool", "KVLayout", "Movement"]

_DIMENSIONS = ("layer", "kv", "block", "token", "head")


@dataclass(frozen=True)
class KVLayout:
    """Sizes and byte strides of a KV pool.

    An entry is one head of one token: K or V, in one layer. Its bytes are contiguous; everything
    else is a stride, so any pool of any engine is a layout. The named constructors make dense ones.

    Parameters
    ----------
    num_layers, num_blocks, block_size, num_heads : int
        Layers, blocks of the pool, tokens in a block, KV heads.
    entry_bytes : int
        Head size times bytes of an element; for MLA the whole latent entry (576 elements: 1,152
        bytes in bf16; 656 bytes as FlashMLA's fp8).
    num_kv : int
        2 for K and V, 1 for MLA.
    layer_stride, kv_stride, block_stride, token_stride, head_stride : int
        Bytes from one to the next. Sorted by stride, each dimension steps over all of the smaller
        ones; that of a dimension of size 1 is not used.

    Raises
    ------
    ArgumentError
        A size below 1, strides with which entries overlap, or 2**62 bytes and more.

    Examples
    --------
    >>> layout = KVLayout.nhd(
    ...     num_layers=32, num_blocks=1000, block_size=16, num_heads=8, entry_bytes=256
    ... )
    >>> layout.token_stride, layout.block_bytes, layout.span_bytes
    (2048, 2097152, 2097152000)
    """

    num_layers: int
    num_blocks: int
    block_size: int
    num_heads: int
    entry_bytes: int
    num_kv: int
    layer_stride: int
    kv_stride: int
    block_stride: int
    token_stride: int
    head_stride: int

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, bool) or not hasattr(value, "__index__"):
                raise ArgumentError(f"{name} must be an integer, not {type(value).__name__}")
            if not -(2**63) <= value < 2**63:
                raise ArgumentError(f"{name} = {value} does not fit in 64 bits")
        _core.kv_span_bytes(self._sizes, self._strides)

    @property
    def _sizes(self) -> tuple[int, int, int, int, int, int]:
        return (
            self.num_layers, self.num_kv, self.num_blocks, self.block_size, self.num_heads,
            self.entry_bytes,
        )  # fmt: skip

    @property
    def _strides(self) -> tuple[int, int, int, int, int]:
        return (
            self.layer_stride, self.kv_stride, self.block_stride, self.token_stride,
            self.head_stride,
        )  # fmt: skip

    @property
    def block_bytes(self) -> int:
        """Bytes of one block's entries, all layers."""
        return self.num_layers * self.num_kv * self.block_size * self.num_heads * self.entry_bytes

    @property
    def span_bytes(self) -> int:
        """Bytes from the first entry to behind the last, gaps included."""
        return _core.kv_span_bytes(self._sizes, self._strides)

    @classmethod
    def dense(
        cls,
        order: Sequence[str],
        *,
        num_layers: int,
        num_blocks: int,
        block_size: int,
        num_heads: int,
        entry_bytes: int,
        num_kv: int = 2,
    ) -> KVLayout:
        """Return the layout without gaps whose dimensions come in `order`.

        Parameters
        ----------
        order : sequence of str
            ``"layer"``, ``"kv"``, ``"block"``, ``"token"`` and ``"head"``, outermost first.
        num_layers, num_blocks, block_size, num_heads, entry_bytes, num_kv : int
            As of the class.

        Returns
        -------
        KVLayout

        Raises
        ------
        ArgumentError
            `order` does not name each dimension once; a size below 1.

        Examples
        --------
        >>> order = ["block", "kv", "layer", "head", "token"]
        >>> KVLayout.dense(
        ...     order, num_layers=2, num_blocks=9, block_size=16, num_heads=8, entry_bytes=256
        ... ).block_bytes
        131072
        """
        if sorted(order) != sorted(_DIMENSIONS):
            raise ArgumentError(f"order must name each of {', '.join(_DIMENSIONS)} once")
        sizes = dict(
            zip(_DIMENSIONS, (num_layers, num_kv, num_blocks, block_size, num_heads), strict=True)
        )
        strides = {}
        stride = entry_bytes
        for name in reversed(order):
            strides[name] = stride
            stride *= sizes[name]
        return cls(
            num_layers, num_blocks, block_size, num_heads, entry_bytes, num_kv,
            *(strides[name] for name in _DIMENSIONS),
        )  # fmt: skip

    @classmethod
    def nhd(cls, *, num_layers: int, num_blocks: int, block_size: int, num_heads: int,
            entry_bytes: int) -> KVLayout:  # fmt: skip
        """Return ``[layer, kv, block, token, head]``: each layer a tensor, K before V (vLLM)."""
        return cls.dense(
            ("layer", "kv", "block", "token", "head"),
            num_layers=num_layers, num_blocks=num_blocks, block_size=block_size,
            num_heads=num_heads, entry_bytes=entry_bytes,
        )  # fmt: skip

    @classmethod
    def hnd(cls, *, num_layers: int, num_blocks: int, block_size: int, num_heads: int,
            entry_bytes: int) -> KVLayout:  # fmt: skip
        """Return ``[layer, kv, block, head, token]``: a head's tokens lie together."""
        return cls.dense(
            ("layer", "kv", "block", "head", "token"),
            num_layers=num_layers, num_blocks=num_blocks, block_size=block_size,
            num_heads=num_heads, entry_bytes=entry_bytes,
        )  # fmt: skip

    @classmethod
    def block_kv(cls, *, num_layers: int, num_blocks: int, block_size: int, num_heads: int,
                 entry_bytes: int) -> KVLayout:  # fmt: skip
        """Return ``[layer, block, kv, token, head]``: K and V of a block (FlashInfer)."""
        return cls.dense(
            ("layer", "block", "kv", "token", "head"),
            num_layers=num_layers, num_blocks=num_blocks, block_size=block_size,
            num_heads=num_heads, entry_bytes=entry_bytes,
        )  # fmt: skip

    @classmethod
    def fused(cls, *, num_layers: int, num_blocks: int, block_size: int, num_heads: int,
              entry_bytes: int) -> KVLayout:  # fmt: skip
        """Return ``[layer, block, token, head, kv]``: K and V as one double head."""
        return cls.dense(
            ("layer", "block", "token", "head", "kv"),
            num_layers=num_layers, num_blocks=num_blocks, block_size=block_size,
            num_heads=num_heads, entry_bytes=entry_bytes,
        )  # fmt: skip

    @classmethod
    def page_first(cls, *, num_layers: int, num_blocks: int, block_size: int, num_heads: int,
                   entry_bytes: int) -> KVLayout:  # fmt: skip
        """Return ``[block, layer, kv, token, head]``: a block of all layers is one piece."""
        return cls.dense(
            ("block", "layer", "kv", "token", "head"),
            num_layers=num_layers, num_blocks=num_blocks, block_size=block_size,
            num_heads=num_heads, entry_bytes=entry_bytes,
        )  # fmt: skip

    @classmethod
    def page_head(cls, *, num_layers: int, num_blocks: int, block_size: int, num_heads: int,
                  entry_bytes: int) -> KVLayout:  # fmt: skip
        """Return ``[block, head, token, layer, kv]``: a block's heads lie apart (SGLang)."""
        return cls.dense(
            ("block", "head", "token", "layer", "kv"),
            num_layers=num_layers, num_blocks=num_blocks, block_size=block_size,
            num_heads=num_heads, entry_bytes=entry_bytes,
        )  # fmt: skip

    @classmethod
    def mla(cls, *, num_layers: int, num_blocks: int, block_size: int,
            entry_bytes: int) -> KVLayout:  # fmt: skip
        """Return ``[layer, block, token]`` with one latent entry a token, K and V in one."""
        return cls.dense(
            ("layer", "kv", "block", "token", "head"),
            num_layers=num_layers, num_blocks=num_blocks, block_size=block_size,
            num_heads=1, entry_bytes=entry_bytes, num_kv=1,
        )  # fmt: skip


class Movement(NamedTuple):
    """The loop nest by which a block moves between two pools.

    Attributes
    ----------
    num_tensors : int
        How often the rest is repeated, for tensors that lie anywhere.
    dimensions : tuple of (int, int, int)
        Extent, source stride and target stride, outermost first; what is contiguous on both sides
        is merged, so there are 4 at most.
    run_bytes : int
        Contiguous bytes inside.
    vector_bytes : int
        Width of the words moved: 16, 8, 4 or 1.
    """

    num_tensors: int
    dimensions: tuple[tuple[int, int, int], ...]
    run_bytes: int
    vector_bytes: int


class DevicePool:
    """A layout on memory, of a device or of the host. Made once; calls then take it as it is.

    Parameters
    ----------
    layout : KVLayout
        Of all layers together.
    tensors : array, or sequence of arrays
        One C-contiguous array that holds the layout from its first byte; or one for each layer; or
        one for each layer's K and V in turn (K0, V0, K1, ...). With several, `layout`'s strides
        hold inside each. Element types do not matter. The pool keeps the arrays alive.

    Raises
    ------
    ArgumentError
        A wrong number of arrays, one that is too small, read-only or not contiguous; host and
        device memory in one pool.

    Examples
    --------
    >>> import numpy as np
    >>> layout = KVLayout.nhd(
    ...     num_layers=2, num_blocks=4, block_size=16, num_heads=8, entry_bytes=256
    ... )
    >>> pool = DevicePool(layout, np.zeros((2, 2, 4, 16, 8, 128), np.int16))
    >>> pool.is_device
    False
    """

    __slots__ = ("_core", "is_device", "layout", "tensors")

    def __init__(self, layout: KVLayout, tensors: Any) -> None:
        arrays = tuple(tensors) if isinstance(tensors, (list, tuple)) else (tensors,)
        if not arrays:
            raise ArgumentError("tensors is empty")
        on_device = {is_device(array) for array in arrays}
        if len(on_device) > 1:
            raise ArgumentError("tensors are partly on a device and partly on the host")
        pieces = [
            memory_of(array, f"tensors[{i}]", writable=True) for i, array in enumerate(arrays)
        ]
        core = _core.KVPool(layout._sizes, layout._strides, [piece.address for piece in pieces])
        for i, piece in enumerate(pieces):
            if piece.size_bytes < core.tensor_bytes:
                raise ArgumentError(
                    f"tensors[{i}] has {piece.size_bytes} bytes, the layout takes "
                    f"{core.tensor_bytes}"
                )
        self._set(layout, arrays, on_device.pop(), core)

    def _set(
        self, layout: KVLayout, tensors: Iterable[Any], on_device: bool, core: _core.KVPool
    ) -> None:
        self.layout = layout
        self.tensors = tuple(tensors)
        self.is_device = on_device
        self._core = core

    def heads(self, begin: int, end: int) -> DevicePool:
        """Return the pool of heads `begin` to `end` - 1, on the same memory.

        Parameters
        ----------
        begin, end : int
            0 <= begin < end <= num_heads.

        Returns
        -------
        DevicePool

        Raises
        ------
        ArgumentError
            Heads that the pool does not have.
        """
        core = self._core.heads(begin, end)
        sizes = {**vars(self.layout), "num_heads": end - begin}
        part = object.__new__(DevicePool)
        part._set(KVLayout(**sizes), self.tensors, self.is_device, core)
        return part

    def movement_to(self, target: DevicePool) -> Movement:
        """Return how a block moves from this pool to `target`.

        Parameters
        ----------
        target : DevicePool
            Of the same shape but for the number of blocks.

        Returns
        -------
        Movement

        Raises
        ------
        ArgumentError
            The shapes differ.
        """
        return Movement(*_core.kv_movement(self._core, target._core))
