"""What the next hop gets in place of text; docs/request.md gives the bytes."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ctxengine.errors import ArgumentError, LoadError
from ctxengine.tokenize import get_encoding

if TYPE_CHECKING:
    from ctxengine.tokenize import Encoding

_MAGIC = b"CTXE"
_VERSION = 1
_HEADER = struct.Struct("<4sHHIII16sB")
_SECTION = struct.Struct("<IB")
_MAX_NAME_BYTES = 255
_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True, repr=False)
class Envelope:
    """What the next hop needs in place of text; docs/request.md gives the bytes.

    Attributes
    ----------
    fingerprint : str
        Of the encoding, 32 hexadecimal digits.
    block_size : int
        Tokens per block.
    scheme : str
        Name of the hash scheme.
    sections : tuple of (str, int)
        Name and tokens, in prompt order.
    token_ids : tuple of int
        The prompt.
    block_hashes : tuple of bytes
        32 bytes for each full block.
    """

    fingerprint: str
    block_size: int
    scheme: str
    sections: tuple[tuple[str, int], ...]
    token_ids: tuple[int, ...]
    block_hashes: tuple[bytes, ...]

    def __repr__(self) -> str:
        return (
            f"Envelope({len(self.token_ids):,} token ids in {len(self.sections)} sections, "
            f"{len(self.block_hashes):,} hashes of blocks of {self.block_size}, "
            f"encoding {self.fingerprint})"
        )

    def encode(self) -> bytes:
        """Return the envelope as bytes. O(tokens)."""
        scheme = self.scheme.encode("ascii")
        parts = [
            _HEADER.pack(
                _MAGIC,
                _VERSION,
                len(self.sections),
                len(self.token_ids),
                self.block_size,
                len(self.block_hashes),
                bytes.fromhex(self.fingerprint),
                len(scheme),
            ),
            scheme,
        ]
        for name, tokens in self.sections:
            encoded = name.encode("utf-8")
            if len(encoded) > _MAX_NAME_BYTES:
                raise ArgumentError(f"section name longer than {_MAX_NAME_BYTES} bytes: {name!r}")
            parts += [_SECTION.pack(tokens, len(encoded)), encoded]
        parts.append(struct.pack(f"<{len(self.token_ids)}I", *self.token_ids))
        parts += self.block_hashes
        body = b"".join(parts)
        return body + hashlib.sha256(body).digest()

    @classmethod
    def decode(cls, data: bytes, *, encoding: Encoding | str | None = None) -> Envelope:
        """Read an envelope.

        Parameters
        ----------
        data : bytes
            The whole envelope.
        encoding : Encoding or str, optional
            The encoding that the ids must belong to, or the name of a shipped one.

        Raises
        ------
        LoadError
            Not an envelope, another version, damaged, inconsistent, or of another encoding.
        ArgumentError
            The data are not bytes.

        Notes
        -----
        O(size); nothing is allocated on the word of a length field before it is checked.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise ArgumentError(f"data: must be bytes, not {type(data).__name__}")
        data = bytes(data)
        if isinstance(encoding, str):
            encoding = get_encoding(encoding)
        if len(data) < _HEADER.size + _DIGEST_BYTES or not data.startswith(_MAGIC):
            raise LoadError("envelope: too short, or it does not begin with 'CTXE'")
        body, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
        _, version, num_sections, num_ids, block_size, num_hashes, fingerprint, scheme_bytes = (
            _HEADER.unpack_from(body)
        )
        if version != _VERSION:
            raise LoadError(f"envelope: version {version}; this reader knows {_VERSION}")
        if hashlib.sha256(body).digest() != digest:
            raise LoadError("envelope: damaged, its SHA-256 does not agree")
        reader = _Reader(body, _HEADER.size)
        scheme = reader.text(scheme_bytes, "the scheme's name")
        sections = []
        for i in range(num_sections):
            tokens, name_bytes = _SECTION.unpack(reader.take(_SECTION.size, f"section {i}"))
            sections.append((reader.text(name_bytes, f"the name of section {i}"), tokens))
        ids = struct.unpack(f"<{num_ids}I", reader.take(4 * num_ids, "token ids"))
        hashes = reader.take(_DIGEST_BYTES * num_hashes, "block hashes")
        if reader.left:
            raise LoadError(f"envelope: {reader.left} bytes too many")
        if not block_size or num_hashes != num_ids // block_size:
            raise LoadError(
                f"envelope: {num_hashes} hashes for {num_ids} ids in blocks of {block_size}"
            )
        if sum(tokens for _, tokens in sections) != num_ids:
            raise LoadError("envelope: the sections do not add up to the token ids")
        if encoding is not None and encoding.fingerprint != fingerprint.hex():
            raise LoadError(f"envelope: its ids are not those of encoding {encoding.name!r}")
        return cls(
            fingerprint=fingerprint.hex(),
            block_size=block_size,
            scheme=scheme,
            sections=tuple(sections),
            token_ids=ids,
            block_hashes=tuple(
                hashes[i : i + _DIGEST_BYTES] for i in range(0, len(hashes), _DIGEST_BYTES)
            ),
        )


class _Reader:
    """Takes bytes from the front, never more than there are."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data, self._position = data, position

    @property
    def left(self) -> int:
        return len(self._data) - self._position

    def take(self, size: int, what: str) -> bytes:
        if size > self.left:
            raise LoadError(f"envelope: ends inside {what} at byte {self._position}")
        begin, self._position = self._position, self._position + size
        return self._data[begin : self._position]

    def text(self, size: int, what: str) -> str:
        try:
            return self.take(size, what).decode("utf-8")
        except UnicodeDecodeError:
            raise LoadError(f"envelope: {what} is not UTF-8") from None
