"""Texts put together into requests."""

from __future__ import annotations

import itertools
import random

import pytest
from ctxengine.budget import pack
from ctxengine.errors import ArgumentError, BudgetExceeded
from ctxengine.tokenize import get_encoding

ENCODING = get_encoding("cl100k_base")
COUNT = ENCODING.as_tiktoken()


def fewest(sizes: list[int], max_tokens: int, max_items: int) -> int:
    """Return the least number of runs, by trying every place of the last one."""
    best = [0]
    for end in range(1, len(sizes) + 1):
        best.append(
            min(
                best[begin] + 1
                for begin in range(max(0, end - max_items), end)
                if sum(sizes[begin:end]) <= max_tokens
            )
        )
    return best[-1]


@pytest.mark.parametrize("seed", range(30))
def test_requests_are_within_the_limits_and_as_few_as_can_be(seed: int) -> None:
    rng = random.Random(seed)
    texts = [
        " ".join(rng.choices(["one", "Wörter", "中文", ""], k=rng.randrange(6)))
        for _ in range(rng.randrange(1, 25))
    ]
    sizes = [len(COUNT.encode_ordinary(text)) for text in texts]
    max_tokens = max(1, *sizes) + rng.randrange(20)
    max_items = rng.randrange(1, 8)
    made = pack(texts, ENCODING, max_tokens=max_tokens, max_items=max_items)
    assert list(itertools.chain(*made)) == list(range(len(texts)))
    assert all(sum(sizes[i] for i in request) <= max_tokens for request in made)
    assert all(len(request) <= max_items for request in made)
    assert len(made) == fewest(sizes, max_tokens, max_items)


def test_no_texts_need_no_request() -> None:
    assert pack([], ENCODING, max_tokens=1) == []
    assert pack(["", ""], ENCODING, max_tokens=1) == [[0, 1]]


def test_a_text_that_is_too_long_is_named() -> None:
    with pytest.raises(BudgetExceeded, match=r"texts\[1\] has 3 tokens, more than the 2") as caught:
        pack(["a", "one two three"], ENCODING, max_tokens=2)
    assert (caught.value.needed_tokens, caught.value.available_tokens) == (3, 2)


@pytest.mark.parametrize("limits", [{"max_tokens": 0}, {"max_tokens": 5, "max_items": 0}])
def test_limits_below_one(limits: dict[str, int]) -> None:
    with pytest.raises(ArgumentError, match="must lie between 1"):
        pack(["a"], ENCODING, **limits)


def test_one_str_is_no_list_of_texts() -> None:
    with pytest.raises(ArgumentError, match="one str"):
        pack("abc", ENCODING, max_tokens=5)
    with pytest.raises(ArgumentError, match="one generator"):
        pack((text for text in "abc"), "cl100k_base", max_tokens=5)  # type: ignore[arg-type]
