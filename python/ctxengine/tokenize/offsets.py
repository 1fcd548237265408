"""Where in a text each of its tokens stands."""

from __future__ import annotations

from typing import NamedTuple

from ctxengine import _core
from ctxengine.errors import ArgumentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

# By their numbers in a definition.
_STEPS = ("nfc", "nfkc", "lowercase", "replace", "prepend", "prepend_unless", "prepend_first")


class Offsets(NamedTuple):
    """Ids, and where in the text each of them stands.

    Attributes
    ----------
    ids : numpy.ndarray
        uint32[num_tokens].
    starts, ends : numpy.ndarray
        int64[num_tokens]: token i stands for ``text[starts[i]:ends[i]]``. Tokens that share a
        character have it both; one that the normalizer put in before the text has its first one.
    """

    ids: npt.NDArray[np.uint32]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]


class Source:
    """From bytes of the normalized text back to bytes of the text."""

    def __init__(
        self, parts: Sequence[tuple[int, int, int, bool]], text: str, size: int, base: int
    ) -> None:
        import numpy as np

        # One part for text that no normalizer changes. What was put in before the text counts as
        # its first character, as in Hugging Face's tokenizers.
        first_bytes = len(text[:1].encode())
        parts = [
            part if part[2] else (part[0], 0, first_bytes, False)
            for part in parts or [(size, 0, size, True)]
        ]
        self._ends, self._begins, self._source_ends = (
            np.array([part[i] for part in parts], np.int64) for i in range(3)
        )
        self._bytewise = np.array([part[3] for part in parts], bool)
        self._starts = np.concatenate([[0], self._ends[:-1]])
        self._base = base

    def ranges(
        self, begins: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the source ranges of ranges that are not empty."""
        import numpy as np

        first = np.searchsorted(self._ends, begins, side="right")
        last = np.searchsorted(self._ends, ends - 1, side="right")
        inside = np.maximum(begins, self._starts[first]) - self._starts[first]
        source_begins = self._begins[first] + np.where(self._bytewise[first], inside, 0)
        source_ends = np.where(
            self._bytewise[last],
            self._begins[last] + ends - self._starts[last],
            self._source_ends[last],
        )
        return source_begins + self._base, source_ends + self._base


class Layout(NamedTuple):
    """What `byte_offsets` has to know of an encoding."""

    native: _core.Encoding
    normalizer: _core.Normalizer | None
    metaspace: bool  # "\u2581" stands for a space in the model
    looking_beside: frozenset[str]  # special tokens with single_word, lstrip or rstrip

    @classmethod
    def of(cls, native: _core.Encoding) -> Layout:
        """Read it off an encoding; O(vocabulary) unless tiktoken can be the encoding."""
        if native.obstacle_to_tiktoken is None:
            return cls(native, None, metaspace=False, looking_beside=frozenset())
        _, steps, *_, special_tokens, decoder, _ = native.definition()
        beside = frozenset(token[0] for token in special_tokens if any(token[3:]))
        named = [(_STEPS[kind], pattern, content) for kind, pattern, content in steps]
        return cls(native, _core.Normalizer(named) if named else None, decoder[0], beside)

    def lengths(self, ids: Sequence[int]) -> list[int]:
        """Return the bytes that each token has in normalized text."""
        extra = len("\u2581".encode()) - 1 if self.metaspace else 0
        tokens = self.native.decode_tokens(ids)
        return [len(token) + extra * token.count(b" ") for token in tokens]


def byte_offsets(
    layout: Layout,
    data: bytes,
    ids: Sequence[int],
    special: dict[int, bytes],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Find where in `data` the `ids` of its encoding stand, in bytes.

    `special` holds the spellings of the ids that are special tokens in this text. The first place
    of such a spelling from where the token before it ends is where the token stands: one that
    begins before would have been found before.
    """
    import numpy as np

    starts = np.zeros(len(ids), np.int64)
    ends = np.zeros(len(ids), np.int64)
    section = 0  # index of the first id of the section
    begin = 0
    for i in [i for i, token in enumerate(ids) if token in special] + [len(ids)]:
        end = len(data) if i == len(ids) else data.index(special[ids[i]], begin)
        if i > section:
            text = normalized = data[begin:end].decode()
            parts: Sequence[tuple[int, int, int, bool]] = ()
            if layout.normalizer is not None:
                position = "input_start" if begin == 0 else "section_start"
                normalized, parts = layout.normalizer.normalize_aligned(text, position)
            size = len(normalized.encode())
            token_ends = np.cumsum(layout.lengths(ids[section:i]))
            if token_ends[-1] != size:
                raise ArgumentError("a pre-tokenizer that drops text leaves no offsets")
            token_begins = np.concatenate([[0], token_ends[:-1]])
            source = Source(parts, text, size, begin)
            starts[section:i], ends[section:i] = source.ranges(token_begins, token_ends)
        if i < len(ids):
            starts[i], ends[i] = end, end + len(special[ids[i]])
            begin = end + len(special[ids[i]])
        section = i + 1
    return starts, ends
