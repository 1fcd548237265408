"""Oracle of :func:`ctxengine.cuda.slot_mapping`: one token at a time, in Python integers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ctxengine.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["slot_mapping"]


def slot_mapping(
    block_tables: Sequence[Sequence[int]],
    rows: Sequence[int],
    positions: Sequence[int],
    block_size: int,
    num_slots: int | None = None,
) -> list[int]:
    """Return each token's slot: the start of its block plus its place in it (paged attention).

    Parameters
    ----------
    block_tables : sequence of sequences of int
        Block ids of each row.
    rows, positions : sequences of int
        Each token's row and position; a negative one is padding.
    block_size : int
        Tokens per block.
    num_slots : int, optional
        Length of the answer; the tail is padding.

    Returns
    -------
    list of int
        Slots; -1 for padding.

    Raises
    ------
    ArgumentError
        A token lies outside the tables or has no block.

    Examples
    --------
    >>> slot_mapping([[7, 3]], [0, 0, -1], [1, 17, 0], 16)
    [113, 49, -1]
    """
    slots = []
    for row, position in zip(rows, positions, strict=True):
        if row < 0 or position < 0:
            slots.append(-1)
            continue
        column, offset = divmod(position, block_size)
        if row >= len(block_tables) or column >= len(block_tables[row]):
            raise ArgumentError(f"row {row}, position {position} lies outside the block tables")
        block = block_tables[row][column]
        if block < 0:
            raise ArgumentError(f"row {row}, position {position} has no block")
        slots.append(block * block_size + offset)
    return slots + [-1] * ((num_slots or 0) - len(slots))
