"""The prices that the package carries."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from ctxengine.errors import ArgumentError
from ctxengine.pricing.files import read_json, unknown_model
from ctxengine.pricing.table import PriceTable


def prices(model: str, service: str = "standard") -> PriceTable:
    """Return the prices that a model's own provider publishes, from the file in the package.

    Parameters
    ----------
    model : str
        Its name, or that of a version whose price is known, with or without the provider's own
        prefix ("openai/", "anthropic/", "gemini/"). Other sellers of a model and fine-tunes have
        prices of their own.
    service : str, default "standard"
        "batch", "flex" or "off_peak", where the provider has such prices.

    Notes
    -----
    The figures are of the day that the file names, ``python/ctxengine/pricing/prices.json``; for
    another day or seller use :meth:`PriceTable.from_litellm` or :meth:`PriceTable.from_dict`.

    Raises
    ------
    UnknownModelError
        The file has no such model (a KeyError too); the message names those that come near.
    ArgumentError
        No price of that service is known for the model.
    """
    document, index = _shipped()
    entry = index.get(model.lower()) if isinstance(model, str) else None
    if entry is None:
        raise unknown_model(model, index, f"prices of {document['as_of']}")
    services = entry["services"]
    if not isinstance(service, str) or service not in services:
        raise ArgumentError(
            f"service: no {service!r:.80} prices of {model} are known; known: {', '.join(services)}"
        )
    return PriceTable.from_dict({"currency": document["currency"]} | services[service])


@cache
def _shipped() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the package's file, and its entries by every name."""
    document = read_json(Path(__file__).with_name("prices.json"))
    index = {
        prefix + name: entry
        for entry in document["models"]
        for name in entry["names"]
        for prefix in ("", *document["prefixes"][entry["provider"]])
    }
    return document, index
