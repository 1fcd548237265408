"""The class `Encoding`: how it is made and what it is.

What it does is elsewhere: the calls for one text in C (src/cpp/bindings/encoding_calls.cc) and in
single.py, those for many texts in batch.py, texts and ids that grow in appender.py and stream.py.
"""

from __future__ import annotations

import operator

from ctxengine import _core
from ctxengine.errors import ArgumentError, LoadError, UnknownTokenError
from ctxengine.tokenize.batch import BatchCalls
from ctxengine.tokenize.single import SingleCalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from ctxengine.tokenize.appender import Appender
    from ctxengine.tokenize.model_facts import ModelFacts
    from ctxengine.tokenize.stream import DecodeStream, DecodeStreamBatch


class Encoding(SingleCalls, BatchCalls):
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

    def _init_native(self, native: _core.Encoding, facts: ModelFacts | None = None) -> None:
        self._bind(native)
        self._facts = facts
        self._init_special_tokens()

    @classmethod
    def _wrap(cls, native: _core.Encoding, facts: ModelFacts | None = None) -> Encoding:
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

    # --- text and ids that grow ---

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
        from ctxengine.tokenize.appender import Appender

        appender = Appender(_core.Appender(self._native))
        if text != "":
            appender.append(text, trusted=trusted)
        return appender

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
        from ctxengine.tokenize.stream import begin

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
        from ctxengine.tokenize.stream import begin, begin_batch

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
        if self._facts is None:
            from ctxengine.tokenize.model_facts import NO_FACTS

            return NO_FACTS
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

    _known_ranks: dict[bytes, int] | None = None

    @property
    def _mergeable_ranks(self) -> dict[bytes, int]:
        if self._known_ranks is None:
            self._known_ranks = self._native.ranks()
        return self._known_ranks

    def _encode_bytes(self, text: bytes) -> list[int]:
        return self.encode_bytes(text)

    def _encode_single_piece(self, text_or_bytes: str | bytes) -> list[int]:
        if isinstance(text_or_bytes, str):
            text_or_bytes = text_or_bytes.encode()
        return self._native.encode_single_piece(text_or_bytes)


def _from_definition(fields: tuple[Any, ...], facts: ModelFacts | None) -> Encoding:
    return Encoding._wrap(_core.Encoding.from_definition(fields), facts)
