"""Encoding speed beside tiktoken; the ids are compared before anything is timed.

Run with ``pytest bench/bench_tokenize_encode.py``.
"""

from __future__ import annotations

import corpora
import ctxengine
import numpy as np
import pytest
import rivals

NAMES = ["cl100k_base", "o200k_base"]
TEXTS = {"english": corpora.english, "code": corpora.code}
LIBRARIES = ["ctxengine", "tiktoken"]


def encodings(name, library):
    ours, theirs = ctxengine.get_encoding(name), rivals.tiktoken_encoding(name)
    return (ours if library == "ctxengine" else theirs), ours, theirs


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("text_name", TEXTS)
@pytest.mark.parametrize("name", NAMES)
def test_encode_to_numpy(benchmark, name, text_name, library):
    text = TEXTS[text_name]()
    encoding, ours, theirs = encodings(name, library)
    plain = {"disallowed_special": ()}
    assert np.array_equal(
        ours.encode_to_numpy(text, **plain), theirs.encode_to_numpy(text, **plain)
    )
    benchmark.group = f"encode_to_numpy {name} {text_name}"
    benchmark.extra_info["size_bytes"] = len(text.encode())
    benchmark(encoding.encode_to_numpy, text, **plain)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("name", NAMES)
def test_encode_to_list(benchmark, name, library):
    text = corpora.english()
    encoding, ours, theirs = encodings(name, library)
    assert ours.encode_ordinary(text) == theirs.encode_ordinary(text)
    benchmark.group = f"encode_ordinary {name}"
    benchmark(encoding.encode_ordinary, text)


@pytest.mark.parametrize("library", LIBRARIES)
def test_encode_messages(benchmark, library):
    texts = corpora.chat_messages()
    encoding, ours, theirs = encodings("o200k_base", library)
    assert [ours.encode_ordinary(t) for t in texts] == [theirs.encode_ordinary(t) for t in texts]
    benchmark.group = "2000 messages, one call each"
    benchmark(lambda: [encoding.encode_ordinary(text) for text in texts])


@pytest.mark.parametrize("case", ["english", *corpora.worst_cases()])
@pytest.mark.parametrize("name", NAMES)
def test_worst_cases(benchmark, name, case):
    """No megabyte may take ten times as long as a megabyte of prose, in the same group."""
    text = corpora.english() if case == "english" else corpora.worst_cases()[case]
    encoding, ours, theirs = encodings(name, "ctxengine")
    if not text.isspace() and not text.startswith(" "):  # a million blanks make tiktoken panic
        assert ours.encode_ordinary(text) == theirs.encode_ordinary(text)
    assert encoding.decode(encoding.encode_ordinary(text)) == text
    benchmark.group = f"worst cases {name}"
    benchmark.extra_info["size_bytes"] = len(text.encode())
    benchmark.pedantic(encoding.encode_to_numpy, (text,), rounds=5)
