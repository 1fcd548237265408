"""Arrays of other libraries, as addresses: CUDA array interface, DLPack, numpy, bare pointers.

Every call of :mod:`ctxengine.cuda` reads its arrays through :func:`view_of`; nothing here imports
an array library but numpy, and that only for arrays of the host.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from ctxengine import _core
from ctxengine.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "DeviceArray",
    "Memory",
    "View",
    "check_stream",
    "host_array",
    "is_device",
    "memory_of",
    "producers",
    "view_of",
]

_TYPES = {
    "int8": "|i1",
    "uint8": "|u1",
    "int32": "<i4",
    "int64": "<i8",
    "float16": "<f2",
    "bfloat16": "<V2",  # numpy has no name for it; this is what ml_dtypes' arrays say
    "float32": "<f4",
}
_NAMES = {typestr: name for name, typestr in _TYPES.items()}
_NAMES |= {"<u2": "bfloat16", "<i2": "bfloat16"}  # what holds it where it has no name
_DLPACK_HOSTS = (1, 3)  # memory of the host, the same pinned
_DLPACK_DEVICES = (2, 13)  # memory of a CUDA device, managed memory


class View(NamedTuple):
    """Where an array's elements lie.

    Attributes
    ----------
    address : int
        Of the element whose indices are all 0; 0 when there is none.
    shape : tuple of int
        Elements in each dimension.
    strides : tuple of int
        Elements from one index to the next.
    typestr : str
        The element type as numpy's interface spells it.
    stream : int or None
        The CUDA stream on which the array is being made; None when it is made.
    """

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    typestr: str
    stream: int | None

    @property
    def flat(self) -> tuple[int, ...]:
        """Address, shape and strides in a row: how the core takes arrays."""
        return (self.address, *self.shape, *self.strides)


class DeviceArray:
    """Memory of a CUDA device that is known by its address only.

    Parameters
    ----------
    address : int
        Of the first element.
    shape : tuple of int
        Elements in each dimension.
    dtype : str
        ``int8``, ``uint8``, ``int32``, ``int64``, ``float16``, ``bfloat16`` or ``float32``.
    strides : tuple of int, optional
        Bytes from one index to the next; C order when None.
    stream : int, optional
        The stream on which the memory is being written; it is waited for.

    Raises
    ------
    ArgumentError
        An unknown `dtype`.

    Examples
    --------
    >>> DeviceArray(4096, (2, 3), "int32").__cuda_array_interface__["typestr"]
    '<i4'
    """

    def __init__(
        self,
        address: int,
        shape: tuple[int, ...],
        dtype: str,
        *,
        strides: tuple[int, ...] | None = None,
        stream: int | None = None,
    ) -> None:
        if dtype not in _TYPES:
            raise ArgumentError(f"dtype must be one of {', '.join(_TYPES)}, not {dtype!r}")
        self.__cuda_array_interface__: dict[str, Any] = {
            "version": 3,
            "shape": tuple(shape),
            "typestr": _TYPES[dtype],
            "data": (address, False),
            "strides": strides,
            "stream": stream,
        }


def is_device(array: Any) -> bool:
    """Return whether `array` is on a CUDA device."""
    if _cuda_interface(array) is not None:
        return True
    return hasattr(array, "__dlpack_device__") and array.__dlpack_device__()[0] in _DLPACK_DEVICES


def _cuda_interface(array: Any) -> Mapping[str, Any] | None:
    try:
        interface: Mapping[str, Any] | None = getattr(array, "__cuda_array_interface__", None)
    except (TypeError, RuntimeError):  # torch, for element types that the interface cannot name
        return None
    return interface


def _interface(array: Any, name: str, stream: int) -> Mapping[str, Any]:
    """Return what numpy's interface would say of `array`; all three interfaces have its fields."""
    interface = _cuda_interface(array)
    if interface is None:
        interface = getattr(array, "__array_interface__", None)
    if interface is not None:
        return interface
    if not hasattr(array, "__dlpack__"):
        raise ArgumentError(f"{name} must be an array, not {type(array).__name__}")
    # DLPack calls the legacy default stream 1; the producer makes the stream wait for itself.
    capsule = array.__dlpack__(stream=max(stream, 1)) if is_device(array) else array.__dlpack__()
    device, address, shape, strides, code, bits, lanes, read_only = _core.dlpack_view(capsule)
    if device not in _DLPACK_DEVICES and device not in _DLPACK_HOSTS:
        raise ArgumentError(f"{name} is on a device of DLPack type {device}, not a CUDA device")
    item_bytes = bits * lanes // 8
    kind = {0: "i", 1: "u", 2: "f"}.get(code, "V") if lanes == 1 else "V"
    return {
        "shape": shape,
        "typestr": f"{'|' if item_bytes == 1 else '<'}{kind}{item_bytes}",
        "data": (address, read_only),
        "strides": None if strides is None else tuple(step * item_bytes for step in strides),
    }


