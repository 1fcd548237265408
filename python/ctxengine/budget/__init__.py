"""What goes into the context window, what is left out, and why.

:func:`plan` takes everything that a request would like to send (system prompt, tools, retrieved
chunks, the conversation) and returns a :class:`Plan`: the messages that fit, token-exact and never
over the window, with each section's share and every item that was dropped.

How it decides:

1. **Kept in any case**: the template's own tokens, the system prompt, the tools, the last turn
   (from the last user message on) and pinned items. When these alone are too large, the call
   raises :class:`~ctxengine.errors.BudgetExceeded` with the numbers.
2. **Shared by water-filling**: the rest of the window goes to the history before the last turn and
   to the item sections, by `priority` levels, and within a level by `weight`, each section between
   its `min_tokens` and the smaller of its `max_tokens` and what it can use.
3. **Filled**: a history that fits and shares the window with no items is kept whole; else it keeps
   its newest turns, cut only between turns (so a tool call and its results stay together); item
   sections take the best utility per token. What one section leaves unused flows to the next.
4. **Proved**: the chosen prompt is rendered and counted again; should tokens that merge across a
   border have made it larger than the sum of its parts, it is planned again with less room.
"""

from __future__ import annotations

from ctxengine.budget.planner import plan
from ctxengine.budget.request import Budget, Item, Section
from ctxengine.budget.result import Dropped, Duplicate, Plan, Predicted, SectionUse

__all__ = [
    "Budget",
    "Dropped",
    "Duplicate",
    "Item",
    "Plan",
    "Predicted",
    "Section",
    "SectionUse",
    "plan",
]
