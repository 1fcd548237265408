"""The engines' block hashes in plain Python.

vLLM 0.33: ``vllm/v1/core/kv_cache_utils.py`` (``hash_block_tokens``,
``generate_block_hash_extra_keys``, ``init_none_hash``) and ``vllm/utils/hashing.py``. SGLang 0.5:
``sglang/srt/mem_cache/utils.py``. LMCache 0.5: ``lmcache/v1/multiprocess/token_hasher.py``. Dynamo
1.6: its crates ``kv-router`` and ``tokens``. The standard library has neither XXH3 nor BLAKE3, so
these come in as functions.
"""

from __future__ import annotations

import hashlib
import pickle
import struct
from collections.abc import Callable, Iterator
from typing import Any

__all__ = [
    "block_hashes",
    "cbor",
    "dynamo_hashes",
    "dynamo_sequence_hashes",
    "lmcache_hashes",
    "none_hash",
    "pickled",
    "sglang_hashes",
    "sha256",
]

Digest = Callable[[bytes], bytes]
Serialize = Callable[[object], bytes]
ExtraKeys = tuple[tuple[Any, ...], ...]


def sha256(message: bytes) -> bytes:
    """Return the SHA-256 of a message."""
    return hashlib.sha256(message).digest()


def pickled(value: object) -> bytes:
    """Pickle as vLLM does, whose texts come out of a message: each is an object of its own."""
    return pickle.dumps(_decoded(value), protocol=5)


def _decoded(value: object) -> object:
    if isinstance(value, tuple):
        tag = value[:1] if value and value[0] in TAGS else ()
        return (*tag, *(_decoded(item) for item in value[len(tag) :]))
    return value.encode().decode() if isinstance(value, str) else value


TAGS = ("lora", "mm", "cache_salt", "prompt_embeds")  # constants of vLLM: one object each


def cbor(value: object) -> bytes:
    """Encode as canonical CBOR (RFC 8949, 4.2.1): the types that block hashes are made of."""
    if value is None:
        return b"\xf6"
    if isinstance(value, int):
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        return _head(3, len(value.encode())) + value.encode()
    if isinstance(value, (tuple, list)):
        return _head(4, len(value)) + b"".join(cbor(item) for item in value)
    raise TypeError(f"no canonical CBOR here for {type(value).__name__}")


def _head(major_type: int, argument: int) -> bytes:
    if argument < 24:
        return bytes([major_type << 5 | argument])
    for extra, size_bytes in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if argument < 1 << 8 * size_bytes:
            return bytes([major_type << 5 | extra]) + argument.to_bytes(size_bytes, "big")
    raise OverflowError("CBOR integers have 64 bits")


def none_hash(
    seed: str = "vllm-none-hash", *, serialize: Serialize = cbor, digest: Digest = sha256
) -> bytes:
    """Return what stands for the parent of a first block; `seed` is PYTHONHASHSEED, if set."""
    return digest(serialize(seed))


def blocks(token_ids: list[int], block_size: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield the full blocks, each with the index of its first token."""
    for begin in range(0, len(token_ids) - block_size + 1, block_size):
        yield begin, tuple(token_ids[begin : begin + block_size])


def block_hashes(
    token_ids: list[int],
    block_size: int,
    *,
    serialize: Serialize = cbor,
    digest: Digest = sha256,
    cache_salt: str | None = None,
    extra_keys: ExtraKeys = (),
    root: bytes | None = None,
    parent: bytes | None = None,
    start: int = 0,
) -> list[bytes]:
    """vLLM's; the other arguments are those of `ctxengine.prefix.BlockHasher` and its `hash`."""
    previous = parent or root or none_hash(serialize=serialize, digest=digest)
    hashes: list[bytes] = []
    for offset, tokens in blocks(token_ids, block_size):
        begin = start + offset
        end = begin + block_size
        extra = [key for key in extra_keys if key[0] == "lora"]
        extra += [
            ("mm", key[1], key[2] - begin)
            for key in extra_keys
            if key[0] == "mm" and key[2] < end and key[2] + key[3] > begin
        ]
        if offset == 0 and parent is None and cache_salt:
            extra.append(("cache_salt", cache_salt))
        extra += [
            ("prompt_embeds", sha256(key[1][begin:end].tobytes()))
            for key in extra_keys
            if key[0] == "prompt_embeds"
        ]
        previous = digest(serialize((previous, tokens, tuple(extra) or None)))
        hashes.append(previous)
    return hashes


def sglang_hashes(
    token_ids: list[int],
    page_size: int,
    *,
    cache_salt: str | None = None,
    parent: bytes = b"",
) -> list[bytes]:
    """SGLang's ``get_storage_hash_str`` with a page size."""
    if cache_salt is not None and not parent:
        salt = cache_salt.encode()
        parent = sha256(
            b"sglang-cache-namespace-v1" + b"\0" + b"\1" + struct.pack("<Q", len(salt)) + salt
        )
    hashes: list[bytes] = []
    for _, tokens in blocks(token_ids, page_size):
        parent = sha256(parent + struct.pack(f"<{page_size}I", *tokens))
        hashes.append(parent)
    return hashes


def dynamo_hashes(
    token_ids: list[int],
    block_size: int,
    xxh3_64: Callable[[bytes, int], int],
    *,
    extra_keys: ExtraKeys = (),
) -> list[int]:
    """Dynamo's ``compute_block_hash_for_seq``; `xxh3_64` takes a message and a seed."""
    seed = 1337
    for key in extra_keys:
        if key[0] == "lora" and key[1]:
            seed = (seed + xxh3_64(str(key[1]).encode(), 0)) % 2**64
    hashes = []
    for begin, tokens in blocks(token_ids, block_size):
        media = sorted(
            int(str(key[1])[:16], 16)
            for key in extra_keys
            if key[0] == "mm" and key[2] < begin + block_size and key[2] + key[3] > begin
        )
        words = struct.pack(f"<{block_size}I{len(media)}Q", *tokens, *media)
        hashes.append(xxh3_64(words, seed))
    return hashes


def dynamo_sequence_hashes(
    local_hashes: list[int], xxh3_64: Callable[[bytes, int], int]
) -> list[int]:
    """Dynamo's ``compute_seq_hash_for_block`` over the hashes of `dynamo_hashes`."""
    hashes = local_hashes[:1]
    for local in local_hashes[1:]:
        hashes.append(xxh3_64(struct.pack("<2Q", hashes[-1], local), 1337))
    return hashes


def lmcache_hashes(
    token_ids: list[int], chunk_size: int, blake3: Digest, *, parent: bytes | None = None
) -> list[bytes]:
    """LMCache's ``TokenHasher.compute_chunk_hashes`` with its default algorithm."""
    parent = parent or blake3(bytes(8) + bytes(4))  # the token 0 behind the number 0
    hashes: list[bytes] = []
    for _, tokens in blocks(token_ids, chunk_size):
        parent = blake3(parent + struct.pack(f">{chunk_size}I", *tokens))
        hashes.append(parent)
    return hashes
