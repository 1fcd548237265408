"""Texts to measure with: made here from a seed, so that all see the same, or files of your own.

Set CTXENGINE_BENCH_TEXTS to a folder with any of english.txt, code.txt, json.txt, cjk.txt and
multilingual.txt, and those are read instead, up to `SIZE_BYTES` of each. What is made here of CJK
and of other languages has their words, not their grammar: it is drawn from the vocabulary.
"""

from __future__ import annotations

import ast
import functools
import itertools
import json
import os
import pydoc_data.topics
import random
import re
import string
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ctxengine

SIZE_BYTES = 4_000_000
NEVER_SEEN_BYTES = 12_000_000
FOLDER = os.environ.get("CTXENGINE_BENCH_TEXTS")


@functools.cache
def text(name: str) -> str:
    """Return one of `TEXTS`: from its file if there is one, else as made here.

    Spellings of special tokens are broken up, because the libraries differ in what they do then.
    """
    path = Path(FOLDER or "") / f"{name}.txt"
    if FOLDER and path.is_file():
        with path.open(encoding="utf-8", errors="replace") as file:
            content = file.read(SIZE_BYTES)
    else:
        content = TEXTS[name]()
    return _head(content.replace("<|", "< |"))


def origin(name: str) -> str:
    """Return where `text` has it from."""
    return "file" if FOLDER and (Path(FOLDER) / f"{name}.txt").is_file() else "made"


def _head(content: str) -> str:
    return content.encode()[:SIZE_BYTES].decode(errors="ignore")


@functools.cache
def _stdlib() -> tuple[str, ...]:
    folder = Path(sysconfig.get_paths()["stdlib"])
    paths = sorted([*folder.glob("*.py"), *folder.glob("[a-z]*/[a-z]*.py")])
    return tuple(
        path.read_text("utf-8", "replace") for path in paths if "test" not in str(path.parent)
    )


def _english() -> str:
    """Return the Python language reference, then docstrings of the standard library."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    nodes = (node for content in _stdlib() for node in ast.walk(ast.parse(content)))
    docs = (ast.get_docstring(node) for node in nodes if isinstance(node, kinds))
    return "\n".join([*pydoc_data.topics.topics.values(), *filter(None, docs)])


def _code() -> str:
    return "".join(_stdlib())


def _json() -> str:
    """Make records of a service's log with the words of prose."""
    rng = random.Random(5)
    words = _words()
    lines = []
    for number in range(18_000):
        record = {
            "time": f"2026-11-{rng.randint(1, 30):02}T{rng.randint(0, 23):02}:00:{number % 60:02}Z",
            "id": f"{rng.getrandbits(64):016x}",
            "level": rng.choice(["info", "info", "warning", "error"]),
            "latency_ms": round(rng.expovariate(0.05), 3),
            "message": " ".join(rng.choices(words, k=rng.randint(3, 15))),
            "tags": rng.sample(words, 3),
        }
        lines.append(json.dumps(record))
    return "\n".join(lines)


@functools.cache
def _words() -> list[str]:
    return sorted(set(re.findall(r"\b[a-z]{3,10}\b", "".join(pydoc_data.topics.topics.values()))))


@functools.cache
def _tokens_by_script() -> dict[str, list[str]]:
    """Return the vocabulary's words by the 128 code points that they begin in, common first."""
    found: dict[str, list[str]] = {}
    for token in ctxengine.get_encoding("o200k_base").token_byte_values():
        word = token.decode("utf-8", "replace")
        letters = word.strip()
        if letters.isalpha() and not letters.isascii() and "\ufffd" not in word:
            script = "cjk" if "\u3040" <= letters[0] <= "\u9fff" else f"{ord(letters[0]) >> 7:x}"
            found.setdefault(script, []).append(word)
    return {script: words for script, words in found.items() if len(words) >= 50}


def _drawn(words: list[str], rng: random.Random, size: int) -> Iterator[str]:
    """Yield sentences of the words, the n-th most common one about 1/n as often."""
    weights = list(itertools.accumulate(1 / (rank + 10) for rank in range(len(words))))
    stops = ["。", "，", "、", "。\n"] if words[0] > "\u3040" else [", ", ".\n"]
    made = 0
    while made < size:
        sentence = rng.choices(words, cum_weights=weights, k=rng.randint(5, 25))
        sentence.append(rng.choice(stops))
        yield from sentence
        made += sum(map(len, sentence))


