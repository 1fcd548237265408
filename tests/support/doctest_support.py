"""Pages of documentation run as doctests."""

from __future__ import annotations

import doctest
import re


def blocks(page: str, language: str) -> list[str]:
    """Return the contents of a page's code blocks in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def assert_sessions_run(page: str, name: str) -> None:
    """Run all Python sessions of a page, in one namespace."""
    source = "\n".join(blocks(page, "pycon"))
    assert ">>>" in source
    test = doctest.DocTestParser().get_doctest(source, {}, name, name, 0)
    runner = doctest.DocTestRunner(
        optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS, verbose=False
    )
    report: list[str] = []
    runner.run(test, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)
