"""keyed128 in Python integers: the hash of the tables inside one process.

A universal hash. NH (Black, Halevi, Krawczyk, Krovetz, Rogaway: UMAC, CRYPTO 1999) compresses
chunks of 32-bit words in two independent lanes; a polynomial over the prime 2**127 - 1 (Carter and
Wegman) chains the chunks, the lengths, the parent and the identity. As long as the key is secret,
two different chains of up to n chunks collide with a probability of at most about n / 2**61.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Any

__all__ = ["Keyed128", "block_hashes", "framed"]

PRIME = 2**127 - 1
CHUNK_WORDS = 256
TOKENS, EXTRA = 1, 2  # kinds of records


class Keyed128:
    """One key, expanded from a 32-byte seed with SHA-256 in counter mode."""

    def __init__(self, seed: bytes) -> None:
        stream = b"".join(
            hashlib.sha256(b"ctxengine keyed128" + seed + struct.pack("<I", i)).digest()
            for i in range(65)
        )
        words = struct.unpack("<512I", stream[:2048])
        self.lanes = (words[:CHUNK_WORDS], words[CHUNK_WORDS:])
        self.r = (int.from_bytes(stream[2048:2064], "little") & PRIME) % PRIME or 1

    def block(self, parent: bytes, token_ids: list[int], extra: bytes = b"") -> bytes:
        """Return the 16 bytes of a block behind `parent` (16 zero bytes for none)."""
        h = int.from_bytes(parent, "big")
        if extra:
            padded = extra + bytes(-len(extra) % 4)
            words = list(struct.unpack(f"<{len(padded) // 4}I", padded))
            h = self._record(h, EXTRA, len(extra), words)
        return self._record(h, TOKENS, len(token_ids), token_ids).to_bytes(16, "big")

    def _record(self, h: int, kind: int, length: int, words: list[int]) -> int:
        h = (h + (kind << 64 | length)) * self.r % PRIME
        for begin in range(0, len(words), CHUNK_WORDS):
            chunk = words[begin : begin + CHUNK_WORDS]
            low, high = (_nh(chunk, key) for key in self.lanes)
            h = (h + (high << 64 | low)) * self.r % PRIME
        return h


def _nh(words: list[int], key: tuple[int, ...]) -> int:
    if len(words) % 2:
        words = [*words, 0]
    total = 0
    for i in range(0, len(words), 2):
        total += (words[i] + key[i]) % 2**32 * ((words[i + 1] + key[i + 1]) % 2**32)
    return total % 2**64


def framed(
    cache_salt: str | None,
    extra_keys: tuple[tuple[Any, ...], ...],
    begin: int,
    block_size: int,
    *,
    first: bool,
    embeds_from: int = 0,
) -> bytes:
    """Encode what distinguishes the block at token `begin`: fields of tag, length, value.

    Row `embeds_from` of the embeddings belongs to token 0.
    """

    def field(tag: int, value: bytes) -> bytes:
        return bytes([tag]) + struct.pack("<Q", len(value)) + value

    out = b""
    for key in extra_keys:
        if first and key[0] == "lora":
            out += field(2, str(key[1]).encode()) + field(3, str(key[2]).encode())
    if first and cache_salt:
        out += field(1, cache_salt.encode())
    for key in extra_keys:
        if key[0] == "mm":
            _, identifier, offset, length = key
            start, end = offset - begin, offset + length - begin
            if start < block_size and end > 0:
                out += field(4, str(identifier).encode())
                out += field(5, struct.pack("<qq", start, min(end, block_size)))
    for key in extra_keys:
        if key[0] == "prompt_embeds":
            at = embeds_from + begin
            out += field(6, hashlib.sha256(key[1][at : at + block_size].tobytes()).digest())
    return out


def block_hashes(
    token_ids: list[int],
    block_size: int,
    *,
    seed: bytes,
    cache_salt: str | None = None,
    extra_keys: tuple[tuple[Any, ...], ...] = (),
    parent: bytes | None = None,
    embeds_from: int = 0,
) -> list[bytes]:
    """Hash every full block; the arguments are those of `ctxengine.prefix.BlockHasher`."""
    key = Keyed128(seed)
    hashes: list[bytes] = []
    for begin in range(0, len(token_ids) - block_size + 1, block_size):
        first = begin == 0 and parent is None
        extra = framed(
            cache_salt, extra_keys, begin, block_size, first=first, embeds_from=embeds_from
        )
        previous = hashes[-1] if hashes else parent or bytes(16)
        hashes.append(key.block(previous, token_ids[begin : begin + block_size], extra))
    return hashes
