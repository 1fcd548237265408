"""What a plan says: messages, sections, what was dropped, and its pictures."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ctxengine.budget.request import Budget
from ctxengine.chat.convert import chat_message, convert_messages

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ctxengine import _core
    from ctxengine.budget.break_even import BreakEven
    from ctxengine.budget.cache_plan import CachePlan
    from ctxengine.chat import Template
    from ctxengine.chat.convert import Converted
    from ctxengine.pricing import Cost
    from ctxengine.tokenize import Encoding

_BAR_WIDTH = 40


def share(tokens: int, window: int) -> float:
    """Return tokens as a fraction of the window; 0 for a window of 0."""
    return tokens / window if window else 0.0


def request_of(messages: Sequence[Any], tools: Sequence[Any]) -> dict[str, Any]:
    """Return messages and tools as the body of a chat completions request has them."""
    shown = [
        message if isinstance(message, Mapping) else chat_message(convert_messages([message])[0])
        for message in messages
    ]
    return {"messages": shown} | ({"tools": list(tools)} if tools else {})


def counts_of(message_tokens: Sequence[int], tools_tokens: int, used: int) -> dict[str, Any]:
    """Return tokens as :meth:`CachePlan.for_request` takes them."""
    counts: dict[str, Any] = {"messages": list(message_tokens)}
    if tools_tokens:
        counts["tools"] = tools_tokens
    return counts | {"template": used - sum(message_tokens) - tools_tokens}


class SectionUse(NamedTuple):
    """What one section of a plan takes.

    Attributes
    ----------
    name : str
    tokens : int
    share : float
        Of the window.
    slack : int or None
        What the section's own bound leaves: of an item section's `max_tokens`, of the history's
        cap, which counts the newest messages too. None without a bound.
    """

    name: str
    tokens: int
    share: float
    slack: int | None = None


@dataclass(frozen=True, slots=True)
class Dropped:
    """Something that was left out: `item` is the caller's own object, at `index` of `section`."""

    section: str
    index: int
    item: Any = field(repr=False, hash=False)
    tokens: int
    reason: str


@dataclass(frozen=True, slots=True)
class Shortened:
    """A text that went in cut: `tokens` of it stand in the prompt, `whole_tokens` were offered."""

    section: str
    index: int
    item: Any = field(repr=False, hash=False)
    tokens: int
    whole_tokens: int


class Forecast(NamedTuple):
    """What the next calls of the conversation will take, by a provider's rules.

    Each is expected to have one turn more, as large as those so far are on average, and texts like
    those of this call.

    Attributes
    ----------
    calls : int
        How many calls are looked at.
    tokens : int
        Tokens of their prompts.
    cached_tokens : int
        Those of them that will be read from the provider's cache.
    cost : Cost or None
        Of their prompts; None without prices.
    """

    calls: int
    tokens: int
    cached_tokens: int
    cost: Cost | None


class CutChoice(NamedTuple):
    """What one way of cutting the history would have kept, beside what is kept in any case.

    Attributes
    ----------
    cut : str
        ``"grid"``, ``"tight"`` or ``"keep_last"``.
    start : int
        Index in `history` where the kept part would begin.
    kept_tokens : int
        Tokens of the history that would stay, as far as it is optional.
    slack : int
        Tokens of the limit that would be left for texts, or free.
    pressed : bool
        Whether a stable cut would have to stand later than its own rule says, since what is kept in
        any case leaves less room than the cap. Only then does it depend on more than the
        conversation and the cap.
    chosen : bool
        Whether the plan was asked to cut so. A tight cut that shares with texts may keep less.
    forecast : Forecast or None
        The calls to come, if they are cut so; None when the plan was given no `rules`.
    """

    cut: Literal["grid", "tight", "keep_last"]
    start: int
    kept_tokens: int
    slack: int
    pressed: bool
    chosen: bool
    forecast: Forecast | None = None


class Duplicate(NamedTuple):
    """The same text at several `places` of the plan, such as ``"retrieval[3]"``."""

    places: tuple[str, ...]
    tokens: int


class Predicted(NamedTuple):
    """What this call finds in a prefix cache.

    Attributes
    ----------
    cached, uncached : int
        Prompt tokens that are there already, and those left to compute.
    cost : Cost or None
        Of the prompt, with what is written to the cache; None without prices.
    """

    cached: int
    uncached: int
    cost: Cost | None = None


