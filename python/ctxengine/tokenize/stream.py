"""Ids to text while they are being generated: `DecodeStream` and `DecodeStreamBatch`."""

from __future__ import annotations

import operator

from ctxengine import _core
from ctxengine.errors import ArgumentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    import numpy as np
    import numpy.typing as npt

    from ctxengine.tokenize.encoding import Encoding


class DecodeStream:
    """The text of a sequence of ids that are still being generated; `Encoding.stream` makes it.

    All that comes out, joined, is ``decode(all ids, errors="replace")`` up to the first stop
    string, however the ids are handed in. Each part that comes out consists of whole characters,
    and of nothing that could still become a stop string.

    Of all occurrences of stop strings, the one that ends first counts, because a generator can stop
    there; of those that end together the longest.

    Every method may be called from any thread; one sequence is best fed by one.

    Notes
    -----
    Linear in the text, whatever the text and the stop strings are: stop strings are found by Aho
    and Corasick's automaton (1975), which remembers a position in them instead of text. A stream is
    32 bytes beside what the stop strings take, which copies share.

    Examples
    --------
    >>> from ctxengine.tokenize import get_encoding
    >>> encoding = get_encoding("o200k_base")
    >>> stream = encoding.stream(stop=["END"])
    >>> [stream.feed(token) for token in encoding.encode("One 🦜 EN")]
    ['One', ' ', '', '🦜', ' ']
    >>> stream.held_back
    2
    >>> stream.feed(encoding.encode("D of story"))
    ''
    >>> stream.stopped
    'END'
    """

    __slots__ = ("_encoding", "_native")

    def __init__(self, encoding: Encoding, native: _core.DecodeStream) -> None:
        self._encoding = encoding
        self._native = native

    def feed(self, ids: int | Sequence[int]) -> str:
        """Take the next ids and return the text that they make certain.

        Parameters
        ----------
        ids : int or sequence of int
            The id or ids that follow those of earlier calls.

        Returns
        -------
        str
            "" when nothing is certain yet, and always once `stopped` is set.

        Raises
        ------
        UnknownTokenError
            If an id is not in the vocabulary (a KeyError too). The stream is as it was.
        ArgumentError
            If the stream is finished.
        """
        return self._native.feed(ids)

    def finish(self) -> str:
        """Return what is held back, and take no more ids.

        Returns
        -------
        str
            The beginning of what did not become a stop string; an incomplete character as U+FFFD.
            "" when called again, or when a stop string was found.
        """
        return self._native.finish()

    @property
    def stopped(self) -> str | None:
        """The stop string that was found, or None."""
        return self._native.stopped

    @property
    def held_back(self) -> int:
        """How many characters `finish` would have to decide about.

        Those of the beginning of what may become a stop string, and one for an incomplete
        character. At most as many as the longest stop string has.
        """
        return self._native.num_held_chars

    @property
    def num_bytes(self) -> int:
        """How many bytes the text that has come out has in UTF-8: where the next part begins."""
        return self._native.num_bytes

    def copy(self) -> DecodeStream:
        """Return a stream of its own that goes on from here: a fork. O(1)."""
        return DecodeStream(self._encoding, self._native.copy())

    __copy__ = copy

    def __deepcopy__(self, memo: dict[int, object]) -> DecodeStream:
        return self.copy()

    def __reduce__(self) -> tuple[Callable[..., DecodeStream], tuple[Any, ...]]:
        native = self._native
        arguments = (self._encoding, native.stops, native.skip_special_tokens, native.state())
        return _rebuild_stream, arguments

    def __repr__(self) -> str:
        state = f"stopped at {self.stopped!r}" if self.stopped is not None else "open"
        return f"<DecodeStream of {self._encoding.name!r}: {self.num_bytes} bytes, {state}>"


