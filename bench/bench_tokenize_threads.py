"""Two threads against one, by the clock on the wall: means little where others are at work too."""

from __future__ import annotations

import time

import corpora
import ctxengine
import numpy as np
import pytest
from ctxengine.cli.contenders import OURS
from ctxengine.cli.rounds import documents
from report import mb_per_s


@pytest.mark.parametrize("encoding_name", ["cl100k_base", "o200k_base"])
def test_two_threads(report, encoding_name):
    text = corpora.text("english")
    texts = documents(text) * 4
    encoding = ctxengine.get_encoding(encoding_name)
    one, two = (encoding.encode_ragged(texts, num_threads=count) for count in (1, 2))
    assert np.array_equal(one.ids, two.ids)
    runs = {
        OURS: lambda: encoding.encode_ragged(texts, num_threads=2),
        "one thread": lambda: encoding.encode_ragged(texts, num_threads=1),
    }
    unit = mb_per_s(4 * len(text.encode()))
    what = f"batch of documents, two threads, {encoding_name}"
    report.time(what, runs, unit, 1.8, clock=time.perf_counter, one_processor=False)
