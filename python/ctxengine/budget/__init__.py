"""What goes into the context window, what is left out, and why.

:func:`plan` takes everything that a request would like to send (system prompt, tools, retrieved
chunks, the conversation) and returns a :class:`Plan`: the messages that fit, token-exact and never
over the window, with each section's share and every item that was dropped.

:func:`trim_messages` does so for a list of messages alone, and returns a list. :func:`pack` puts
texts together into requests of limited size.

How it decides:

1. **Kept in any case**: the template's own tokens, the system prompt, the tools, the newest group
   of messages and the user's message that began its turn, pinned messages and pinned items. When
   these alone are too large, the call raises :class:`~ctxengine.errors.BudgetExceeded` with the
   numbers.
2. **History**: a stable cut (``"grid"``, ``"keep_last"``) comes first, at a place that depends on
   the conversation and the configured cap alone, so that prefix caches keep what stands before it.
   A cut is between groups: a user's message, or an assistant's message with its reasoning and the
   results of its calls.
3. **Texts**: what is left goes to the item sections by water-filling, by `priority` levels, and
   within a level by `weight`, each section between its `min_tokens` and the smaller of its
   `max_tokens` and what it can use. Each takes the items of the most utility. A ``"tight"`` cut
   of the history takes part in this as one section among them. What one leaves unused flows to the
   next, and may take the part of a text that is allowed to be cut.
4. **Proved**: the chosen prompt is rendered and counted again; should tokens that merge across a
   border have made it larger than the sum of its parts, it is planned again with less room.
"""

from __future__ import annotations

from ctxengine.budget.break_even import BreakEven, StoredContent, break_even, stored_content
from ctxengine.budget.cache_plan import Breakpoint, CachePlan, NextCall, Sent
from ctxengine.budget.cache_rules import CacheRules
from ctxengine.budget.lint import Finding, lint
from ctxengine.budget.pack import pack
from ctxengine.budget.planner import plan
from ctxengine.budget.request import Budget, Item, Section
from ctxengine.budget.result import (
    Compaction,
    CutChoice,
    Dropped,
    Duplicate,
    Forecast,
    Plan,
    Predicted,
    SectionUse,
    Shortened,
)
from ctxengine.budget.trim import trim_messages

__all__ = [
    "BreakEven",
    "Breakpoint",
    "Budget",
    "CachePlan",
    "CacheRules",
    "Compaction",
    "CutChoice",
    "Dropped",
    "Duplicate",
    "Finding",
    "Forecast",
    "Item",
    "NextCall",
    "Plan",
    "Predicted",
    "Section",
    "SectionUse",
    "Sent",
    "Shortened",
    "StoredContent",
    "break_even",
    "lint",
    "pack",
    "plan",
    "stored_content",
    "trim_messages",
]
