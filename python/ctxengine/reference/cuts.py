"""The longest part of a text that fits: by trying every length."""

from __future__ import annotations

from collections.abc import Callable


def longest_prefix(count: Callable[[str], int], text: str, limit: int) -> str:
    """Return the longest prefix whose own count is at most `limit`. O(n^2)."""
    return next(text[:n] for n in range(len(text), -1, -1) if n == 0 or count(text[:n]) <= limit)


def longest_suffix(count: Callable[[str], int], text: str, limit: int) -> str:
    """Return the longest suffix whose own count is at most `limit`. O(n^2)."""
    begins = range(len(text) + 1)
    return next(text[n:] for n in begins if n == len(text) or count(text[n:]) <= limit)
