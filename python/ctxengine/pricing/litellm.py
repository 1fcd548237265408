"""LiteLLM's price map: its keys, and what they mean."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from ctxengine.errors import ArgumentError
from ctxengine.pricing.cost import PICO
from ctxengine.pricing.files import read_json, unknown_model
from ctxengine.pricing.table import PriceTable, PriceTier

# "input_cost_per_token", then how long is stored, then a limit, then the service.
_KEY = re.compile(
    r"(input_cost_per_token|output_cost_per_token|cache_read_input_token_cost"
    r"|cache_creation_input_token_cost)(?:_above_(1|12)hr)?(?:_above_(\d{1,9})(k?)_tokens)?(?:_(\w+))?"
)
# Other parts of a price that a table of prices by the token cannot tell.
_OTHER = (
    "input_cost_per_request",
    "input_cost_per_query",
    "input_cost_per_character",
    "output_cost_per_character",
    "citation_cost_per_token",
)
_SERVICE = {"standard": None, "batch": "batches"}
_Level = dict[tuple[str, str | None], int]  # price by (what, how long it is stored)


def read(
    source: str | os.PathLike[str] | Mapping[str, Mapping[str, Any]], model: str, service: str
) -> PriceTable:
    """Return a model's prices; see :meth:`PriceTable.from_litellm`."""
    if not isinstance(service, str):
        raise ArgumentError(f"service: expected a word such as 'batch', got {service!r:.80}")
    models = source if isinstance(source, Mapping) else read_json(Path(source))
    entry = models.get(model) if isinstance(model, str) else None
    if not isinstance(entry, Mapping):
        raise unknown_model(model, models, "LiteLLM's map")
    return _Entry(model, entry, service).table()


class _Entry:
    """One entry of LiteLLM's map, read for one service."""

    def __init__(self, model: str, entry: Mapping[str, Any], service: str) -> None:
        self.model, self.entry, self.service = model, entry, service

    def fail(self, field: str, why: str) -> ArgumentError:
        return ArgumentError(f"{self.model}.{field}: {why}")

    def table(self) -> PriceTable:
        for field in _OTHER:
            if self.entry.get(field):
                raise self.fail(field, "a price that is not by the token")
        if "tiered_pricing" in self.entry:
            levels = self.ranges()
        elif self.service == "off_peak":
            levels = self.off_peak()
        else:
            levels = self.levels()
        (_, base), *above = sorted(levels.items())
        inclusive = self.entry.get("litellm_provider") == "xai"  # the limit itself is above it
        tiers = tuple(
            PriceTier(limit - inclusive, **self.prices(level, base)) for limit, level in above
        )
        table = PriceTable("USD", **self.prices(base, {}), tiers=tiers)
        reasoning = self.entry.get("output_cost_per_reasoning_token")
        if reasoning is not None and self.service == "standard":
            pico = self.pico("output_cost_per_reasoning_token", reasoning)
            if pico != table.output:
                raise self.fail("output_cost_per_reasoning_token", "another price of output")
        return table

    def levels(self) -> dict[int, _Level]:
        """Return prices by the limit that they are above; 0 for those of every prompt."""
        suffix = _SERVICE.get(self.service, self.service)
        standard: dict[int, _Level] = {0: {}}
        wanted: dict[int, _Level] = {0: {}}
        for field, value in self.entry.items():
            match = _KEY.fullmatch(str(field))
            if match is None or value is None or match[5] not in {None, suffix}:
                continue
            limit = int(match[3] or 0) * (1000 if match[4] else 1)
            into = standard if match[5] is None else wanted
            into.setdefault(limit, {})[match[1], match[2]] = self.pico(field, value)
        if suffix is None:
            return standard
        for limit, level in standard.items():
            found = wanted.setdefault(limit, {})
            for what in ("input_cost_per_token", "output_cost_per_token"):
                if (what, None) in level and (what, None) not in found:
                    above = f" above {limit} tokens" if limit else ""
                    raise self.fail(what, f"no {self.service!r:.80} price{above}")
        return wanted

    def ranges(self) -> dict[int, _Level]:
        """Return the prices of ``tiered_pricing``: a range begins above its first number."""
        if self.service != "standard":
            raise self.fail("tiered_pricing", f"no {self.service!r:.80} prices")
        levels: dict[int, _Level] = {}
        tiers = self.entry["tiered_pricing"]
        for tier in tiers if isinstance(tiers, list) else [tiers]:
            start = self.range_start(tier)
            if start is None or start in levels:
                raise self.fail("tiered_pricing", f"expected prices by range, got {tier!r:.80}")
            reasoning = tier.get("output_cost_per_reasoning_token")
            if reasoning is not None and reasoning != tier.get("output_cost_per_token"):
                raise self.fail("tiered_pricing", "another price of reasoning")
            levels[start] = {
                (match[1], match[2]): self.pico(field, value)
                for field, value in tier.items()
                if (match := _KEY.fullmatch(str(field))) and not match[3] and not match[5]
            }
        if 0 not in levels:
            raise self.fail("tiered_pricing", "no range begins at 0")
        return levels

    @staticmethod
    def range_start(tier: object) -> int | None:
        bounds = tier.get("range") if isinstance(tier, Mapping) else None
        if not isinstance(bounds, list) or not bounds:
            return None
        start = bounds[0]
        whole = isinstance(start, int) or (isinstance(start, float) and start.is_integer())
        return int(start) if whole else None

    def off_peak(self) -> dict[int, _Level]:
        cheaper = self.entry.get("off_peak_pricing")
        if not isinstance(cheaper, Mapping):
            raise self.fail("off_peak_pricing", "no 'off_peak' prices")
        return {
            0: {
                (match[1], None): self.pico(field, value)
                for field, value in cheaper.items()
                if (match := _KEY.fullmatch(str(field))) and match[0] == match[1]
            }
        }

    def prices(self, level: _Level, below: _Level) -> dict[str, Any]:
        """Return the fields of a table or tier."""

        def price(what: str, ttl: str | None = None) -> int | None:
            return level.get((what, ttl), below.get((what, ttl)))

        full, output = price("input_cost_per_token"), price("output_cost_per_token")
        if full is None or output is None:
            raise self.fail("input_cost_per_token", f"no {self.service!r:.80} price by the token")
        read, write = price("cache_read_input_token_cost"), price("cache_creation_input_token_cost")
        write = write or full  # 0 says that storing is free, not the tokens themselves
        by_ttl: list[tuple[str, int]] = []
        # Who sells an hour stores for five minutes else; who sells twelve, for thirty minutes.
        for hours, usual in (("1", "5m"), ("12", "30m")):
            longer = price("cache_creation_input_token_cost", hours)
            if longer is not None:
                by_ttl += [(usual, write), (f"{hours}h", longer)]
        return {
            "input": full,
            "cached_input": full if read is None else read,
            "cache_write": write,
            "output": output,
            "cache_writes": tuple(by_ttl),
        }

    def pico(self, field: object, value: object) -> int:
        """Return a price of one token, which the map gives as a number such as 2.5e-06."""
        try:
            if isinstance(value, bool) or not isinstance(value, int | float | str):
                raise InvalidOperation
            exact = Decimal(repr(value) if isinstance(value, float) else value) * PICO
            if not exact.is_finite() or not 0 <= exact < PICO or exact != int(exact):
                raise InvalidOperation
        except ArithmeticError:
            raise self.fail(
                str(field), f"expected whole pico-units (10**-12) for a token, got {value!r:.80}"
            ) from None
        return int(exact)
