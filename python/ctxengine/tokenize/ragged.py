"""Ids of many texts in one array: `Ragged`."""

from __future__ import annotations

import operator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    import numpy as np
    import numpy.typing as npt


class Ragged:
    """Rows of ids, of different lengths, one after the other; `Encoding.encode_ragged` makes it.

    The layout is that of an Arrow ``large_list`` and of the ``indptr`` of serving kernels.

    Parameters
    ----------
    ids : numpy.ndarray
        uint32[num_tokens].
    offsets : numpy.ndarray
        int64[num_rows + 1]: row i is ``ids[offsets[i]:offsets[i + 1]]``.

    Examples
    --------
    >>> from ctxengine.tokenize import get_encoding
    >>> ragged = get_encoding("o200k_base").encode_ragged(["hello world", "", "Hello"])
    >>> len(ragged), ragged.offsets.tolist()
    (3, [0, 2, 2, 3])
    >>> [row.tolist() for row in ragged]
    [[24912, 2375], [], [13225]]
    """

    __slots__ = ("ids", "offsets")

    ids: npt.NDArray[np.uint32]
    offsets: npt.NDArray[np.int64]

    def __init__(self, ids: npt.NDArray[np.uint32], offsets: npt.NDArray[np.int64]) -> None:
        self.ids = ids
        self.offsets = offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> npt.NDArray[np.uint32]:
        """Return a row, as a view of ``ids``; negative numbers count from the end."""
        index = operator.index(row)
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    def __iter__(self) -> Iterator[npt.NDArray[np.uint32]]:
        return (self[row] for row in range(len(self)))

    def to_lists(self) -> list[list[int]]:
        """Return the rows as lists of int."""
        return [row.tolist() for row in self]

    def __reduce__(self) -> tuple[Callable[..., Ragged], tuple[Any, ...]]:
        return Ragged, (self.ids, self.offsets)

    def __repr__(self) -> str:
        return f"<Ragged: {len(self)} rows, {len(self.ids)} ids>"
