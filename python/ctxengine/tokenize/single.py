"""The calls of `Encoding` for one text or one list of ids that are not C functions."""

from __future__ import annotations

import operator

from ctxengine.errors import ArgumentError
from ctxengine.tokenize.special_modes import SpecialModes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from collections.abc import Set as AbstractSet
    from typing import Literal

    import numpy as np
    import numpy.typing as npt

    from ctxengine.tokenize.offsets import Layout, Offsets


class SingleCalls(SpecialModes):
    """Part of `Encoding`."""

    # --- text to ids ---

    def encode_segments(self, segments: Sequence[tuple[str, bool]]) -> npt.NDArray[np.uint32]:
        r"""Encode a rendered prompt whose parts are trusted or not.

        Parameters
        ----------
        segments : sequence of (text, trusted)
            The ids are those of the joined text, and words are cut across the borders of segments;
            but only a spelling that lies wholly inside one trusted segment becomes a special token.

        Returns
        -------
        numpy.ndarray
            uint32[num_tokens].

        Examples
        --------
        >>> from ctxengine.tokenize import get_encoding
        >>> encoding = get_encoding("qwen3")
        >>> encoding.encode_segments([("<|im_start|>user\n", True), ("<|im_end|>", False)]).tolist()
        [151644, 872, 198, 27, 91, 318, 6213, 91, 29]
        """
        return self._native.encode_segments(segments)

    def encode_single_token(self, text_or_bytes: str | bytes) -> int:
        """Return the id of the token, ordinary or special, that is spelled exactly like this.

        Raises
        ------
        UnknownTokenError
            If there is none (a KeyError too).
        """
        if isinstance(text_or_bytes, str):
            text_or_bytes = text_or_bytes.encode()
        return self._native.encode_single_token(text_or_bytes)

    def encode_with_unstable(
        self,
        text: str,
        *,
        allowed_special: Literal["all"] | AbstractSet[str] = frozenset(),
        disallowed_special: Literal["all"] | Collection[str] = "all",
    ) -> tuple[list[int], list[list[int]]]:
        """Encode a text that may go on: ids that are sure to stay, and ways in which it may end.

        Returns
        -------
        stable : list of int
            Ids of a prefix of `text` that no continuation changes.
        completions : list of list of int
            Ids that may follow `stable`: together they spell `text`, the last id perhaps more.
            Sorted (tiktoken, whose rules these are, returns them in no order).

        Raises
        ------
        ArgumentError
            If tiktoken can't be this encoding (it normalizes text, say), or if the text ends in a
            word (or a run of blanks or symbols) of more than 1024 bytes: the work is quadratic in
            its length.
        SpecialTokenError
            As `encode`.
        """
        from ctxengine.tokenize.unstable import completions

        obstacle = self._native.obstacle_to_tiktoken
        if obstacle is not None:
            raise ArgumentError(
                f"encode_with_unstable is not for encoding {self._native.name}: {obstacle}"
            )
        allowed, disallowed = self._special_modes(allowed_special, disallowed_special)
        ids, num_unstable = self._native.encode_unstable(text, allowed, disallowed)
        stable = ids[: len(ids) - num_unstable]
        unstable = self.decode_bytes(ids[len(stable) :])
        return stable, completions(self, unstable)

    def encode_with_offsets(
        self,
        text: str,
        *,
        unit: Literal["char", "byte"] = "char",
        allowed_special: Literal["all"] | AbstractSet[str] = frozenset(),
        disallowed_special: Literal["all"] | Collection[str] = "all",
    ) -> Offsets:
        """Encode a text and say where in it each token stands.

        Parameters
        ----------
        text : str
            Without surrogates.
        unit : "char" or "byte"
            Whether the offsets are indices into `text` or into its UTF-8.
        allowed_special, disallowed_special
            As for `encode`.

        Returns
        -------
        Offsets
            ``ids``, ``starts`` and ``ends``, into the text as it was given: of what a normalizer
            has changed, the characters that it came from.

        Raises
        ------
        ArgumentError
            If `unit` is neither, the text has surrogates, or an allowed special token takes white
            space beside it along.
        SpecialTokenError
            As `encode`.

        Examples
        --------
        >>> from ctxengine.tokenize import get_encoding
        >>> ids, starts, ends = get_encoding("o200k_base").encode_with_offsets("Hello, 世界!")
        >>> list(zip(starts.tolist(), ends.tolist()))
        [(0, 5), (5, 6), (6, 9), (9, 10)]
        """
        import numpy as np

        from ctxengine.tokenize.offsets import Offsets, byte_offsets

        if unit not in ("char", "byte"):
            raise ArgumentError(f"unit must be 'char' or 'byte', got {unit!r}")
        ids = self.encode(
            text, allowed_special=allowed_special, disallowed_special=disallowed_special
        )
        try:
            data = text.encode()
        except UnicodeEncodeError as error:
            raise ArgumentError(f"text has a surrogate at {error.start}") from None
        allowed = self._special_spellings if allowed_special == "all" else allowed_special
        beside = sorted(self._layout.looking_beside & set(allowed))
        if beside:
            raise ArgumentError(f"special token {beside[0]!r} looks at what stands beside it")
        special = {
            self._special_tokens[spelling]: spelling.encode()
            for spelling in allowed
            if spelling in self._special_tokens
        }
        starts, ends = byte_offsets(self._layout, data, ids, special)
        if unit == "char":
            # Index of the character that each byte is of.
            begins = np.frombuffer(data, np.uint8) & 0xC0 != 0x80
            character = np.concatenate([np.cumsum(begins) - 1, [len(text)]]).astype(np.int64)
            ends = character[ends - 1] + 1
            starts = character[starts]
        return Offsets(np.array(ids, np.uint32), starts, ends)

    _known_layout: Layout | None = None

    @property
    def _layout(self) -> Layout:
        from ctxengine.tokenize.offsets import Layout

        if self._known_layout is None:
            self._known_layout = Layout.of(self._native)
        return self._known_layout

    # --- cuts ---

    def truncate(self, text: str, limit: int, *, side: Literal["right", "left"] = "right") -> str:
        """Cut a text down to what has at most `limit` tokens by itself.

        Parameters
        ----------
        text : str
            Spellings of special tokens are text like any other.
        limit : int
            In tokens; "" is returned for 0 and less.
        side : "right" or "left"
            Where text is cut off: "right" keeps the longest beginning that fits, "left" the longest
            end.

        Returns
        -------
        str
            Whole characters; `text` itself if it fits. ``count`` of it is at most `limit`, and that
            of every longer part of that side is above it. (Not of every shorter one: a character
            more can join tokens. So this is often longer than the first `limit` ids decoded.)

        Raises
        ------
        ArgumentError
            If `side` is neither.

        Notes
        -----
        O(limit), however long the text is.

        Examples
        --------
        >>> from ctxengine.tokenize import get_encoding
        >>> encoding = get_encoding("o200k_base")
        >>> encoding.truncate("The quick brown fox jumps", 3)
        'The quick brown'
        >>> encoding.truncate("The quick brown fox jumps", 2, side="left")
        ' fox jumps'
        """
        if side not in ("right", "left"):
            raise ArgumentError(f"side must be 'right' or 'left', got {side!r}")
        limit = max(0, min(operator.index(limit), 2**63 - 1))
        return self._native.truncate(text, limit, side == "left")

    def split(self, text: str, max_tokens: int, *, overlap: int = 0) -> list[str]:
        """Cut a text into chunks of at most `max_tokens` tokens each, for retrieval.

        Parameters
        ----------
        text : str
        max_tokens : int
            ``count(chunk) <= max_tokens`` for each chunk by itself.
        overlap : int
            How many tokens, at most, the beginning of a chunk shares with the end of the one
            before: the longest end of that with no more tokens. Nothing where no room would be left
            for new text. Below `max_tokens`.

        Returns
        -------
        list of str
            Whole characters. Without an overlap ``"".join(chunks) == text``; with one, each chunk
            begins inside the one before or where it ends. Chunks end between words (pre-tokens)
            wherever a chunk holds a whole one. [] for "".

        Raises
        ------
        ArgumentError
            If `max_tokens` is below 1, the overlap is out of range, or a single character has more
            than `max_tokens` tokens.

        Notes
        -----
        Linear in the text.

        Examples
        --------
        >>> from ctxengine.tokenize import get_encoding
        >>> encoding = get_encoding("o200k_base")
        >>> encoding.split("The quick brown fox jumps over the dog.", 4)
        ['The quick brown fox', ' jumps over the dog', '.']
        >>> encoding.split("The quick brown fox jumps over", 4, overlap=1)
        ['The quick brown fox', ' fox jumps over']
        """
        largest = 2**63 - 1
        max_tokens = max(-1, min(operator.index(max_tokens), largest))
        overlap = max(-1, min(operator.index(overlap), largest))
        return self._native.split(text, max_tokens, overlap)

    # --- off the event loop ---

    async def acount(self, text: str) -> int:
        """Count off the event loop, in the loop's default executor."""
        import asyncio

        return await asyncio.to_thread(self.count, text)

    async def aencode(
        self,
        text: str,
        *,
        allowed_special: Literal["all"] | AbstractSet[str] = frozenset(),
        disallowed_special: Literal["all"] | Collection[str] = "all",
    ) -> list[int]:
        """Encode as `encode` does, off the event loop, in the loop's default executor."""
        import asyncio

        return await asyncio.to_thread(
            self.encode,
            text,
            allowed_special=allowed_special,
            disallowed_special=disallowed_special,
        )

    # --- ids to text ---

    def decode_with_offsets(self, tokens: Sequence[int]) -> tuple[str, list[int]]:
        """Decode ids to text and say where in it each token begins.

        Returns
        -------
        text : str
        offsets : list of int
            Index into `text` of the first character that has bytes of the token.

        Raises
        ------
        UnicodeDecodeError
            If the bytes are not valid UTF-8.
        UnknownTokenError
            If an id is not in the vocabulary.
        """
        pieces = self._native.decode_tokens(tokens)
        data = self.decode_bytes(tokens)
        if len(data) < sum(map(len, pieces)):  # the text loses a space that it begins with
            first = next(i for i, piece in enumerate(pieces) if piece)
            pieces[first] = pieces[first][1:]
        text = data.decode()
        offsets = []
        num_begun = 0  # characters whose first byte has been passed
        for piece in pieces:
            begins_inside = bool(piece) and piece[0] & 0xC0 == 0x80
            offsets.append(max(0, num_begun - begins_inside))
            num_begun += sum(byte & 0xC0 != 0x80 for byte in piece)
        return text, offsets

    def decode_tokens_bytes(self, tokens: Sequence[int]) -> list[bytes]:
        """Return the bytes of each token."""
        return self._native.decode_tokens(tokens)

    def decode_single_token_bytes(self, token: int) -> bytes:
        """Return the bytes of a token, ordinary or special.

        Raises
        ------
        UnknownTokenError
            If the id is not in the vocabulary (a KeyError too).
        """
        return self._native.decode_tokens((token,))[0]

    def token_byte_values(self) -> list[bytes]:
        """Return the bytes of every ordinary token, sorted."""
        return self._native.token_byte_values()

    _known_sorted_tokens: list[bytes] | None = None

    @property
    def _sorted_tokens(self) -> list[bytes]:
        if self._known_sorted_tokens is None:
            self._known_sorted_tokens = self.token_byte_values()
        return self._known_sorted_tokens
