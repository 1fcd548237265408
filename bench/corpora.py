"""Texts to measure with: made here from the Python library and a seed, so that all see the same.

Set CTXENGINE_BENCH_TEXT to a file to measure with a text of your own instead of the English one.
"""

from __future__ import annotations

import ast
import functools
import os
import pydoc_data.topics
import random
import sysconfig
from pathlib import Path

SIZE_CHARS = 1_000_000


def _stdlib() -> list[str]:
    folder = Path(sysconfig.get_paths()["stdlib"])
    return [path.read_text("utf-8", "replace") for path in sorted(folder.glob("*.py"))]


@functools.cache
def english() -> str:
    """Return prose: the Python language reference, then docstrings of the standard library."""
    own = os.environ.get("CTXENGINE_BENCH_TEXT")
    if own:
        return Path(own).read_text(encoding="utf-8")
    topics = "\n".join(pydoc_data.topics.topics.values())
    nodes = (node for text in _stdlib() for node in ast.walk(ast.parse(text)))
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docs = (ast.get_docstring(node) for node in nodes if isinstance(node, kinds))
    return "\n".join([topics, *filter(None, docs)])[:SIZE_CHARS]


def code() -> str:
    """Return source code of the Python standard library."""
    return "".join(_stdlib())[:SIZE_CHARS]


def chat_messages(num_messages: int = 2000) -> list[str]:
    """Return short pieces of prose, as messages are."""
    rng = random.Random(1)
    text = english()
    starts = (rng.randrange(len(text) - 400) for _ in range(num_messages))
    return [text[start : start + rng.randint(20, 400)] for start in starts]


def worst_cases() -> dict[str, str]:
    """Return texts of a megabyte that are one pre-token or nearly so."""
    rng = random.Random(2)
    letters = "abcdefghijklmnopqrstuvwxyz"
    return {
        "a": "a" * SIZE_CHARS,
        "spaces, x": " " * SIZE_CHARS + "x",
        "newlines": "\n" * SIZE_CHARS,
        "symbols": "^" * SIZE_CHARS,
        "letters": "".join(rng.choices(letters, k=SIZE_CHARS)),
        "han": "".join(chr(rng.randint(0x4E00, 0x9FFF)) for _ in range(SIZE_CHARS // 3)),
    }


def conversation(num_messages: int, seed: int = 0) -> list[dict[str, str]]:
    """Return a chat in several scripts that ends with a user's question."""
    rng = random.Random(seed)
    words = ["the ", "model ", "returns ", "日本語", "x = f(y)\n", "however, ", "2024 ", "résumé "]
    messages = [
        {
            "role": "assistant" if i % 2 else "user",
            "content": f"{i}: " + "".join(rng.choices(words, k=rng.randint(20, 200))),
        }
        for i in range(num_messages - 1)
    ]
    return [*messages, {"role": "user", "content": "And now?"}]
