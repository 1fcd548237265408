"""Everything behind one object: plan a request, know what is cached, place it, hand it on.

:class:`ContextEngine` joins the layers and adds nothing of its own: :mod:`ctxengine.budget` decides
what goes in, :mod:`ctxengine.prefix` hashes the ids, :mod:`ctxengine.kv` finds cached blocks and
allocates the rest, :mod:`ctxengine.pricing` says what it costs. Each stage is timed.

Examples
--------
>>> from ctxengine.engine import ContextEngine
>>> engine = ContextEngine("qwen3", window=4096, block_size=16)
>>> history = [{"role": "user", "content": "Does the rain in Leith ever stop?"}]
>>> planned = engine.plan(system="You answer in one sentence.", history=history)
>>> planned.cached_tokens
0
>>> with engine.place(planned) as sequence:
...     slots = sequence.compute()  # after the forward pass: its blocks can be shared from now on
>>> engine.plan(system="You answer in one sentence.", history=history).cached_tokens
16
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Mapping
from collections.abc import Sequence as Seq
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from time import perf_counter_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from ctxengine import budget, chat
from ctxengine.errors import ArgumentError, LoadError
from ctxengine.kv import KVCacheManager
from ctxengine.prefix import BlockHasher
from ctxengine.tokenize import get_encoding

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ctxengine.budget import Budget, Item, Plan, Predicted, Section
    from ctxengine.chat import Template
    from ctxengine.pricing import Cost, PriceTable
    from ctxengine.tokenize import Encoding

__all__ = ["ContextEngine", "EnginePlan", "Envelope", "Sequence"]

HASH_SCHEME: Final = "vllm_sha256_cbor"


class ContextEngine:
    """Plans requests for one model and places them into one KV block pool.

    Parameters
    ----------
    encoding : Encoding or str
        The model's encoding, or the name of a shipped one.
    window : int or Budget
        Context window in tokens, with or without a reserve for the answer.
    template : Template or str, optional
        Chat template; by default the one that belongs to the encoding.
    block_size : int
        Tokens per KV block.
    num_blocks : int, optional
        Blocks of the pool; by default as many as one full window needs.
    prices : PriceTable, optional
        What tokens cost; without it plans have no cost.

    Raises
    ------
    UnknownTokenError, ArgumentError
        An unknown name, or a number outside its documented domain.

    Attributes
    ----------
    manager : KVCacheManager
        The pool.
    block_tables : int32[rows, blocks]
        The manager's view of all rows.

    Notes
    -----
    Any number of threads may call; the pool is the only state, and it locks itself.
    """

    def __init__(
        self,
        encoding: Encoding | str,
        *,
        window: int | Budget,
        template: Template | str | None = None,
        block_size: int = 16,
        num_blocks: int | None = None,
        prices: PriceTable | None = None,
    ) -> None:
        self.encoding = get_encoding(encoding) if isinstance(encoding, str) else encoding
        self.budget = window if isinstance(window, budget.Budget) else budget.Budget(window)
        if template is None:
            template = chat.Template.for_encoding(self.encoding)
        self.template = chat.Template(template) if isinstance(template, str) else template
        self.prices = prices
        self.hasher = BlockHasher(block_size, scheme=HASH_SCHEME)
        if num_blocks is None:
            num_blocks = max(1, -(-self.budget.window // block_size))
        longest = min(self.budget.window, num_blocks * block_size)
        self.manager = KVCacheManager(num_blocks, block_size, max_row_tokens=longest)
        self.block_tables = self.manager.block_tables  # imports numpy here, not in a timed stage

    def plan(
        self,
        *,
        system: str | Any | None = None,
        tools: Seq[Mapping[str, Any]] | None = None,
        retrieval: Seq[Item | str | tuple[str, float]] = (),
        history: Seq[Any] = (),
        sections: Seq[Section] | None = None,
        **options: Any,
    ) -> EnginePlan:
        """Decide what goes into the window, tokenize and hash it, and look it up in the pool.

        Parameters are those of :func:`ctxengine.budget.plan`, and so are the errors; `options` are
        handed to it as they are. Nothing is allocated or pinned.

        Returns
        -------
        EnginePlan
            The plan, its block hashes, and the tokens that the pool holds already.
        """
        clock = _Clock()
        with clock("count"):
            # Warms the count table, so that the next stage is the choice alone.
            head = [{"role": "system", "content": system}] if isinstance(system, str) else system
            head = [] if head is None else list(head) if isinstance(head, (list, tuple)) else [head]
            requested = chat.count_messages(
                [*head, *history], self.encoding, template=self.template, tools=tools
            )
        with clock("plan"):
            decided = budget.plan(
                self.budget,
                self.encoding,
                system=system,
                tools=tools,
                retrieval=retrieval,
                history=history,
                sections=sections,
                template=self.template,
                **options,
            )
        prefix: tuple[bytes, ...] = ()
        cached = 0
        if self.template.is_rendering:
            with clock("tokenize"):
                ids = decided.token_ids
            with clock("hash"):
                prefix = tuple(self.hasher.hash(ids))
            with clock("look up"):
                cached = self.manager.lookup(ids)
        return EnginePlan(self, decided, prefix, cached, requested, clock.stages)

    def place(self, planned: EnginePlan) -> Sequence | None:
        """Pin the cached blocks of a plan's prompt and allocate the others, in one step.

        Returns
        -------
        Sequence or None
            None when the pool has no room for it now: nothing has changed, and after another
            sequence's release it may have.

        Raises
        ------
        CapacityError
            The pool is too small for this prompt, however long one waits.
        ArgumentError
            The template is a count rule and has no token ids to place.
        """
        ids = planned.token_ids
        before = self.manager.stats().num_evicted
        begin = perf_counter_ns()
        acquired = self.manager.acquire(ids)
        elapsed = perf_counter_ns() - begin
        if acquired is None:
            return None
        evicted = self.manager.stats().num_evicted - before
        return Sequence(
            self.manager,
            acquired.row,
            num_tokens=len(ids),
            cached_tokens=acquired.num_cached_tokens,
            blocks_evicted=evicted,
            place_ns=elapsed,
        )

    def envelope(self, planned: EnginePlan) -> bytes:
        """Pack token ids, block hashes and section sizes for the next hop (docs/request.md)."""
        return Envelope(
            fingerprint=self.encoding.fingerprint,
            block_size=self.manager.block_size,
            scheme=HASH_SCHEME,
            sections=tuple((use.name, use.tokens) for use in planned.sections),
            token_ids=tuple(planned.token_ids.tolist()),
            block_hashes=planned.prefix,
        ).encode()


@dataclass(frozen=True, slots=True)
class EnginePlan:
    """A :class:`~ctxengine.budget.Plan` and what the engine knows about it.

    Every attribute of the plan (``messages``, ``token_ids``, ``sections``, ``used``, ``left``,
    ``dropped``, ...) is an attribute here too.

    Attributes
    ----------
    plan : Plan
        What the planner decided.
    prefix : tuple of bytes
        One chained hash for each full block of the prompt, as vLLM computes it.
    cached_tokens : int
        Leading tokens of the prompt whose blocks were in the pool when the plan was made.
    requested_tokens : int
        System prompt, tools and the whole history, before anything was left out.
    stages : tuple of (str, int)
        Name and duration in nanoseconds of what was done, in order.
    """

    engine: ContextEngine = field(repr=False)
    plan: Plan
    prefix: tuple[bytes, ...] = field(repr=False)
    cached_tokens: int
    requested_tokens: int
    stages: tuple[tuple[str, int], ...]

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "plan"), name)

    @property
    def predicted(self) -> Predicted:
        """Prompt tokens found in the pool, and those left to compute."""
        return budget.Predicted(self.cached_tokens, self.plan.used - self.cached_tokens)

    def cost(self, output_tokens: int = 0) -> Cost | None:
        """Price the request: cached tokens are read, other full blocks written; None unpriced."""
        if self.engine.prices is None:
            return None
        block_size = self.engine.manager.block_size
        stored = self.plan.used // block_size * block_size if self.prefix else 0
        return self.engine.prices.cost(
            self.plan.used,
            cached_tokens=self.cached_tokens,
            written_tokens=max(0, stored - self.cached_tokens),
            output_tokens=output_tokens,
        )

    def cost_without_cache(self, output_tokens: int = 0) -> Cost | None:
        """Price the request as if no cache existed; None without a price table."""
        if self.engine.prices is None:
            return None
        return self.engine.prices.cost(self.plan.used, output_tokens=output_tokens)


class Sequence(AbstractContextManager["Sequence"]):
    """A placed prompt: one row of the block table. Release it, or use it in a ``with`` statement.

    Attributes
    ----------
    row : int
        Row of ``manager.block_tables``.
    num_tokens : int
        Tokens that the row holds.
    cached_tokens : int
        Leading tokens whose KV was there already.
    blocks_hit, blocks_allocated, blocks_evicted : int
        Blocks found, blocks newly allocated, and idle blocks that had to go for them. The last is
        the change of the pool's counter: other threads' evictions in the same moment count too.
    place_ns : int
        Duration of the step in nanoseconds.
    """

    def __init__(
        self,
        manager: KVCacheManager,
        row: int,
        *,
        num_tokens: int,
        cached_tokens: int,
        blocks_evicted: int,
        place_ns: int,
    ) -> None:
        self._manager = manager
        self._computed = cached_tokens
        self._released = False
        self.row = row
        self.num_tokens = num_tokens
        self.cached_tokens = cached_tokens
        self.blocks_hit = cached_tokens // manager.block_size
        self.blocks_allocated = -(-num_tokens // manager.block_size) - self.blocks_hit
        self.blocks_evicted = blocks_evicted
        self.place_ns = place_ns

    @property
    def block_table(self) -> npt.NDArray[np.int32]:
        """Block ids of the row, int32[blocks]; a copy."""
        columns = -(-self.num_tokens // self._manager.block_size)
        table: npt.NDArray[np.int32] = self._manager.block_tables[self.row, :columns].copy()
        return table

    def compute(self) -> npt.NDArray[np.int64]:
        """Mark the prompt as computed: what a server says after its forward pass.

        From then on the full blocks can be found by other requests.

        Returns
        -------
        int64[num_tokens - cached_tokens]
            The slots into which the pass writes keys and values.
        """
        slots = self._advance(self.num_tokens - self._computed, ())
        assert slots is not None  # acquire() allocated all of the prompt's blocks
        return slots

    def extend(self, token_ids: Seq[int]) -> bool:
        """Append generated tokens; False, and nothing changed, when no block is free for them."""
        if self._computed < self.num_tokens:
            raise ArgumentError("compute() the prompt before it is extended")
        if len(token_ids) and self._advance(len(token_ids), token_ids) is None:
            return False
        self.num_tokens += len(token_ids)
        return True

    def _advance(self, count: int, token_ids: Seq[int]) -> npt.NDArray[np.int64] | None:
        step = self._manager.reserve([self.row], [count])
        if step.oom_row is not None:
            return None
        self._manager.settle([self.row], [count], token_ids)
        self._computed += count
        return step.slots

    def release(self) -> None:
        """Let the row go; its published blocks stay in the pool until they are evicted."""
        if not self._released:
            self._released = True
            self._manager.free([self.row])

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


@dataclass(frozen=True, slots=True)
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
    def decode(cls, data: bytes, *, encoding: Encoding | None = None) -> Envelope:
        """Read an envelope.

        Parameters
        ----------
        data : bytes
            The whole envelope.
        encoding : Encoding, optional
            The encoding that the ids must belong to.

        Raises
        ------
        LoadError
            Not an envelope, another version, damaged, inconsistent, or of another encoding.

        Notes
        -----
        O(size); nothing is allocated on the word of a length field before it is checked.
        """
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


_MAGIC = b"CTXE"
_VERSION = 1
_HEADER = struct.Struct("<4sHHIII16sB")
_SECTION = struct.Struct("<IB")
_MAX_NAME_BYTES = 255
_DIGEST_BYTES = 32


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


class _Clock:
    """Collects the durations of stages."""

    def __init__(self) -> None:
        self._stages: list[tuple[str, int]] = []

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        begin = perf_counter_ns()
        yield
        self._stages.append((name, perf_counter_ns() - begin))

    @property
    def stages(self) -> tuple[tuple[str, int], ...]:
        return tuple(self._stages)