def view_of(
    array: Any,
    name: str,
    typestr: str | Collection[str],
    num_dimensions: int,
    *,
    writable: bool = False,
    stream: int = 0,
) -> View:
    """Return the view of a numpy or device array, checked.

    Parameters
    ----------
    array : object
        With ``__cuda_array_interface__``, ``__array_interface__`` or ``__dlpack__``.
    name : str
        What error messages call it.
    typestr : str or collection of str
        The element types allowed, as numpy's interface spells them, such as ``"<i4"``.
    num_dimensions : int
        Of the array.
    writable : bool
        Whether the call writes to it.
    stream : int
        The stream that will use it.

    Returns
    -------
    View

    Raises
    ------
    ArgumentError
        Another type or number of dimensions, elements that are not aligned, a masked array, or a
        read-only one that must be written.
    """
    interface = _interface(array, name, stream)
    shape = tuple(interface["shape"])
    if len(shape) != num_dimensions:
        raise ArgumentError(f"{name} must have {num_dimensions} dimension(s), not {len(shape)}")
    found = interface["typestr"]
    allowed = (typestr,) if isinstance(typestr, str) else tuple(typestr)
    if found not in allowed:
        names = " or ".join(dict.fromkeys(_NAMES[one] for one in allowed))
        raise ArgumentError(f"{name} must be {names}, not {found}")
    if interface.get("mask") is not None:
        raise ArgumentError(f"{name} is a masked array")
    address, read_only = interface["data"]
    address = address or 0
    item_bytes = int(found[2:])
    strides = interface.get("strides") or _contiguous(shape, item_bytes)
    if address % item_bytes or any(stride % item_bytes for stride in strides):
        raise ArgumentError(f"{name} is not aligned to its {item_bytes}-byte elements")
    if writable and read_only:
        raise ArgumentError(f"{name} is read-only")
    elements = tuple(stride // item_bytes for stride in strides)
    return View(address, shape, elements, found, interface.get("stream"))


def _contiguous(shape: tuple[int, ...], item_bytes: int) -> tuple[int, ...]:
    strides = [item_bytes]
    for extent in shape[:0:-1]:
        strides.append(strides[-1] * extent)
    return tuple(reversed(strides[: len(shape)]))


class Memory(NamedTuple):
    """A contiguous piece of memory: address, size, and the stream on which it is being made."""

    address: int
    size_bytes: int
    stream: int | None


def memory_of(array: Any, name: str, *, writable: bool = False, stream: int = 0) -> Memory:
    """Return the memory of a C-contiguous array of any type.

    Parameters
    ----------
    array : object
        With ``__cuda_array_interface__``, ``__array_interface__`` or ``__dlpack__``.
    name : str
        What error messages call it.
    writable : bool
        Whether it is written to.
    stream : int
        The stream that will use it.

    Returns
    -------
    Memory

    Raises
    ------
    ArgumentError
        Not contiguous, or read-only where it must be written.
    """
    interface = _interface(array, name, stream)
    shape = tuple(interface["shape"])
    item_bytes = int(interface["typestr"][2:])
    strides = interface.get("strides")
    dense = _contiguous(shape, item_bytes)
    if strides is not None and any(
        extent > 1 and step != expected
        for extent, step, expected in zip(shape, strides, dense, strict=True)
    ):
        raise ArgumentError(f"{name} is not contiguous")
    address, read_only = interface["data"]
    if writable and read_only:
        raise ArgumentError(f"{name} is read-only")
    return Memory(address or 0, math.prod(shape) * item_bytes, interface.get("stream"))


def host_array(values: ArrayLike, name: str, dtype: type[np.signedinteger[Any]]) -> NDArray[Any]:
    """Return `values` as an array of `dtype`; integers that do not fit are an error."""
    import numpy as np

    if is_device(values):
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


def check_stream(stream: int) -> int:
    """Return `stream` if it can be a CUDA stream handle."""
    if isinstance(stream, bool) or not isinstance(stream, int) or not 0 <= stream < 2**64:
        raise ArgumentError(f"stream must be a CUDA stream handle, not {stream!r}")
    return stream


def producers(views: Iterable[View | Memory]) -> list[int]:
    """Return the streams on which `views` are being made, each once."""
    return sorted({view.stream for view in views if view.stream is not None})
