"""ctxengine: tokenize, budget, hash and place LLM prompts once, natively.

The layers, each usable alone and each a module of its own::

    tokenize   text -> token ids, counts and cuts             (exact BPE)
    chat       messages -> segments -> counts                 (the model's own template)
    budget     what goes into the window, and why             (never over)
    prefix     token ids -> chained block hashes              (equal to the serving engines')
    kv         block hashes -> block tables                   (sharing, eviction)
    cuda       block tables on the GPU
    limits     token rate limits
    models     facts of models: windows, encodings, what images cost   (data)
    engine     all of it behind one object

Names are resolved on first use, so ``import ctxengine`` costs a few milliseconds and imports
neither numpy nor any module that the caller does not use.
"""

from __future__ import annotations

from ctxengine._core import __version__

TYPE_CHECKING = False  # as typing's constant, without the 9 ms that importing typing costs
if TYPE_CHECKING:
    from typing import Any

    from ctxengine.budget import Budget, Item, Plan, Section, plan, trim_messages
    from ctxengine.chat import Template, count_messages, count_request, encode_messages
    from ctxengine.engine import ContextEngine, EnginePlan, Envelope
    from ctxengine.errors import (
        ArgumentError,
        BudgetExceeded,
        CapacityError,
        CtxEngineError,
        DeviceError,
        LoadError,
        SpecialTokenError,
        UnknownModelError,
        UnknownTokenError,
    )
    from ctxengine.kv import KVCacheManager
    from ctxengine.limits import Limit, Limiter, RetryAfter
    from ctxengine.prefix import BlockHasher
    from ctxengine.pricing import Cost, PriceTable
    from ctxengine.tokenize import (
        Appender,
        DecodeStream,
        DecodeStreamBatch,
        Encoding,
        ModelFacts,
        Offsets,
        Ragged,
        encoding_for_model,
        encoding_name_for_model,
        get_encoding,
        list_encoding_names,
        load,
    )

_MODULE_OF = {
    "ArgumentError": "errors",
    "BlockHasher": "prefix",
    "Budget": "budget",
    "BudgetExceeded": "errors",
    "CapacityError": "errors",
    "ContextEngine": "engine",
    "Cost": "pricing",
    "CtxEngineError": "errors",
    "Appender": "tokenize",
    "DecodeStream": "tokenize",
    "DecodeStreamBatch": "tokenize",
    "DeviceError": "errors",
    "Encoding": "tokenize",
    "EnginePlan": "engine",
    "Envelope": "engine",
    "Item": "budget",
    "KVCacheManager": "kv",
    "Limit": "limits",
    "Limiter": "limits",
    "LoadError": "errors",
    "Plan": "budget",
    "PriceTable": "pricing",
    "Offsets": "tokenize",
    "Ragged": "tokenize",
    "RetryAfter": "limits",
    "Section": "budget",
    "SpecialTokenError": "errors",
    "Template": "chat",
    "UnknownModelError": "errors",
    "UnknownTokenError": "errors",
    "count_messages": "chat",
    "count_request": "chat",
    "encode_messages": "chat",
    "encoding_for_model": "tokenize",
    "encoding_name_for_model": "tokenize",
    "get_encoding": "tokenize",
    "list_encoding_names": "tokenize",
    "ModelFacts": "tokenize",
    "load": "tokenize",
    "plan": "budget",
    "trim_messages": "budget",
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
        "models",
        "prefix",
        "pricing",
        "tokenize",
        "viz",
    )
)

__all__ = [
    "Appender",
    "ArgumentError",
    "BlockHasher",
    "Budget",
    "BudgetExceeded",
    "CapacityError",
    "ContextEngine",
    "Cost",
    "CtxEngineError",
    "DecodeStream",
    "DecodeStreamBatch",
    "DeviceError",
    "Encoding",
    "EnginePlan",
    "Envelope",
    "Item",
    "KVCacheManager",
    "Limit",
    "Limiter",
    "LoadError",
    "ModelFacts",
    "Offsets",
    "Plan",
    "PriceTable",
    "Ragged",
    "RetryAfter",
    "Section",
    "SpecialTokenError",
    "Template",
    "UnknownModelError",
    "UnknownTokenError",
    "__version__",
    "count_messages",
    "count_request",
    "encode_messages",
    "encoding_for_model",
    "encoding_name_for_model",
    "get_encoding",
    "list_encoding_names",
    "load",
    "plan",
    "trim_messages",
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
