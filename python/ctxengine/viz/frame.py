"""What one picture shows: the numbers of one planned request, ready to be drawn."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ctxengine.viz.details import plan_details

if TYPE_CHECKING:
    from ctxengine.budget import Finding, Plan
    from ctxengine.pricing import Cost

_PLACE = re.compile(r"(\w+)\[(\d+)\]")

__all__ = ["Blocks", "Frame", "LeftOut"]


@dataclass(frozen=True, slots=True)
class Blocks:
    """KV blocks of one request, and what its pool holds afterwards.

    ``hit`` + ``allocated`` are the blocks of the request; ``kept`` hold tokens of earlier requests
    and may be hit later; ``free`` hold nothing.
    """

    size: int
    hit: int
    allocated: int
    evicted: int
    kept: int
    free: int


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Items of one section that were left out for one reason, ``out_of`` as many as there were."""

    section: str
    reason: str
    tokens: int
    labels: tuple[str, ...]
    out_of: int


@dataclass(frozen=True, slots=True)
class Frame:
    """One planned request.

    Attributes
    ----------
    title, message : str
        Heading, and the text that waits for an answer (user text: escaped where it is drawn).
    window, reserved_output : int
        Tokens.
    sections : tuple of (str, int)
        Name and tokens in prompt order; they add up to ``prompt_tokens``.
    details : tuple of (str, str)
        Labels and texts of what else the plan has to say; an empty label goes on with the last.
    stages : tuple of (str, int)
        Name and duration in nanoseconds.
    """

    title: str
    message: str
    window: int
    reserved_output: int
    sections: tuple[tuple[str, int], ...]
    prompt_tokens: int
    cached_tokens: int
    left_out: tuple[LeftOut, ...] = ()
    duplicates: tuple[tuple[str, ...], ...] = ()
    details: tuple[tuple[str, str], ...] = ()
    blocks: Blocks | None = None
    stages: tuple[tuple[str, int], ...] = ()
    cost: Cost | None = None
    cost_without_cache: Cost | None = None

    @classmethod
    def of(
        cls,
        plan: Plan,
        title: str,
        *,
        message: str,
        sizes: Mapping[str, int],
        labels: Mapping[str, Sequence[str]],
        findings: Sequence[Finding] | None = None,
        **more: Any,
    ) -> Frame:
        """Take the numbers out of a plan.

        Parameters
        ----------
        plan : Plan
            What was decided.
        title, message : str
            As in the class.
        sizes : mapping of str to int
            Items that each section had to offer.
        labels : mapping of str to sequence of str
            Names of a section's items; without them an item is called ``section[index]``.
        findings : sequence of Finding
            What :func:`ctxengine.budget.lint` says of the request; None leaves out all details.
        **more
            The other fields of the class.
        """

        def name(section: str, index: int) -> str:
            return labels[section][index] if section in labels else f"{section}[{index}]"

        def place(text: str) -> str:
            match = _PLACE.fullmatch(text)
            return name(match[1], int(match[2])) if match else text

        groups: dict[tuple[str, str], list[Any]] = {}
        for item in plan.dropped:
            groups.setdefault((item.section, item.reason), []).append(item)
        return cls(
            title=title,
            message=message,
            window=plan.budget.window,
            reserved_output=plan.budget.reserve_output,
            sections=tuple((use.name, use.tokens) for use in plan.sections),
            prompt_tokens=plan.used,
            left_out=tuple(
                LeftOut(
                    section,
                    reason,
                    sum(item.tokens for item in items),
                    tuple(name(section, item.index) for item in items),
                    sizes[section],
                )
                for (section, reason), items in groups.items()
            ),
            duplicates=tuple(tuple(map(place, twin.places)) for twin in plan.duplicates),
            details=() if findings is None else plan_details(plan, name=name, findings=findings),
            **{"cached_tokens": plan.predicted.cached, **more},
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything as data that :mod:`json` can write."""
        costs = {
            name: None if cost is None else cost.to_dict()
            for name, cost in (
                ("cost", self.cost),
                ("cost_without_cache", self.cost_without_cache),
            )
        }
        return asdict(self) | costs
