"""The class `StreamCounter`: the exact count of a streamed text, piece by piece."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ctxengine.chat.template import resolve_encoding
from ctxengine.errors import ArgumentError

if TYPE_CHECKING:
    from ctxengine.tokenize import Encoding


class StreamCounter:
    """Counts a text while it arrives: always what ``encoding.count`` says of all of it so far.

    The pieces need not be tokens, nor end where tokens end: a word that a later piece goes on with
    is counted anew. Spellings of special tokens are text.

    Parameters
    ----------
    encoding : Encoding or str
        The model's encoding, or the name of an encoding or of a model.
    limit : int, optional
        A budget in tokens; see `exceeded` and :meth:`would_exceed`.

    Raises
    ------
    UnknownTokenError
        For a name that is neither an encoding's nor a known model's.
    ArgumentError
        For a limit that is negative or no integer.

    Notes
    -----
    Safe to use from several threads; each call is atomic.

    Examples
    --------
    >>> from ctxengine.chat import StreamCounter
    >>> counter = StreamCounter("o200k_base", limit=4)
    >>> [counter.feed(piece) for piece in ("Hel", "lo wor", "ld")]
    [1, 2, 2]
    >>> counter.would_exceed(", how are you?"), counter.exceeded
    (True, False)
    """

    __slots__ = ("_appender", "limit")

    def __init__(self, encoding: Encoding | str, limit: int | None = None) -> None:
        if limit is not None and not hasattr(limit, "__index__"):
            raise ArgumentError(f"limit: must be an integer, not {type(limit).__name__}")
        if limit is not None and limit < 0:
            raise ArgumentError(f"limit: must not be negative, but is {limit}")
        self.limit = limit
        self._appender = resolve_encoding(encoding)[0].appender()

    def feed(self, delta: str) -> int:
        """Add a piece and return the count of the text so far. O(piece), as `Appender.append`."""
        return self._appender.append(delta)

    def would_exceed(self, delta: str) -> bool:
        """Return whether the text would be over the limit with this piece, without adding it.

        Exact; O(piece), as :meth:`feed`.
        """
        return self.limit is not None and self._appender.count_with(delta) > self.limit

    @property
    def count(self) -> int:
        """The number of tokens of the text so far."""
        return self._appender.count

    @property
    def exceeded(self) -> bool:
        """Whether the text so far is over the limit: the time to stop.

        More text can make the count smaller by a token or two, when it completes a word.
        """
        return self.limit is not None and self._appender.count > self.limit

    def __repr__(self) -> str:
        limit = "" if self.limit is None else f" of {self.limit}"
        return f"<StreamCounter: {self.count}{limit} tokens>"
