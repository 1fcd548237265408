"""The register of hostile cases, and what several of them need."""

from __future__ import annotations

import functools
from collections.abc import Callable

import ctxengine

CASES: dict[str, Callable[[], None]] = {}
"""Name -> what to run; a case fails by raising."""


def case(name: str, *arguments: object) -> Callable[[Callable], Callable]:
    """Register a function, called with these arguments, under a name."""

    def register(function: Callable) -> Callable:
        assert name not in CASES, name
        CASES[name] = functools.partial(function, *arguments)
        return function

    return register


@functools.cache
def encoding(name: str = "cl100k_base") -> ctxengine.Encoding:
    return ctxengine.get_encoding(name)


def raises(expected: type[BaseException], call: Callable[[], object], *words: str) -> None:
    """Assert that the call raises exactly this class and that the message holds the words."""
    try:
        call()
    except expected as error:
        missing = [word for word in words if word not in str(error)]
        assert not missing, f"{missing} not in {str(error)!r}"
        assert len(str(error)) < 2000, "the message is as long as its input"
    else:
        raise AssertionError(f"{expected.__name__} was not raised")