class DecodeStreamBatch:
    """Streams for many sequences, by row; `Encoding.stream_batch` makes it.

    Each row is a `DecodeStream`; one call takes an id for each of many rows, as a serving step has
    them, and costs one crossing into native code.

    A call that raises leaves all rows as they were. Every method may be called from any thread.

    Examples
    --------
    >>> from ctxengine.tokenize import get_encoding
    >>> encoding = get_encoding("o200k_base")
    >>> batch = encoding.stream_batch(8, stop=["."])
    >>> batch.feed([0, 5], [24912, 13225])
    ['hello', 'Hello']
    >>> batch.feed([0, 5], [13, 2375])
    ['', ' world']
    >>> batch.stopped.tolist()
    [True, False, False, False, False, False, False, False]
    >>> batch.reset([0], encoding.stream(stop=["!"]))  # the row serves another request
    """

    __slots__ = ("_encoding", "_native")

    def __init__(self, encoding: Encoding, native: _core.DecodeStreamBatch) -> None:
        self._encoding = encoding
        self._native = native

    def feed(self, rows: Sequence[int], ids: Sequence[int]) -> list[str]:
        """Take one id for each of `rows`.

        Parameters
        ----------
        rows : sequence of int
            Row numbers, in any order; one that takes several ids is there several times. Fastest as
            an int64 array.
        ids : sequence of int
            As many ids.

        Returns
        -------
        list of str
            What came out, for each of `rows`; see `DecodeStream.feed`.

        Raises
        ------
        UnknownTokenError
            If an id is not in the vocabulary (a KeyError too).
        ArgumentError
            If a row is none or is finished, or there are not as many ids as rows.
        """
        return self._native.feed(rows, ids)

    def finish(self, rows: Sequence[int]) -> list[str]:
        """Return what each of `rows` holds back; they take no more ids until they are reset.

        Raises
        ------
        ArgumentError
            If a row is none.
        """
        return self._native.finish(rows)

    def reset(self, rows: Sequence[int], stream: DecodeStream) -> None:
        """Make each of `rows` a copy of `stream`, whatever it was.

        Parameters
        ----------
        rows : sequence of int
        stream : DecodeStream
            Of the same encoding; a new one (``encoding.stream(stop=...)``) for a new request, one
            that was fed for a fork.

        Raises
        ------
        ArgumentError
            If a row is none, or the stream is of another encoding.
        """
        if not isinstance(stream, DecodeStream):
            raise TypeError(f"stream must be a DecodeStream, got {type(stream).__name__}")
        if stream._encoding != self._encoding:
            raise ArgumentError(
                f"the stream is of {stream._encoding.name}, the batch of {self._encoding.name}"
            )
        self._native.reset(rows, stream._native)

    def row(self, row: int) -> DecodeStream:
        """Return a copy of a row.

        Raises
        ------
        ArgumentError
            If the row is none.
        """
        return DecodeStream(self._encoding, self._native.row(row))

    def __len__(self) -> int:
        return self._native.num_rows

    @property
    def stopped(self) -> npt.NDArray[np.bool_]:
        """Whether a stop string was found: bool[num_rows]; ``row(i).stopped`` says which."""
        return self._native.stopped

    @property
    def held_back(self) -> npt.NDArray[np.int64]:
        """How many characters are held back: int64[num_rows]; see `DecodeStream.held_back`."""
        return self._native.num_held_chars

    @property
    def num_bytes(self) -> npt.NDArray[np.int64]:
        """How many bytes of UTF-8 have come out: int64[num_rows]."""
        return self._native.num_bytes

    def copy(self) -> DecodeStreamBatch:
        """Return a batch of its own that goes on from here. O(rows)."""
        return DecodeStreamBatch(self._encoding, self._native.copy())

    __copy__ = copy

    def __deepcopy__(self, memo: dict[int, object]) -> DecodeStreamBatch:
        return self.copy()

    def __reduce__(self) -> tuple[Callable[..., DecodeStreamBatch], tuple[Any, ...]]:
        return _rebuild_batch, ([self.row(row) for row in range(len(self))],)

    def __repr__(self) -> str:
        return f"<DecodeStreamBatch of {self._encoding.name!r}: {len(self)} rows>"


def begin(encoding: Encoding, stop: str | Sequence[str], skip_special_tokens: bool) -> DecodeStream:
    """Return a stream before its first id."""
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    native = _core.DecodeStream(encoding._native, stops, bool(skip_special_tokens))
    return DecodeStream(encoding, native)


def begin_batch(num_rows: int, like: DecodeStream) -> DecodeStreamBatch:
    """Return a batch whose rows are copies of a stream."""
    native = _core.DecodeStreamBatch(operator.index(num_rows), like._native)
    return DecodeStreamBatch(like._encoding, native)


def _rebuild_stream(
    encoding: Encoding,
    stops: tuple[str, ...],
    skip_special_tokens: bool,
    state: tuple[int, int, int, bytes, bool, bool],
) -> DecodeStream:
    fresh = _core.DecodeStream(encoding._native, stops, skip_special_tokens)
    return DecodeStream(encoding, fresh.restored(state))


def _rebuild_batch(rows: list[DecodeStream]) -> DecodeStreamBatch:
    batch = begin_batch(len(rows), rows[0])
    for row, stream in enumerate(rows):
        batch.reset([row], stream)
    return batch