@dataclass(frozen=True, slots=True)
class Compaction:
    """What it takes to have a summary stand for a span of the history.

    Attributes
    ----------
    span : tuple of int
        Half-open index range of `history`: `Plan.summarize_span`, or, while nothing is cut, what
        the grid would cut next.
    span_tokens, summary_tokens : int
        Tokens of the messages that would go, and of the summary.
    is_cut : bool
        Whether these messages are left out of this plan already.
    break_even : BreakEven
        Calls with the summary beside calls with the whole span.
    """

    span: tuple[int, int]
    span_tokens: int
    summary_tokens: int
    is_cut: bool
    break_even: BreakEven


def _with_cost(figures: Forecast | Predicted | None) -> dict[str, Any] | None:
    if figures is None:
        return None
    cost = figures.cost
    return figures._asdict() | {"cost": None if cost is None else cost.to_dict()}


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """What :func:`plan` decided. Immutable; the token ids are made when first asked for.

    The counts and the token ids are those of the messages and tools as they were when they were
    planned, whatever their owner does to them later. Two plans are equal when they decided the same
    about the same text.

    Attributes
    ----------
    messages : tuple
        The messages to send: the caller's own objects, but for the last user message when item
        texts were put into it (a copy then; the caller's object is not changed).
    tools : tuple
        The tools to send, the caller's own objects.
    budget : Budget
        The window that was planned for.
    sections : tuple of SectionUse
        Tokens per section, in the order template, system, tools, history, item sections, turn;
        they add up to `used`. The turn is the last user message and the newest group of messages;
        everything else of the conversation that is kept is history.
    limit : int
        Tokens that the prompt was planned for: the window without the reserved output, or the soft
        limit of the budget that it stays under.
    used, left : int
        Tokens of the whole rendered prompt, and tokens of the window that neither the prompt nor
        the reserved output takes.
    dropped : tuple of Dropped
        What was left out, with the reason.
    shortened : tuple of Shortened
        Texts that went in cut.
    cuts : tuple of CutChoice
        What each way of cutting the history would keep in this call.
    duplicates : tuple of Duplicate
        Texts of 16 tokens or more that the plan holds more than once.
    summarize_span : tuple of int, optional
        Half-open index range of `history` that was cut: what a summary would have to replace.
        Messages in it that are not among `dropped` are kept all the same: pinned ones, and the
        user's message of a turn that was cut inside.
    note : str, optional
        Said when history was cut although more of it would have had room, and when a stable cut was
        pressed further than its rule says; and why.
    message_tokens : tuple of int
        Tokens of each of `messages`, by the template.
    predicted : Predicted
        Tokens that this call finds cached, and its cost.
    cache : CachePlan or None
        Breakpoints and predicted use of the provider's cache, for a request that has `messages`
        and `tools`; None without `rules`.
    compaction : Compaction or None
        When a summary of a part of the history pays; None without `summary_tokens`, and where
        there is nothing to summarize.
    exact : bool
        False only for a template that was told to estimate.
    template, encoding
        What the prompt was rendered and counted with.
    """

    messages: tuple[Any, ...] = field(compare=False)
    tools: tuple[Any, ...] = field(compare=False)
    budget: Budget
    limit: int
    sections: tuple[SectionUse, ...]
    used: int
    left: int
    dropped: tuple[Dropped, ...]
    shortened: tuple[Shortened, ...]
    cuts: tuple[CutChoice, ...]
    duplicates: tuple[Duplicate, ...]
    summarize_span: tuple[int, int] | None
    note: str | None
    message_tokens: tuple[int, ...]
    predicted: Predicted
    cache: CachePlan | None = field(compare=False)
    compaction: Compaction | None
    exact: bool
    template: Template
    encoding: Encoding
    # The messages and the tools' JSON that were counted.
    _counted: tuple[list[Converted] | _core.ChosenMessages, list[str]]
    _ids: list[npt.NDArray[np.uint32]] = field(default_factory=list, compare=False)

    @property
    def token_ids(self) -> npt.NDArray[np.uint32]:
        """Token ids of the rendered prompt, uint32[used]; read-only, made on first use.

        Raises
        ------
        ArgumentError
            For the template ``openai``, whose rendering is not published.
        """
        if not self._ids:
            ids = self.template._native.encode(*self._counted, True, self.encoding._native)
            ids.flags.writeable = False
            self._ids.append(ids)
        return self._ids[0]

    @property
    def request(self) -> dict[str, Any]:
        """Messages and tools as the body of a chat completions request, for `cache.apply`, `lint`.

        Mappings are the caller's own objects; other messages are written as mappings.
        """
        return request_of(self.messages, self.tools)

    @property
    def counts(self) -> dict[str, Any]:
        """Tokens of the request, for `lint` and `CachePlan.for_request`."""
        tools = next(use.tokens for use in self.sections if use.name == "tools")
        return counts_of(self.message_tokens, tools, self.used)

    def __hash__(self) -> int:
        return hash((self.budget, self.sections, self.encoding.name))

    def to_dict(self) -> dict[str, Any]:
        """Return the plan's numbers as JSON-ready data, without messages and token ids."""
        return {
            "window": self.budget.window,
            "reserve_output": self.budget.reserve_output,
            "limit": self.limit,
            "encoding": self.encoding.name,
            "template": self.template.name,
            "exact": self.exact,
            "used": self.used,
            "left": self.left,
            "sections": [section._asdict() for section in self.sections],
            "dropped": [
                {"section": d.section, "index": d.index, "tokens": d.tokens, "reason": d.reason}
                for d in self.dropped
            ],
            "shortened": [
                {
                    "section": s.section,
                    "index": s.index,
                    "tokens": s.tokens,
                    "whole_tokens": s.whole_tokens,
                }
                for s in self.shortened
            ],
            "cuts": [
                choice._asdict() | {"forecast": _with_cost(choice.forecast)} for choice in self.cuts
            ],
            "duplicates": [
                {"places": list(duplicate.places), "tokens": duplicate.tokens}
                for duplicate in self.duplicates
            ],
            "summarize_span": None if self.summarize_span is None else list(self.summarize_span),
            "note": self.note,
            "predicted": _with_cost(self.predicted),
            "cache": None if self.cache is None else self.cache.to_dict(),
            "compaction": None if self.compaction is None else asdict(self.compaction),
        }

    def _rows(self) -> list[SectionUse]:
        window = self.budget.window
        reserved = self.budget.reserve_output
        return [
            *self.sections,
            SectionUse("(output)", reserved, share(reserved, window)),
            SectionUse("(left)", self.left, share(self.left, window)),
        ]

    def _title(self) -> str:
        kind = "tokens" if self.exact else "tokens (estimated)"
        num_messages = sum(d.section == "history" for d in self.dropped)
        num_texts = len(self.dropped) - num_messages
        left_out = [
            f"{n} {noun}{'s' * (n != 1)}"
            for n, noun in ((num_messages, "message"), (num_texts, "chunk"))
            if n
        ]
        return (
            f"Plan: {self.used:,} of {self.budget.window:,} {kind}, "
            f"{len(self.messages)} messages; left out: {' and '.join(left_out) or 'nothing'}"
        )

    def __repr__(self) -> str:
        rows = self._rows()
        name_width = max(len(row.name) for row in rows)
        number_width = max(len(f"{row.tokens:,}") for row in rows)
        lines = [self._title()]
        for row in rows:
            bar = "█" * round(row.share * _BAR_WIDTH)
            lines.append(
                f"  {row.name:<{name_width}}  {row.tokens:>{number_width},}  "
                f"{row.share:>6.1%}  {bar}".rstrip()
            )
        if self.note is not None:
            lines.append(f"  Note: {self.note}")
        return "\n".join(lines)

    def __rich__(self) -> Any:
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        table = Table(
            title=self._title(), title_justify="left", caption=self.note, caption_justify="left"
        )
        table.add_column("section")
        table.add_column("tokens", justify="right")
        table.add_column("share", justify="right")
        table.add_column("", width=_BAR_WIDTH)
        for row in self._rows():
            table.add_row(
                row.name,
                f"{row.tokens:,}",
                f"{row.share:.1%}",
                ProgressBar(total=1.0, completed=row.share, width=_BAR_WIDTH),
            )
        return table

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(row.name)}</td><td style='text-align:right'>{row.tokens:,}</td>"
            f"<td style='text-align:right'>{row.share:.1%}</td><td><div style='background:#4878a8;"
            f"height:0.8em;width:{row.share * 20:.2f}em'></div></td></tr>"
            for row in self._rows()
        )
        note = "" if self.note is None else f"<p>{html.escape(self.note)}</p>"
        return (
            f"<table><caption>{html.escape(self._title())}</caption><tr><th>section</th>"
            f"<th>tokens</th><th>share</th><th></th></tr>{rows}</table>{note}"
        )
