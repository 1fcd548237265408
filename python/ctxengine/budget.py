"""What goes into the context window, what is left out, and why.

:func:`plan` takes everything that a request would like to send (system prompt, tools, retrieved
chunks, the conversation) and returns a :class:`Plan`: the messages that fit, token-exact and never
over the window, with each section's share and every item that was dropped.

How it decides:

1. **Kept in any case**: the template's own tokens, the system prompt, the tools, the last turn (from
   the last user message on) and pinned items. When these alone are too large, the call raises
   :class:`~ctxengine.errors.BudgetExceeded` with the numbers.
2. **Shared by water-filling**: the rest of the window goes to the history before the last turn and to
   the item sections, by `priority` levels, and within a level by `weight`, each section between its
   `min_tokens` and the smaller of its `max_tokens` and what it can use.
3. **Filled**: the history keeps its newest turns, cut only between turns (so a tool call and its
   results stay together); item sections take the best utility per token. What one section leaves
   unused flows to the next.
4. **Proved**: the chosen prompt is rendered and counted again; should tokens that merge across a
   border have made it larger than the sum of its parts, it is planned again with less room.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ctxengine.chat import Template
    from ctxengine.tokenize import Encoding

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


@dataclass(frozen=True, slots=True)
class Budget:
    """The size of the context window.

    Parameters
    ----------
    window : int
        Tokens that the model can attend to, prompt and output together; 0 to 2**63 - 1.
    reserve_output : int
        Tokens of the window kept free for the answer; at most `window`.
    """

    window: int
    reserve_output: int = 0


@dataclass(frozen=True, slots=True)
class Item:
    """A piece of text that may go into the prompt, such as a retrieved chunk.

    Parameters
    ----------
    content : str
        The text.
    utility : float
        How much the text is worth, for example a retriever's score; finite and not negative.
    pinned : bool
        Kept in any case.
    group : str, optional
        Items of one section with the same group are kept or dropped together.
    """

    content: str
    utility: float = 1.0
    pinned: bool = False
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """Bounds of a part of the prompt, and for a part of the caller's own making its items.

    Parameters
    ----------
    name : str
        ``"history"`` or ``"retrieval"`` sets the bounds of that part; any other name makes a
        section of its own, rendered like retrieval. ``"system"``, ``"tools"``, ``"turn"`` and
        ``"template"`` are always kept and cannot be bounded.
    items : sequence of Item, str or (str, float)
        The section's texts; not for ``"history"``.
    min_tokens : int
        Granted before anything is shared by weight.
    max_tokens : int, optional
        Never exceeded by what is not pinned.
    weight : float
        Share relative to the other sections of the same priority; finite and positive. Ratios
        finer than 2**-40 of the largest weight are rounded.
    priority : int, optional
        A higher level is served in full before a lower one gets more than its minimum. By default
        1 for the history, so that its cut does not move with the retrieved chunks, 0 for all else.
    """

    name: str
    items: Sequence[Item | str | tuple[str, float]] = ()
    min_tokens: int = 0
    max_tokens: int | None = None
    weight: float = 1.0
    priority: int | None = None


class SectionUse(NamedTuple):
    """Tokens that one section of a plan takes, and their share of the window."""

    name: str
    tokens: int
    share: float


class Dropped(NamedTuple):
    """Something that was left out: `item` is the caller's own object, at `index` of `section`."""

    section: str
    index: int
    item: Any
    tokens: int
    reason: str


class Duplicate(NamedTuple):
    """The same text at several `places` of the plan, such as ``"retrieval[3]"``."""

    places: tuple[str, ...]
    tokens: int


class Predicted(NamedTuple):
    """Prompt tokens that a prefix cache holds already, and those left to compute."""

    cached: int
    uncached: int


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """What :func:`plan` decided. Immutable; the token ids are made when first asked for.

    Attributes
    ----------
    messages : tuple
        The messages to send: the caller's own objects, but for the last user message when
        retrieved text was put into it (the caller's object is not changed; see :func:`plan`).
    tools : tuple
        The tools to send, the caller's own objects.
    sections : tuple of SectionUse
        Tokens per section, in prompt order; they add up to `used`.
    used, left : int
        Tokens of the whole rendered prompt, and tokens of the window that neither the prompt nor
        the reserved output takes.
    dropped : tuple of Dropped
        What was left out, with the reason.
    duplicates : tuple of Duplicate
        Texts of 16 tokens or more that the plan holds more than once.
    summarize_span : tuple of int, optional
        Half-open index range of `history` that was cut: what a summary would have to replace.
    predicted : Predicted
        From `cached_tokens`.
    exact : bool
        False only for a template that was told to estimate.
    """

    messages: tuple[Any, ...]
    tools: tuple[Any, ...]
    budget: Budget
    sections: tuple[SectionUse, ...]
    used: int
    left: int
    dropped: tuple[Dropped, ...]
    duplicates: tuple[Duplicate, ...]
    summarize_span: tuple[int, int] | None
    predicted: Predicted
    exact: bool
    template: Template
    encoding: Encoding
    _ids: list[npt.NDArray[np.uint32]] = field(default_factory=list, compare=False)

    @property
    def token_ids(self) -> npt.NDArray[np.uint32]:
        """Token ids of the rendered prompt, uint32[used]; read-only, made on first use."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON-ready data, without messages and token ids."""
        raise NotImplementedError


def plan(
    budget: Budget | int,
    encoding: Encoding,
    *,
    system: str | Any | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
    retrieval: Sequence[Item | str | tuple[str, float]] = (),
    history: Sequence[Any] = (),
    sections: Sequence[Section] | None = None,
    template: Template | str | None = None,
    history_cap: int | None = None,
    cut: Literal["grid", "tight"] = "grid",
    grid: float = 0.25,
    cached_tokens: int = 0,
) -> Plan:
    """Choose what goes into the window; see the module's own text for how."""
    raise NotImplementedError
