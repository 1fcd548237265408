"""Decoding: a list of ids to str, a buffer of ids to bytes."""

from __future__ import annotations

import corpora
import numpy as np
import pytest
import rivals
from ctxengine.cli.rounds import documents, each
from report import mb_per_s

TARGETS = {"decode": 1.3, "decode_bytes": 4.0}


@pytest.mark.parametrize("name", ["english", "multilingual"])
@pytest.mark.parametrize("encoding_name", ["cl100k_base", "o200k_base"])
def test_decode(report, encoding_name, name):
    texts = documents(corpora.text(name))
    encoding = rivals.tiktoken_encoding(encoding_name)
    lists = [*map(encoding.encode_ordinary, texts)]
    buffers = [np.array(ids, np.uint32) for ids in lists]
    contents = [text.encode() for text in texts]
    unit = mb_per_s(sum(map(len, contents)))
    for attribute, what, inputs, expected in [
        ("decode", "decode a list to str", lists, texts),
        ("decode_bytes", "decode a buffer to bytes", buffers, contents),
    ]:
        runs = {}
        for library, contender in rivals.loaded(encoding_name).items():
            call = getattr(contender, attribute)
            if call is not None:
                assert [*map(call, inputs)] == expected, library
                runs[library] = each(call, inputs)
        report.time(f"{what}, {encoding_name} {name}", runs, unit, TARGETS[attribute])
