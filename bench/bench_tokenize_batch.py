"""60,000 short messages in one call, on one thread, into one buffer."""

from __future__ import annotations

import itertools

import corpora
import pytest
import rivals
from ctxengine.cli.contenders import REFERENCE, ids_of
from report import us_each


@pytest.mark.parametrize("encoding_name", ["cl100k_base", "o200k_base"])
def test_messages(report, encoding_name):
    texts = corpora.chat_messages(60_000, 81)
    encoding = rivals.tiktoken_encoding(encoding_name)
    expected = [*itertools.chain.from_iterable(map(encoding.encode_ordinary, texts))]
    runs = {}
    for library, contender in rivals.loaded(encoding_name).items():
        if contender.batch is not None and library != REFERENCE:  # 50 times slower than all others
            assert ids_of(contender.batch(texts)) == expected, library
            runs[library] = lambda batch=contender.batch: batch(texts)
    what = f"batch of 60,000 messages, each, {encoding_name}"
    report.time(what, runs, us_each(len(texts)), 1.6)
