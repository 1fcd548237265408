"""What it costs to replace a part of a cached prompt with a summary, and when that pays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ctxengine.budget.cache_plan import _rules_from, _whole, unit_prices
from ctxengine.budget.cache_rules import CacheRules
from ctxengine.errors import ArgumentError

if TYPE_CHECKING:
    from ctxengine.pricing import PriceTable


@dataclass(frozen=True, slots=True)
class BreakEven:
    """Two ways for a conversation: as it is, or with a span replaced by a summary.

    Amounts are pico-units of `currency`, or, where no prices were given, thousandths of the price
    of an input token.

    Attributes
    ----------
    currency : str
        Empty without prices.
    kept : int
        Cost of the next call's prompt as it is.
    compacted : int
        Cost of the next call's prompt with the summary, and of making the summary.
    rewritten_tokens : int
        Tokens that were cached and have to be written again.
    loss : int
        What the next call costs more; negative: it is cheaper at once.
    saving_per_call : int
        What every call after it costs less.
    calls : int or None
        How many calls, the next one included, until compacting is cheaper; None: never.
    """

    currency: str
    kept: int
    compacted: int
    rewritten_tokens: int
    loss: int
    saving_per_call: int
    calls: int | None


def break_even(
    before: int,
    span: int,
    after: int,
    summary: int,
    rules: CacheRules | str,
    *,
    prices: PriceTable | None = None,
    cached: int | None = None,
    readable_before: int | None = None,
    summary_cost: int = 0,
) -> BreakEven:
    """Compare keeping a span of a prompt with replacing it by a summary.

    Parameters
    ----------
    before, span, after : int
        Tokens of the prompt before the span, of the span, and behind it.
    summary : int
        Tokens of the summary.
    rules : CacheRules or str
        Rules, or the name of rules or of a model.
    prices : PriceTable, optional
        Prices of the model.
    cached : int, optional
        Tokens that the provider has stored of the prompt as it is; all by default, 0 when what was
        stored has expired.
    readable_before : int, optional
        Tokens that can be read of what is before the span; what is stored of it by default. Give
        the last breakpoint within it where the provider reads up to breakpoints only.
    summary_cost : int
        Cost of the call that makes the summary, in the unit of the result.

    Returns
    -------
    BreakEven

    Raises
    ------
    ArgumentError
        A number is negative, or more is cached than there is.

    Examples
    --------
    100,000 tokens, of which 60,000 become 2,000; 8,000 before them stay readable:

    >>> result = break_even(8_000, 60_000, 32_000, 2_000, "anthropic")
    >>> result.rewritten_tokens, result.calls
    (32000, 7)
    """
    rules = _rules_from(rules)
    numbers = {"before": before, "span": span, "after": after, "summary": summary}
    for name, value in (numbers | {"summary_cost": summary_cost}).items():
        _whole(name, value)
    total, shorter = before + span + after, before + summary + after
    cached = total if cached is None else _whole("cached", cached)
    if cached > total:
        raise ArgumentError(f"cached: {cached} of {total} tokens")
    readable = min(cached, before)
    if readable_before is not None:
        readable = min(readable, _whole("readable_before", readable_before))

    def cost(tokens: int, read: int) -> int:
        unit = unit_prices(rules, prices, tokens)
        stored = tokens >= rules.min_tokens
        write = unit.writes[rules.lifetimes[0][0]] if stored else unit.input
        read = read if read >= rules.min_tokens else 0
        return read * unit.read + (tokens - read) * write

    kept = cost(total, cached)
    compacted = cost(shorter, readable) + summary_cost
    loss = compacted - kept
    saving = cost(total, total) - cost(shorter, shorter)
    calls: int | None = 1
    if loss >= 0:
        calls = loss // saving + 2 if saving > 0 else None
    elif saving < 0:
        calls = None  # cheaper once, dearer from then on
    return BreakEven(
        unit_prices(rules, prices, total).currency,
        kept,
        compacted,
        max(0, min(cached, total) - readable - min(max(cached - before, 0), span)),
        loss,
        saving,
        calls,
    )


@dataclass(frozen=True, slots=True)
class StoredContent:
    """What a stored prefix costs that is paid by the hour, beside sending it each time.

    Amounts are in the unit of :class:`BreakEven`.

    Attributes
    ----------
    currency : str
        Empty without prices.
    sent : int
        Cost of sending the prefix in every call.
    stored : int
        Cost of storing it once, keeping it, and reading it in every call.
    calls : int or None
        From how many calls in this time on storing is cheaper; None: never.
    """

    currency: str
    sent: int
    stored: int
    calls: int | None


def stored_content(
    tokens: int,
    calls: int,
    seconds: int,
    rules: CacheRules | str,
    *,
    storage_price: int,
    prices: PriceTable | None = None,
) -> StoredContent:
    """Compare a cached content that is paid by the hour (Gemini's) with sending it each time.

    Parameters
    ----------
    tokens : int
        Tokens of the prefix.
    calls : int
        How many calls use it while it is kept.
    seconds : int
        How long it is kept.
    rules : CacheRules or str
        Rules, or the name of rules or of a model.
    storage_price : int
        Price of a token for an hour, in the unit of the result: 1,000,000 pico-units are
        "1.00 per million tokens and hour".
    prices : PriceTable, optional
        Prices of the model.

    Raises
    ------
    ArgumentError
        A number is negative, or the prefix is shorter than what can be stored.

    Examples
    --------
    >>> stored_content(50_000, 10, 3600, "gemini-2.5-pro", storage_price=3_600).calls
    6
    """
    rules = _rules_from(rules)
    numbers = {"tokens": tokens, "calls": calls, "seconds": seconds}
    for name, value in (numbers | {"storage_price": storage_price}).items():
        _whole(name, value)
    if tokens < rules.min_tokens:
        raise ArgumentError(f"tokens: {tokens}, at least {rules.min_tokens} can be stored")
    unit = unit_prices(rules, prices, tokens)
    fixed = tokens * unit.input + -(-tokens * storage_price * seconds // 3600)
    saving = tokens * (unit.input - unit.read)
    return StoredContent(
        unit.currency,
        calls * tokens * unit.input,
        fixed + calls * tokens * unit.read,
        fixed // saving + 1 if saving > 0 else None,
    )
