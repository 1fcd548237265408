"""The class `Encoding`."""

from __future__ import annotations

import functools
import operator
from typing import NamedTuple

from ctxengine import _core
from ctxengine.errors import ArgumentError, LoadError, UnknownTokenError
from ctxengine.tokenize.appender import Appender
from ctxengine.tokenize.offsets import Layout, Offsets, byte_offsets
from ctxengine.tokenize.ragged import Ragged
from ctxengine.tokenize.stream import begin, begin_batch
from ctxengine.tokenize.unstable import completions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from typing import Any, Literal

    import numpy as np
    import numpy.typing as npt

    from ctxengine.tokenize.stream import DecodeStream, DecodeStreamBatch

_NO_SPECIAL_TOKENS = _core.SpecialTokens({})


def _without_values(error: TypeError, **arguments: object) -> TypeError:
    """Return the error without what pybind11 writes into it: the repr of every argument.

    A prompt must not end up in a log because somebody passed a list of it.
    """
    if "incompatible function arguments" not in str(error):
        return error
    types = ", ".join(f"{name} is {type(value).__name__}" for name, value in arguments.items())
    return TypeError(f"wrong type of argument: {types}")


class ModelFacts(NamedTuple):
    """What a model directory says beside the vocabulary.

    Attributes
    ----------
    chat_templates : dict of str to str
        Jinja sources by name; the one that is used when none is named is "default".
    bos_token, eos_token : str or None
        Spellings of the tokens that begin and end a text.
    """

    chat_templates: dict[str, str]
    bos_token: str | None
    eos_token: str | None


_NO_FACTS = ModelFacts({}, None, None)


