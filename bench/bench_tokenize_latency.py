"""Calls with 30 bytes: what a call costs before it does much. Different strings, familiar words."""

from __future__ import annotations

import corpora
import pytest
import rivals
from ctxengine.cli.contenders import ids_of
from ctxengine.cli.rounds import each
from report import us_each

TARGETS = {"count": 4.0, "to_list": 1.9, "to_buffer": 1.6}


@pytest.mark.parametrize("attribute", TARGETS)
@pytest.mark.parametrize("encoding_name", ["cl100k_base", "o200k_base"])
def test_30_bytes(report, encoding_name, attribute):
    texts = corpora.short_strings()
    encoding = rivals.tiktoken_encoding(encoding_name)
    expected = [encoding.encode_ordinary(text) for text in texts]
    runs = {}
    for library, contender in rivals.loaded(encoding_name).items():
        call = getattr(contender, attribute)
        if call is not None:
            got = [*map(call, texts)]
            if attribute == "count":
                assert got == [*map(len, expected)], library
            else:
                assert [*map(ids_of, got)] == expected, library
            runs[library] = each(call, texts)
    what = f"30 bytes, {attribute.replace('_', ' ')}, {encoding_name}"
    report.time(what, runs, us_each(len(texts)), TARGETS[attribute], rounds=11)
