"""What the build carries, and what the driver and the devices of this machine are."""

from __future__ import annotations

from typing import NamedTuple

from ctxengine import _core

__all__ = ["BuildInfo", "DeviceInfo", "build_info", "device_info", "is_available", "why_not"]


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
