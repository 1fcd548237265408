"""vLLM's ``sha256_cbor`` block hashes in plain Python.

After vLLM 0.33, ``vllm/v1/core/kv_cache_utils.py`` (``hash_block_tokens``,
``generate_block_hash_extra_keys``, ``init_none_hash``) and ``vllm/utils/hashing.py``.
"""

from __future__ import annotations

import hashlib

__all__ = ["block_hashes", "cbor", "none_hash"]


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


def none_hash(seed: str = "vllm-none-hash") -> bytes:
    """Return what stands for the parent of a first block; `seed` is PYTHONHASHSEED, if set."""
    return hashlib.sha256(cbor(seed)).digest()


def block_hashes(
    token_ids: list[int],
    block_size: int,
    *,
    cache_salt: str | None = None,
    extra_keys: tuple[tuple[str | int, ...], ...] = (),
    root: bytes | None = None,
    parent: bytes | None = None,
) -> list[bytes]:
    """Hash every full block; the arguments are those of `ctxengine.prefix.BlockHasher`."""
    lora = [key for key in extra_keys if key[0] == "lora"]
    media = [key for key in extra_keys if key[0] == "mm"]
    hashes: list[bytes] = []
    for begin in range(0, len(token_ids) - block_size + 1, block_size):
        end = begin + block_size
        extra: list[tuple[str | int, ...]] = list(lora)
        for _, identifier, offset, length in media:
            assert isinstance(offset, int)
            assert isinstance(length, int)
            if offset < end and offset + length > begin:
                extra.append(("mm", identifier, offset - begin))
        if begin == 0 and parent is None and cache_salt:
            extra.append(("cache_salt", cache_salt))
        previous = hashes[-1] if hashes else parent or root or none_hash()
        block = (previous, token_ids[begin:end], extra or None)
        hashes.append(hashlib.sha256(cbor(block)).digest())
    return hashes
