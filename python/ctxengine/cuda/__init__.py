"""Block tables and KV blocks on the GPU, with the same calls on the host.

Nothing here is needed to use the rest of ctxengine. The kernels are embedded when the package was
built with a CUDA compiler; the driver is opened on first use, never at import; :func:`why_not` says
in one sentence what is missing. No CUDA runtime and no array library is imported: device arrays of
torch, CuPy, Numba and others come in through ``__cuda_array_interface__`` or DLPack, bare addresses
as :class:`DeviceArray`. Arrays of numpy, or lists, select the host.

The environment variable ``CTXENGINE_LIBCUDA`` names another driver library than ``libcuda.so.1``.
It is read once, on first use.
"""

from __future__ import annotations

from ctxengine.cuda.arrays import DeviceArray
from ctxengine.cuda.block_tables import DeviceBlockTables
from ctxengine.cuda.blocks import copy_blocks, gather_blocks, relayout, scatter_blocks
from ctxengine.cuda.device import (
    BuildInfo,
    DeviceInfo,
    build_info,
    device_info,
    is_available,
    why_not,
)
from ctxengine.cuda.layout import DevicePool, KVLayout, Movement
from ctxengine.cuda.tables import INVALID_SLOT, PADDING_SLOT, slot_mapping
from ctxengine.cuda.write import kv_write, kv_write_mla

__all__ = [
    "INVALID_SLOT",
    "PADDING_SLOT",
    "BuildInfo",
    "DeviceArray",
    "DeviceBlockTables",
    "DeviceInfo",
    "DevicePool",
    "KVLayout",
    "Movement",
    "build_info",
    "copy_blocks",
    "device_info",
    "gather_blocks",
    "is_available",
    "kv_write",
    "kv_write_mla",
    "relayout",
    "scatter_blocks",
    "slot_mapping",
    "why_not",
]