class Encoding(_core.EncodingCalls):
    """A BPE encoding: special tokens, normalizer, pre-tokenizer and vocabulary.

    Use `get_encoding` for the shipped ones. The constructor takes tables of your own, as tiktoken's
    does.

    Parameters
    ----------
    name : str
        Any name; shown by ``repr`` and in messages.
    pat_str : str
        One of the published pre-tokenizer patterns, in any of its published spellings: those of
        GPT-2 (r50k, p50k), cl100k, o200k, Llama 3, Qwen2, Qwen3.5 and tekken. These have a
        scanner each; others need `allow_regex`.
    mergeable_ranks : mapping of bytes to int
        Ordinary tokens; an id is also the token's merge rank. All 256 single bytes must be there.
        Ids below 2**24.
    special_tokens : mapping of str to int
        Special tokens; ids below 2**31 that no ordinary token has.
    explicit_n_vocab : int, optional
        Check that there are exactly this many tokens, with ids from 0 on.
    allow_regex : bool
        Run a pattern that has no scanner of our own with PCRE2: slower, and hostile text may make
        it give up. Otherwise such a pattern is an error.

    Raises
    ------
    LoadError
        If the pattern is not a known one, or the tables are not as said above.
    """

    def __init__(
        self,
        name: str,
        *,
        pat_str: str,
        mergeable_ranks: Mapping[bytes, int],
        special_tokens: Mapping[str, int],
        explicit_n_vocab: int | None = None,
        allow_regex: bool = False,
    ) -> None:
        native = _core.Encoding(
            name, pat_str, dict(mergeable_ranks), dict(special_tokens), allow_regex
        )
        if explicit_n_vocab is not None:
            num_tokens = len(mergeable_ranks) + len(special_tokens)
            if not num_tokens == explicit_n_vocab == native.max_token_value + 1:
                raise LoadError(
                    f"encoding {name}: {num_tokens} tokens up to id {native.max_token_value}, "
                    f"but explicit_n_vocab is {explicit_n_vocab}"
                )
        self._init_native(native)

    def _init_native(self, native: _core.Encoding, facts: ModelFacts = _NO_FACTS) -> None:
        self._bind(native)
        self._facts = facts
        self._special_tokens = native.special_tokens()
        self._special_ids = frozenset(self._special_tokens.values())
        self._special_spellings = frozenset(self._special_tokens)
        self._selections: dict[frozenset[str], _core.SpecialTokens] = {}
        self._all_special = native.select_special_tokens(self._special_spellings)

    @classmethod
    def _wrap(cls, native: _core.Encoding, facts: ModelFacts = _NO_FACTS) -> Encoding:
        encoding = cls.__new__(cls)
        encoding._init_native(native, facts)
        return encoding

    @classmethod
    def from_tiktoken(cls, encoding: Any, *, allow_regex: bool = False) -> Encoding:
        """Make the same encoding out of a ``tiktoken.Encoding``.

        Parameters
        ----------
        encoding : tiktoken.Encoding
        allow_regex : bool
            As for `Encoding`.

        Returns
        -------
        Encoding

        Raises
        ------
        LoadError
            If its pattern is not one of the published ones and `allow_regex` is false.
        """
        return cls(
            encoding.name,
            pat_str=encoding._pat_str,
            mergeable_ranks=encoding._mergeable_ranks,
            special_tokens=encoding._special_tokens,
            allow_regex=allow_regex,
        )

    @classmethod
    def from_hf(cls, tokenizer: Any, *, allow_regex: bool = False) -> Encoding:
        """Make the same encoding out of a Hugging Face tokenizer.

        Parameters
        ----------
        tokenizer : tokenizers.Tokenizer or a fast tokenizer of transformers
            Read through its ``to_str()``, the text of a ``tokenizer.json``.
        allow_regex : bool
            As for `load`.

        Returns
        -------
        Encoding
            ``encode_ordinary`` gives the ids of ``encode(text, add_special_tokens=False)`` for
            texts without special tokens; with them, ``encode(text, allowed_special="all")`` does.

        Raises
        ------
        ArgumentError
            If `tokenizer` is neither of these: a slow tokenizer has no ``tokenizer.json``.
        LoadError
            If it has a part that is not supported; the message names the field.
        """
        backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
        if not callable(getattr(backend, "to_str", None)):
            raise ArgumentError(
                "tokenizer must be a tokenizers.Tokenizer or a fast tokenizer of transformers, "
                f"not {type(tokenizer).__name__}"
            )
        name = str(getattr(tokenizer, "name_or_path", "") or "tokenizer.json")
        content = backend.to_str().encode("utf-8")
        return cls._wrap(_core.Encoding.from_tokenizer_json(content, name, allow_regex))

    def as_tiktoken(self) -> Any:
        """Make the same encoding as a ``tiktoken.Encoding`` (tiktoken must be installed).

        Raises
        ------
        ArgumentError
            If tiktoken can't be this encoding: it has no normalizer, merges bytes only, and knows
            one pattern.
        """
        import tiktoken

        obstacle = self._native.obstacle_to_tiktoken
        if obstacle is not None or self._pat_str is None:
            raise ArgumentError(f"tiktoken can't be encoding {self.name}: {obstacle}")
        return tiktoken.Encoding(
            self.name,
            pat_str=self._pat_str,
            mergeable_ranks=self._mergeable_ranks,
            special_tokens=self._special_tokens,
        )

    # --- text to ids ---

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
        allowed, disallowed = self._special_modes(allowed_special, disallowed_special)
        try:
            return self._native.encode_batch(text, allowed, disallowed, _threads(num_threads))
        except TypeError as error:
            raise _without_values(error, text=text, num_threads=num_threads) from None

    def encode_ordinary_batch(
        self, text: Sequence[str], *, num_threads: int | None = None
    ) -> list[list[int]]:
        """Encode several texts as `encode_ordinary` does; `num_threads` as for `encode_batch`.

        Returns
        -------
        list of list of int
            In the order of the texts.
        """
        none = _NO_SPECIAL_TOKENS
        try:
            return self._native.encode_batch(text, none, none, _threads(num_threads))
        except TypeError as error:
            raise _without_values(error, text=text, num_threads=num_threads) from None

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
        allowed, disallowed = self._special_modes(allowed_special, disallowed_special)
        threads = _threads(num_threads)
        try:
            ids, offsets = self._native.encode_ragged(texts, allowed, disallowed, threads)
        except TypeError as error:
            raise _without_values(error, texts=texts, num_threads=num_threads) from None
        return Ragged(ids, offsets)

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
        try:
            return self._native.encode_segments(segments)
        except TypeError as error:
            raise _without_values(error, segments=segments) from None

    def encode_single_token(self, text_or_bytes: str | bytes) -> int:
        """Return the id of the token, ordinary or special, that is spelled exactly like this.

        Raises
        ------
        UnknownTokenError
            If there is none (a KeyError too).
        """
        if isinstance(text_or_bytes, str):
            text_or_bytes = text_or_bytes.encode()
        try:
            return self._native.encode_single_token(text_or_bytes)
        except TypeError as error:
            raise _without_values(error, text_or_bytes=text_or_bytes) from None

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
        obstacle = self._native.obstacle_to_tiktoken
        if obstacle is not None:
            raise ArgumentError(f"encode_with_unstable is not for encoding {self.name}: {obstacle}")
        allowed, disallowed = self._special_modes(allowed_special, disallowed_special)
        ids, num_unstable = self._native.encode_unstable(text, allowed, disallowed)
        stable = ids[: len(ids) - num_unstable]
        unstable = self.decode_bytes(ids[len(stable) :])
        return stable, completions(self, unstable)

    def _special_modes(
        self,
        allowed_special: Literal["all"] | AbstractSet[str],
        disallowed_special: Literal["all"] | Collection[str],
    ) -> tuple[_core.SpecialTokens, _core.SpecialTokens]:
        """Spellings to recognise and spellings to refuse."""
        allowed: AbstractSet[str]
        if allowed_special == "all":
            allowed = self._special_spellings
            allowed_matcher = self._all_special
        else:
            _refuse_str("allowed_special", allowed_special)
            allowed = frozenset(allowed_special)
            allowed_matcher = self._selected(allowed) if allowed else _NO_SPECIAL_TOKENS
        if disallowed_special == "all":
            if not allowed:
                return allowed_matcher, self._all_special
            disallowed_special = self._special_spellings - allowed
        _refuse_str("disallowed_special", disallowed_special)
        if not disallowed_special:
            return allowed_matcher, _NO_SPECIAL_TOKENS
        return allowed_matcher, _matcher(frozenset(disallowed_special))

    def _selected(self, spellings: frozenset[str]) -> _core.SpecialTokens:
        selected = self._selections.get(spellings)
        if selected is None:
            if len(self._selections) >= 64:
                self._selections.clear()
            selected = self._selections[spellings] = self._native.select_special_tokens(spellings)
        return selected

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

    @functools.cached_property
    def _layout(self) -> Layout:
        return Layout.of(self._native)

    # --- counting ---

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
        try:
            return self._native.count_batch(texts, _threads(num_threads))
        except TypeError as error:
            raise _without_values(error, texts=texts, num_threads=num_threads) from None

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
        try:
            return self._native.truncate(text, limit, side == "left")
        except TypeError as error:
            raise _without_values(error, text=text) from None

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
        try:
            return self._native.split(text, max_tokens, overlap)
        except TypeError as error:
            raise _without_values(error, text=text) from None

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

    # --- text that grows ---

    def appender(self, text: str = "", *, trusted: bool = False) -> Appender:
        """Return the state of a text that grows: its ids after every `append`.

        Parameters
        ----------
        text : str
            What it begins with.
        trusted : bool
            Whether spellings of special tokens in `text` are special tokens.

        Returns
        -------
        Appender

        Examples
        --------
        >>> import ctxengine
        >>> chat = ctxengine.get_encoding("cl100k_base").appender("Hello, wor")
        >>> chat.append("ld!")
        4
        """
        appender = Appender(_core.Appender(self._native))
        if text != "":
            appender.append(text, trusted=trusted)
        return appender

    # --- ids to text ---

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

    def stream(
        self, *, stop: str | Sequence[str] = (), skip_special_tokens: bool = False
    ) -> DecodeStream:
        r"""Begin to decode ids that are still being generated.

        Parameters
        ----------
        stop : str or sequence of str
            Strings that end the text; they, and what follows, do not come out.
        skip_special_tokens : bool
            Leave special tokens out.

        Returns
        -------
        DecodeStream
            ``feed`` takes ids and returns the text that they make certain.

        Raises
        ------
        ArgumentError
            If a stop string is empty.

        Examples
        --------
        >>> from ctxengine.tokenize import get_encoding
        >>> stream = get_encoding("cl100k_base").stream(stop="\n\n")
        >>> stream.feed([15339, 1917])
        'hello world'
        """
        return begin(self, stop, skip_special_tokens)

    def stream_batch(
        self, num_rows: int, *, stop: str | Sequence[str] = (), skip_special_tokens: bool = False
    ) -> DecodeStreamBatch:
        """Begin to decode `num_rows` sequences of ids at once.

        Parameters
        ----------
        num_rows : int
            At least 1. A row can be made to serve another sequence, with stop strings of its own.
        stop, skip_special_tokens
            As for `stream`, for all rows.

        Returns
        -------
        DecodeStreamBatch
            ``feed`` takes an id for each of several rows.

        Raises
        ------
        ArgumentError
            If `num_rows` is below 1 or a stop string is empty.

        Examples
        --------
        >>> from ctxengine.tokenize import get_encoding
        >>> batch = get_encoding("cl100k_base").stream_batch(2)
        >>> batch.feed([0, 1], [15339, 1917])
        ['hello', ' world']
        """
        return begin_batch(num_rows, begin(self, stop, skip_special_tokens))

    # --- what it is ---

    @property
    def name(self) -> str:
        """The encoding's name."""
        return self._native.name

    @property
    def max_token_value(self) -> int:
        """The largest id, special tokens included."""
        return self._native.max_token_value

    @property
    def n_vocab(self) -> int:
        """``max_token_value + 1``: the size that an array indexed by id must have."""
        return self._native.max_token_value + 1

    @property
    def eot_token(self) -> int:
        """The id of ``<|endoftext|>``.

        Raises
        ------
        UnknownTokenError
            If the encoding has no such token.
        """
        try:
            return self._special_tokens["<|endoftext|>"]
        except KeyError:
            raise UnknownTokenError(f"encoding {self.name} has no <|endoftext|>") from None

    @property
    def model_facts(self) -> ModelFacts:
        """What the model directory that the encoding was loaded from says beside the vocabulary."""
        return self._facts

    def post_process(self, ids: Sequence[int]) -> list[int]:
        """Put the ids around that the vocabulary file asks for, such as the beginning of a text.

        What ``add_special_tokens=True`` does in Hugging Face's tokenizers; `encode` never does it,
        for a chat template has these tokens in it.
        """
        before, after = self._native.added_ids
        return [*before, *ids, *after]

    @property
    def special_tokens_set(self) -> set[str]:
        """The spellings of all special tokens."""
        return set(self._special_spellings)

    def is_special_token(self, token: int) -> bool:
        """Tell whether the id is that of a special token."""
        return operator.index(token) in self._special_ids

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits that depend on pattern, tokens and special tokens, not on the name.

        Equal in every process, so that counts and ids may be cached under it. Not meant to
        withstand someone who builds a vocabulary to collide with another.
        """
        return self._native.fingerprint

    def __repr__(self) -> str:
        return f"<Encoding {self.name!r}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Encoding):
            return NotImplemented
        return self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __copy__(self) -> Encoding:
        return self  # immutable

    def __deepcopy__(self, memo: dict[int, object]) -> Encoding:
        return self

    def __reduce__(self) -> tuple[Callable[..., Encoding], tuple[Any, ...]]:
        from ctxengine.tokenize.registry import get_encoding, is_shared

        if is_shared(self):
            return get_encoding, (self.name,)
        return _from_definition, (self._native.definition(), self._facts)

    # tiktoken's attributes that are not public but that its users, and its tests, reach for.

    @property
    def _pat_str(self) -> str | None:
        return self._native.pattern

    @functools.cached_property
    def _mergeable_ranks(self) -> dict[bytes, int]:
        return self._native.ranks()

    @functools.cached_property
    def _sorted_tokens(self) -> list[bytes]:
        return self._native.token_byte_values()

    def _encode_bytes(self, text: bytes) -> list[int]:
        return self.encode_bytes(text)

    def _encode_single_piece(self, text_or_bytes: str | bytes) -> list[int]:
        if isinstance(text_or_bytes, str):
            text_or_bytes = text_or_bytes.encode()
        return self._native.encode_single_piece(text_or_bytes)


def _refuse_str(name: str, spellings: object) -> None:
    """Refuse a str, which is a collection of its letters."""
    if isinstance(spellings, str):
        raise ArgumentError(f'{name} must be "all" or a set of spellings')


@functools.lru_cache(maxsize=128)
def _matcher(spellings: frozenset[str]) -> _core.SpecialTokens:
    return _core.SpecialTokens(dict.fromkeys(spellings, 0))


def _threads(num_threads: int | None) -> int:
    """Return what the native calls take: 0 lets them choose."""
    if num_threads is None:
        return 0
    if not hasattr(num_threads, "__index__"):
        raise TypeError(f"num_threads must be int, not {type(num_threads).__name__}")
    if num_threads < 1:
        raise ArgumentError(f"num_threads must be >= 1, got {num_threads}")
    return num_threads


def _from_definition(fields: tuple[Any, ...], facts: ModelFacts) -> Encoding:
    return Encoding._wrap(_core.Encoding.from_definition(fields), facts)
