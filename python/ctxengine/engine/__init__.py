"""Everything behind one object: plan a request, know what is cached, place it, hand it on.

:class:`ContextEngine` joins the layers and adds nothing of its own: :mod:`ctxengine.budget` decides
what goes in, :mod:`ctxengine.prefix` hashes the ids, :mod:`ctxengine.kv` finds cached blocks and
allocates the rest, :mod:`ctxengine.pricing` says what it costs. Each stage is timed.

Examples
--------
>>> from ctxengine.engine import ContextEngine
>>> engine = ContextEngine("qwen3", window=4096, block_size=16)
>>> history = [{"role": "user", "content": "Does the rain in Leith ever stop?"}]
>>> planned = engine.plan(system="You answer in one sentence.", history=history)
>>> planned.cached_tokens
0
>>> with engine.place(planned) as sequence:
...     slots = sequence.compute()  # after the forward pass: its blocks can be shared from now on
>>> engine.plan(system="You answer in one sentence.", history=history).cached_tokens
16
"""

from __future__ import annotations

from ctxengine.engine.context import HASH_SCHEME, ContextEngine, EnginePlan
from ctxengine.engine.envelope import Envelope
from ctxengine.engine.sequence import Sequence

__all__ = ["HASH_SCHEME", "ContextEngine", "EnginePlan", "Envelope", "Sequence"]
