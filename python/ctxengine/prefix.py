"""Prefix hashes: token ids -> one hash per full block, equal to the serving engines' own.

The hash of a block stands for every token up to the block's end, so KV computed for one prompt can
be found for another that begins alike. Schemes are named after the engine that computes the same
bytes, so that a gateway can say which engine holds a prefix already. docs/formats.md defines each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ctxengine import _core
from ctxengine.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    import numpy as np
    import numpy.typing as npt

    TokenIds = Sequence[int] | npt.NDArray[np.integer]
    LoraKey = tuple[Literal["lora"], str, str]
    MediaKey = tuple[Literal["mm"], str, int, int]
    EmbedsKey = tuple[Literal["prompt_embeds"], npt.NDArray[Any]]
    ExtraKeys = Sequence[LoraKey | MediaKey]
    RequestKeys = Sequence[LoraKey | MediaKey | EmbedsKey]

Scheme = Literal[
    "vllm_sha256",
    "vllm_sha256_cbor",
    "vllm_xxhash",
    "vllm_xxhash_cbor",
    "sglang",
    "dynamo",
    "dynamo_sequence",
    "lmcache",
    "keyed128",
]

__all__ = ["BlockHasher", "Scheme", "key_of_group"]


class BlockHasher:
    """Hashes the full blocks of token sequences, each chained to the block before it.

    Parameters
    ----------
    block_size : int
        Tokens per block, 1 to 2**20.
    scheme : str
        ==================== ===== ================================================================
        ``vllm_sha256``      32 B  vLLM 0.33, ``--prefix-caching-hash-algo sha256``, its default:
                                   SHA-256 of the pickle of (parent, ids, extra keys)
        ``vllm_sha256_cbor`` 32 B  the same over canonical CBOR, which does not depend on Python
        ``vllm_xxhash``      16 B  XXH3-128 of the pickle
        ``vllm_xxhash_cbor`` 16 B  XXH3-128 of the CBOR
        ``sglang``           32 B  SGLang 0.5: SHA-256 of (parent, ids as little-endian words)
        ``dynamo``            8 B  Dynamo 1.6: XXH3-64 of a block's ids alone, not chained
        ``dynamo_sequence``   8 B  Dynamo's chain over these
        ``lmcache``          32 B  LMCache 0.5 (multiprocess): BLAKE3 of (parent, big-endian ids)
        ``keyed128``         16 B  ours, for tables inside one process: random key
        ==================== ===== ================================================================
    cache_salt : str, optional
        Separates tenants: prefixes with different salts never have equal hashes. Not empty. Schemes
        whose engine keeps the salt beside the hash (``lmcache``), or mixes it in a way that is not
        published (``dynamo``), refuse it.
    extra_keys : sequence of tuple, optional
        What else distinguishes equal token ids, as the features of one request.
        ``("lora", name, path)``: the adapter, at most one (Dynamo's schemes use its name).
        ``("mm", identifier, offset, length)``: tokens ``offset`` to ``offset + length`` of the
        request are placeholders of this image or audio; in order, without overlap. Dynamo's schemes
        take identifiers of 64 hexadecimal digits.
        ``("prompt_embeds", array)``: the first tokens come as embedding vectors, one row each; an
        array of two dimensions without gaps, of which the bytes count.
        A scheme that has no place for an entry refuses it.
    root : str or bytes, optional
        Where every chain starts. ``str``, for vLLM's schemes: the value of PYTHONHASHSEED under
        which vLLM runs. ``bytes``: what stands for the hash before the first block (vLLM's
        NONE_HASH), as long as a hash. The default is the engine's own; vLLM draws a random one for
        the two of XXH3, which therefore need a root. ``keyed128``: 32 bytes from which the key is
        expanded.

    Raises
    ------
    ArgumentError
        A parameter is outside its domain; the message names it.

    Notes
    -----
    Immutable; any number of threads may share one. The GIL is released for long inputs. XXH3 is no
    cryptographic hash: hashes of its schemes can be made to collide.

    ``vllm_sha256`` and ``vllm_xxhash`` are hashes of pickles, which depend on which strings of the
    extra keys are one object in the process that makes them. Taken here are the objects of a
    request that vLLM's engine received from its front end: equal strings of more than one character
    are objects of their own.

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
        scheme: Scheme = "vllm_sha256_cbor",
        cache_salt: str | None = None,
        extra_keys: RequestKeys | None = None,
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
        """Bytes per hash."""
        return self._core.digest_size

    def hash(
        self, token_ids: TokenIds, *, parent: bytes | None = None, start: int = 0
    ) -> list[bytes]:
        """Hash every full block.

        Parameters
        ----------
        token_ids : sequence of int or integer array, shape (n,)
            Token ids in 0..2**31-1. A contiguous uint32 array is read where it lies.
        parent : bytes, optional
            Hash of the block before ``token_ids``. Without it they begin a prefix, and the cache
            salt enters the first hash; behind a parent it has entered already. Scheme ``dynamo``
            takes none.
        start : int, optional
            Position of the first token in the request, a multiple of the block size: the offsets in
            `extra_keys` count from the request's first token. Left at 0 behind a parent, they count
            from the first token given, and an item that began earlier has a negative one.

        Returns
        -------
        list of bytes
            ``n // block_size`` hashes; a partial last block has none.

        Raises
        ------
        ArgumentError
            An id is out of range, `parent` is not a hash of this scheme, or `start` is no place for
            a block.

        Notes
        -----
        O(n) time and memory.
        """
        return self._core.hash(token_ids, parent, start)

    def hash_hex(
        self, token_ids: TokenIds, *, parent: bytes | None = None, start: int = 0
    ) -> list[str]:
        """Hash every full block to hexadecimal digits, the form of SGLang's storage keys.

        Parameters
        ----------
        token_ids, parent, start
            As in `hash`.

        Returns
        -------
        list of str
            ``bytes.hex`` of what `hash` returns.
        """
        return self._core.hash_hex(token_ids, parent, start)

    def hash_to_numpy(
        self, token_ids: TokenIds, *, parent: bytes | None = None, start: int = 0
    ) -> npt.NDArray[np.uint8]:
        """Hash every full block, without an object for each.

        Parameters
        ----------
        token_ids, parent, start
            As in `hash`.

        Returns
        -------
        numpy.ndarray
            uint8, shape (n // block_size, digest_size).
        """
        return self._core.hash_to_numpy(token_ids, parent, start)

    def hash_int64(
        self, token_ids: TokenIds, *, parent: bytes | None = None, start: int = 0
    ) -> npt.NDArray[np.uint64]:
        """Hash every full block to the integer that the engine publishes.

        For vLLM's schemes the last 8 bytes of the digest, read big-endian: the form of its KV
        events unless ``VLLM_KV_EVENTS_USE_INT_BLOCK_HASHES=0``. For ``sglang`` and ``lmcache`` the
        first 8; SGLang's events have them as signed integers (``.view(numpy.int64)``). Dynamo's
        hashes are such integers.

        Parameters
        ----------
        token_ids, parent, start
            As in `hash`.

        Returns
        -------
        numpy.ndarray
            uint64, shape (n // block_size,).
        """
        return self._core.hash_int64(token_ids, parent, start)

    def hash_batch(self, prompts: Sequence[TokenIds]) -> list[list[bytes]]:
        """Hash the blocks of several prompts that have the same identity.

        SHA-256 waits for itself along a chain; two prompts at a time use that waiting.

        Parameters
        ----------
        prompts : list or tuple of token ids
            Each as in `hash`, from its first token on.

        Returns
        -------
        list of list of bytes
            What `hash` returns for each.

        Raises
        ------
        ArgumentError
            An id is out of range; the message names the prompt.
        """
        return self._core.hash_batch(prompts)

    def __repr__(self) -> str:
        return f"BlockHasher({self.block_size}, scheme={self.scheme!r})"


def key_of_group(block_hash: bytes, group_id: int) -> bytes:
    r"""Return the key under which vLLM's block pool knows a block of one KV cache group.

    Parameters
    ----------
    block_hash : bytes
        The block's hash.
    group_id : int
        Index of the group, 0..2**32-1.

    Returns
    -------
    bytes
        The hash and the group id as 4 bytes, big-endian.

    Raises
    ------
    ArgumentError
        The group id does not fit.

    Examples
    --------
    >>> key_of_group(bytes(32), 1)[-4:]
    b'\x00\x00\x00\x01'
    """
    if not 0 <= group_id < 1 << 32:
        raise ArgumentError(f"group_id is {group_id}; it must be in 0..{(1 << 32) - 1}")
    return block_hash + group_id.to_bytes(4, "big")
