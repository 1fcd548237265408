"""The class `Appender`: the ids of a text that grows."""

from __future__ import annotations

from ctxengine import _core

TYPE_CHECKING = False
if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Appender:
    """The ids of a text that grows, always those of encoding it afresh.

    Made by `Encoding.appender`. A chat, a prompt that is being put together or a streamed answer is
    handed over piece by piece; each piece costs its own length, not that of the whole. There is no
    heuristic in it: the normalizer and the pre-tokenizer say up to where nothing that follows can
    change them, and only what stands after that is encoded again.

    One appender may be used from several threads; each call is atomic.

    Examples
    --------
    >>> import ctxengine
    >>> encoding = ctxengine.get_encoding("o200k_base")
    >>> chat = encoding.appender("Tokens are the pri")
    >>> chat.count
    4
    >>> chat.append("ce of a prompt.")
    8
    >>> chat.changed_from  # "pri" became "price"
    3
    >>> chat.ids.tolist() == encoding.encode("Tokens are the price of a prompt.")
    True
    """

    def __init__(self, native: _core.Appender) -> None:
        self._native = native

    def append(self, text: str, *, trusted: bool = False) -> int:
        """Add text at the end.

        Parameters
        ----------
        text : str
            Any text; where it is cut into pieces makes no difference to ordinary text, except that
            a pair of surrogates must not be cut: each half becomes U+FFFD.
        trusted : bool
            Whether spellings of special tokens in `text` are special tokens. Otherwise they are
            text, also when the pieces around complete them. The ids are those of
            ``encode_segments`` with one segment for each call.

        Returns
        -------
        int
            `count` after it.

        Notes
        -----
        O(len(text) + open part): the open part is the last pre-token and what its end hangs on, a
        word or two in ordinary text. Of a pre-token of many kilobytes only the end is looked at and
        merged again; so it is for an encoding without a pre-tokenizer (SentencePiece), where all
        text since the last special token is one. Where a normalizer replaces strings of several
        characters, or a regular expression cuts, all that is open is encoded again.
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be str, not {type(text).__name__}")
        return self._native.append(text, bool(trusted))

    def count_with(self, text: str, *, trusted: bool = False) -> int:
        """Return what :meth:`append` would, and append nothing. As costly as `append`."""
        if not isinstance(text, str):
            raise TypeError(f"text must be str, not {type(text).__name__}")
        return self._native.count_with(text, bool(trusted))

    @property
    def count(self) -> int:
        """The number of ids."""
        return self._native.count

    def __len__(self) -> int:
        return self._native.count

    @property
    def ids(self) -> npt.NDArray[np.uint32]:
        """All ids: uint32[count], read-only, without a copy.

        The array stays as it is when more is appended; keeping it makes the next `append` copy
        the ids once.
        """
        return self._native.ids

    @property
    def changed_from(self) -> int:
        """Index of the first id that the last `append` changed or added.

        What was computed from ``ids[:changed_from]`` (block hashes, a KV cache) is still good.
        """
        return self._native.changed_from

    def copy(self) -> Appender:
        """Return an appender that goes on from here by itself; the ids are shared until then."""
        return Appender(self._native.copy())

    __copy__ = copy

    def __deepcopy__(self, memo: dict[int, object]) -> Appender:
        return self.copy()

    def __repr__(self) -> str:
        return f"<Appender of {self.count} ids>"
