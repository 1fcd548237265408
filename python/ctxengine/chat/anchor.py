"""The class `UsageAnchor`: estimates for models whose tokenizer is not published."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ctxengine.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable

_NUM_KEPT = 32
_RATIO_BOUNDS = (0.25, 4.0)


@dataclass(frozen=True, slots=True)
class UsageEstimate:
    """An estimated number of tokens.

    Attributes
    ----------
    tokens : int
        The estimate, never exact.
    low, high : int
        Where the true number lies, if the provider's tokenizer goes on to differ from ours as it
        has so far. Before there is anything to go by, the widest that the ratio may be.
    ratio : float
        Provider's tokens for one of ours, as learned.
    num_observations : int
        So many reports of usage it was learned from.
    exact : bool
        False.
    why_not_exact : str
        The reason.
    """

    tokens: int
    low: int
    high: int
    ratio: float
    num_observations: int
    exact: bool = False
    why_not_exact: str = (
        "the model's tokenizer is not published; the provider's last usage and what our count has "
        "changed since"
    )


class UsageAnchor:
    """Estimates a closed model's count: what the provider reported last, and our count since then.

    Of a conversation that grows, most tokens are in the last report, which is exact; only what came
    later is estimated, with a ratio that is learned from report to report: the median, weighted by
    size, of the last 32, so that a report that is off (another model behind the same name, images)
    does not spoil it, and between 1/4 and 4. What it says is an estimate, and says so.

    Parameters
    ----------
    ratio : float
        Provider's tokens for one of ours, before anything is known.

    Raises
    ------
    ArgumentError
        For a ratio that is not between 0.25 and 4.

    Notes
    -----
    It knows numbers only: count with any encoding and template, always the same, such as
    :func:`count_messages` with ``Template("openai", estimate_tools=True)``. Constant memory and
    time. Safe to use from several threads; each call is atomic.

    Examples
    --------
    >>> from ctxengine.chat import UsageAnchor
    >>> anchor = UsageAnchor()
    >>> anchor.observe(counted=1000, reported=1150)
    >>> anchor.observe(counted=2000, reported=2300)
    >>> anchor.estimate(2100).tokens
    2415
    """

    __slots__ = ("_anchor", "_errors", "_first_ratio", "_lock", "_steps")

    def __init__(self, ratio: float = 1.0) -> None:
        low, high = _RATIO_BOUNDS
        if not low <= ratio <= high:
            raise ArgumentError(f"ratio: must be between {low} and {high}, but is {ratio}")
        self._lock = threading.Lock()
        self._first_ratio = float(ratio)
        self._anchor = (0, 0)  # counted, reported
        self._steps: deque[tuple[float, int]] = deque(maxlen=_NUM_KEPT)  # ratio, weight
        # How far estimates were off, for each token of the difference that was estimated.
        self._errors: deque[float] = deque(maxlen=_NUM_KEPT)

    def observe(self, counted: int, reported: int) -> None:
        """Learn what the provider reported for a prompt.

        Parameters
        ----------
        counted : int
            Our count of the prompt.
        reported : int
            The provider's, cached tokens included (Anthropic reports those separately: add them).

        Raises
        ------
        ArgumentError
            For negative numbers and such as are no integers; nothing is learned.
        """
        _check(counted=counted, reported=reported)
        with self._lock:
            last_counted, last_reported = self._anchor
            step, reported_step = counted - last_counted, reported - last_reported
            if step != 0:
                # The first report is a step from nothing: it tells the ratio, not an error.
                if self._steps:
                    expected = self._ratio() * step
                    self._errors.append(abs(reported_step - expected) / abs(step))
                ratio = min(max(reported_step / step, _RATIO_BOUNDS[0]), _RATIO_BOUNDS[1])
                self._steps.append((ratio, abs(step)))
            self._anchor = (counted, reported)

    def estimate(self, counted: int) -> UsageEstimate:
        """Estimate the provider's count of a prompt of which ours is `counted`.

        The closer to the last one observed, the better: what both have in common is not estimated.

        Raises
        ------
        ArgumentError
            For a negative number.
        """
        _check(counted=counted)
        with self._lock:
            last_counted, last_reported = self._anchor
            ratio, num_observations = self._ratio(), len(self._steps)
            error = max(self._errors, default=None)
        step = counted - last_counted
        middle = last_reported + ratio * step
        if error is None:
            ends = [last_reported + bound * step for bound in _RATIO_BOUNDS]
        else:
            ends = [middle - error * abs(step), middle + error * abs(step)]
        return UsageEstimate(
            max(0, round(middle)),
            max(0, int(min(ends))),
            max(0, -int(-max(ends) // 1)),
            ratio,
            num_observations,
        )

    def _ratio(self) -> float:
        return _weighted_median(self._steps) if self._steps else self._first_ratio

    def __repr__(self) -> str:
        counted, reported = self._anchor
        return (
            f"<UsageAnchor: {reported} reported for {counted} counted, ratio {self._ratio():.3f}>"
        )


def _check(**numbers: int) -> None:
    for name, number in numbers.items():
        if not hasattr(number, "__index__"):
            raise ArgumentError(f"{name}: must be an integer, not {type(number).__name__}")
        if number < 0:
            raise ArgumentError(f"{name}: must not be negative, but is {number}")


def _weighted_median(steps: Iterable[tuple[float, int]]) -> float:
    ordered = sorted(steps)
    half = sum(weight for _, weight in ordered) / 2
    below = 0
    for value, weight in ordered:
        below += weight
        if below >= half:
            return value
    return ordered[-1][0]
