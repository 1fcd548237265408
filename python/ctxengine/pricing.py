"""What a request costs: prices are data, arithmetic is exact.

Amounts are integers in pico-units of the currency (10**-12). A price of "0.60 per million tokens"
is 600,000 pico-units for each token, so every price with at most six decimal places, every product
and every sum is exact; only :func:`format_amount` rounds, and only what is shown.

Examples
--------
>>> table = PriceTable.from_dict({"currency": "USD", "per_million_tokens": {
...     "input": "0.60", "cached_input": "0.06", "cache_write": "0.75", "output": "2.40"}})
>>> cost = table.cost(10_000, cached_tokens=8_000, written_tokens=1_600, output_tokens=500)
>>> str(cost)
'USD 0.003120'
>>> str(table.cost(10_000, output_tokens=500))
'USD 0.007200'
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ctxengine.errors import ArgumentError

__all__ = ["Cost", "PriceTable", "format_amount"]

PICO = 10**12
_PER_MILLION_DIGITS = 6  # 10**12 pico-units / 10**6 tokens: six decimal places are exact
_PRICE = re.compile(r"(\d{1,12})(?:\.(\d{1,6}))?", re.ASCII)


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


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Prices of one model.

    Attributes
    ----------
    currency : str
        Unit of the amounts.
    input, cached_input, cache_write, output : int
        Pico-units (10**-12) of the currency for one token. ``cached_input`` is the price of a
        prompt token found in the provider's cache, ``cache_write`` that of a prompt token which
        the provider stores there.

    Raises
    ------
    ArgumentError
        A price is not a whole number, or negative. :meth:`from_dict` takes prices as they are
        published, per million tokens.
    """

    currency: str
    input: int
    cached_input: int
    cache_write: int
    output: int

    def __post_init__(self) -> None:
        for name in ("input", "cached_input", "cache_write", "output"):
            price = getattr(self, name)
            if not isinstance(price, int) or isinstance(price, bool) or price < 0:
                raise ArgumentError(
                    f"{name}: must be a whole number of pico-units per token, not {price!r}; "
                    f"PriceTable.from_dict takes prices per million tokens"
                )

    @classmethod
    def from_dict(cls, table: Mapping[str, object]) -> PriceTable:
        """Read prices per million tokens.

        Parameters
        ----------
        table : mapping
            ``{"currency": str, "per_million_tokens": {"input": p, "output": p,
            "cached_input": p, "cache_write": p}}``. A price is a decimal string or a number with
            at most six decimal places. ``cached_input`` and ``cache_write`` may be absent: then
            they cost what ``input`` costs.

        Raises
        ------
        ArgumentError
            A field is missing, unknown or not a price; the message names it.
        """
        currency = table.get("currency")
        if not isinstance(currency, str) or not currency or not currency.isprintable():
            raise ArgumentError(f"currency: expected a name such as 'USD', got {currency!r}")
        prices = table.get("per_million_tokens")
        if not isinstance(prices, Mapping):
            raise ArgumentError(f"per_million_tokens: expected a mapping of prices, got {prices!r}")
        for owner, given, known in (
            ("", table, {"currency", "per_million_tokens"}),
            ("per_million_tokens.", prices, {"input", "cached_input", "cache_write", "output"}),
        ):
            unknown = sorted(str(key) for key in given if key not in known)
            if unknown:
                raise ArgumentError(f"{owner}{unknown[0]}: unknown field")
        for name in ("input", "output"):
            if name not in prices:
                raise ArgumentError(f"per_million_tokens.{name}: missing")
        pico = {name: _pico_per_token(name, value) for name, value in prices.items()}
        return cls(
            currency,
            pico["input"],
            pico.get("cached_input", pico["input"]),
            pico.get("cache_write", pico["input"]),
            pico["output"],
        )

    def cost(
        self,
        prompt_tokens: int,
        *,
        cached_tokens: int = 0,
        written_tokens: int = 0,
        output_tokens: int = 0,
    ) -> Cost:
        """Price one request.

        Parameters
        ----------
        prompt_tokens : int
            All tokens of the prompt, cached ones included.
        cached_tokens : int
            Prompt tokens read from the cache.
        written_tokens : int
            Prompt tokens that were not cached and are stored in the cache now.
        output_tokens : int
            Generated tokens.

        Raises
        ------
        ArgumentError
            A count is not a whole number or is negative, or cached and written tokens are more
            than the prompt.
        """
        prompt_tokens = _token_number("prompt_tokens", prompt_tokens)
        cached_tokens = _token_number("cached_tokens", cached_tokens)
        written_tokens = _token_number("written_tokens", written_tokens)
        output_tokens = _token_number("output_tokens", output_tokens)
        full = prompt_tokens - cached_tokens - written_tokens
        if full < 0:
            raise ArgumentError(
                f"{cached_tokens} cached and {written_tokens} written tokens are more than the "
                f"prompt's {prompt_tokens}"
            )
        return Cost(
            self.currency,
            full * self.input,
            cached_tokens * self.cached_input,
            written_tokens * self.cache_write,
            output_tokens * self.output,
        )


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


def _token_number(name: str, value: object) -> int:
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise ArgumentError(f"{name} must be a whole number, got {value!r}") from None
    if number < 0:
        raise ArgumentError(f"{name} must not be negative, got {number}")
    return number


def _pico_per_token(name: str, value: object) -> int:
    text = str(value)
    if isinstance(value, float):  # a JSON file's 0.1 is the float that "0.100000" reads back as
        text = f"{value:.{_PER_MILLION_DIGITS}f}"
    match = _PRICE.fullmatch(text)
    inexact = isinstance(value, float) and float(text) != value
    if match is None or inexact or isinstance(value, bool):
        raise ArgumentError(
            f"per_million_tokens.{name}: expected a price such as '0.25' (not negative, at most "
            f"{_PER_MILLION_DIGITS} decimal places), got {value!r}"
        )
    whole, fraction = match.groups(default="")
    return int(whole + fraction.ljust(_PER_MILLION_DIGITS, "0"))
