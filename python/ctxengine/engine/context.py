"""The engine: planning, looking up, placing; and the plan that it makes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Sequence as Seq
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn

from ctxengine import budget, chat
from ctxengine.engine.envelope import Envelope
from ctxengine.engine.sequence import Sequence
from ctxengine.errors import ArgumentError
from ctxengine.kv import KVCacheManager
from ctxengine.prefix import BlockHasher
from ctxengine.tokenize import get_encoding

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ctxengine.budget import (
        Budget,
        CachePlan,
        CacheRules,
        Compaction,
        CutChoice,
        Dropped,
        Duplicate,
        Item,
        Plan,
        Predicted,
        Section,
        SectionUse,
        Sent,
        Shortened,
    )
    from ctxengine.chat import Template
    from ctxengine.pricing import Cost, PriceTable
    from ctxengine.tokenize import Encoding

HASH_SCHEME: Final = "vllm_sha256_cbor"

_MAX_ROWS = 256
_MAX_TABLE_CELLS = 1 << 24  # of 4 bytes; a wider table gets fewer rows
_MAX_DEFAULT_BLOCKS = 1 << 20
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
    rules : CacheRules or str, optional
        How the provider that prompts are sent to caches, or the name of such rules or of a model.
        Without rules the pool is the cache.
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
        rules: CacheRules | str | None = None,
        prices: PriceTable | None = None,
    ) -> None:
        self.encoding = get_encoding(encoding) if isinstance(encoding, str) else encoding
        self.budget = window if isinstance(window, budget.Budget) else budget.Budget(window)
        if template is None:
            template = chat.Template.for_encoding(self.encoding)
        self.template = chat.Template(template) if isinstance(template, str) else template
        if isinstance(rules, str):
            rules = budget.CacheRules.by_name(rules)
        self.rules = rules
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
        cut: Literal["grid", "tight", "keep_last"] = "grid",
        grid: float = 0.25,
        keep_last: int | None = None,
        pinned: Iterable[int] = (),
        placement: Literal["turn", "history", "system"] = "turn",
        previous: Sent | Iterable[Sent] | None = None,
        summary_tokens: int | None = None,
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
                keep_last=keep_last,
                pinned=pinned,
                placement=placement,
                rules=self.rules,
                prices=self.prices,
                previous=previous,
                summary_tokens=summary_tokens,
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
    def shortened(self) -> tuple[Shortened, ...]:
        """Texts that went in cut."""
        return self.plan.shortened

    @property
    def cuts(self) -> tuple[CutChoice, ...]:
        """What each way of cutting the history would keep, and what the next calls then cost."""
        return self.plan.cuts

    @property
    def cache(self) -> CachePlan | None:
        """What to mark for the provider's cache; None for an engine without rules."""
        return self.plan.cache

    @property
    def compaction(self) -> Compaction | None:
        """When a summary of a part of the history pays."""
        return self.plan.compaction

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
        """Prompt tokens found cached, those left to compute, and the cost of the prompt.

        By the provider's rules, where the engine has some; else the engine is the provider, and its
        pool the cache, which takes nothing for storing.
        """
        if self.engine.rules is not None:
            return self.plan.predicted
        cost = None
        if self.engine.prices is not None:
            cost = self.engine.prices.cost(self.plan.used, cached_tokens=self.cached_tokens)
        return budget.Predicted(self.cached_tokens, self.plan.used - self.cached_tokens, cost)

    @property
    def cost(self) -> Cost | None:
        """Predicted cost of the prompt; None without prices."""
        return self.predicted.cost

    @property
    def cost_without_cache(self) -> Cost | None:
        """What the prompt would cost if no cache existed; None without prices."""
        return None if self.engine.prices is None else self.engine.prices.cost(self.plan.used)


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
