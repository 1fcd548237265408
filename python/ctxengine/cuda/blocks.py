"""Copies of whole KV blocks, all layers in one launch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ctxengine import _core
from ctxengine.cuda.arrays import (
    Memory,
    View,
    check_stream,
    host_array,
    is_device,
    memory_of,
    producers,
    view_of,
)
from ctxengine.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ctxengine.cuda.layout import DevicePool

__all__ = ["copy_blocks", "gather_blocks", "relayout", "scatter_blocks"]

_Ids = tuple[int, int, str, str]  # address, stride, and how messages name item i


_EACH: _Ids = (0, 0, "item ", "")


class _Call(NamedTuple):
    """Where and how a call runs."""

    on_device: bool
    skipped: View | None
    stream: int

    @classmethod
    def of(cls, pools: Sequence[DevicePool], skipped: Any, stream: int) -> _Call:
        on_device = pools[0].is_device
        if any(pool.is_device != on_device for pool in pools):
            raise ArgumentError("one pool is on a device, the other on the host")
        check_stream(stream)
        if skipped is None:
            return cls(on_device, None, stream)
        if not on_device:
            raise ArgumentError("skipped counts on a device; the host raises instead")
        counter = view_of(skipped, "skipped", "<i4", 1, writable=True, stream=stream)
        if counter.shape != (1,):
            raise ArgumentError(f"skipped must have 1 element, not {counter.shape[0]}")
        return cls(on_device, counter, stream)


def copy_blocks(pool: DevicePool, pairs: Any, *, skipped: Any = None, stream: int = 0) -> None:
    """Copy blocks within a pool: ``pool[pairs[i, 1]] = pool[pairs[i, 0]]``.

    On a device pool the kernel is enqueued on `stream` and the call returns without waiting; on a
    pool of the host the host copies. The copies run in any order: no block may be the target of two
    pairs, and none both a target and a source. The host checks that; on a device such blocks hold
    some mixture afterwards, and nothing outside them is touched.

    Parameters
    ----------
    pool : DevicePool
        Read and written.
    pairs : array of int32, shape (num_pairs, 2)
        Source and target block of each copy. A pair with a -1 is padding. Any strides.
    skipped : array of int32, shape (1,), optional
        On a device: the number of pairs with a block outside the pool is added to it. Such pairs
        are not copied.
    stream : int
        Handle of a CUDA stream of the pool's device; 0 is the legacy default stream.

    Raises
    ------
    ArgumentError
        Wrong type or shape; on the host also a block outside the pool, or pairs that overlap: they
        are named, and nothing has been written.
    DeviceError
        The driver refused a call, or kernels cannot be launched.

    Notes
    -----
    O(num_pairs * block_bytes); the host's check takes O(num_pairs log num_pairs).

    Examples
    --------
    >>> import numpy as np
    >>> from ctxengine.cuda import DevicePool, KVLayout
    >>> memory = np.arange(4 * 64, dtype=np.uint8).reshape(4, 64)
    >>> layout = KVLayout.mla(num_layers=1, num_blocks=4, block_size=4, entry_bytes=16)
    >>> pool = DevicePool(layout, memory)
    >>> copy_blocks(pool, [[0, 3], [1, 2]])
    >>> memory[:, 0].tolist()
    [0, 64, 64, 0]
    """
    call = _Call.of([pool], skipped, stream)
    view, keep = _ids(pool, pairs, "pairs", 2, stream)
    num_pairs, width = view.shape
    if width != 2:
        raise ArgumentError(f"pairs has {width} columns; a pair is a source and a target")
    row_stride, column_stride = view.strides
    sources = (view.address, row_stride, "pairs", ", 0")
    targets = (view.address + 4 * column_stride, row_stride, "pairs", ", 1")
    _copy((pool._core, sources), (pool._core, targets), num_pairs, [view], call)
    del keep


def gather_blocks(
    pool: DevicePool, blocks: Any, out: Any, *, skipped: Any = None, stream: int = 0
) -> Any:
    """Copy blocks of a pool to contiguous staging: ``out[i] = pool[blocks[i]]``.

    Staging is dense ``[i, layer, kv, token, head, entry]`` whatever the pool's layout is; for
    another order, make a pool of it and use :func:`relayout`.

    Parameters
    ----------
    pool : DevicePool
        Read.
    blocks : array of int32, shape (num_blocks,)
        Blocks, each any number of times; -1 is padding and leaves its place in `out` as it is.
    out : array
        C-contiguous, at least ``num_blocks * pool.layout.block_bytes`` bytes, on the pool's device.
    skipped, stream
        As of :func:`copy_blocks`.

    Returns
    -------
    array
        `out`.

    Raises
    ------
    ArgumentError, DeviceError
        As :func:`copy_blocks`; `out` is too small or overlaps the pool.

    Notes
    -----
    O(num_blocks * block_bytes).
    """
    call = _Call.of([pool], skipped, stream)
    view, keep = _ids(pool, blocks, "blocks", 1, stream)
    staging, memory = _staging(pool, out, "out", view.shape[0], stream, writable=True)
    if staging is not None:
        ids = (view.address, view.strides[0], "blocks", "")
        _copy((pool._core, ids), (staging, _EACH), view.shape[0], [view, memory], call)
    del keep
    return out


def scatter_blocks(
    pool: DevicePool, blocks: Any, source: Any, *, skipped: Any = None, stream: int = 0
) -> None:
    """Copy contiguous staging to blocks of a pool: ``pool[blocks[i]] = source[i]``.

    Parameters
    ----------
    pool : DevicePool
        Written.
    blocks : array of int32, shape (num_blocks,)
        Blocks, each once; -1 is padding.
    source : array
        As `out` of :func:`gather_blocks`.
    skipped, stream
        As of :func:`copy_blocks`.

    Raises
    ------
    ArgumentError, DeviceError
        As :func:`copy_blocks`; `source` is too small or overlaps the pool.

    Notes
    -----
    O(num_blocks * block_bytes).
    """
    call = _Call.of([pool], skipped, stream)
    view, keep = _ids(pool, blocks, "blocks", 1, stream)
    staging, memory = _staging(pool, source, "source", view.shape[0], stream, writable=False)
    if staging is not None:
        ids = (view.address, view.strides[0], "blocks", "")
        _copy((staging, _EACH), (pool._core, ids), view.shape[0], [view, memory], call)
    del keep


def relayout(
    source: DevicePool,
    target: DevicePool,
    *,
    source_blocks: Any = None,
    target_blocks: Any = None,
    skipped: Any = None,
    stream: int = 0,
) -> None:
    """Copy blocks from one pool to another of any layout.

    With :meth:`DevicePool.heads` it moves the heads of one tensor-parallel rank.

    Parameters
    ----------
    source, target : DevicePool
        Alike in layers, KV, block size, heads and entry bytes; on one device, or on the host; not
        on the same memory.
    source_blocks, target_blocks : array of int32, shape (num_blocks,), optional
        Block i goes from ``source_blocks[i]`` to ``target_blocks[i]``; None stands for 0, 1, 2, ...
        A -1 is padding. `target_blocks` are distinct.
    skipped, stream
        As of :func:`copy_blocks`.

    Raises
    ------
    ArgumentError, DeviceError
        As :func:`copy_blocks`; pools that differ in shape or overlap.

    Notes
    -----
    O(num_blocks * block_bytes).

    Examples
    --------
    >>> import numpy as np
    >>> from ctxengine.cuda import DevicePool, KVLayout
    >>> nhd = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)  # block, token, head
    >>> hnd = np.zeros((2, 4, 3), np.uint8)
    >>> sizes = dict(num_layers=1, num_blocks=2, block_size=3, num_heads=4, entry_bytes=1, num_kv=1)
    >>> source = KVLayout.dense(["layer", "kv", "block", "token", "head"], **sizes)
    >>> target = KVLayout.dense(["layer", "kv", "block", "head", "token"], **sizes)
    >>> relayout(DevicePool(source, nhd), DevicePool(target, hnd))
    >>> bool((hnd == nhd.transpose(0, 2, 1)).all())
    True
    """
    call = _Call.of([source, target], skipped, stream)
    views = []
    ids: list[_Ids] = []
    keep = []
    for pool, blocks, name in (
        (source, source_blocks, "source_blocks"),
        (target, target_blocks, "target_blocks"),
    ):
        if blocks is None:
            ids.append((0, 0, name, ""))
            continue
        view, array = _ids(pool, blocks, name, 1, stream)
        views.append(view)
        keep.append(array)
        ids.append((view.address, view.strides[0], name, ""))
    lengths = [view.shape[0] for view in views] or [
        source.layout.num_blocks,
        target.layout.num_blocks,
    ]
    if len(set(lengths)) > 1:
        raise ArgumentError(f"{lengths[0]} source blocks, but {lengths[1]} target blocks")
    _copy((source._core, ids[0]), (target._core, ids[1]), lengths[0], views, call)
    del keep


def _ids(
    pool: DevicePool, ids: Any, name: str, num_dimensions: int, stream: int
) -> tuple[View, Any]:
    """Return the view of block ids that lie where the pool does, and what keeps them alive."""
    if pool.is_device:
        if not is_device(ids):
            raise ArgumentError(f"{name} is not a device array, but the pool is on a device")
        return view_of(ids, name, "<i4", num_dimensions, stream=stream), ids
    import numpy as np

    array = host_array(ids, name, np.int32)
    if array.size == 0 and num_dimensions == 2 and array.ndim == 1:  # an empty list of pairs
        array = array.reshape(0, 2)
    return view_of(array, name, "<i4", num_dimensions), array


def _staging(
    pool: DevicePool, array: Any, name: str, num_blocks: int, stream: int, *, writable: bool
) -> tuple[_core.KVPool | None, Memory]:
    if is_device(array) != pool.is_device:
        raise ArgumentError(f"{name} and the pool must both be on the device or both on the host")
    memory = memory_of(array, name, writable=writable, stream=stream)
    needed = num_blocks * pool.layout.block_bytes
    if memory.size_bytes < needed:
        raise ArgumentError(
            f"{name} has {memory.size_bytes} bytes, {num_blocks} blocks are {needed}"
        )
    if num_blocks == 0:
        return None, memory
    return pool._core.staging(num_blocks, memory.address), memory


def _copy(
    source: tuple[_core.KVPool, _Ids],
    target: tuple[_core.KVPool, _Ids],
    num_items: int,
    arrays: Sequence[View | Memory],
    call: _Call,
) -> None:
    if not call.on_device:
        _core.kv_copy_host(*source, *target, num_items)
        return
    counter = [] if call.skipped is None else [call.skipped]
    address = call.skipped.address if call.skipped is not None else 0
    streams = producers([*arrays, *counter])
    _core.kv_copy_device(*source, *target, num_items, address, call.stream, streams)
