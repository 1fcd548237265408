"""The plan: what is kept in any case, what the native planner chooses, and the proof."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from ctxengine import _core
from ctxengine.budget.prompt import Prompt, split_sections
from ctxengine.budget.request import (
    Bounds,
    Budget,
    Item,
    Section,
    real_number,
    section_bounds,
    token_number,
)
from ctxengine.budget.result import Dropped, Duplicate, Plan, Predicted
from ctxengine.chat.convert import convert_tools
from ctxengine.chat.table import count_table
from ctxengine.chat.template import resolve
from ctxengine.errors import ArgumentError, BudgetExceeded

if TYPE_CHECKING:
    from ctxengine.chat import Template
    from ctxengine.tokenize import Encoding

_MIN_DUPLICATE_TOKENS = 16


def _duplicates(prompt: Prompt, first_kept: int, kept: list[list[int]]) -> tuple[Duplicate, ...]:
    places: dict[str, list[str]] = {}
    num_system = len(prompt.native_head) - prompt.lead
    for i, message in enumerate(prompt.native_head[:num_system]):
        places.setdefault(message[1], []).append(f"system[{i}]")
    start = prompt.turn_starts[first_kept]
    for i, message in enumerate(prompt.native_history):
        if i < prompt.lead or i >= start:
            places.setdefault(message[1], []).append(f"history[{i}]")
    for section, indices in zip(prompt.item_sections, kept, strict=True):
        for i in indices:
            places.setdefault(section.items[i].content, []).append(f"{section.name}[{i}]")
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


def _history_bounds(
    section: Section, history_cap: int | None, available: int, cut: str
) -> tuple[Bounds, bool]:
    """Return the history's bounds, and whether they hold the default cap."""
    bounds = section_bounds(section, 1)
    least = "sections['history'].min_tokens"
    if bounds.min_tokens > available:
        raise ArgumentError(
            f"{least}: {bounds.min_tokens} is larger than the window without the reserved output, "
            f"{available}"
        )
    if history_cap is not None:
        if section.max_tokens is not None:
            raise ArgumentError("history_cap: max_tokens of the section 'history' says it already")
        cap = token_number(history_cap, "history_cap")
        if bounds.min_tokens > cap:
            raise ArgumentError(f"{least}: {bounds.min_tokens} is larger than history_cap {cap}")
        return bounds._replace(max_tokens=cap), False
    if section.max_tokens is None and cut == "grid":
        cap = max(available - available // 4, bounds.min_tokens)
        return bounds._replace(max_tokens=cap), True
    return bounds, False


def _cap_reason(cap: int, is_default: bool, available: int) -> str:
    if is_default:
        return f"default history cap {cap:,} of {available:,} tokens; cut='tight' keeps more"
    return f"history cap {cap:,} tokens"


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
    cut: Literal["grid", "tight"] = "grid",
    grid: float = 0.25,
    cached_tokens: int = 0,
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
        The conversation, oldest first, ending with the turn to be answered. A turn begins at a user
        message; everything from the last one on is kept. It may also end with an assistant message
        or a tool result, such as between the calls of a tool loop: the reply is then counted as the
        beginning of another assistant message.
    sections : sequence of Section, optional
        Bounds of ``"history"`` and ``"retrieval"``, and sections of the caller's own.
    template : Template or str, optional
        By default the template of the named model, else of the encoding's models.
    history_cap : int, optional
        Tokens that the turns before the last one may take; the same as `max_tokens` of the section
        ``"history"``. By default no cap for a tight cut; for a grid cut three quarters of the
        window without the reserved output, or the section's `min_tokens` if that is more, once the
        whole conversation no longer fits or there are item texts to fit beside it.
    cut : {"grid", "tight"}
        ``"grid"`` cuts the history at the first multiple of ``grid * history_cap`` tokens from
        its beginning, moved up to a turn boundary, that leaves no more than the cap. The cut
        depends on the conversation and the cap alone as long as what must be kept leaves the cap
        its room: it is the same in every process, never moves backwards as turns are appended,
        and a prefix cache keeps what stands before it. (Where a template stops showing an answer's
        reasoning, a prompt can shrink, and a conversation that is over the window because of it may
        fit whole again.) ``"tight"`` keeps as many turns as fit, and moves with every turn.
    grid : float
        Step of the grid as a fraction of the cap, above 0 and at most 1.
    cached_tokens : int
        Prompt tokens that a prefix cache is known to hold, for `Plan.predicted`.

    Returns
    -------
    Plan
        Rendered and counted: ``plan.used <= budget.window - budget.reserve_output``.

    Raises
    ------
    BudgetExceeded
        When what must be kept is larger than the window without the reserved output; carries both
        numbers, and what is kept by part: template, system, tools, pinned items by their section,
        turn.
    UnknownTokenError
        For an encoding, model or template by a name that is not known.
    ArgumentError
        For a message that the template cannot show, a tool result without its call, numbers outside
        their domain, and item texts without a user message to carry them.

    Notes
    -----
    O(text) for what was not counted before, else O(messages + items log items). Nothing that the
    caller gave is changed. Sharing: demand-capped weighted water-filling, exact in integers.
    Chunks: greedy by utility per token, never below half of the optimum for the tokens they are
    given.

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
    cached = token_number(cached_tokens, "cached_tokens")
    if cut not in ("grid", "tight"):
        raise ArgumentError(f"cut: must be 'grid' or 'tight', not {cut!r}")
    grid = real_number(grid, "grid")
    if not 0 < grid <= 1:
        raise ArgumentError(f"grid: must lie above 0 and be at most 1, not {grid}")

    history_section, item_sections = split_sections(sections, retrieval)
    bounds, has_default_cap = _history_bounds(history_section, history_cap, available, cut)
    grid_step = max(1, int(bounds.max_tokens * grid)) if cut == "grid" else 0

    template, encoding = resolve(template, encoding)
    tools_list = list(tools) if tools is not None else []
    prompt = Prompt(
        system=_as_list(system, "system"),
        history=_as_list(history, "history"),
        tools=convert_tools(tools_list),
        item_sections=item_sections,
        template=template,
        encoding=encoding,
    )
    num_turns = len(prompt.turn_tokens)
    pinned = [section.kept(None) for section in item_sections]
    fixed = prompt.count(prompt.native_messages(num_turns, prompt.blocks(pinned)))[2]
    if fixed > available:
        rows = prompt.sections(num_turns, prompt.blocks(pinned), window)
        parts = {row.name: row.tokens for row in rows if row.name != "history"}
        raise BudgetExceeded(
            f"what must be kept takes {fixed} tokens, {available} are available (window {window}, "
            f"reserved for the output {reserve}): "
            + ", ".join(f"{name} {tokens}" for name, tokens in parts.items() if tokens),
            fixed,
            available,
            parts,
        )
    for section in item_sections:
        section.count(encoding)
    # The lines around a section's texts are paid in advance, or stand in `fixed` with its pins.
    overhead = sum(
        section.overhead for section, pins in zip(item_sections, pinned, strict=True) if not pins
    )
    room = max(0, available - fixed - overhead)
    # A conversation that fits whole is kept whole. The cut still never moves back: appended turns
    # only add tokens, so what does not fit whole never fits whole again.
    if (
        has_default_cap
        and not item_sections
        and prompt.count(prompt.native_messages(0, []))[2] <= available
    ):
        bounds = bounds._replace(max_tokens=available)
    requests = [section.request() for section in item_sections]
    while True:
        first_kept, taken = _core.decide_plan(room, prompt.turn_tokens, bounds, grid_step, requests)
        kept = [s.kept(t) for s, t in zip(item_sections, taken, strict=True)]
        blocks = prompt.blocks(kept)
        used = prompt.count(prompt.native_messages(first_kept, blocks))[2]
        if used <= available:
            break
        if room == 0:
            first_kept, kept, used = num_turns, pinned, fixed
            blocks = prompt.blocks(kept)
            break
        # Tokens that merge across a border made the whole larger than its parts.
        room = max(0, room - (used - available))

    start = prompt.turn_starts[first_kept]
    why = "no room for more of it"
    if _core.history_cut(prompt.turn_tokens, bounds.max_tokens, grid_step)[0] == first_kept:
        why = _cap_reason(bounds.max_tokens, has_default_cap, available)
    reason = f"older than the {'stable ' if cut == 'grid' else ''}cut at history[{start}] ({why})"
    dropped = [
        Dropped("history", i, prompt.history[i], prompt.message_tokens[i], reason)
        for i in range(prompt.lead, start)
    ]
    note = None
    if first_kept > 0 and prompt.turn_tokens[first_kept - 1] <= available - used:
        note = (
            f"{start - prompt.lead} messages of the history are left out although "
            f"{available - used:,} tokens are free: {reason}"
        )
    for section, indices in zip(item_sections, kept, strict=True):
        chosen = set(indices)
        dropped += [
            Dropped(section.name, i, source, tokens, "more useful texts per token took the room")
            for i, (source, tokens) in enumerate(zip(section.sources, section.costs, strict=True))
            if i not in chosen
        ]
    return Plan(
        messages=prompt.messages(first_kept, blocks),
        tools=tuple(tools_list),
        budget=budget,
        sections=prompt.sections(first_kept, blocks, window),
        used=used,
        left=available - used,
        dropped=tuple(dropped),
        duplicates=_duplicates(prompt, first_kept, kept),
        summarize_span=(prompt.lead, start) if first_kept > 0 else None,
        note=note,
        predicted=Predicted(min(cached, used), used - min(cached, used)),
        exact=prompt.template.exact,
        template=prompt.template,
        encoding=encoding,
        _counted=(prompt.native_messages(first_kept, blocks), prompt.tools),
    )
