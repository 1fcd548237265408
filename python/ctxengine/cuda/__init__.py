"""Block tables on the GPU: slot mapping, with the same arithmetic on the host.

Nothing here is needed to use the rest of ctxengine. The kernels are embedded when the package was
built with a CUDA compiler; the driver is opened on first use, never at import; :func:`why_not` says
in one sentence what is missing. No CUDA runtime and no array library is imported: device arrays of
torch, CuPy, Numba and others come in through ``__cuda_array_interface__``.

The environment variable ``CTXENGINE_LIBCUDA`` names another driver library than ``libcuda.so.1``.
It is read once, on first use.
"""

from __future__ import annotations

from ctxengine.cuda.device import (
    BuildInfo,
    DeviceInfo,
    build_info,
    device_info,
    is_available,
    why_not,
)
from ctxengine.cuda.tables import INVALID_SLOT, PADDING_SLOT, slot_mapping

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
