"""Block tables on the device: where each token's KV lies."""

from __future__ import annotations

from typing import Any

from ctxengine import _core
from ctxengine.cuda.arrays import View, check_stream, host_array, is_device, producers, view_of
from ctxengine.errors import ArgumentError

__all__ = ["INVALID_SLOT", "PADDING_SLOT", "slot_mapping"]

PADDING_SLOT = -1
"""The slot of padding: attention kernels and cache writes skip it."""

INVALID_SLOT = -2
"""What the device writes for a token that has no block; the host raises instead."""


def slot_mapping(
    block_tables: Any,
    rows: Any,
    positions: Any,
    block_size: int,
    *,
    out: Any = None,
    stream: int = 0,
) -> Any:
    """Map each token of a batch to its slot in the KV pool.

    ``slot[i] = block_tables[rows[i], positions[i] // block_size] * block_size
    + positions[i] % block_size``, the mapping of paged attention (Kwon et al., 2023).

    A negative row or position is padding and gives ``PADDING_SLOT`` (-1), and so does the part of
    `out` that is longer than `rows`. When `out` (or else `block_tables`) is a device array, all
    arrays must be on that device; the kernel is then enqueued on `stream` and the call returns
    without waiting. Otherwise the host computes the same function.

    Parameters
    ----------
    block_tables : array of int32, shape (num_rows, num_columns)
        Block ids; a negative id marks "no block". Any strides.
    rows : array of int32, shape (num_tokens,)
        Each token's row of `block_tables`.
    positions : array of int64, shape (num_tokens,)
        Each token's position in its sequence, from 0.
    block_size : int
        Tokens per block, 1 to 2**31 - 1.
    out : array of int64, shape (num_slots,), optional
        Written in place; ``num_slots >= num_tokens``; must not overlap the inputs. Made when None
        on the host; required on a device, where a step should not allocate.
    stream : int
        Handle of a CUDA stream of the device's primary context; 0 is the legacy default stream.
        Inputs that name the stream they are made on (``__cuda_array_interface__`` version 3) are
        waited for on the device. Arrays must stay alive until the kernel has run.

    Returns
    -------
    array of int64, shape (num_slots,)
        `out`, or a new numpy array.

    Raises
    ------
    ArgumentError
        Wrong dtype, shape, strides or size; arrays on different devices. On the host also a token
        outside the block tables or without a block: it is named, and nothing has been written.
        The kernel cannot raise: it writes ``INVALID_SLOT`` (-2) for such a token, and never reads
        outside the tables.
    DeviceError
        The driver refused a call, or kernels cannot be launched (see :func:`why_not`).

    Notes
    -----
    O(num_slots), 16 bytes read and 8 written for each token plus its table entry.

    Examples
    --------
    >>> slot_mapping([[7, 3]], [0, 0, -1], [1, 17, 0], 16).tolist()
    [113, 49, -1]
    """
    size = block_size_of(block_size)
    if is_device(block_tables if out is None else out):
        return _slot_mapping_device(block_tables, rows, positions, size, out=out, stream=stream)
    import numpy as np

    tables = host_array(block_tables, "block_tables", np.int32)
    row_of = host_array(rows, "rows", np.int32)
    position_of = host_array(positions, "positions", np.int64)
    if out is None:
        out = np.empty(row_of.shape, np.int64)
    elif not isinstance(out, np.ndarray):
        raise ArgumentError(f"out must be a numpy or device array, not {type(out).__name__}")
    views = _views(tables, row_of, position_of, out)
    flat = [view.flat for view in views]
    _core.slot_mapping_host(flat[0], flat[1], flat[2], size, flat[3])
    return out


def block_size_of(block_size: Any) -> int:
    """Return `block_size` as an int from 1 to 2**31 - 1."""
    if isinstance(block_size, bool) or not hasattr(block_size, "__index__"):
        raise ArgumentError(f"block_size must be an integer, not {type(block_size).__name__}")
    size = int(block_size.__index__())
    if not 1 <= size < 2**31:
        raise ArgumentError(f"block_size = {size} is not in 1 .. 2**31 - 1")
    return size


def _slot_mapping_device(
    block_tables: Any, rows: Any, positions: Any, block_size: int, *, out: Any, stream: int
) -> Any:
    if out is None:
        raise ArgumentError("out is required for device arrays: an int64 device array")
    check_stream(stream)
    for name, array in (("block_tables", block_tables), ("rows", rows), ("positions", positions)):
        if not is_device(array):
            raise ArgumentError(f"{name} is not a device array, but out is")
    views = _views(block_tables, rows, positions, out)
    flat = [view.flat for view in views]
    _core.slot_mapping_device(
        flat[0], flat[1], flat[2], block_size, flat[3], stream, producers(views)
    )
    return out


def _views(block_tables: Any, rows: Any, positions: Any, out: Any) -> tuple[View, ...]:
    tables_view = view_of(block_tables, "block_tables", "<i4", 2)
    rows_view = view_of(rows, "rows", "<i4", 1)
    positions_view = view_of(positions, "positions", "<i8", 1)
    (num_tokens,), (num_positions,) = rows_view.shape, positions_view.shape
    if num_tokens != num_positions:
        raise ArgumentError(f"rows has {num_tokens} tokens, positions has {num_positions}")
    out_view = view_of(out, "out", "<i8", 1, writable=True)
    if out_view.shape[0] < num_tokens:
        raise ArgumentError(f"out has {out_view.shape[0]} slots for {num_tokens} tokens")
    return tables_view, rows_view, positions_view, out_view
