"""What a plan has to say beside its sections, as labelled lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from ctxengine.pricing import format_amount
from ctxengine.viz.text import printable

if TYPE_CHECKING:
    from ctxengine.budget import CachePlan, Compaction, CutChoice, Finding, Plan

__all__ = ["plan_details"]

_CUTS = {"grid": "grid", "tight": "tight", "keep_last": "keep last"}


def plan_details(
    plan: Plan, *, name: Callable[[str, int], str], findings: Sequence[Finding]
) -> tuple[tuple[str, str], ...]:
    """Return (label, text) for each thing that a plan has to say.

    Parameters
    ----------
    plan : Plan
    name : callable
        Calls an item by its section and index.
    findings : sequence of Finding
        What :func:`ctxengine.budget.lint` says of the request.
    """
    lines = [
        *_notes(plan),
        *(
            (
                "shortened",
                f"{name(cut.section, cut.index)}: {cut.tokens:,} of {cut.whole_tokens:,} tokens",
            )
            for cut in plan.shortened
        ),
        *_slack(plan),
        *_cuts(plan.cuts),
    ]
    if plan.cache is not None:
        lines += _cache(plan.cache)
    if plan.compaction is not None:
        lines.append(("summary", _summary(plan.compaction)))
    lines += [("lint", str(finding)) for finding in findings]
    return tuple((label, printable(text)) for label, text in lines)


def _notes(plan: Plan) -> Iterator[tuple[str, str]]:
    if not plan.exact:
        yield "estimate", plan.template.why_not_exact
    if plan.limit < plan.budget.window - plan.budget.reserve_output:
        yield "limit", f"planned for {plan.limit:,} tokens: above them the price rises"
    if plan.note is not None and any(choice.chosen and choice.pressed for choice in plan.cuts):
        yield "note", plan.note


def _slack(plan: Plan) -> Iterator[tuple[str, str]]:
    """Say what their bounds leave of the sections that lost something."""
    pressed = {item.section for item in plan.dropped} | {cut.section for cut in plan.shortened}
    left = [
        f"{use.name} {use.slack:,}"
        for use in plan.sections
        if use.slack is not None and use.name in pressed
    ]
    if left:
        yield "slack", f"{', '.join(left)} tokens below what the section may take"


def _cuts(cuts: Sequence[CutChoice]) -> Iterator[tuple[str, str]]:
    if len({choice._replace(cut="grid", pressed=False, chosen=True) for choice in cuts}) == 1:
        return  # all of them come to the same
    label = "cuts"
    for choice in cuts:
        text = (
            f"{_CUTS[choice.cut]}{' (chosen)' * choice.chosen}: from history[{choice.start}], "
            f"keeps {choice.kept_tokens:,}, slack {choice.slack:,}"
        )
        after = choice.forecast
        if after is not None:
            share = after.cached_tokens / max(1, after.tokens)
            text += f"; next {after.calls} calls {share:.0%} cached"
            if after.cost is not None:
                text += f", {after.cost}"
        yield label, text
        label = ""


def _cache(cache: CachePlan) -> Iterator[tuple[str, str]]:
    rules = cache.rules
    if not cache.predicted_read and not cache.written:
        yield "cache", f"{rules.name}: nothing to read, and too little that stays to be stored"
        return
    named = rules.kind == "breakpoints"
    written = [
        f"{tokens:,} written{f' ({lifetime})' * named}"
        for lifetime, tokens in cache.written.items()
    ]
    parts = [f"{cache.predicted_read:,} read", *written, f"{cache.predicted_uncached:,} neither"]
    unknown = "" if cache.exact else "; earlier calls are not known"
    yield "cache", f"{rules.name}: {', '.join(parts)}{unknown}"
    if cache.breakpoints:
        yield "marks", ", ".join(f"{at.path} ({at.tokens:,})" for at in cache.breakpoints)


def _summary(compaction: Compaction) -> str:
    begin, end = compaction.span
    even = compaction.break_even

    def change(value: int) -> str:
        amount = f"{abs(value) / 1000:,.0f} input tokens"
        if even.currency:
            amount = format_amount(abs(value), even.currency)
        return f"{amount} {'more' if value > 0 else 'less'}"

    pays = "never pays" if even.calls is None else f"pays after {even.calls:,} calls"
    return (
        f"{compaction.summary_tokens:,} tokens for history[{begin}:{end}], which has "
        f"{compaction.span_tokens:,} and {'is left out' if compaction.is_cut else 'goes next'}; "
        f"beside sending that, the next call writes {even.rewritten_tokens:,} again and costs "
        f"{change(even.loss)}, each later one {change(-even.saving_per_call)}: "
        f"{'pays at once' if even.calls == 1 else pays}"
    )
