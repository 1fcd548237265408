"""Block tables on the GPU: slot mapping, with the same arithmetic on the host.

Nothing here is needed to use the rest of ctxengine. The kernels are embedded when the package was
built with a CUDA compiler; the driver is opened on first use, never at import; :func:`why_not` says
in one sentence what is missing. No CUDA runtime and no array library is imported: device arrays of
torch, CuPy, Numba and others come in through ``__cuda_array_interface__``.

The environment variable ``CTXENGINE_LIBCUDA`` names another driver library than ``libcuda.so.1``.
It is read once, on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ctxengine import _core
from ctxengine.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "INVALID_SLOT",
    "PADDING_SLOT",
    "BuildInfo",
    "DeviceInfo",
    "build_info",
    "device_info",
    "is_available",
    "slot_mapping",
    "why_not",
]

PADDING_SLOT = -1
"""The slot of padding: attention kernels and cache writes skip it."""

INVALID_SLOT = -2
"""What the device writes for a token that has no block; the host raises instead."""


class BuildInfo(NamedTuple):
    """What the build embedded.

    Attributes
    ----------
    compiler_version : str or None
        Version of nvcc, such as ``"13.0.88"``; None when built without a CUDA compiler.
    architectures : tuple of str
        ``sm_*`` for machine code, ``compute_*`` for PTX that the driver compiles when it must.
    image_bytes : int
        Size of the embedded kernels.
    """

    compiler_version: str | None
    architectures: tuple[str, ...]
    image_bytes: int


class DeviceInfo(NamedTuple):
    """One CUDA device.

    Attributes
    ----------
    name : str
        As the driver calls it.
    compute_capability : tuple of (int, int)
        Major and minor.
    memory_bytes : int
        Total memory.
    """

    name: str
    compute_capability: tuple[int, int]
    memory_bytes: int


def build_info() -> BuildInfo:
    """Return what CUDA part this build has. Does not touch the driver.

    Returns
    -------
    BuildInfo

    Examples
    --------
    >>> info = build_info()
    >>> (info.compiler_version is None) == (info.image_bytes == 0)
    True
    """
    version, architectures, image_bytes = _core.cuda_build_info()
    return BuildInfo(version or None, architectures, image_bytes)


def is_available() -> bool:
    """Return whether kernels can be launched. Opens the driver on first use.

    Returns
    -------
    bool
        ``why_not() is None``.
    """
    return why_not() is None


def why_not() -> str | None:
    """Return why kernels cannot be launched. Opens the driver on first use; the answer then stays.

    Returns
    -------
    str or None
        None when they can be; else a sentence: built without a CUDA compiler, driver library not
        found, driver too old, no device, or what the driver answered.
    """
    return _core.cuda_why_not() or None


def device_info() -> list[DeviceInfo]:
    """Return the CUDA devices in the driver's order. Opens the driver on first use.

    Returns
    -------
    list of DeviceInfo
        Empty without a driver or a device.
    """
    return [
        DeviceInfo(name, (major, minor), memory_bytes)
        for name, major, minor, memory_bytes in _core.cuda_devices()
    ]


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
    if isinstance(block_size, bool) or not hasattr(block_size, "__index__"):
        raise ArgumentError(f"block_size must be an integer, not {type(block_size).__name__}")
    block_size = block_size.__index__()
    if not 1 <= block_size < 2**31:
        raise ArgumentError(f"block_size = {block_size} is not in 1 .. 2**31 - 1")
    if _is_device(block_tables if out is None else out):
        return _slot_mapping_device(
            block_tables, rows, positions, block_size, out=out, stream=stream
        )
    return _slot_mapping_host(block_tables, rows, positions, block_size, out)


def _is_device(array: Any) -> bool:
    return hasattr(array, "__cuda_array_interface__")


def _slot_mapping_host(
    block_tables: ArrayLike,
    rows: ArrayLike,
    positions: ArrayLike,
    block_size: int,
    out: NDArray[np.int64] | None,
) -> NDArray[np.int64]:
    import numpy as np

    tables = _host_array(block_tables, "block_tables", np.int32)
    row_of = _host_array(rows, "rows", np.int32)
    position_of = _host_array(positions, "positions", np.int64)
    if out is None:
        out = np.empty(row_of.shape, np.int64)
    elif not isinstance(out, np.ndarray):
        raise ArgumentError(f"out must be a numpy or device array, not {type(out).__name__}")
    # The numpy interface has the fields of the CUDA one, which was modelled on it.
    _core.slot_mapping_host(
        _matrix(tables.__array_interface__, "block_tables"),
        _vector(row_of.__array_interface__, "rows", "<i4"),
        _vector(position_of.__array_interface__, "positions", "<i8"),
        block_size,
        _output(out.__array_interface__, len(row_of), len(position_of)),
    )
    return out


def _host_array(values: ArrayLike, name: str, dtype: type[np.signedinteger[Any]]) -> NDArray[Any]:
    """Return `values` as an array of `dtype`; integers that do not fit are an error."""
    import numpy as np

    if _is_device(values):
        raise ArgumentError(f"{name} is on a device; out must be a device array too")
    array = np.asarray(values)
    if array.dtype == dtype:
        return array
    if array.size == 0 and array.dtype == np.float64:  # what numpy makes of an empty list
        return array.astype(dtype)
    if array.dtype.kind not in "iu":
        raise ArgumentError(f"{name} must hold integers, not {array.dtype}")
    limits = np.iinfo(dtype)
    if array.size and not limits.min <= array.min() <= array.max() <= limits.max:
        raise ArgumentError(f"{name} has values outside {limits.dtype}")
    return array.astype(dtype)


def _slot_mapping_device(
    block_tables: Any, rows: Any, positions: Any, block_size: int, *, out: Any, stream: int
) -> Any:
    if out is None:
        raise ArgumentError("out is required for device arrays: an int64 device array")
    if isinstance(stream, bool) or not isinstance(stream, int) or not 0 <= stream < 2**64:
        raise ArgumentError(f"stream must be a CUDA stream handle, not {stream!r}")
    interfaces = []
    for name, array in (("block_tables", block_tables), ("rows", rows), ("positions", positions)):
        if not _is_device(array):
            raise ArgumentError(f"{name} is not a device array, but out is")
        interfaces.append(array.__cuda_array_interface__)
    interfaces.append(out.__cuda_array_interface__)
    rows_view = _vector(interfaces[1], "rows", "<i4")
    positions_view = _vector(interfaces[2], "positions", "<i8")
    producers = {interface.get("stream") for interface in interfaces} - {None}
    _core.slot_mapping_device(
        _matrix(interfaces[0], "block_tables"),
        rows_view,
        positions_view,
        block_size,
        _output(interfaces[3], rows_view[1], positions_view[1]),
        stream,
        sorted(producers),
    )
    return out


def _matrix(interface: Mapping[str, Any], name: str) -> tuple[int, int, int, int, int]:
    address, (num_rows, num_columns), (row_stride, column_stride) = _view(interface, name, "<i4", 2)
    return address, num_rows, num_columns, row_stride, column_stride


def _vector(interface: Mapping[str, Any], name: str, typestr: str) -> tuple[int, int, int]:
    address, (length,), (stride,) = _view(interface, name, typestr, 1)
    return address, length, stride


def _output(
    interface: Mapping[str, Any], num_tokens: int, num_positions: int
) -> tuple[int, int, int]:
    if num_tokens != num_positions:
        raise ArgumentError(f"rows has {num_tokens} tokens, positions has {num_positions}")
    view = _vector(interface, "out", "<i8")
    if interface["data"][1]:
        raise ArgumentError("out is read-only")
    if view[1] < num_tokens:
        raise ArgumentError(f"out has {view[1]} slots for {num_tokens} tokens")
    return view


def _view(
    interface: Mapping[str, Any], name: str, typestr: str, num_dimensions: int
) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """Return address, shape and strides in elements of an array interface, checked."""
    shape = interface["shape"]
    if len(shape) != num_dimensions:
        raise ArgumentError(f"{name} must have {num_dimensions} dimension(s), not {len(shape)}")
    if interface["typestr"] != typestr:
        dtype = {"<i4": "int32", "<i8": "int64"}[typestr]
        raise ArgumentError(f"{name} must be {dtype}, not {interface['typestr']}")
    if interface.get("mask") is not None:
        raise ArgumentError(f"{name} is a masked array")
    item_bytes = int(typestr[-1])
    address = interface["data"][0] or 0
    strides = interface.get("strides")
    if strides is None:
        strides = (shape[-1] * item_bytes, item_bytes)[-num_dimensions:]
    if address % item_bytes or any(stride % item_bytes for stride in strides):
        raise ArgumentError(f"{name} is not aligned to its {item_bytes}-byte elements")
    return address, tuple(shape), tuple(stride // item_bytes for stride in strides)
