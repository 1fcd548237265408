"""Encodings out of vocabulary files."""

from __future__ import annotations

import os

from ctxengine import _core
from ctxengine.tokenize.encoding import Encoding
from ctxengine.tokenize.model_facts import ModelFacts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def load(
    path: str | os.PathLike[str],
    *,
    pat_str: str | None = None,
    special_tokens: Mapping[str, int] | None = None,
    allow_regex: bool = False,
) -> Encoding:
    """Load an encoding from a vocabulary file or a model directory.

    Parameters
    ----------
    path : str or path-like
        A ``tokenizer.json`` (Hugging Face tokenizers; BPE), a ``tekken.json`` (mistral-common), a
        SentencePiece ``.model`` (BPE with byte fallback), a rank file (``.tiktoken``, Llama 3's
        ``tokenizer.model``), or a directory that holds one of these. What a file is, its content
        tells, not its name.
    pat_str : str, optional
        For rank files, which do not say it: the pre-tokenizer's regular expression, as tiktoken
        reads it. Published rank files are known by their SHA-256 and need none.
    special_tokens : mapping of str to int, optional
        For rank files: their special tokens.
    allow_regex : bool
        Run a pre-tokenizer pattern that has no scanner of our own with PCRE2: slower, and hostile
        text may make it give up. Otherwise such a pattern is an error.

    Returns
    -------
    Encoding
        Its ids are those of the file's own library for every text. What a model directory says
        beside the vocabulary is in `Encoding.model_facts`.

    Raises
    ------
    LoadError
        If the file cannot be read, is damaged, or asks for something that is not supported. The
        message names the file and its line or field; nothing is guessed or passed over.

    Notes
    -----
    O(n log n) in the size of the file. Nothing is downloaded.
    """
    native, chat_templates, bos_token, eos_token = _core.Encoding.load(
        os.fspath(path),
        pat_str,
        None if special_tokens is None else dict(special_tokens),
        allow_regex,
    )
    return Encoding._wrap(native, ModelFacts(chat_templates, bos_token or None, eos_token or None))
