"""The calls of `Encoding` for many texts or lists of ids."""

from __future__ import annotations

from ctxengine.errors import ArgumentError
from ctxengine.tokenize.special_modes import NO_SPECIAL_TOKENS, SpecialModes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from collections.abc import Set as AbstractSet
    from typing import Literal

    import numpy as np
    import numpy.typing as npt

    from ctxengine import _core
    from ctxengine.tokenize.ragged import Ragged


class BatchCalls(SpecialModes):
    """Part of `Encoding`."""

    def encode_batch(
        self,
        text: Sequence[str],
        *,
        num_threads: int | None = None,
        allowed_special: Literal["all"] | AbstractSet[str] = frozenset(),
        disallowed_special: Literal["all"] | Collection[str] = "all",
    ) -> list[list[int]]:
        """Encode several texts as `encode` does, on several threads without the GIL.

        Parameters
        ----------
        text : sequence of str
        num_threads : int, optional
            How many threads at most; by default as many as there are processors, and fewer for
            texts that are too short to be worth it.
        allowed_special, disallowed_special
            As for `encode`.

        Returns
        -------
        list of list of int
            In the order of the texts. `encode_ragged` is faster, for it makes no int objects.

        Raises
        ------
        SpecialTokenError
            As `encode`.

        Examples
        --------
        >>> from ctxengine.tokenize import get_encoding
        >>> get_encoding("o200k_base").encode_batch(["hello", "hello world"])
        [[24912], [24912, 2375]]
        """
        how = self._how(allowed_special, disallowed_special, num_threads)
        return self._native.encode_batch(text, *how)

    def encode_ordinary_batch(
        self, text: Sequence[str], *, num_threads: int | None = None
    ) -> list[list[int]]:
        """Encode several texts as `encode_ordinary` does; `num_threads` as for `encode_batch`.

        Returns
        -------
        list of list of int
            In the order of the texts.
        """
        none = NO_SPECIAL_TOKENS
        return self._native.encode_batch(text, none, none, _threads(num_threads))

    def encode_ragged(
        self,
        texts: Sequence[str],
        *,
        num_threads: int | None = None,
        allowed_special: Literal["all"] | AbstractSet[str] = frozenset(),
        disallowed_special: Literal["all"] | Collection[str] = "all",
    ) -> Ragged:
        """Encode many texts into one array, on several threads without the GIL.

        Parameters
        ----------
        texts : sequence of str
        num_threads : int, optional
            As for `encode_batch`.
        allowed_special, disallowed_special
            As for `encode`.

        Returns
        -------
        Ragged
            ``ids``, uint32[num_tokens], and ``offsets``, int64[len(texts) + 1]: those of text i are
            ``ids[offsets[i]:offsets[i + 1]]``, which is also ``ragged[i]``.

        Raises
        ------
        SpecialTokenError
            As `encode`.

        Examples
        --------
        >>> from ctxengine.tokenize import get_encoding
        >>> ragged = get_encoding("o200k_base").encode_ragged(["hello", "", "hello world"])
        >>> ragged.ids.tolist(), ragged.offsets.tolist()
        ([24912, 24912, 2375], [0, 1, 1, 3])
        >>> ragged[2].tolist()
        [24912, 2375]
        """
        from ctxengine.tokenize.ragged import Ragged

        how = self._how(allowed_special, disallowed_special, num_threads)
        return Ragged(*self._native.encode_ragged(texts, *how))

    def count_batch(
        self, texts: Sequence[str], *, num_threads: int | None = None
    ) -> npt.NDArray[np.int64]:
        """Count several texts as `count` does; `num_threads` as for `encode_batch`.

        Returns
        -------
        numpy.ndarray
            int64[len(texts)].

        Examples
        --------
        >>> from ctxengine.tokenize import get_encoding
        >>> get_encoding("o200k_base").count_batch(["hello", "", "hello world"]).tolist()
        [1, 0, 2]
        """
        return self._native.count_batch(texts, _threads(num_threads))

    def decode_batch(
        self,
        batch: Sequence[Sequence[int]],
        *,
        errors: str = "replace",
        num_threads: int | None = None,
        skip_special_tokens: bool = False,
    ) -> list[str]:
        """Decode several sequences of ids as `decode` does.

        `num_threads` is there because tiktoken has it: making the str objects takes most of the
        time and needs the GIL, so all is done on this thread.
        """
        _threads(num_threads)
        return [
            self.decode(tokens, errors, skip_special_tokens=skip_special_tokens) for tokens in batch
        ]

    def decode_bytes_batch(
        self, batch: Sequence[Sequence[int]], *, num_threads: int | None = None
    ) -> list[bytes]:
        """Decode several sequences of ids to bytes; `num_threads` as for `decode_batch`."""
        _threads(num_threads)
        return [self.decode_bytes(tokens) for tokens in batch]

    def _how(
        self,
        allowed_special: Literal["all"] | AbstractSet[str],
        disallowed_special: Literal["all"] | Collection[str],
        num_threads: int | None,
    ) -> tuple[_core.SpecialTokens, _core.SpecialTokens, int]:
        """Return what the native calls take: spellings to recognise and to refuse, threads."""
        return *self._special_modes(allowed_special, disallowed_special), _threads(num_threads)


def _threads(num_threads: int | None) -> int:
    """Return what the native calls take: 0 lets them choose."""
    if num_threads is None:
        return 0
    if not hasattr(num_threads, "__index__"):
        raise TypeError(f"num_threads must be int, not {type(num_threads).__name__}")
    if num_threads < 1:
        raise ArgumentError(f"num_threads must be >= 1, got {num_threads}")
    return num_threads
