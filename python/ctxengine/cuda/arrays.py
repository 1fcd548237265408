"""Arrays of other libraries, as addresses: ``__cuda_array_interface__`` and numpy's interface.

Every call of :mod:`ctxengine.cuda` reads its arrays through :func:`view_of`; nothing here imports
an array library but numpy, and that only for arrays of the host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ctxengine.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

__all__ = ["View", "check_stream", "host_array", "is_device", "producers", "view_of"]

_NAMES = {"<i4": "int32", "<i8": "int64", "<f4": "float32"}


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
    stream : int or None
        The CUDA stream on which the array is being made; None when it is made.
    """

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    stream: int | None

    @property
    def flat(self) -> tuple[int, ...]:
        """Address, shape and strides in a row: how the core takes arrays."""
        return (self.address, *self.shape, *self.strides)


def is_device(array: Any) -> bool:
    """Return whether `array` is on a CUDA device."""
    return hasattr(array, "__cuda_array_interface__")


def view_of(
    array: Any, name: str, typestr: str, num_dimensions: int, *, writable: bool = False
) -> View:
    """Return the view of a numpy or device array, checked.

    Parameters
    ----------
    array : object
        With ``__cuda_array_interface__`` or ``__array_interface__``.
    name : str
        What error messages call it.
    typestr : str
        The element type as numpy's interface spells it, such as ``"<i4"``.
    num_dimensions : int
        Of the array.
    writable : bool
        Whether the call writes to it.

    Returns
    -------
    View

    Raises
    ------
    ArgumentError
        Another type or number of dimensions, elements that are not aligned, a masked array, or a
        read-only one that must be written.
    """
    # The numpy interface has the fields of the CUDA one, which was modelled on it.
    interface = array.__cuda_array_interface__ if is_device(array) else array.__array_interface__
    shape = tuple(interface["shape"])
    if len(shape) != num_dimensions:
        raise ArgumentError(f"{name} must have {num_dimensions} dimension(s), not {len(shape)}")
    if interface["typestr"] != typestr:
        raise ArgumentError(f"{name} must be {_NAMES[typestr]}, not {interface['typestr']}")
    if interface.get("mask") is not None:
        raise ArgumentError(f"{name} is a masked array")
    address, read_only = interface["data"]
    address = address or 0
    item_bytes = int(typestr[2:])
    strides = interface.get("strides") or _contiguous(shape, item_bytes)
    if address % item_bytes or any(stride % item_bytes for stride in strides):
        raise ArgumentError(f"{name} is not aligned to its {item_bytes}-byte elements")
    if writable and read_only:
        raise ArgumentError(f"{name} is read-only")
    elements = tuple(stride // item_bytes for stride in strides)
    return View(address, shape, elements, interface.get("stream"))


def _contiguous(shape: tuple[int, ...], item_bytes: int) -> tuple[int, ...]:
    strides = [item_bytes]
    for extent in shape[:0:-1]:
        strides.append(strides[-1] * extent)
    return tuple(reversed(strides[: len(shape)]))


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


def producers(views: Sequence[View]) -> list[int]:
    """Return the streams on which `views` are being made, each once."""
    return sorted({view.stream for view in views if view.stream is not None})