def _cjk() -> str:
    return "".join(_drawn(_tokens_by_script()["cjk"], random.Random(6), SIZE_BYTES // 3))


def _multilingual() -> str:
    rng = random.Random(7)
    scripts = [words for script, words in _tokens_by_script().items() if script != "cjk"]
    part = SIZE_BYTES // 400
    return "".join(
        itertools.chain.from_iterable(_drawn(rng.choice(scripts), rng, part) for _ in range(200))
    )


TEXTS: dict[str, Callable[[], str]] = {
    "english": _english,
    "code": _code,
    "json": _json,
    "cjk": _cjk,
    "multilingual": _multilingual,
}


def never_seen_words(seed: int = 8) -> str:
    """Return words that nobody has written before: nothing to be gained from remembering."""
    rng = random.Random(seed)
    sizes = rng.choices(range(5, 15), k=NEVER_SEEN_BYTES // 10)
    letters = "".join(rng.choices(string.ascii_lowercase, k=sum(sizes)))
    ends = itertools.accumulate(sizes, initial=0)
    return " ".join(letters[a:b] for a, b in itertools.pairwise(ends))[:NEVER_SEEN_BYTES]


def never_seen_identifiers(seed: int = 9) -> str:
    """Return camelCase identifiers of made-up words, hardly any of the words twice."""
    rng = random.Random(seed)
    syllables = ["".join(pair) for pair in itertools.product("bdfgklmnprstvz", "aeiou")]
    count = NEVER_SEEN_BYTES // 7
    parts = (rng.choices(syllables, k=count) for _ in range(4))
    endings = rng.choices(["", "l", "n", "r", "s", "nt"], k=count)
    words = ("".join(part) for part in zip(*parts, endings, strict=True))
    names = iter(
        first + second.capitalize() + third.capitalize()
        for first, second, third in zip(words, words, words, strict=False)
    )
    return " ".join(names)[:NEVER_SEEN_BYTES]


def chat_messages(num_messages: int, mean_chars: int) -> list[str]:
    """Return short pieces of prose, as messages are."""
    rng = random.Random(1)
    content = text("english")
    starts = (rng.randrange(len(content) - 2 * mean_chars) for _ in range(num_messages))
    return [content[start : start + rng.randint(1, 2 * mean_chars - 1)] for start in starts]


def short_strings(num_strings: int = 5000, size_chars: int = 30) -> list[str]:
    """Return different strings of one length."""
    content = text("english")
    rng = random.Random(10)
    starts = (rng.randrange(len(content) - size_chars) for _ in range(2 * num_strings))
    distinct = dict.fromkeys(content[start : start + size_chars] for start in starts)
    return [piece for piece in distinct if piece.isascii()][:num_strings]


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


def tools(num_tools: int) -> list[dict[str, Any]]:
    """Return definitions of functions, as a request brings them along."""
    return [
        {
            "type": "function",
            "function": {
                "name": f"look_up_{i}",
                "description": f'Looks up what the {i}th table says of a name; "all" of <rows>.',
                "parameters": {
                    "type": "object",
                    "properties": {
                        "name": {"type": "string", "description": "What to look up"},
                        "limit": {"type": "integer", "default": 10},
                        "order": {"type": "string", "enum": ["rising", "falling"]},
                    },
                    "required": ["name"],
                },
            },
        }
        for i in range(num_tools)
    ]


def english_conversation(num_messages: int) -> list[dict[str, str]]:
    """Return a chat that ends with a user's question; 600 characters a message on average."""
    texts = chat_messages(num_messages - 1, 600)
    messages = [
        {"role": "assistant" if i % 2 else "user", "content": text} for i, text in enumerate(texts)
    ]
    return [*messages, {"role": "user", "content": "And now?"}]


def with_calls(plain: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Return as many messages of a chat, in which every second answer looks something up first."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": "You look things up."}]
    for i, message in enumerate(plain):
        if message["role"] == "assistant" and i % 4 == 1:
            function = {"name": f"look_up_{i % 20}", "arguments": {"name": f"日本 {i}", "limit": i}}
            call = {"id": f"call{i:05}", "type": "function", "function": function}
            messages += [
                {"role": "assistant", "content": "", "tool_calls": [call]},
                {"role": "tool", "content": plain[i - 1]["content"], "tool_call_id": call["id"]},
            ]
        messages.append(message)
    return [*messages[: len(plain) - 1], plain[-1]]
