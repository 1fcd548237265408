"""The pages in docs/ are run, and docs/tokenize.md shows all that `ctxengine.tokenize` has."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from ctxengine import tokenize
from doctest_support import assert_sessions_run, blocks

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}


@pytest.mark.parametrize("name", [name for name, page in PAGES.items() if "```pycon" in page])
def test_python_sessions(name: str) -> None:
    assert_sessions_run(PAGES[name], name)


def test_links_lead_somewhere() -> None:
    for page in PAGES.values():
        for target in re.findall(r"\]\(([^)#:]+)\)", page):
            assert (DOCS / target).exists(), target


# The names that docs/tokenize.md gives to the objects of each class.
VARIABLES = {
    tokenize.Encoding: "Encoding encoding qwen3 tiny model",
    tokenize.DecodeStream: "stream other",
    tokenize.DecodeStreamBatch: "batch",
    tokenize.Appender: "chat",
    tokenize.Ragged: "ragged",
    tokenize.ModelFacts: "model_facts",
    tokenize.Offsets: "offsets",
}
# What a named tuple has is Python's.
MEMBERS = [
    (owner, name)
    for owner in VARIABLES
    for name, _ in inspect.getmembers(owner)
    if not name.startswith("_") and not (issubclass(owner, tuple) and hasattr(tuple, name))
]


def test_all_classes_are_looked_at() -> None:
    public = [getattr(tokenize, name) for name in tokenize.__all__]
    assert {entry for entry in public if inspect.isclass(entry)} == set(VARIABLES)
    assert len(MEMBERS) >= 60


@pytest.mark.parametrize("name", sorted(tokenize.__all__))
def test_every_public_name_is_on_the_page(name: str) -> None:
    assert re.search(rf"\b{name}\b", PAGES["tokenize.md"])


@pytest.mark.parametrize(
    ("owner", "name"), MEMBERS, ids=[f"{owner.__name__}.{name}" for owner, name in MEMBERS]
)
def test_every_member_has_an_example(owner: type, name: str) -> None:
    examples = "\n".join(blocks(PAGES["tokenize.md"], "pycon"))
    variables = VARIABLES[owner].replace(" ", "|")
    assert re.search(rf"\b(?:{variables})\.{name}\b", examples)
