"""What a provider's cache will make of a plan: this call, the next ones, and a compaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from ctxengine import _core
from ctxengine.budget.break_even import break_even
from ctxengine.budget.cache_plan import (
    DEFAULT_NEXT_CALLS,
    CachePlan,
    NextCall,
    Sent,
    stepped,
    unit_prices,
)
from ctxengine.budget.cache_rules import CacheRules
from ctxengine.budget.history import HistoryRule, Lengths, native_history
from ctxengine.budget.prompt import Draft, Prompt
from ctxengine.budget.request import INT64_MAX
from ctxengine.budget.result import Compaction, CutChoice, Forecast, Predicted
from ctxengine.pricing import Cost, PriceTable

# So many calls are looked at: enough for the grid to move once, within these bounds.
_MIN_CALLS = 10
_MAX_CALLS = 40


class Provider(NamedTuple):
    """By whose rules and prices a plan is judged."""

    rules: CacheRules
    prices: PriceTable | None


def plan_cache(
    provider: Provider,
    request: Mapping[str, Any],
    tokens: Mapping[str, Any],
    *,
    stable: str,
    previous: Sent | Iterable[Sent] | None,
) -> CachePlan:
    """Return the cache plan of a prompt; `stable` is what the next call is expected to share."""
    # No call shares more than what stands before the texts, which change.
    ends = ("all", "history", "head", "tools")
    shared = dict.fromkeys(ends, 0.0)
    for case in DEFAULT_NEXT_CALLS:
        shared[max(str(case.shares), stable, key=ends.index)] += case.probability
    # Where texts change, nothing that an unknown call before has stored reaches beyond them.
    known = previous is not None or stable == "all"
    plan = CachePlan.for_request(
        request,
        provider.rules,
        tokens=tokens,
        previous=previous if known else (),
        prices=provider.prices,
        next_calls=[NextCall(end, p) for end, p in shared.items() if p],
    )
    return plan if known else replace(plan, exact=False)


def predict(
    provider: Provider | None,
    prices: PriceTable | None,
    cache: CachePlan | None,
    cached_tokens: int | None,
    used: int,
) -> Predicted:
    """Return what this call finds in a cache, and its cost."""
    if cache is None or provider is None:
        cached = min(cached_tokens or 0, used)
        cost = None if prices is None else prices.cost(used, cached_tokens=cached)
        return Predicted(cached, used - cached, cost)
    if cached_tokens is None:
        return Predicted(cache.predicted_read, used - cache.predicted_read, cache.cost)
    cached = min(cached_tokens, used)
    stored = cache.predicted_read + cache.predicted_write
    return Predicted(cached, used - cached, _cost(provider, used, cached, stored))


def forecast_cuts(
    provider: Provider,
    prompt: Prompt,
    rule: HistoryRule,
    choices: Sequence[CutChoice],
    *,
    fixed: Draft,
    limit: int,
    text_tokens: int,
    most_shared: int,
) -> tuple[CutChoice, ...]:
    """Return the choices with what the next calls will read and cost under each.

    Every next call has one turn more, as large as those so far are on average, and texts like those
    of this call. No call shares more than `most_shared` tokens with the next one: what stands
    before texts in the head.
    """
    now = Lengths.of(prompt)
    question = sum(now.measure[now.turns[-1] :]) if now.turns else 0
    closed = len(now.turns) - 1
    growth = max(1, (sum(now.measure) - question) // closed if closed > 0 else question)
    rows = dict(fixed.rows)
    head = rows["template"] + rows["system"] + rows["tools"]
    # The last user's message is sent again as it was, but for texts in it.
    always_shared = head + rows["history"] + (0 if text_tokens else rows["turn"])
    room = limit - fixed.used
    calls = min(_MAX_CALLS, max(_MIN_CALLS, 1 + rule.step // growth))
    made = []
    for choice in choices:
        start, stable = choice.start, min(most_shared, always_shared + choice.kept_tokens)
        shared_before = min(head, stable)
        tokens = cached = 0
        cost = Cost(provider.prices.currency) if provider.prices else None
        for number in range(1, calls + 1):
            grown = _grown(prompt, now, growth, min(question, growth), number)
            history = native_history(grown, rule, choice.cut)
            place, kept, _ = _core.cut_history(history, room)
            used = fixed.used + kept + min(text_tokens, room - kept)
            next_start = place if place >= len(now.measure) else prompt.start_of(place)
            shared = stable if next_start == start else min(head, stable)
            readable = shared
            if provider.rules.kind == "units" and text_tokens:
                readable = min(shared, shared_before)  # what the two calls before have in common
            start, shared_before = next_start, shared
            stable = min(most_shared, always_shared + kept)
            read = stepped(readable, provider.rules)
            tokens += used
            cached += read
            spent = _cost(provider, used, read, stepped(stable, provider.rules))
            if cost is not None and spent is not None:
                cost += spent
        made.append(choice._replace(forecast=Forecast(calls, tokens, cached, cost)))
    return tuple(made)


def _grown(prompt: Prompt, now: Lengths, growth: int, question: int, number: int) -> Lengths:
    """Return the history with so many turns more, of which the newest is a question only."""
    groups = prompt.groups
    # What stays now as the newest turn may go then.
    tokens = [
        0 if group in prompt.pinned else count
        for group, count in enumerate(groups.sums(prompt.message_tokens))
    ]
    carried = [
        tokens[groups.heads[group]] if 0 <= groups.heads[group] < group else 0
        for group in groups.places
    ]

    def grown(lengths: Sequence[int], newest: int) -> list[int]:
        answered = [*lengths, *[growth] * (number - 1), newest]
        if lengths:
            answered[len(lengths) - 1] += growth - question
        return answered

    return Lengths(
        grown(now.measure, question),
        grown(groups.between_places(tokens), 0),
        [*carried, *[0] * number],
        [*now.turns, *range(len(now.measure), len(now.measure) + number)],
    )


def compact(
    provider: Provider,
    prompt: Prompt,
    rule: HistoryRule,
    *,
    draft: Draft,
    place: int,
    summary_tokens: int,
) -> Compaction | None:
    """Return what a summary of the span that was cut costs, or of what the grid would cut next.

    None where there is nothing that it could replace.
    """
    end = place
    if place == 0:
        most = max(0, sum(prompt.measure) - 1)
        history = native_history(Lengths.of(prompt), rule._replace(cap=most), "grid")
        end = _core.cut_history(history, INT64_MAX)[0]
    start, kept = prompt.start_of(end), set(prompt.kept(end))
    gone = [i for i in range(prompt.lead, start) if i not in kept]
    span = sum(prompt.message_tokens[i] for i in gone)
    if not span:
        return None
    rows = dict(draft.rows)
    head = rows["template"] + rows["system"] + rows["tools"]
    behind = draft.used - head - (0 if place else span)
    result = break_even(
        head, span, max(0, behind), summary_tokens, provider.rules, prices=provider.prices
    )
    return Compaction((prompt.lead, start), span, summary_tokens, place > 0, result)


def _cost(provider: Provider, used: int, read: int, stored: int) -> Cost | None:
    """Return the price of a prompt of which so much is read, and so much is stored then."""
    if provider.prices is None:
        return None
    unit = unit_prices(provider.rules, provider.prices, used)
    written = max(0, stored - read)
    return Cost(
        unit.currency,
        (used - read - written) * unit.input,
        read * unit.read,
        written * unit.writes[provider.rules.lifetimes[0][0]],
    )
