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
import operator
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Sequence as Seq
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from threading import Lock
from time import perf_counter_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn

from ctxengine import budget, chat
from ctxengine.errors import ArgumentError, LoadError
from ctxengine.kv import KVCacheManager
from ctxengine.prefix import BlockHasher
from ctxengine.tokenize import get_encoding

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ctxengine.budget import (
        Budget,
        Dropped,
        Duplicate,
        Item,
        Plan,
        Predicted,
        Section,
        SectionUse,
    )
    from ctxengine.chat import Template
    from ctxengine.pricing import Cost, PriceTable
    from ctxengine.tokenize import Encoding

__all__ = ["ContextEngine", "EnginePlan", "Envelope", "Sequence"]

HASH_SCHEME: Final = "vllm_sha256_cbor"

_MAX_ROWS = 256
_MAX_TABLE_CELLS = 1 << 24  # of 4 bytes; a wider table gets fewer rows
_MAX_DEFAULT_BLOCKS = 1 << 20
_MAX_TOKEN_ID = 2**31 - 1
_MESSAGE_PATH = re.compile(r"messages\[(\d+)\]")


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
        Blocks of the pool; by default as many as one full window needs, and a window that needs
        more than 2**20 wants the number given.
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
    Any number of threads may call; the pool is the only state, and it locks itself. The pool has
    256 rows; less when its table would take more than 64 MiB.
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
            if num_blocks > _MAX_DEFAULT_BLOCKS:
                raise ArgumentError(
                    f"window: {self.budget.window:,} tokens need {num_blocks:,} blocks of "
                    f"{block_size}; give num_blocks for a pool larger than {_MAX_DEFAULT_BLOCKS:,}"
                )
        longest = max(1, min(self.budget.window, num_blocks * block_size))
        self.manager = KVCacheManager(
            num_blocks,
            block_size,
            max_rows=max(1, min(_MAX_ROWS, _MAX_TABLE_CELLS // -(-longest // block_size))),
            max_row_tokens=longest,
        )
        self.block_tables = self.manager.block_tables  # imports numpy here, not in a timed stage

    def __repr__(self) -> str:
        return (
            f"ContextEngine({self.encoding.name!r}, window={self.budget.window:,}, "
            f"template={self.template.name!r}, {self.manager.num_blocks:,} blocks of "
            f"{self.manager.block_size})"
        )

    def plan(
        self,
        *,
        system: str | Any | None = None,
        tools: Iterable[Mapping[str, Any]] | None = None,
        retrieval: Iterable[Item | str | tuple[str, float]] = (),
        history: Iterable[Any] = (),
        sections: Seq[Section] | None = None,
        history_cap: int | None = None,
        cut: Literal["grid", "tight"] = "grid",
        grid: float = 0.25,
    ) -> EnginePlan:
        """Decide what goes into the window, tokenize and hash it, and look it up in the pool.

        Parameters are those of :func:`ctxengine.budget.plan`, and so are the errors. Nothing is
        allocated or pinned.

        Returns
        -------
        EnginePlan
            The plan, its block hashes, and the tokens that the pool holds already.
        """
        head, history = _messages(system, "system"), _messages(history, "history")
        tools = _tools(tools)
        clock = _Clock()
        with clock("count"):
            # Warms the count table, so that the next stage is the choice alone.
            try:
                requested = chat.count_messages(
                    [*head, *history], self.encoding, template=self.template, tools=tools
                )
            except ArgumentError as error:
                raise ArgumentError(_as_given(str(error), len(head))) from None
        with clock("plan"):
            decided = budget.plan(
                self.budget,
                self.encoding,
                system=head,
                tools=tools,
                retrieval=retrieval,
                history=history,
                sections=sections,
                template=self.template,
                history_cap=history_cap,
                cut=cut,
                grid=grid,
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
            The template is a count rule and has no token ids to place, or the plan is another
            engine's.
        """
        self._check_owner(planned)
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
        """Pack token ids, block hashes and section sizes for the next hop (docs/request.md).

        Raises
        ------
        ArgumentError
            The template is a count rule and has no token ids, or the plan is another engine's.
        """
        self._check_owner(planned)
        return Envelope(
            fingerprint=self.encoding.fingerprint,
            block_size=self.manager.block_size,
            scheme=HASH_SCHEME,
            sections=tuple((use.name, use.tokens) for use in planned.sections),
            token_ids=tuple(planned.token_ids.tolist()),
            block_hashes=planned.prefix,
        ).encode()

    def _check_owner(self, planned: EnginePlan) -> None:
        if planned.engine is not self:
            raise ArgumentError(
                "planned: made by another engine; plan the request with this one, whose encoding, "
                "blocks and prices it then has"
            )


def _messages(given: Any, name: str) -> list[Any]:
    """Return the messages as a list, so that an iterator serves every stage."""
    if given is None:
        return []
    if isinstance(given, str) and name == "system":
        return [{"role": "system", "content": given}]
    if isinstance(given, (str, bytes, bytearray)):
        raise ArgumentError(f"{name}: must be a list of messages, not {type(given).__name__}")
    if isinstance(given, Mapping) or not isinstance(given, Iterable):
        return [given]
    return list(given)


def _tools(given: Any) -> list[Mapping[str, Any]] | None:
    if given is None:
        return None
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
        raise ArgumentError(f"tools: must be a list of mappings, not {type(given).__name__}")
    return list(given)


def _as_given(complaint: str, num_system: int) -> str:
    """Name a message by its place in what the caller gave."""

    def place(match: re.Match[str]) -> str:
        index = int(match[1])
        return f"system[{index}]" if index < num_system else f"history[{index - num_system}]"

    return _MESSAGE_PATH.sub(place, complaint, count=1)


@dataclass(frozen=True, slots=True, repr=False)
class EnginePlan:
    """A :class:`~ctxengine.budget.Plan` and what the engine knows about it.

    What the plan says (``messages``, ``token_ids``, ``sections``, ``used``, ...) can be read here
    too. Two are equal when one engine made them of equal requests and found as much cached.

    Attributes
    ----------
    engine : ContextEngine
        Whose plan it is: the only one that places it.
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

    engine: ContextEngine
    plan: Plan
    prefix: tuple[bytes, ...]
    cached_tokens: int
    requested_tokens: int
    stages: tuple[tuple[str, int], ...] = field(compare=False)

    @property
    def messages(self) -> tuple[Any, ...]:
        """The messages to send."""
        return self.plan.messages

    @property
    def tools(self) -> tuple[Any, ...]:
        """The tools to send."""
        return self.plan.tools

    @property
    def token_ids(self) -> npt.NDArray[np.uint32]:
        """Token ids of the prompt, uint32[used]; ArgumentError for the template ``openai``."""
        return self.plan.token_ids

    @property
    def sections(self) -> tuple[SectionUse, ...]:
        """Tokens per section, in prompt order."""
        return self.plan.sections

    @property
    def used(self) -> int:
        """Tokens of the prompt."""
        return self.plan.used

    @property
    def left(self) -> int:
        """Tokens that neither the prompt nor the reserved output takes."""
        return self.plan.left

    @property
    def dropped(self) -> tuple[Dropped, ...]:
        """What was left out, with the reason."""
        return self.plan.dropped

    @property
    def duplicates(self) -> tuple[Duplicate, ...]:
        """Texts that the plan holds more than once."""
        return self.plan.duplicates

    @property
    def summarize_span(self) -> tuple[int, int] | None:
        """Half-open index range of the history that was cut."""
        return self.plan.summarize_span

    @property
    def exact(self) -> bool:
        """False only for a template that was told to estimate."""
        return self.plan.exact

    def __repr__(self) -> str:
        return (
            f"EnginePlan({self.used:,} tokens of {self.plan.budget.window:,}, "
            f"{self.cached_tokens:,} cached, {len(self.messages)} messages, "
            f"{len(self.dropped)} dropped)"
        )

    def _repr_html_(self) -> str:
        return self.plan._repr_html_()

    def __rich__(self) -> Any:
        return self.plan.__rich__()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "an EnginePlan belongs to its engine's pool and cannot be pickled; pickle its .plan, "
            "or send engine.envelope(planned)"
        )

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
        self._lock = Lock()
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
        with self._lock:
            self._check_held()
            columns = -(-self.num_tokens // self._manager.block_size)
            table: npt.NDArray[np.int32] = self._manager.block_tables[self.row, :columns].copy()
            return table

    def __repr__(self) -> str:
        state = "released" if self._released else f"row {self.row}"
        return f"Sequence({state}, {self.num_tokens:,} tokens, {self.cached_tokens:,} cached)"

    def compute(self) -> npt.NDArray[np.int64]:
        """Mark the prompt as computed: what a server says after its forward pass.

        From then on the full blocks can be found by other requests.

        Returns
        -------
        int64[num_tokens - cached_tokens]
            The slots into which the pass writes keys and values.

        Raises
        ------
        ArgumentError
            The prompt is computed already, or the sequence is released.
        """
        with self._lock:
            self._check_held()
            if self._computed == self.num_tokens:
                raise ArgumentError("the prompt is computed already; extend() appends to it")
            slots = self._advance(self.num_tokens - self._computed, ())
            assert slots is not None  # acquire() allocated all of the prompt's blocks
            return slots

    def extend(self, token_ids: Iterable[int]) -> bool:
        """Append generated tokens; False, and nothing changed, when no block is free for them.

        Raises
        ------
        ArgumentError
            An id is not one, the prompt is not computed, or the sequence is released.
        CapacityError
            The row would become longer than the pool's block table is wide.
        """
        ids = [_token_id(value, i) for i, value in enumerate(token_ids)]
        with self._lock:
            self._check_held()
            if self._computed < self.num_tokens:
                raise ArgumentError("compute() the prompt before it is extended")
            if ids and self._advance(len(ids), ids) is None:
                return False
            self.num_tokens += len(ids)
            return True

    def _advance(self, count: int, token_ids: Seq[int]) -> npt.NDArray[np.int64] | None:
        step = self._manager.reserve([self.row], [count])
        if step.oom_row is not None:
            return None
        try:
            self._manager.settle([self.row], [count], token_ids)
        except BaseException:
            self._manager.settle([self.row], [0])  # leaves no reservation open
            raise
        self._computed += count
        return step.slots

    def release(self) -> None:
        """Let the row go; its published blocks stay in the pool until they are evicted.

        Raises
        ------
        ArgumentError
            The sequence is released already: its row may be another request's by now.
        """
        with self._lock:
            self._check_held()
            self._released = True
            self._manager.free([self.row])

    def _check_held(self) -> None:
        if self._released:
            raise ArgumentError("the sequence is released")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._released:
            self.release()


def _token_id(value: Any, index: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise ArgumentError(
            f"token_ids[{index}]: must be an integer, not {type(value).__name__}"
        ) from None
    if not 0 <= number <= _MAX_TOKEN_ID:
        raise ArgumentError(f"token_ids[{index}]: must lie between 0 and 2**31 - 1, not {number}")
    return number


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
