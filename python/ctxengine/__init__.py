"""ctxengine: tokenize, budget, hash and place LLM prompts once, natively.

The layers, each usable alone and each a module of its own::

    tokenize   text -> token ids, counts and cuts             (exact BPE)
    chat       messages -> segments -> counts                 (the model's own template)
    budget     what goes into the window, and why             (never over)
    prefix     token ids -> chained block hashes              (equal to the serving engines')
    kv         block hashes -> block tables                   (sharing, eviction)
    cuda       block tables on the GPU
    limits     token rate limits
    engine     all of it behind one object

Names are resolved on first use, so ``import ctxengine`` costs a few milliseconds and imports
neither numpy nor any module that the caller does not use.
"""

from __future__ import annotations

from ctxengine._core import __version__

TYPE_CHECKING = False  # as typing's constant, without the 9 ms that importing typing costs
if TYPE_CHECKING:
    from typing import Any

    from ctxengine.errors import (
        ArgumentError,
        BudgetExceeded,
        CapacityError,
        CtxEngineError,
        DeviceError,
        LoadError,
        SpecialTokenError,
        UnknownTokenError,
    )
    from ctxengine.tokenize import (
        Encoding,
        encoding_for_model,
        encoding_name_for_model,
        get_encoding,
        list_encoding_names,
    )

_MODULE_OF = {
    "ArgumentError": "errors",
    "BudgetExceeded": "errors",
    "CapacityError": "errors",
    "CtxEngineError": "errors",
    "DeviceError": "errors",
    "Encoding": "tokenize",
    "LoadError": "errors",
    "SpecialTokenError": "errors",
    "UnknownTokenError": "errors",
    "encoding_for_model": "tokenize",
    "encoding_name_for_model": "tokenize",
    "get_encoding": "tokenize",
    "list_encoding_names": "tokenize",
}
_MODULES = frozenset(
    (
        "budget",
        "chat",
        "cuda",
        "engine",
        "errors",
        "kv",
        "limits",
        "prefix",
        "pricing",
        "tokenize",
        "viz",
    )
)

__all__ = [
    "ArgumentError",
    "BudgetExceeded",
    "CapacityError",
    "CtxEngineError",
    "DeviceError",
    "Encoding",
    "LoadError",
    "SpecialTokenError",
    "UnknownTokenError",
    "__version__",
    "encoding_for_model",
    "encoding_name_for_model",
    "get_encoding",
    "list_encoding_names",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _MODULES:
        return import_module(f"ctxengine.{name}")
    if name in _MODULE_OF:
        value = getattr(import_module(f"ctxengine.{_MODULE_OF[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'ctxengine' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
