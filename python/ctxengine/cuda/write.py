"""New keys and values into a pool, as they are or in 8 bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctxengine import _core
from ctxengine.cuda.arrays import View, check_stream, host_array, is_device, producers, view_of
from ctxengine.errors import ArgumentError

if TYPE_CHECKING:
    from ctxengine.cuda.layout import DevicePool

__all__ = ["kv_write", "kv_write_mla"]

_COPY, _E4M3, _INT8, _TILE_E4M3 = range(4)
# bfloat16 has no name in numpy: an element of 16 bits that is no float16 is one.
_HALVES = ("<f2", "<V2", "<u2", "<i2")


def kv_write(
    pool: DevicePool,
    layer: int,
    key: Any,
    value: Any,
    slots: Any,
    *,
    k_scale: Any = None,
    v_scale: Any = None,
    k_scale_out: Any = None,
    v_scale_out: Any = None,
    skipped: Any = None,
    stream: int = 0,
) -> None:
    """Write the keys and values of new tokens into one layer of a pool.

    The pool's entry size says how: two bytes an element are copied; one byte an element holds
    ``value / scale`` as e4m3 (with `k_scale` and `v_scale`) or int8 (with `k_scale_out` and
    `v_scale_out`). On a device pool the kernel is enqueued on `stream`; on a pool of the host the
    host writes the same bytes.

    Parameters
    ----------
    pool : DevicePool
        Of any layout with K and V.
    layer : int
        From 0.
    key, value : array of float16 or bfloat16, shape (num_tokens, num_heads, head_size)
        The last dimension is contiguous. Any other type of 16 bits is taken for bfloat16.
    slots : array of int64, shape (num_tokens,)
        ``block * block_size + offset`` of each token, distinct; negative: not written.
    k_scale, v_scale : array of float32, shape (1,) or (num_heads,), optional
        Positive. e4m3 is rounded to the nearest, ties to even; beyond 448 it is 448.
    k_scale_out, v_scale_out : array of float32, shape (num_blocks, block_size, num_heads), optional
        Written: the largest magnitude of each token's head over 127 (2**-126 at least). Values must
        be finite.
    skipped : array of int32, shape (1,), optional
        On a device: the number of tokens with a slot outside the pool is added to it.
    stream : int
        Handle of a CUDA stream of the pool's device; 0 is the legacy default stream.

    Raises
    ------
    ArgumentError
        Wrong types, shapes or sizes; arrays that are not all where the pool is; on the host also a
        slot outside the pool, and then nothing has been written.
    DeviceError
        The driver refused a call, or kernels cannot be launched.

    Notes
    -----
    O(num_tokens * num_heads * head_size). A value is multiplied with the rounded 1 / scale, which
    is a division where the scale is a power of 2.

    Examples
    --------
    >>> import numpy as np
    >>> from ctxengine.cuda import DevicePool, KVLayout
    >>> memory = np.zeros((1, 2, 3, 4, 1, 8), np.uint8)
    >>> layout = KVLayout.nhd(
    ...     num_layers=1, num_blocks=3, block_size=4, num_heads=1, entry_bytes=8
    ... )
    >>> one, keys = np.ones(1, np.float32), np.full((1, 1, 8), 448, np.float16)
    >>> kv_write(DevicePool(layout, memory), 0, keys, -keys, [5], k_scale=one, v_scale=one)
    >>> memory[0, :, 1, 1, 0, 0].tolist()
    [126, 254]
    """
    layout = pool.layout
    if layout.num_kv != 2:
        raise ArgumentError("kv_write is for pools of K and V; kv_write_mla for one latent entry")
    if (k_scale is None) != (v_scale is None) or (k_scale_out is None) != (v_scale_out is None):
        raise ArgumentError("scales of K and V are given together or not at all")
    if k_scale is not None and k_scale_out is not None:
        raise ArgumentError("k_scale is for e4m3, k_scale_out for int8; both were given")
    kind = _E4M3 if k_scale is not None else _INT8 if k_scale_out is not None else _COPY
    call = _Write(pool, stream)
    inputs: list[tuple[int, ...]] = []
    for name, array, scale, scale_out in (
        ("key", key, k_scale, k_scale_out),
        ("value", value, v_scale, v_scale_out),
    ):
        view = call.halves(array, name, 3)
        scales = (0, 0)
        stored = (0, 0, 0, 0)
        if scale is not None:
            scales = call.scales(scale, f"{name[0]}_scale", layout.num_heads)
        if scale_out is not None:
            out = call.view(scale_out, f"{name[0]}_scale_out", "<f4", 3, writable=True)
            shape = (layout.num_blocks, layout.block_size, layout.num_heads)
            if out.shape != shape:
                raise ArgumentError(f"{name[0]}_scale_out has shape {out.shape}, not {shape}")
            block, token, head = (4 * step for step in out.strides)
            stored = (out.address, block, token, head)
        _, num_heads, head_size = view.shape
        inputs.append(
            (view.address, 2 * view.strides[0], 2 * view.strides[1], num_heads, head_size, *scales,
             *stored)
        )  # fmt: skip
    call.run(layer, kind, inputs, slots, skipped)


def kv_write_mla(
    pool: DevicePool,
    layer: int,
    latent: Any,
    rope: Any,
    slots: Any,
    *,
    scale: Any = None,
    skipped: Any = None,
    stream: int = 0,
) -> None:
    """Write the latent and rotary parts of new tokens into one layer of an MLA pool.

    With entries of two bytes an element both parts are copied; with one byte an element and `scale`
    both are e4m3; with ``latent + latent / 32 + 2 * rope`` bytes (656 for 512 and 64, FlashMLA's
    entry) the latent is e4m3 with a float32 scale for each 128 elements behind it, the largest
    magnitude over 448, and the rotary part is copied.

    Parameters
    ----------
    pool : DevicePool
        Of :meth:`KVLayout.mla`.
    layer : int
        From 0.
    latent, rope : array of float16 or bfloat16, shape (num_tokens, size)
        As key and value of :func:`kv_write`.
    slots : array of int64, shape (num_tokens,)
        As of :func:`kv_write`.
    scale : array of float32, shape (1,), optional
        For entries in e4m3.
    skipped, stream
        As of :func:`kv_write`.

    Raises
    ------
    ArgumentError, DeviceError
        As :func:`kv_write`.

    Notes
    -----
    O(num_tokens * size).
    """
    if pool.layout.num_kv != 1:
        raise ArgumentError("kv_write_mla is for pools with one KV; kv_write for K and V")
    call = _Write(pool, stream)
    views = [call.halves(latent, "latent", 2), call.halves(rope, "rope", 2)]
    scales = (0, 0) if scale is None else call.scales(scale, "scale", 1)
    copied = pool.layout.entry_bytes == 2 * sum(view.shape[1] for view in views)
    kind = _E4M3 if scale is not None else _COPY if copied else _TILE_E4M3
    inputs: list[tuple[int, ...]] = [
        (view.address, 2 * view.strides[0], 0, 1, view.shape[1], *scales, 0, 0, 0, 0)
        for view in views
    ]
    call.run(layer, kind, inputs, slots, skipped)


class _Write:
    """One call: where it runs, and the arrays that it has looked at."""

    def __init__(self, pool: DevicePool, stream: int) -> None:
        self.pool = pool
        self.stream = check_stream(stream)
        self.views: list[View] = []
        self.elements: list[View] = []

    def view(
        self, array: Any, name: str, typestr: Any, num_dimensions: int, *, writable: bool = False
    ) -> View:
        if is_device(array) != self.pool.is_device:
            raise ArgumentError(
                f"{name} and the pool must both be on the device or both on the host"
            )
        view = view_of(array, name, typestr, num_dimensions, writable=writable, stream=self.stream)
        self.views.append(view)
        return view

    def halves(self, array: Any, name: str, num_dimensions: int) -> View:
        view = self.view(array, name, _HALVES, num_dimensions)
        if view.shape[-1] < 1 or (view.shape[-1] > 1 and view.strides[-1] != 1):
            raise ArgumentError(f"the last dimension of {name} must be contiguous and not empty")
        first = self.elements[0] if self.elements else view
        if view.shape[0] != first.shape[0]:
            raise ArgumentError(f"{name} has {view.shape[0]} tokens, not {first.shape[0]}")
        if (view.typestr == "<f2") != (first.typestr == "<f2"):
            raise ArgumentError("one input is float16, the other is not")
        self.elements.append(view)
        return view

    def scales(self, array: Any, name: str, num_heads: int) -> tuple[int, int]:
        view = self.view(array, name, "<f4", 1)
        if view.shape not in ((1,), (num_heads,)):
            raise ArgumentError(f"{name} has {view.shape[0]} scales; 1 or {num_heads} are needed")
        return view.address, view.strides[0] if view.shape[0] > 1 else 0

    def run(
        self, layer: int, kind: int, inputs: list[tuple[int, ...]], slots: Any, skipped: Any
    ) -> None:
        if not self.pool.is_device:
            import numpy as np

            slots = host_array(slots, "slots", np.int64)
        positions = self.view(slots, "slots", "<i8", 1)
        num_tokens = self.elements[0].shape[0]
        if positions.shape[0] != num_tokens:
            raise ArgumentError(f"slots has {positions.shape[0]} tokens, not {num_tokens}")
        bfloat16 = self.elements[0].typestr != "<f2"
        arguments = (self.pool._core, layer, kind, bfloat16, inputs, positions.flat)
        if not self.pool.is_device:
            if skipped is not None:
                raise ArgumentError("skipped counts on a device; the host raises instead")
            _core.kv_write_host(*arguments)
            return
        address = 0
        if skipped is not None:
            counter = self.view(skipped, "skipped", "<i4", 1, writable=True)
            if counter.shape != (1,):
                raise ArgumentError(f"skipped must have 1 element, not {counter.shape[0]}")
            address = counter.address
        _core.kv_write_device(*arguments, address, self.stream, producers(self.views))
