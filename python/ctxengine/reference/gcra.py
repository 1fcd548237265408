"""Oracle of :mod:`ctxengine.limits`: weighted GCRA with refunds, in plain Python integers.

Times are integer microseconds and given by the caller. Source: generic cell rate algorithm, virtual
scheduling form (ITU-T I.371, annex A), with the cell's increment multiplied by its weight.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Bucket", "Charge", "ReferenceLimiter", "cost_us"]


def cost_us(num_tokens: int, tokens: int, period_us: int) -> int:
    """Return the microseconds that refill `num_tokens` at `tokens` per period, rounded up.

    Parameters
    ----------
    num_tokens, tokens, period_us : int

    Returns
    -------
    int

    Examples
    --------
    >>> cost_us(1, 7, 60_000_000)
    8571429
    """
    whole, rest = divmod(num_tokens * period_us, tokens)
    return whole + (rest > 0)


@dataclass
class Charge:
    """One charge: its amount, the backlog ahead of it, and the bucket right after it."""

    amount: int
    ahead: int
    tat: int
    busy_since: int
    refunded: int


@dataclass
class Bucket:
    """The backlog of one descriptor: charged and not yet refilled, ``tat - now`` while positive."""

    tat: int = 0
    busy_since: int = 0
    refunded: int = 0

    def wait(self, amount: int, burst: int, now: int) -> int:
        """Return for how long `amount` would be above the burst; 0 or less: it passes."""
        backlog = max(self.tat - now, 0)
        return backlog + amount - burst

    def add(self, amount: int, now: int) -> Charge:
        """Charge `amount`; a bucket without backlog begins a new busy period."""
        ahead = self.tat - now
        if ahead <= 0:
            self.tat, self.busy_since, self.refunded, ahead = now, now, 0, 0
        self.tat += amount
        return Charge(amount, ahead, self.tat, self.busy_since, self.refunded)

    def refund(self, charge: Charge, amount: int, now: int) -> None:
        """Give back what of `charge` is surely still in the backlog, `amount` at most."""
        if charge.busy_since != self.busy_since:
            return  # the backlog was empty in between: all of it has been refilled
        refunded_ahead = min(self.refunded - charge.refunded, charge.ahead)
        still_there = charge.tat - refunded_ahead - now
        amount = min(amount, still_there)
        if amount > 0:
            self.tat -= amount
            self.refunded += amount


@dataclass
class ReferenceLimiter:
    """Several limits ``(tokens, period_us, burst_tokens)`` over named descriptors."""

    limits: list[tuple[int, int, int]]
    buckets: dict[tuple[int, str], Bucket] = field(default_factory=dict)

    def _buckets(self, descriptors: tuple[str, ...]) -> list[Bucket]:
        return [self.buckets.setdefault(name, Bucket()) for name in enumerate(descriptors)]

    def reserve(
        self, descriptors: tuple[str, ...], num_tokens: int, now: int
    ) -> list[Charge] | tuple[int, int]:
        """Charge every limit and return the charges, or return (wait in us, limit index)."""
        buckets = self._buckets(descriptors)
        amounts = [cost_us(num_tokens, tokens, period) for tokens, period, _ in self.limits]
        waits = [
            bucket.wait(amount, cost_us(burst, tokens, period), now)
            for bucket, amount, (tokens, period, burst) in zip(
                buckets, amounts, self.limits, strict=True
            )
        ]
        if max(waits) > 0:
            return max(waits), waits.index(max(waits))
        return [bucket.add(amount, now) for bucket, amount in zip(buckets, amounts, strict=True)]

    def settle(
        self, descriptors: tuple[str, ...], charges: list[Charge], used_tokens: int, now: int
    ) -> None:
        """Replace the charges by those of `used_tokens`, as far as the rules allow."""
        for bucket, charge, (tokens, period, _) in zip(
            self._buckets(descriptors), charges, self.limits, strict=True
        ):
            change = cost_us(used_tokens, tokens, period) - charge.amount
            if change > 0:
                bucket.add(change, now)
            else:
                bucket.refund(charge, -change, now)
