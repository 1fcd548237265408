"""ctxengine and the tokenizers it is measured beside, each loaded and called as its own docs say.

Only the standard library is imported here: a fresh process may execute this file by itself, so
that it pays for the one library it measures and for nothing else.
"""

from __future__ import annotations

import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import Any

    from ctxengine.tokenize import Encoding

# What the libraries read when they start their threads; they are measured on one. (Those of numpy
# spin for a while when it is imported, and would count.)
ONE_THREAD = {
    "FASTOKENS_BPE_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
}

OURS = "ctxengine"
REFERENCE = "tiktoken"  # whose ids are right by definition


class Absent(Exception):  # noqa: N818  (a reason, never a failure)
    """A library can't take part; the message says why."""


class Tables:
    """What a library is loaded from that doesn't carry the encoding itself.

    Parameters
    ----------
    name, pattern : str
    special_tokens : mapping of str to int
    rank_file : str
        Path of a ``.tiktoken`` file; see `write_tables`.
    """

    def __init__(
        self, name: str, pattern: str, special_tokens: Mapping[str, int], rank_file: str
    ) -> None:
        self.name = name
        self.pattern = pattern
        self.special_tokens = dict(special_tokens)
        self.rank_file = rank_file


def write_tables(encoding: Encoding, folder: Path) -> Tables:
    """Write the encoding's ranks as the file that its rivals load.

    Raises
    ------
    Absent
        If the encoding is no set of ranks with one pattern, which is what rivals load.
    """
    from base64 import b64encode

    obstacle = encoding._native.obstacle_to_tiktoken
    if obstacle is not None or encoding._pat_str is None:
        raise Absent(f"encoding {encoding.name} can't be measured beside others: {obstacle}")
    path = folder / f"{encoding.name}.tiktoken"
    ranks = sorted(encoding._mergeable_ranks.items(), key=lambda item: item[1])
    path.write_bytes(b"".join(b64encode(token) + b" %d\n" % rank for token, rank in ranks))
    return Tables(encoding.name, encoding._pat_str, encoding._special_tokens, str(path))


