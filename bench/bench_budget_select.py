"""Selecting among 1,000 items: utility against the exact optimum, and the time of both.

The optimum is dynamic programming over every number of tokens, a row of numpy at a time.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from ctxengine import _core

NUM_ITEMS = 1000
CAPACITY = 32_000
FAMILIES = ["independent", "zipf", "length-proportional", "correlated"]


def instance(family: str, seed: int) -> list[tuple[int, float, int]]:
    rng = random.Random(f"{family} {seed}")
    costs = [max(8, int(rng.lognormvariate(4.6, 0.6))) for _ in range(NUM_ITEMS)]
    utilities = {
        "independent": [rng.random() for _ in costs],
        "zipf": [1 / rank for rank in rng.sample(range(1, NUM_ITEMS + 1), NUM_ITEMS)],
        "length-proportional": [cost * (0.5 + rng.random()) for cost in costs],
        "correlated": [cost + 100.0 for cost in costs],
    }[family]
    return [(cost, utility, -1) for cost, utility in zip(costs, utilities, strict=True)]


def optimum(items: list[tuple[int, float, int]]) -> float:
    best = np.zeros(CAPACITY + 1)
    for cost, utility, _ in items:
        best[cost:] = np.maximum(best[cost:], best[:-cost] + utility)
    return float(best[-1])


@pytest.fixture(scope="module", params=FAMILIES)
def case(request: Any) -> tuple[str, list[tuple[int, float, int]]]:
    """Return a family whose choices are valid and worth 99.9% of the optimum on every seed."""
    worst = 1.0
    for seed in range(6):
        items = instance(request.param, seed)
        taken = _core.select_items(items, CAPACITY, False)
        chosen = [item for item, is_taken in zip(items, taken, strict=True) if is_taken]
        assert sum(cost for cost, _, _ in chosen) <= CAPACITY
        worst = min(worst, sum(utility for _, utility, _ in chosen) / optimum(items))
    assert worst <= 1 + 1e-9
    assert worst >= 0.999, worst
    return request.param, instance(request.param, 0)


@pytest.mark.parametrize("library", ["ctxengine", "numpy, exact"])
def test_select(benchmark: Any, case: Any, library: str) -> None:
    family, items = case
    benchmark.group = f"select among {NUM_ITEMS:,} items, {family}"
    if library == "ctxengine":
        benchmark(lambda: _core.select_items(items, CAPACITY, False))
    else:
        benchmark.pedantic(lambda: optimum(items), rounds=3)
