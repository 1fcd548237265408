"""Prices of one model: by kind of token, by length of the prompt."""

from __future__ import annotations

import operator
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ctxengine.errors import ArgumentError
from ctxengine.pricing.cost import Cost

_PER_MILLION_DIGITS = 6  # 10**12 pico-units / 10**6 tokens: six decimal places are exact
_PRICE = re.compile(r"(\d{1,12})(?:\.(\d{1,6}))?", re.ASCII)
_PRICES = {"input", "cached_input", "cache_write", "output"}


@dataclass(frozen=True, slots=True)
class PriceTier:
    """Prices of a request whose prompt is longer than a limit; they hold for all of its tokens.

    Attributes
    ----------
    above_tokens : int
        The tier holds for prompts of more tokens than this.
    input, cached_input, cache_write, output : int
        As those of :class:`PriceTable`.
    cache_writes : tuple of (str, int)
        As that of :class:`PriceTable`.
    """

    above_tokens: int
    input: int
    cached_input: int
    cache_write: int
    output: int
    cache_writes: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        _check_prices(self)
        if not isinstance(self.above_tokens, int) or self.above_tokens < 1:
            raise ArgumentError(f"above_tokens: expected a number above 0: {self.above_tokens!r}")


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
        the provider stores there for as long as it does by default.
    cache_writes : tuple of (str, int)
        Prices of a stored token by how long it is kept, where they differ: ``(("5m", 6250000),
        ("1h", 10000000))``.
    tiers : tuple of PriceTier
        Prices of longer prompts, by rising limits.

    Raises
    ------
    ArgumentError
        A price is not a whole number, or negative; the tiers do not rise. :meth:`from_dict` takes
        prices as they are published, per million tokens.
    """

    currency: str
    input: int
    cached_input: int
    cache_write: int
    output: int
    cache_writes: tuple[tuple[str, int], ...] = ()
    tiers: tuple[PriceTier, ...] = ()

    def __post_init__(self) -> None:
        _check_prices(self)
        limits = [tier.above_tokens for tier in self.tiers]
        if limits != sorted(set(limits)):
            raise ArgumentError(f"tiers: the limits must rise, got {limits}")

    @classmethod
    def from_dict(cls, table: Mapping[str, object]) -> PriceTable:
        """Read prices per million tokens.

        Parameters
        ----------
        table : mapping
            ``{"currency": str, "per_million_tokens": {"input": p, "output": p, "cached_input": p,
            "cache_write": p}, "tiers": [{"above_tokens": n, "input": p, "output": p, ...}]}``.
            A price is a decimal string or a number with at most six decimal places.
            ``cached_input`` and ``cache_write`` may be absent: then they cost what ``input``
            costs. ``cache_write`` may be prices by how long is stored, the default first:
            ``{"5m": p, "1h": p}``. ``tiers`` may be absent; a tier names all that the first prices
            name.

        Raises
        ------
        ArgumentError
            A field is missing, unknown or not a price; the message names it.
        """
        currency = table.get("currency")
        if not isinstance(currency, str) or not currency or not currency.isprintable():
            raise ArgumentError(f"currency: expected a name such as 'USD', got {currency!r}")
        _only(table, "", {"currency", "per_million_tokens", "tiers"})
        base = table.get("per_million_tokens")
        if not isinstance(base, Mapping):
            raise ArgumentError(f"per_million_tokens: expected a mapping of prices, got {base!r}")
        _only(base, "per_million_tokens.", _PRICES)
        tiers = table.get("tiers", ())
        if not isinstance(tiers, list | tuple):
            raise ArgumentError(f"tiers: expected a list, got {tiers!r:.80}")
        read = []
        for index, tier in enumerate(tiers):
            path = f"tiers[{index}]."
            if not isinstance(tier, Mapping):
                raise ArgumentError(f"{path[:-1]}: expected a mapping, got {tier!r:.80}")
            _only(tier, path, _PRICES | {"above_tokens"})
            for name in base:
                if name not in tier:
                    raise ArgumentError(f"{path}{name}: missing")
            above = _token_number(f"{path}above_tokens", tier.get("above_tokens"))
            read.append(PriceTier(above, **_read_prices(tier, path)))
        return cls(currency, **_read_prices(base, "per_million_tokens."), tiers=tuple(read))

    @classmethod
    def from_litellm(
        cls,
        source: str | os.PathLike[str] | Mapping[str, Mapping[str, Any]],
        model: str,
        *,
        service: str = "standard",
    ) -> PriceTable:
        """Read a model's prices from LiteLLM's price map.

        Parameters
        ----------
        source : path or mapping
            ``model_prices_and_context_window.json``, which LiteLLM's package carries too, or what
            :mod:`json` makes of it; the latter is for reading many models.
        model : str
            A key of the map.
        service : str, default "standard"
            "batch", "flex", "priority" or another word that the map's keys end in; "off_peak" for
            a provider that is cheaper at some hours.

        Notes
        -----
        As LiteLLM reads its map: prices above a limit hold for the whole request, and what a tier
        does not name is as below the limit. Cache prices that are absent are those of input; so is
        a price of 0 for storing: that is free, the tokens are not.

        Raises
        ------
        UnknownModelError
            The map has no such model (a KeyError too); the message names those that come near.
        ArgumentError
            The model is not priced by the token, has no such service, has prices that a table
            cannot tell (by request, by query, of reasoning), or a price that is not a whole number
            of pico-units.
        LoadError
            The file is not JSON, or no map.
        OSError
            The file cannot be read.
        """
        from ctxengine.pricing.litellm import read

        return read(source, model, service)

    def rates(self, prompt_tokens: int) -> PriceTable | PriceTier:
        """Return what holds the prices of a request with so many prompt tokens."""
        rates: PriceTable | PriceTier = self
        for tier in self.tiers:
            if prompt_tokens > tier.above_tokens:
                rates = tier
        return rates

    def cost(
        self,
        prompt_tokens: int,
        *,
        cached_tokens: int = 0,
        written_tokens: int | Mapping[str, int] = 0,
        output_tokens: int = 0,
    ) -> Cost:
        """Price one request.

        Parameters
        ----------
        prompt_tokens : int
            All tokens of the prompt, cached ones included.
        cached_tokens : int
            Prompt tokens read from the cache.
        written_tokens : int or mapping
            Prompt tokens that were not cached and are stored in the cache now, for as long as the
            provider stores by default; or numbers by how long, ``{"5m": 2_000, "1h": 30_000}``.
        output_tokens : int
            Generated tokens.

        Raises
        ------
        ArgumentError
            A count is not a whole number or is negative, cached and written tokens are more than
            the prompt, or there is no price for storing so long.
        """
        prompt_tokens = _token_number("prompt_tokens", prompt_tokens)
        cached_tokens = _token_number("cached_tokens", cached_tokens)
        output_tokens = _token_number("output_tokens", output_tokens)
        rates = self.rates(prompt_tokens)
        if isinstance(written_tokens, Mapping):
            by_ttl = dict(rates.cache_writes)
            written, write = 0, 0
            for ttl, number in written_tokens.items():
                if ttl not in by_ttl:
                    raise ArgumentError(
                        f"written_tokens: no price for {ttl!r:.80}; "
                        f"priced: {', '.join(by_ttl) or 'one price, give one number'}"
                    )
                tokens = _token_number(f"written_tokens[{ttl!r}]", number)
                written, write = written + tokens, write + tokens * by_ttl[ttl]
        else:
            written = _token_number("written_tokens", written_tokens)
            write = written * rates.cache_write
        full = prompt_tokens - cached_tokens - written
        if full < 0:
            raise ArgumentError(
                f"{cached_tokens} cached and {written} written tokens are more than the "
                f"prompt's {prompt_tokens}"
            )
        return Cost(
            self.currency,
            full * rates.input,
            cached_tokens * rates.cached_input,
            write,
            output_tokens * rates.output,
        )


def _token_number(name: str, value: object) -> int:
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise ArgumentError(f"{name} must be a whole number, got {value!r}") from None
    if number < 0:
        raise ArgumentError(f"{name} must not be negative, got {number}")
    return number


def _only(given: Mapping[Any, object], path: str, known: Iterable[str]) -> None:
    unknown = sorted(str(key) for key in given if key not in known)
    if unknown:
        raise ArgumentError(f"{path}{unknown[0]}: unknown field")


def _check_prices(owner: PriceTable | PriceTier) -> None:
    named = [(name, getattr(owner, name)) for name in sorted(_PRICES)]
    for name, price in [*named, *((f"cache_writes[{t!r}]", p) for t, p in owner.cache_writes)]:
        if not isinstance(price, int) or isinstance(price, bool) or price < 0:
            raise ArgumentError(
                f"{name}: must be a whole number of pico-units per token, not {price!r}; "
                f"PriceTable.from_dict takes prices per million tokens"
            )


def _read_prices(given: Mapping[str, object], path: str) -> dict[str, Any]:
    """Return the fields of a table or tier; absent cache prices are those of input."""
    for name in ("input", "output"):
        if name not in given:
            raise ArgumentError(f"{path}{name}: missing")
    pico: dict[str, Any] = {
        name: _pico_per_token(path + name, given[name])
        for name in ("input", "output", "cached_input")
        if name in given
    }
    writes = given.get("cache_write", given["input"])
    if isinstance(writes, Mapping):
        by_ttl = tuple(
            (str(ttl), _pico_per_token(f"{path}cache_write.{ttl}", price))
            for ttl, price in writes.items()
        )
        if not by_ttl:
            raise ArgumentError(f"{path}cache_write: no prices")
        pico |= {"cache_write": by_ttl[0][1], "cache_writes": by_ttl}
    else:
        pico["cache_write"] = _pico_per_token(f"{path}cache_write", writes)
    return {"cached_input": pico["input"]} | pico


def _pico_per_token(path: str, value: object) -> int:
    text = str(value)
    if isinstance(value, float):  # a JSON file's 0.1 is the float that "0.100000" reads back as
        text = f"{value:.{_PER_MILLION_DIGITS}f}"
    match = _PRICE.fullmatch(text)
    inexact = isinstance(value, float) and float(text) != value
    if match is None or inexact or isinstance(value, bool):
        raise ArgumentError(
            f"{path}: expected a price such as '0.25' (not negative, at most "
            f"{_PER_MILLION_DIGITS} decimal places), got {value!r:.80}"
        )
    whole, fraction = match.groups(default="")
    return int(whole + fraction.ljust(_PER_MILLION_DIGITS, "0"))
