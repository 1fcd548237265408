"""What a request costs: prices are data, arithmetic is exact.

Amounts are integers in pico-units of the currency (10**-12). A price of "0.60 per million tokens"
is 600,000 pico-units for each token, so every price with at most six decimal places, every product
and every sum is exact; only :func:`format_amount` rounds, and only what is shown.

A table has the prices of one model and one kind of service. It comes from the dated file that the
package carries (:func:`prices`), from LiteLLM's price map, or from a mapping of one's own. Prices
are those of text tokens: tokens of images and recordings, searches and storage may have others.

Examples
--------
>>> str(prices("claude-opus-5").cost(50_000, written_tokens={"1h": 40_000}, output_tokens=1_000))
'USD 0.475000'
>>> prices("gpt-5.4").cost(272_000).total, prices("gpt-5.4").cost(272_001).total
(680000000000, 1360005000000)
>>> table = PriceTable.from_dict({"currency": "USD", "per_million_tokens": {
...     "input": "0.60", "cached_input": "0.06", "cache_write": "0.75", "output": "2.40"}})
>>> cost = table.cost(10_000, cached_tokens=8_000, written_tokens=1_600, output_tokens=500)
>>> str(cost)
'USD 0.003120'
>>> str(table.cost(10_000, output_tokens=500))
'USD 0.007200'
"""

from __future__ import annotations

from ctxengine.pricing.cost import Cost, format_amount
from ctxengine.pricing.shipped import prices
from ctxengine.pricing.table import PriceTable, PriceTier

__all__ = ["Cost", "PriceTable", "PriceTier", "format_amount", "prices"]
