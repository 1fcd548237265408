"""Reading files of prices, and telling an unknown model what comes near."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ctxengine.errors import LoadError, UnknownModelError


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a file."""
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise LoadError(f"{path}: not JSON: {error}") from None
    if not isinstance(document, dict):
        raise LoadError(f"{path}: expected an object")
    return document


def unknown_model(model: object, known: Iterable[str], where: str) -> UnknownModelError:
    """Return an error that names the models that come near."""
    from difflib import get_close_matches

    if not isinstance(model, str):
        return UnknownModelError(f"a model's name is text such as 'gpt-4o', got {model!r:.80}")
    near = get_close_matches(model.lower()[:64], [name for name in known if len(name) < 80], n=3)
    hint = f"; near it: {', '.join(near)}" if near else ""
    return UnknownModelError(f"unknown model {model[:80]!r} ({where}){hint}")
