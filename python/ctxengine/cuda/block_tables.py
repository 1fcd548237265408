"""Block tables on the device, with allocation at the decode step; and their mirror on the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctxengine import _core
from ctxengine.cuda.arrays import View, check_stream, host_array, is_device, producers, view_of
from ctxengine.cuda.tables import block_size_of
from ctxengine.errors import ArgumentError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["DeviceBlockTables"]


class DeviceBlockTables:
    """Tables, lengths and a ring of free blocks, which a decode step advances in one launch.

    The ring holds the blocks that the host has handed out (:meth:`push`) and no row has taken yet.
    A step is deterministic: in batch order, each row whose last block is full takes the next block
    for each group. An instance on the host that is called with the same batches is a mirror of one
    on the device, bit for bit, so nothing is ever read back; and as all state lies in the arrays, a
    launch can be captured in a CUDA graph and replayed while the ring has blocks.

    The arrays are the caller's, all on one device or all of numpy, and C-contiguous. After a
    prefill the caller patches the tables and writes the lengths.

    Parameters
    ----------
    tables : array of int32, shape (num_groups, max_rows, num_columns)
        Block ids, the row's and column's for each group of layers; a negative id is no block.
    lengths : array of int32, shape (max_rows,)
        Tokens of each row.
    ring : array of int32, shape (ring_size,)
        Free blocks.
    counters : array of int64, shape (2,)
        Blocks taken from the ring and blocks put into it since the beginning; both 0 at first.
    block_size : int
        Tokens per block, of all groups.

    Raises
    ------
    ArgumentError
        Wrong types, shapes or sizes, arrays that are not contiguous, not writable, or not in one
        place.

    Examples
    --------
    >>> tables = DeviceBlockTables.on_host(
    ...     num_groups=1, max_rows=4, num_columns=8, ring_size=16, block_size=2
    ... )
    >>> tables.push([7, 5, 9])
    >>> [tables.decode_append([3, 0]).tolist() for _ in range(2)]
    [[[14, 10]], [[15, 11]]]
    >>> tables.decode_append([3, 0]).tolist(), tables.oom_row  # one block is left, two are needed
    ([[-1, -1]], 0)
    """

    def __init__(
        self, tables: Any, lengths: Any, ring: Any, counters: Any, *, block_size: int
    ) -> None:
        arrays = {"tables": tables, "lengths": lengths, "ring": ring, "counters": counters}
        places = {is_device(array) for array in arrays.values()}
        if len(places) > 1:
            raise ArgumentError("tables, lengths, ring and counters must lie in one place")
        self.is_device = places.pop()
        views = {
            name: view_of(
                array, name, "<i8" if name == "counters" else "<i4", 3 if name == "tables" else 1,
                writable=True,
            )
            for name, array in arrays.items()
        }  # fmt: skip
        shape = views["tables"].shape
        ring_size = views["ring"].shape[0]
        if min(*shape, ring_size) < 1:
            raise ArgumentError("tables and ring must not be empty")
        if views["lengths"].shape != shape[1:2]:
            raise ArgumentError(
                f"lengths has {views['lengths'].shape[0]} rows, the tables {shape[1]}"
            )
        if views["counters"].shape != (2,):
            raise ArgumentError(f"counters must have 2 elements, not {views['counters'].shape[0]}")
        dense = {"tables": (shape[1] * shape[2], shape[2], 1)}
        for name, view in views.items():
            if view.strides != dense.get(name, (1,)):
                raise ArgumentError(f"{name} is not contiguous")
        addresses = tuple(view.address for view in views.values())
        self._state = (*addresses, *shape, ring_size, block_size_of(block_size))
        self.tables, self.lengths, self.ring, self.counters = arrays.values()
        self.oom_row: int | None = None

    @classmethod
    def on_host(
        cls, *, num_groups: int, max_rows: int, num_columns: int, ring_size: int, block_size: int
    ) -> DeviceBlockTables:
        """Return empty tables of numpy: a mirror, or the tables of a CPU backend.

        Parameters
        ----------
        num_groups, max_rows, num_columns, ring_size, block_size : int
            Sizes, 1 or more.

        Returns
        -------
        DeviceBlockTables
        """
        import numpy as np

        return cls(
            np.full((num_groups, max_rows, num_columns), -1, np.int32),
            np.zeros(max_rows, np.int32),
            np.zeros(ring_size, np.int32),
            np.zeros(2, np.int64),
            block_size=block_size,
        )

    def push(self, blocks: Any, *, skipped: Any = None, stream: int = 0) -> None:
        """Put free blocks into the ring, behind those that are there.

        Parameters
        ----------
        blocks : array of int32, shape (num_blocks,)
            Block ids.
        skipped : array of int32, shape (1,), optional
            On a device: when the ring has no room, nothing is put in and `num_blocks` is added.
        stream : int
            Handle of a CUDA stream; 0 is the legacy default stream.

        Raises
        ------
        CapacityError
            On the host: the ring has no room; nothing has been put in.
        ArgumentError, DeviceError
            As of :meth:`decode_append`.

        Notes
        -----
        O(num_blocks).
        """
        view, keep = self._input(blocks, "blocks", 1, stream)
        counter = self._counter(skipped, stream)
        _core.ring_push(
            self._state, view.flat, counter.address, *self._where([view, counter], stream)
        )
        del keep

    def decode_append(
        self, rows: Any, *, slots: Any = None, oom_row: Any = None, stream: int = 0
    ) -> Any:
        """Give the next token of each row a slot, and a new block where one is needed.

        When the ring has too few blocks, nothing changes: all slots are -1, and the first row that
        found none is in `oom_row`.

        Parameters
        ----------
        rows : array of int32, shape (num_rows,)
            Distinct rows of the tables; a negative one is padding. In a CUDA graph the array is the
            same in every replay, its contents may change.
        slots : array of int64, shape (num_groups, num_rows), optional
            Written: ``block * block_size + offset``; -1 for padding. Required on a device.
        oom_row : array of int32, shape (1,), optional
            Written: a row, or -1. Required on a device; on the host it is the attribute
            ``oom_row`` (None when all found blocks).
        stream : int
            Handle of a CUDA stream; 0 is the legacy default stream.

        Returns
        -------
        array of int64, shape (num_groups, num_rows)
            `slots`, or a new numpy array.

        Raises
        ------
        ArgumentError
            Wrong type or shape. On the host also a row that is not in the tables, fills them, has
            no block where its next token belongs, or comes twice: it is named, and nothing has
            changed. The kernel gives such a row slot -2 and leaves it as it is (a row that comes
            twice gets some mixture); it never writes outside the arrays.
        DeviceError
            The driver refused a call, or kernels cannot be launched.

        Notes
        -----
        O(num_rows * num_groups).
        """
        view, keep = self._input(rows, "rows", 1, stream)
        shape = (self._state[4], view.shape[0])
        if not self.is_device:
            import numpy as np

            if oom_row is not None:
                raise ArgumentError("oom_row is for a device; on the host it is an attribute")
            oom_row = np.full(1, -1, np.int32)
            slots = np.empty(shape, np.int64) if slots is None else slots
        elif slots is None or oom_row is None:
            raise ArgumentError("slots and oom_row are required on a device")
        slots_view = self._view(slots, "slots", "<i8", 2, stream, writable=True)
        if slots_view.shape != shape:
            raise ArgumentError(f"slots has shape {slots_view.shape}, not {shape}")
        oom_view = self._view(oom_row, "oom_row", "<i4", 1, stream, writable=True)
        if oom_view.shape != (1,):
            raise ArgumentError(f"oom_row must have 1 element, not {oom_view.shape[0]}")
        where = self._where([view, slots_view, oom_view], stream)
        _core.decode_append(self._state, view.flat, slots_view.flat, oom_view.address, *where)
        if not self.is_device:
            self.oom_row = None if oom_row[0] < 0 else int(oom_row[0])
        del keep
        return slots

    def patch(self, entries: Any, *, skipped: Any = None, stream: int = 0) -> None:
        """Write cells of the tables, those of all groups in one launch.

        Parameters
        ----------
        entries : array of int32, shape (num_entries, 4)
            ``row, column, block, group`` in each line, C-contiguous, no cell twice; a negative row
            is padding. What the manager's steps list.
        skipped : array of int32, shape (1,), optional
            On a device: the number of entries outside the tables, which are not written, is added.
        stream : int
            Handle of a CUDA stream; 0 is the legacy default stream.

        Raises
        ------
        ArgumentError
            Wrong type or shape; on the host also an entry outside the tables: it is named, and
            nothing has been written.
        DeviceError
            The driver refused a call, or kernels cannot be launched.

        Notes
        -----
        O(num_entries).
        """
        view, keep = self._input(entries, "entries", 2, stream)
        num_entries, width = view.shape
        if width != 4 or (num_entries > 0 and view.strides != (4, 1)):
            raise ArgumentError("entries must be contiguous lines of row, column, block, group")
        counter = self._counter(skipped, stream)
        where = self._where([view, counter], stream)
        _core.table_patch(self._state, (view.address, num_entries), counter.address, *where)
        del keep

    def _input(self, array: Any, name: str, num_dimensions: int, stream: int) -> tuple[View, Any]:
        if not self.is_device:
            import numpy as np

            array = host_array(array, name, np.int32)
            if array.size == 0 and num_dimensions == 2:
                array = array.reshape(0, 4)
            array = _contiguous(array) if num_dimensions == 2 else array
        return self._view(array, name, "<i4", num_dimensions, stream), array

    def _view(
        self, array: Any, name: str, typestr: str, *where: int, writable: bool = False
    ) -> View:
        num_dimensions, stream = where
        if is_device(array) != self.is_device:
            raise ArgumentError(f"{name} and the tables must lie in one place")
        return view_of(array, name, typestr, num_dimensions, writable=writable, stream=stream)

    def _counter(self, skipped: Any, stream: int) -> View:
        if skipped is None:
            return View(0, (1,), (1,), "<i4", None)
        if not self.is_device:
            raise ArgumentError("skipped counts on a device; the host raises instead")
        counter = self._view(skipped, "skipped", "<i4", 1, stream, writable=True)
        if counter.shape != (1,):
            raise ArgumentError(f"skipped must have 1 element, not {counter.shape[0]}")
        return counter

    def _where(self, views: list[View], stream: int) -> tuple[int | None, list[int]]:
        check_stream(stream)
        return (stream, producers(views)) if self.is_device else (None, [])


def _contiguous(array: NDArray[np.int32]) -> NDArray[np.int32]:
    import numpy as np

    return np.ascontiguousarray(array)