class Contender:
    """A library with an encoding loaded: its fastest public calls, one for each kind of work.

    What a library lacks is None. The callables are the library's own wherever they fit, so that
    nothing of ours is timed with them.

    Parameters
    ----------
    tokenizer
        The library's own object.
    to_list : callable
        str to list of int.
    to_buffer : callable, optional
        str to ids in memory without an int object for each; `ids_of` reads what it returns.
    count : callable, optional
        str to int. By default the length of the cheapest encoding.
    batch : callable, optional
        list of str to ids of all of them, on one thread; `ids_of` reads what it returns.
    decode : callable, optional
        list of int to str.
    decode_bytes : callable, optional
        uint32 array to bytes.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        to_list: Callable[[str], list[int]],
        to_buffer: Callable[[str], Any] | None = None,
        count: Callable[[str], int] | None = None,
        batch: Callable[[list[str]], Any] | None = None,
        decode: Callable[[list[int]], str] | None = None,
        decode_bytes: Callable[[Any], bytes] | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.to_list = to_list
        self.to_buffer = to_buffer
        self.count = count or (lambda text: len(to_list(text)))
        self.batch = batch
        self.decode = decode
        self.decode_bytes = decode_bytes


def ids_of(result: Any) -> list[int]:
    """Return the ids that any contender's call gave, all texts' one after the other."""
    if isinstance(result, bytes):
        return list(struct.unpack(f"<{len(result) // 4}I", result))
    if isinstance(result, tuple):  # ids, where each text's begin
        return ids_of(result[0])
    if isinstance(result, list):
        if result and not isinstance(result[0], int):
            return [token for row in result for token in ids_of(row)]
        return result
    if hasattr(result, "ids"):
        return ids_of(result.ids)
    ids: list[int] = result.tolist()
    return ids_of(ids)


# --- one loader for each library ---


def _ctxengine(tables: Tables) -> Contender:
    import ctxengine

    encoding = ctxengine.get_encoding(tables.name)
    return Contender(
        encoding,
        to_list=encoding.encode_ordinary,
        to_buffer=encoding.encode_to_numpy,
        count=encoding.count,
        batch=lambda texts: encoding.encode_ragged(texts, num_threads=1),
        decode=encoding.decode,
        decode_bytes=encoding.decode_bytes,
    )


def _tiktoken(tables: Tables) -> Contender:
    from base64 import b64decode

    import tiktoken

    with open(tables.rank_file, "rb") as file:  # noqa: PTH123  (pathlib costs memory at load)
        ranks = {b64decode(token): int(rank) for token, rank in map(bytes.split, file)}
    encoding = tiktoken.Encoding(
        tables.name,
        pat_str=tables.pattern,
        mergeable_ranks=ranks,
        special_tokens=tables.special_tokens,
    )
    return Contender(
        encoding,
        to_list=encoding.encode_ordinary,
        to_buffer=lambda text: encoding.encode_to_numpy(text, disallowed_special=()),
        batch=lambda texts: encoding.encode_ordinary_batch(texts, num_threads=1),
        decode=encoding.decode,
        decode_bytes=encoding.decode_bytes,
    )


def _fastokens(tables: Tables) -> Contender:
    import fastokens

    specials = tables.special_tokens
    try:
        # By name: of a pattern it knows the parts, not always the whole, and is then ten times
        # slower.
        tokenizer = fastokens.Tokenizer.from_tiktoken(
            tables.rank_file, encoding=tables.name, special_tokens=specials
        )
    except ValueError:
        tokenizer = fastokens.Tokenizer.from_tiktoken(
            tables.rank_file, pattern=tables.pattern, special_tokens=specials
        )
    return Contender(
        tokenizer,
        to_list=lambda text: tokenizer.encode(text).ids,
        to_buffer=lambda text: tokenizer.encode_batch_flat([text]),
        count=lambda text: len(tokenizer.encode(text)),
        batch=tokenizer.encode_batch_flat,
        decode=tokenizer.decode,
    )


_GIGATOKEN_PATTERNS = {
    "gpt2": "gpt2",
    "r50k_base": "gpt2",
    "cl100k_base": "gpt4",
    "o200k_base": "o200k",
    "o200k_harmony": "o200k",
    "qwen2": "qwen2",
    "qwen3": "qwen2",
}


def _gigatoken(tables: Tables) -> Contender:
    import gigatoken

    if tables.name not in _GIGATOKEN_PATTERNS:
        raise Absent(f"has no pattern for {tables.name}")
    tokenizer = gigatoken.Tokenizer.from_tiktoken(
        tables.rank_file, _GIGATOKEN_PATTERNS[tables.name], tables.special_tokens
    )
    backend = tokenizer.backend
    return Contender(
        tokenizer,
        to_list=lambda text: backend.encode(text).tolist(),
        to_buffer=backend.encode,
        count=lambda text: len(backend.encode(text)),
        batch=lambda texts: backend.encode_batch(texts, parallel=False),
        decode=lambda ids: backend.decode(ids).decode(),
        decode_bytes=backend.decode,
    )


def _quicktok(tables: Tables) -> Contender:
    import quicktok

    tokenizer = quicktok.get_encoding(tables.name)
    return Contender(
        tokenizer,
        to_list=tokenizer.encode_ordinary,
        to_buffer=lambda text: tokenizer.encode_batch([text], 1),
        count=tokenizer.count,
        batch=lambda texts: tokenizer.encode_batch(texts, 1),
        decode=tokenizer.decode,
        decode_bytes=tokenizer.decode_bytes,
    )


def _splintr(tables: Tables) -> Contender:
    import splintr

    tokenizer = splintr.Tokenizer.from_pretrained(tables.name)
    return Contender(
        tokenizer,
        to_list=tokenizer.encode_ordinary,
        to_buffer=tokenizer.encode_flat,
        count=lambda text: len(tokenizer.encode_flat(text)) // 4,
        batch=tokenizer.encode_batch_flat,
        decode=tokenizer.decode,
        decode_bytes=tokenizer.decode_bytes,
    )


def _rs_bpe(tables: Tables) -> Contender:
    from rs_bpe.bpe import openai

    if tables.name not in ("cl100k_base", "o200k_base"):
        raise Absent(f"does not carry {tables.name}")
    tokenizer = getattr(openai, tables.name)()
    return Contender(
        tokenizer,
        to_list=tokenizer.encode,
        count=tokenizer.count,
        batch=tokenizer.encode_batch,
        decode=tokenizer.decode,
    )


_LOADERS: dict[str, tuple[Callable[[Tables], Contender], str]] = {
    OURS: (_ctxengine, "ctxengine"),
    "fastokens": (_fastokens, "fastokens"),
    "gigatoken": (_gigatoken, "gigatoken"),
    "quicktok": (_quicktok, "quicktok-v1"),
    "splintr": (_splintr, "splintr-rs"),
    "rs-bpe": (_rs_bpe, "rs-bpe"),
    REFERENCE: (_tiktoken, "tiktoken"),
}
NAMES = tuple(_LOADERS)


def version(name: str) -> str:
    """Return the version of the library that is installed."""
    from importlib import metadata

    try:
        return metadata.version(_LOADERS[name][1])
    except metadata.PackageNotFoundError:
        return "without a version"


def load(name: str, tables: Tables) -> Contender:
    """Load a library with an encoding.

    Raises
    ------
    Absent
        If it is not installed, does not know the encoding, or can't load it.
    """
    os.environ.update(ONE_THREAD)
    loader, distribution = _LOADERS[name]
    try:
        return loader(tables)
    except (Absent, KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except ImportError as error:
        raise Absent(f"not installed (pip install {distribution}): {error}") from None
    except BaseException as error:  # a panic of Rust is no Exception
        raise Absent(f"can't load {tables.name}: {brief(error)}") from None


def brief(error: BaseException) -> str:
    """Return the kind of error and how its message begins."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:100]}"


def load_all(tables: Tables) -> tuple[dict[str, Contender], dict[str, str]]:
    """Load all that can be; return them, and for each of the others why not."""
    found: dict[str, Contender] = {}
    absences: dict[str, str] = {}
    for name in _LOADERS:
        try:
            found[name] = load(name, tables)
        except Absent as absent:  # noqa: PERF203
            absences[name] = str(absent)
    return found, absences
