"""Amounts: what a request costs, and how it is written."""

from __future__ import annotations

from dataclasses import dataclass

from ctxengine.errors import ArgumentError

PICO = 10**12


@dataclass(frozen=True, slots=True)
class Cost:
    """The price of one request, or of several added together.

    Attributes
    ----------
    currency : str
        Unit of the amounts, for example ``"USD"``.
    input, cached_input, cache_write, output : int
        Amounts in pico-units (10**-12) of the currency: prompt tokens at the full price, prompt
        tokens read from a cache, prompt tokens written to a cache, and generated tokens.
    """

    currency: str
    input: int = 0
    cached_input: int = 0
    cache_write: int = 0
    output: int = 0

    @property
    def total(self) -> int:
        """Sum of the four amounts in pico-units."""
        return self.input + self.cached_input + self.cache_write + self.output

    def __add__(self, other: Cost) -> Cost:
        if not isinstance(other, Cost):
            return NotImplemented
        if other.currency != self.currency:
            raise ArgumentError(f"cannot add {other.currency} to {self.currency}")
        return Cost(
            self.currency,
            self.input + other.input,
            self.cached_input + other.cached_input,
            self.cache_write + other.cache_write,
            self.output + other.output,
        )

    def __str__(self) -> str:
        return format_amount(self.total, self.currency)

    def to_dict(self) -> dict[str, str]:
        """Return the amounts as decimal strings that :mod:`json` can write."""
        parts = {
            "input": self.input,
            "cached_input": self.cached_input,
            "cache_write": self.cache_write,
            "output": self.output,
            "total": self.total,
        }
        return {"currency": self.currency} | {k: _decimal(v, 12) for k, v in parts.items()}


def format_amount(pico: int, currency: str, digits: int = 6) -> str:
    """Write an amount in pico-units with ``digits`` decimal places, rounded half up.

    >>> format_amount(1_234_567_500_000, "EUR", 6)
    'EUR 1.234568'
    """
    return f"{currency} {_decimal(pico, digits)}"


def _decimal(pico: int, digits: int) -> str:
    unit = PICO // 10**digits
    whole, rest = divmod((abs(pico) + unit // 2) // unit, 10**digits)
    return f"{'-' if pico < 0 else ''}{whole}.{rest:0{digits}d}"
