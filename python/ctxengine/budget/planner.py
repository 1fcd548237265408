"""The plan: what is kept in any case, what the native planner chooses, and the proof."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from ctxengine import _core
from ctxengine.budget.cache_plan import _rules_from
from ctxengine.budget.forecast import Provider, compact, forecast_cuts, plan_cache, predict
from ctxengine.budget.history import (
    HistoryRule,
    Lengths,
    cut_choices,
    history_rule,
    native_history,
    why_cut,
)
from ctxengine.budget.items import ItemSection, Texts, split_sections
from ctxengine.budget.placement import PROMPTS, Placement
from ctxengine.budget.prompt import Draft, Prompt
from ctxengine.budget.request import INT64_MAX, Budget, Item, Section, token_number
from ctxengine.budget.result import (
    Dropped,
    Duplicate,
    Plan,
    SectionUse,
    Shortened,
    counts_of,
    request_of,
    share,
)
from ctxengine.chat.convert import convert_tools
from ctxengine.chat.table import count_table
from ctxengine.chat.template import resolve
from ctxengine.errors import ArgumentError, BudgetExceeded

if TYPE_CHECKING:
    from ctxengine.budget.cache_plan import Sent
    from ctxengine.budget.cache_rules import CacheRules
    from ctxengine.chat import Template
    from ctxengine.pricing import PriceTable
    from ctxengine.tokenize import Encoding

_MIN_DUPLICATE_TOKENS = 16
_MIN_PART_TOKENS = 16  # less of a text is not worth its frame
# Tokens that merge across a border can make the whole larger than its parts; this often it is
# planned again with less room, then without anything optional.
_MAX_PROOFS = 8
# What the next call shares with this one, where texts stand that change.
_SHARED = {"turn": "history", "history": "head", "system": "tools"}


def _duplicates(
    prompt: Prompt, kept: Sequence[int], texts: Sequence[Texts]
) -> tuple[Duplicate, ...]:
    places = prompt.texts(kept, texts)
    repeated = [(text, where) for text, where in places.items() if len(where) > 1]
    tokens = _core.count_texts(
        [text for text, _ in repeated], prompt.encoding._native, count_table()
    )
    return tuple(
        Duplicate(tuple(where), n)
        for (_, where), n in zip(repeated, tokens, strict=True)
        if n >= _MIN_DUPLICATE_TOKENS
    )


def _as_list(messages: Any, name: str) -> list[Any]:
    if messages is None:
        return []
    if isinstance(messages, str) and name == "system":
        return [{"role": "system", "content": messages}]
    if isinstance(messages, Mapping) or not isinstance(messages, Iterable):
        # One message, as a mapping or as an object.
        return [messages]
    if isinstance(messages, (str, bytes, bytearray)):
        raise ArgumentError(f"{name}: must be a list of messages, not {type(messages).__name__}")
    return list(messages)


def _choose(
    prompt: Prompt, rule: HistoryRule, limit: int, fixed: Draft, pins: list[Texts]
) -> tuple[int, int, list[Texts], Draft]:
    """Return the place of the cut, the room for texts beside it, the texts, and the proof."""
    history = native_history(Lengths.of(prompt), rule, rule.cut)
    sections = prompt.item_sections
    for section in sections:
        section.count(prompt.encoding, trust=True)
    trusts = any(section.trusts for section in sections)
    room = limit - fixed.used
    for _ in range(_MAX_PROOFS):
        (place, kept_tokens, _), taken = _core.decide_plan(
            room, history, rule.bounds, [section.request() for section in sections]
        )
        texts = [s.kept(t) for s, t in zip(sections, taken, strict=True)]
        draft = prompt.draft(place, texts)
        over = draft.used - limit
        is_proved = over <= 0
        rows = dict(draft.rows)
        for section, chosen, pinned in zip(sections, texts, pins, strict=True):
            excess = rows[section.name] - section.bounds.max_tokens
            if excess > 0 and len(chosen) > len(pinned):
                section.lower(excess)
                is_proved = False
        if is_proved:
            return place, room - kept_tokens, texts, draft
        if trusts:
            # The texts' own numbers were not right.
            trusts = False
            for section in sections:
                section.count(prompt.encoding, trust=False)
        else:
            room = max(0, room - max(0, over))
    place, kept_tokens, _ = _core.cut_history(history, limit - fixed.used)
    draft = prompt.draft(place, pins)
    if draft.used <= limit:
        return place, limit - fixed.used - kept_tokens, pins, draft
    return prompt.last_place, 0, pins, fixed


def _shorten(
    prompt: Prompt, limit: int, place: int, texts: list[Texts], draft: Draft
) -> tuple[list[Texts], Draft, tuple[Shortened, ...]]:
    """Put the most useful text that was left out of each section into what is free, cut."""
    shortened = []
    sections = prompt.item_sections
    for k in sorted(range(len(sections)), key=lambda k: -sections[k].bounds.priority):
        section = sections[k]
        for i in section.divisible(texts[k])[:1]:
            row = dict(draft.rows)[section.name]
            free = min(limit - draft.used, section.bounds.max_tokens - row)
            tokens = free
            # The frame's tokens are only known from the count: a few rounds find the size.
            for _ in range(4):
                text = section.part(i, tokens, prompt.encoding) if tokens > 0 else ""
                if not text:
                    break
                changed = [*texts[:k], {**texts[k], i: text}, *texts[k + 1 :]]
                attempt = prompt.draft(place, changed)
                over = dict(attempt.rows)[section.name] - row - free
                over = max(over, attempt.used - limit)
                if over <= 0:
                    kept_tokens = prompt.encoding.count(text)
                    if text == section.items[i].content:  # it fits whole after all
                        texts, draft = changed, attempt
                    elif kept_tokens >= _MIN_PART_TOKENS:
                        texts, draft = changed, attempt
                        shortened.append(
                            Shortened(
                                section.name, i, section.sources[i], kept_tokens, section.costs[i]
                            )
                        )
                    break
                tokens -= over
    return texts, draft, tuple(shortened)


def plan(
    budget: Budget | int,
    encoding: Encoding | str,
    *,
    system: str | Any | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
    retrieval: Iterable[Item | str | tuple[str, float]] = (),
    history: Iterable[Any] = (),
    sections: Sequence[Section] | None = None,
    template: Template | str | None = None,
    history_cap: int | None = None,
    cut: Literal["grid", "tight", "keep_last"] = "grid",
    grid: float = 0.25,
    keep_last: int | None = None,
    pinned: Iterable[int] = (),
    placement: Placement = "turn",
    cached_tokens: int | None = None,
    rules: CacheRules | str | None = None,
    prices: PriceTable | None = None,
    previous: Sent | Iterable[Sent] | None = None,
    summary_tokens: int | None = None,
) -> Plan:
    """Choose what goes into the window; the module's own text says how.

    Parameters
    ----------
    budget : Budget or int
        The window; an int is a window without reserved output.
    encoding : Encoding or str
        The model's encoding, or the name of an encoding or of a model.
    system : str, message or list of message, optional
        Always kept, and stands first; so are the system messages that `history` begins with.
    tools : sequence of mapping, optional
        Tool definitions as in a request body; always kept.
    retrieval : iterable of Item, str or (str, float)
        Texts with their utilities, in the caller's order. Those kept stand in that order before the
        text of the last user message, numbered by their place in `retrieval`::

            <retrieval>
            [1] text of the first

            [3] text of the third
            </retrieval>

            the user's own text

        The texts go in as they are: one that spells ``</retrieval>`` or ``[4]`` looks to the model
        like the lines around it, though never like a control token. Escape texts of strangers
        before, where that matters.
    history : iterable of message
        The conversation, oldest first, ending with what is to be answered. It is cut between groups
        of messages: a user's message is one, and an assistant's message with the results of its
        calls and the reasoning before it is one. The newest group stays, and so does the user's
        message that began its turn; where an older turn is cut inside, its user's message stays
        too. So the rounds of a long tool loop can be cut like old turns. Every call must have its
        result, except in the newest group; a call or a result is never sent without the other.
        The history may also end with an assistant message or a tool result: the reply is then
        counted as the beginning of another assistant message.
    sections : sequence of Section, optional
        Bounds of ``"history"`` and ``"retrieval"``, and sections of the caller's own.
    template : Template or str, optional
        By default the template of the named model, else of the encoding's models.
    history_cap : int, optional
        Tokens that the conversation may take from its cut on, the newest group included; the same
        as `max_tokens` of the section ``"history"``. Pinned messages and the user's message of a
        turn that is cut inside come on top of it, and so does reasoning that the template shows in
        the open turn only. By default no cap, but for a grid cut three quarters of the window
        without the reserved output (of the first soft limit, if that is smaller), the `min_tokens`
        of the other sections left out of it; or the section's `min_tokens` if that is more.
    cut : {"grid", "tight", "keep_last"}
        ``"grid"`` cuts the history at the first multiple of ``grid * history_cap`` tokens from
        its beginning, moved up to the next group, that leaves no more than the cap. This place is a
        function of the conversation and the cap: the same in every process, whatever the tools, the
        texts, or the size of the last message in a call; appended messages never move it back, and
        a conversation of T tokens has moved it at most ``T / step`` times (once more for each
        group larger than the cap less a step). A prefix cache keeps what stands before it. Texts
        give way to it. Should what is kept in any case (system prompt, tools, pinned items and
        messages) not fit beside the cap, then this call's history is cut at the next multiples that
        fit; the plan says so in `note` and `cuts`, and later calls with more room cut as if it had
        not been. Whoever wants to rule that out leaves enough of the window out of the cap.

        ``"keep_last"`` keeps `keep_last` turns, or less when they do not fit the cap or the room.
        Texts give way to it.

        ``"tight"`` keeps as many groups as fit, shares the room with the texts by the sections'
        bounds, and moves with every call.
    grid : float
        Step of the grid as a fraction of the cap, above 0 and at most 1.
    keep_last : int, optional
        Turns to keep with ``cut="keep_last"``, the open one included.
    pinned : iterable of int
        Indices of messages of `history` that are kept in any case, with their group.
    placement : {"turn", "history", "system"}
        Where the texts of items stand. ``"turn"``: in the last user's message, before its own text.
        What changes with every call is then behind the history, and a prefix cache keeps all
        before it; every template takes it. ``"history"``: in a user's message of their own before
        the history. ``"system"``: at the end of the system prompt, or as one. Both of these end
        what one call shares with the next before the history.
    cached_tokens : int, optional
        Prompt tokens that a prefix cache is known to hold, for `Plan.predicted`.
    rules : CacheRules or str, optional
        How the provider caches, or the name of such rules or of a model: what `Plan.cache`,
        `Plan.predicted` and the `forecast` of each of `Plan.cuts` are derived from. None of the
        choices depends on them.
    prices : PriceTable, optional
        What tokens cost, for the costs of the plan.
    previous : Sent or iterable of Sent, optional
        ``cache.sent`` of earlier plans of the conversation; ``()`` for the first. With it the
        prediction is what the rules say, without it that nothing is read.
    summary_tokens : int, optional
        Size of a summary, for `Plan.compaction`; needs `rules`.

    Returns
    -------
    Plan
        Rendered and counted: ``plan.used <= budget.window - budget.reserve_output``.

    Raises
    ------
    BudgetExceeded
        When what must be kept is larger than the window without the reserved output; carries both
        numbers, and what is kept by part: template, system, tools, history (pinned messages),
        pinned items by their section, turn.
    UnknownTokenError
        For an encoding, model or template by a name that is not known.
    ArgumentError
        For a message that the template cannot show, a tool result without its call or a call
        without its result, numbers outside their domain, an item section that is to come before a
        stable cut, item texts without a user message to carry them, and a `placement` that the
        template refuses.

    Notes
    -----
    O(text) for what was not counted before, else O(messages + items log items). Nothing that the
    caller gave is changed. Sharing: demand-capped weighted water-filling, exact in integers.
    Texts: branch and bound from the greedy choice by utility per token, with a fixed number of
    nodes; the optimum unless that number is reached, and never below half of it.

    Why the grid's place stays: let T be the conversation's tokens, each message counted as all
    later prompts will show it, so that T only grows. A place is a group that is the first to begin
    at or after a multiple of the step; appended groups make no place before them and take none
    away. The cut is the first place p with T - p <= cap. When T grows, a place that did not fit
    does not fit either, so the first that fits is the same one or a later one. Each place has
    multiples of the step of its own, so that T / step bounds the moves. Less than a step lies
    between the last place and the newest group; only when that group is larger than the cap less a
    step, no place may fit: the cut then stands before it for one call. Nothing else enters.

    Examples
    --------
    >>> from ctxengine.tokenize import get_encoding
    >>> p = plan(
    ...     Budget(100, reserve_output=20),
    ...     get_encoding("qwen3"),
    ...     system="Be brief.",
    ...     retrieval=[("Paris is the capital of France.", 0.9), ("filler " * 90, 0.1)],
    ...     history=[{"role": "user", "content": "What is the capital of France?"}],
    ... )
    >>> p.used <= 80, [d.index for d in p.dropped]
    (True, [1])
    """
    budget = budget if isinstance(budget, Budget) else Budget(budget)
    window, reserve = budget.window, budget.reserve_output
    available = window - reserve
    if cached_tokens is not None:
        cached_tokens = token_number(cached_tokens, "cached_tokens")
        if previous is not None:
            raise ArgumentError("cached_tokens: what was sent (previous) tells it already")
    provider = None if rules is None else Provider(_rules_from(rules), prices)
    for name, value in (("previous", previous), ("summary_tokens", summary_tokens)):
        if value is not None and provider is None:
            raise ArgumentError(f"{name}: needs rules")
    if summary_tokens is not None:
        summary_tokens = token_number(summary_tokens, "summary_tokens")
    if placement not in PROMPTS:
        raise ArgumentError(
            f"placement: must be one of {', '.join(map(repr, PROMPTS))}, not {placement!r}"
        )
    history_section, item_sections = split_sections(sections, retrieval)
    rule = history_rule(
        history_section,
        budget=budget,
        item_sections=item_sections,
        history_cap=history_cap,
        cut=cut,
        grid=grid,
        keep_last=keep_last,
    )
    template, encoding = resolve(template, encoding)
    tools_list = list(tools) if tools is not None else []
    prompt = PROMPTS[placement](
        system=_as_list(system, "system"),
        history=_as_list(history, "history"),
        tools=convert_tools(tools_list),
        item_sections=item_sections,
        pinned=_indices(pinned),
        template=template,
        encoding=encoding,
    )
    pins = [section.kept(None) for section in item_sections]
    fixed = prompt.draft(prompt.last_place, pins)
    if fixed.used > available:
        parts = {name: n for name, n in fixed.rows if name != "history" or n}
        raise BudgetExceeded(
            f"what must be kept takes {fixed.used} tokens, {available} are available (window "
            f"{window}, reserved for the output {reserve}): "
            + ", ".join(f"{name} {tokens}" for name, tokens in parts.items() if tokens),
            fixed.used,
            available,
            parts,
        )
    limit = min([s for s in budget.soft_limits if fixed.used <= s] + [available])
    place, room, texts, draft = _choose(prompt, rule, limit, fixed, pins)
    texts, draft, shortened = _shorten(prompt, limit, place, texts, draft)

    cuts = cut_choices(prompt, rule, limit - fixed.used)
    messages = prompt.messages(draft.kept, prompt.blocks(texts))
    message_tokens = prompt.per_message(draft, texts)
    cache, compaction = None, None
    if provider is not None:
        has_texts = any(texts)
        cache = plan_cache(
            provider,
            request_of(messages, tools_list),
            counts_of(message_tokens, dict(draft.rows)["tools"], draft.used),
            stable=_SHARED[placement] if has_texts else "all",
            previous=previous,
        )
        rows = dict(draft.rows)
        cuts = forecast_cuts(
            provider,
            prompt,
            rule,
            cuts,
            fixed=fixed,
            limit=limit,
            text_tokens=sum(map(_wanted, item_sections)),
            most_shared=INT64_MAX
            if placement == "turn" or not has_texts
            else rows["tools"] + (rows["system"] if placement == "history" else 0),
        )
        if summary_tokens is not None:
            compaction = compact(
                provider, prompt, rule, draft=draft, place=place, summary_tokens=summary_tokens
            )
    start = prompt.start_of(place)
    kept = set(draft.kept)
    gone = [i for i in range(prompt.lead, start) if i not in kept]
    why, note = why_cut(prompt, rule, limit, draft.used, place) if gone else ("", None)
    dropped = [
        Dropped("history", i, prompt.history[i], prompt.message_tokens[i], why) for i in gone
    ]
    for section, chosen in zip(item_sections, texts, strict=True):
        dropped += [
            Dropped(section.name, i, source, tokens, section.reason(i, room))
            for i, (source, tokens) in enumerate(zip(section.sources, section.costs, strict=True))
            if i not in chosen
        ]
    used = draft.used
    slacks = {
        section.name: max(0, section.bounds.max_tokens - dict(draft.rows)[section.name])
        for section in item_sections
        if section.bounds.max_tokens < INT64_MAX
    }
    if rule.cut != "tight" or not rule.has_default_cap:
        slacks["history"] = max(0, rule.cap - sum(prompt.measure[place:]))
    return Plan(
        messages=messages,
        tools=tuple(tools_list),
        budget=budget,
        limit=limit,
        sections=tuple(
            SectionUse(name, n, share(n, window), slacks.get(name)) for name, n in draft.rows
        ),
        used=used,
        left=available - used,
        dropped=tuple(dropped),
        shortened=shortened,
        cuts=cuts,
        duplicates=_duplicates(prompt, draft.kept, texts),
        summarize_span=(prompt.lead, start) if gone else None,
        note=note,
        message_tokens=tuple(message_tokens),
        predicted=predict(provider, prices, cache, cached_tokens, used),
        cache=cache,
        compaction=compaction,
        exact=prompt.template.exact,
        template=prompt.template,
        encoding=encoding,
        _counted=(draft.native, prompt.tools),
    )


def _wanted(section: ItemSection) -> int:
    """Return how many tokens a section's optional texts would take."""
    bounds, overhead, _, items = section.request()
    return min(bounds.max_tokens, overhead + sum(tokens for tokens, *_ in items)) if items else 0


def _indices(pinned: Any) -> list[int]:
    if isinstance(pinned, (str, bytes, Mapping)) or not isinstance(pinned, Iterable):
        raise ArgumentError(f"pinned: must be a list of indices, not {type(pinned).__name__}")
    return [token_number(index, f"pinned[{k}]") for k, index in enumerate(pinned)]
