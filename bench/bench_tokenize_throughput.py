"""Encoding and counting documents of 64 kB, everything seen before: ids in a buffer, a list, none.

The ids of every library are compared with tiktoken's before anything is timed.
"""

from __future__ import annotations

import functools

import corpora
import pytest
import rivals
from ctxengine.cli.contenders import REFERENCE, ids_of
from ctxengine.cli.rounds import documents, each
from report import mb_per_s

ENCODINGS = ["cl100k_base", "o200k_base"]
FAMILIAR = {"english": 1.5, "code": 1.5, "json": 1.5, "cjk": 1.3, "multilingual": 1.3}


@functools.cache
def parts(name):
    return documents(corpora.text(name))


@functools.cache
def expected(name, encoding_name):
    encoding = rivals.tiktoken_encoding(encoding_name)
    return [encoding.encode_ordinary(part) for part in parts(name)]


def exact(name, encoding_name):
    """Return the contenders, after comparing what they are about to be timed with."""
    found = rivals.loaded(encoding_name)
    for library, contender in found.items():
        if library == REFERENCE:
            continue
        for part, ids in zip(parts(name), expected(name, encoding_name), strict=True):
            assert contender.to_list(part) == ids, library
            assert contender.count(part) == len(ids), library
            if contender.to_buffer:
                assert ids_of(contender.to_buffer(part)) == ids, library
    return found


def calls(contenders, attribute):
    found = {library: getattr(contender, attribute) for library, contender in contenders.items()}
    return {library: call for library, call in found.items() if call is not None}


@pytest.mark.parametrize("name", FAMILIAR)
@pytest.mark.parametrize("encoding_name", ENCODINGS)
def test_warm(report, encoding_name, name):
    contenders = exact(name, encoding_name)
    texts = parts(name)
    unit = mb_per_s(len(corpora.text(name).encode()))
    for attribute, what, target in [
        ("to_buffer", "encode to a buffer", FAMILIAR[name]),
        ("to_list", "encode to a list", 1.3),
        ("count", "count", 1.7),
    ]:
        runs = {lib: each(call, texts) for lib, call in calls(contenders, attribute).items()}
        report.time(f"{what}, warm, {encoding_name} {name}", runs, unit, target)


def test_fits(report):
    """Whether a text fits a thousand tokens is known long before its end."""
    text = corpora.text("english")[:1_000_000]
    contenders = rivals.loaded("o200k_base")
    runs = {
        "ctxengine": lambda: contenders["ctxengine"].tokenizer.fits(text, 1000),
        "tiktoken": lambda: contenders["tiktoken"].count(text) <= 1000,
    }
    if "rs-bpe" in contenders:
        till = contenders["rs-bpe"].tokenizer.count_till_limit
        runs["rs-bpe"] = lambda: till(text, 1000) is not None
    assert not any(run() for run in runs.values())
    report.time("does 1 MB fit 1,000 tokens, o200k_base", runs, mb_per_s(len(text.encode())))
