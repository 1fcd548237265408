"""The ``ctxengine`` command line."""

from __future__ import annotations

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    raise SystemExit(f"not built yet: {argv}")
