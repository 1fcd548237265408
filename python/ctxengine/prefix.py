"""Prefix hashes: token ids -> one chained hash per full block.

The hash of a block stands for every token up to the block's end, so KV computed for one prompt can
be found for another that begins alike. Schemes are named, and equal to the serving engines' own, so
that a gateway can say which engine holds a prefix already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ctxengine import _core

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    TokenIds = Sequence[int] | npt.NDArray[np.integer]
    LoraKey = tuple[Literal["lora"], str, str]
    MediaKey = tuple[Literal["mm"], str, int, int]
    ExtraKeys = Sequence[LoraKey | MediaKey]

__all__ = ["BlockHasher"]


class BlockHasher:
    """Hashes the full blocks of token sequences, each chained to the block before it.

    Parameters
    ----------
    block_size : int
        Tokens per block, 1 to 2**20.
    scheme : {"vllm_sha256_cbor", "keyed128"}
        ``vllm_sha256_cbor``: 32 bytes, equal to vLLM 0.33 with
        ``--prefix-caching-hash-algo sha256_cbor``: SHA-256 of the canonical CBOR (RFC 8949) of
        ``[parent hash, token ids, extra keys or null]``.
        ``keyed128``: 16 bytes, about ten times faster, for tables inside one process only: its
        default key is random, drawn once per process. docs/formats.md defines both.
    cache_salt : str, optional
        Separates tenants: prefixes with different salts never have equal hashes. Not empty.
    extra_keys : sequence of tuple, optional
        What else distinguishes equal token ids. ``("lora", name, path)``: the adapter, at most one.
        ``("mm", identifier, offset, length)``: tokens ``offset`` to ``offset + length`` of the
        hashed ids are placeholders of this image or audio; in order, without overlap. An item that
        began before the first hashed token has a negative offset.
    root : str or bytes, optional
        For ``vllm_sha256_cbor`` the start of every chain: a ``str`` is the value of PYTHONHASHSEED
        under which vLLM runs, ``bytes`` (32) are its NONE_HASH itself; the default is the fixed
        seed that vLLM uses when PYTHONHASHSEED is not set. For ``keyed128``: 32 bytes from
        which the key is expanded.

    Raises
    ------
    ArgumentError
        A parameter is outside its domain; the message names it.

    Notes
    -----
    Immutable; any number of threads may share one.

    Examples
    --------
    >>> hasher = BlockHasher(4)
    >>> first, second = hasher.hash([1, 2, 3, 4, 5, 6, 7, 8, 9])
    >>> hasher.hash([5, 6, 7, 8], parent=first) == [second]
    True
    >>> BlockHasher(4, cache_salt="tenant-a").hash([1, 2, 3, 4]) == [first]
    False
    """

    __slots__ = ("_core", "scheme")

    def __init__(
        self,
        block_size: int,
        *,
        scheme: Literal["vllm_sha256_cbor", "keyed128"] = "vllm_sha256_cbor",
        cache_salt: str | None = None,
        extra_keys: ExtraKeys | None = None,
        root: str | bytes | None = None,
    ) -> None:
        self._core = _core.BlockHasher(block_size, scheme, cache_salt, extra_keys, root)
        self.scheme = scheme

    @property
    def block_size(self) -> int:
        """Tokens per block."""
        return self._core.block_size

    @property
    def digest_size(self) -> int:
        """Bytes per hash: 32, or 16 for ``keyed128``."""
        return self._core.digest_size

    def hash(self, token_ids: TokenIds, *, parent: bytes | None = None) -> list[bytes]:
        """Hash every full block.

        Parameters
        ----------
        token_ids : sequence of int or integer array, shape (n,)
            Token ids in 0..2**31-1. A contiguous uint32 array is read where it lies.
        parent : bytes, optional
            Hash of the block before ``token_ids``. Without it they begin a prefix, and the cache
            salt enters the first hash; behind a parent it has entered already.

        Returns
        -------
        list of bytes
            ``n // block_size`` hashes; a partial last block has none.

        Raises
        ------
        ArgumentError
            An id is out of range, or ``parent`` is not a hash of this scheme.

        Notes
        -----
        O(n) time and memory.
        """
        return self._core.hash(token_ids, parent)

    def hash_int64(
        self, token_ids: TokenIds, *, parent: bytes | None = None
    ) -> npt.NDArray[np.uint64]:
        """Hash every full block to an integer: the low 64 bits of the digest, read big-endian.

        vLLM publishes block hashes in this form in its KV events, unless
        ``VLLM_KV_EVENTS_USE_INT_BLOCK_HASHES=0``.

        Parameters
        ----------
        token_ids, parent
            As in `hash`.

        Returns
        -------
        numpy.ndarray
            uint64, shape (n // block_size,).
        """
        return self._core.hash_int64(token_ids, parent)

    def __repr__(self) -> str:
        return f"BlockHasher({self.block_size}, scheme={self.scheme!r})"
