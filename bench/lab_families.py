"""Compare the ids of every vocabulary with those of its reference, on text files.

Not part of the tests, which make their texts themselves: it takes minutes, and any text will do.
Files are cut into texts of 100,000 characters. The references are tiktoken for the shipped
encodings (after tokenizers' NFC for Qwen) and Llama 3, mistral-common for tekken, tokenizers for
DeepSeek, Claude 2 and the conversions of Mistral v3, sentencepiece for Mistral v3 and for any other
model given with ``--model``. Exit status 1 says that an id differs somewhere.

Last run: tiktoken 0.14.0, tokenizers 0.23.1, mistral-common 1.13.1, sentencepiece 0.2.3; 114 texts
of English, code, JSON, Chinese and Japanese, and of many scripts, 14 MB: all ids equal.

How to run it::

    pip install tiktoken tokenizers sentencepiece mistral-common pytest
    pip install --no-deps litellm quicktok-v1       # carry vocabularies
    python bench/lab_families.py TEXT... [--model MODEL]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

import ctxengine
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/support"))
from vocabulary_families import FAMILIES, Encode, sentencepiece_model, shipped

TEXT_CHARS = 100_000


def texts_of(path: Path) -> list[str]:
    text = path.read_bytes().decode("utf-8", "replace")
    return [text[begin : begin + TEXT_CHARS] for begin in range(0, len(text), TEXT_CHARS)]


def first_difference(encoding: ctxengine.Encoding, reference: Encode, text: str) -> str | None:
    """Say where the ids of a text, or their number, differ."""
    ours, theirs = encoding.encode_ordinary(text), reference(text)
    if ours != theirs:
        pairs = enumerate(zip(ours, theirs, strict=False))
        index = next((i for i, (a, b) in pairs if a != b), min(len(ours), len(theirs)))
        return f"id {index}: {ours[index : index + 4]}, reference {theirs[index : index + 4]}"
    if encoding.count(text) != len(theirs):
        return f"count {encoding.count(text)}, reference {len(theirs)}"
    return None


def main() -> int:
    """Compare, and print a line for each vocabulary; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("texts", type=Path, nargs="+", metavar="TEXT")
    parser.add_argument("--model", type=Path, action="append", default=[], help="SentencePiece's")
    arguments = parser.parse_args()
    families = {name: partial(shipped, name) for name in ctxengine.list_encoding_names()}
    families |= FAMILIES
    families |= {str(path): partial(sentencepiece_model, path) for path in arguments.model}
    texts = [(path, text) for path in arguments.texts for text in texts_of(path)]
    any_differs = False
    for name, make in families.items():
        with tempfile.TemporaryDirectory() as folder:
            try:
                family = make(Path(folder))
            except pytest.skip.Exception as reason:
                print(f"{name}: left out: {reason}", flush=True)
                continue
            encoding = family.load()
        num_different = 0
        for path, text in texts:
            difference = first_difference(encoding, family.reference, text)
            if difference is not None:
                num_different += 1
                print(f"{name}: {path}: text {text[:20]!r}...: {difference}", flush=True)
        any_differs |= num_different > 0
        num_chars = sum(len(text) for _, text in texts)
        print(
            f"{name}: {num_different} of {len(texts)} texts differ, {num_chars} characters",
            flush=True,
        )
    return int(any_differs)


if __name__ == "__main__":
    sys.exit(main())
