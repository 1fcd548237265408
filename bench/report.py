"""One table of all that was measured beside rivals: the best of them, ours, and what we aim at."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from ctxengine.cli.contenders import NAMES, OURS, version
from ctxengine.cli.rounds import machine, ratio, take_turns


class Row(NamedTuple):
    """A line of the table.

    Attributes
    ----------
    what : str
    rival : str
        The best exact one, or "" where a row measures ours alone.
    theirs, ours : str
        Figures with their unit.
    value : float
        What is compared with the target: usually how many times as fast as the rival ours is.
    target : float, optional
    at_most : bool
        Whether `value` must not be above the target, instead of not below it.
    unit : str
        Of `value`.
    """

    what: str
    rival: str
    theirs: str
    ours: str
    value: float
    target: float | None
    at_most: bool = False
    unit: str = "x"

    @property
    def verdict(self) -> str:
        """Return whether the target is met."""
        if self.target is None:
            return ""
        met = self.value <= self.target if self.at_most else self.value >= self.target
        return "met" if met else "no"

    @property
    def bound(self) -> str:
        """Return the target as it is shown."""
        return "" if self.target is None else f"{'<= ' * self.at_most}{self.target:g}"


class Unit(NamedTuple):
    """How seconds become a figure."""

    name: str
    of_seconds: Callable[[float], float]

    def figure(self, seconds: float) -> str:
        """Return seconds of one run as the figure to print."""
        return f"{self.of_seconds(seconds):.4g} {self.name}"


def mb_per_s(size_bytes: int) -> Unit:
    return Unit("MB/s", lambda seconds: size_bytes / 1e6 / seconds)


def us_each(count: int) -> Unit:
    return Unit("us", lambda seconds: seconds / count * 1e6)


MS = Unit("ms", lambda seconds: seconds * 1e3)


class Report:
    """Collects rows; `lines` makes the table."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.notes: list[str] = []

    def time(
        self,
        what: str,
        runs: Mapping[str, Callable[[], object]],
        unit: Unit,
        target: float | None = None,
        **options: Any,
    ) -> None:
        """Time ours and the rivals in turns, and add the row."""
        self.add_seconds(what, take_turns(runs, **options), unit, target)

    def add_seconds(
        self,
        what: str,
        seconds: Mapping[str, Sequence[float]],
        unit: Unit,
        target: float | None = None,
    ) -> None:
        """Add the row of what was timed already."""
        ours = seconds[OURS]
        rivals = {name: times for name, times in seconds.items() if name != OURS}
        if not rivals:
            raise ValueError(f"{what}: no rival is there")
        best = min(rivals, key=lambda name: median(rivals[name]))
        theirs = rivals[best]
        figures = unit.figure(median(theirs)), unit.figure(median(ours))
        self.rows.append(Row(what, best, *figures, ratio(theirs, ours), target))

    def add_memory(self, what: str, megabytes: Mapping[str, float], target: float) -> None:
        """Add the row of memory that was measured: ours must not be above the target."""
        ours = megabytes[OURS]
        rivals = {name: size for name, size in megabytes.items() if name != OURS}
        rival = min(rivals, key=lambda name: rivals[name], default="")
        theirs = f"{rivals[rival]:.1f} MB" if rival else ""
        row = Row(what, rival, theirs, f"{ours:.1f} MB", ours, target, at_most=True, unit=" MB")
        self.rows.append(row)

    def lines(self) -> list[str]:
        """Return the table as Markdown."""
        lines = [
            "| what | best rival | its figure | ctxengine | value | target | |",
            "|---|---|---|---|---|---|---|",
        ]
        for row in self.rows:
            value = f"{row.value:.3g}{row.unit}"
            cells = (row.what, row.rival, row.theirs, row.ours, value, row.bound, row.verdict)
            lines.append("| " + " | ".join(cells) + " |")
        return lines

    def write(self, path: Path) -> None:
        """Write the table, with the machine and the versions, as a page."""
        versions = ", ".join(f"{name} {version(name)}" for name in NAMES)
        head = [
            f"# {datetime.date.today().isoformat()}: tokenizers",
            "",
            f"{machine()}; {versions}.",
            *self.notes,
            "",
        ]
        path.write_text("\n".join([*head, *self.lines()]) + "\n", encoding="utf-8")
