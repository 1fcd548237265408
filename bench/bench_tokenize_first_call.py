"""A hostile megabyte, the first time a process sees it; and beside the library's own English.

What a library remembers of such a text it will never need again: only the first call counts.
"""

from __future__ import annotations

from statistics import median

import corpora
import fresh
import pytest
import rivals
from ctxengine.cli.contenders import OURS, REFERENCE
from ctxengine.cli.rounds import on_one_processor, rotated
from families import FAMILIES
from report import MS, Row

SIZE_BYTES = 1_000_000
ROUNDS = 3
HOSTILE = [
    "one letter",
    "spaces",
    "one symbol",
    "newlines",
    "random letters",
    "random white space",
    "random han",
    "digits",
    "base64",
    "random letters of Latin-1",
]


def megabyte(text):
    return text.encode()[:SIZE_BYTES].decode(errors="ignore")


@pytest.mark.parametrize("encoding_name", ["cl100k_base", "o200k_base"])
def test_first_call(report, encoding_name):
    english = megabyte(corpora.text("english")).replace("\0", "")
    hostile = [megabyte(FAMILIES[name](SIZE_BYTES)) for name in HOSTILE]
    path = fresh.write_documents("hostile", [english, english, *hostile])
    answers = {library: [] for library in rivals.loaded(encoding_name)}
    for number in range(ROUNDS):
        with on_one_processor(number):
            for library in rotated([*answers], number):
                if number and library == REFERENCE:
                    continue
                answer = fresh.measure(library, encoding_name, "encode", path, digests=not number)
                answers[library].append(answer)
    digests = {library: found[0]["digests"] for library, found in answers.items()}
    seconds = {
        library: [*zip(*(answer["seconds"] for answer in found), strict=True)]
        for library, found in answers.items()
    }
    against = dict.fromkeys(answers, 1.0)
    for index, name in enumerate(HOSTILE, 2):
        # Some give up on some of these, tiktoken on blanks; whoever answers must agree.
        right = digests[REFERENCE][index] or digests[OURS][index]
        exact = [library for library in answers if digests[library][index] == right]
        assert OURS in exact, name
        taken = {library: seconds[library][index] for library in exact}
        report.add_seconds(f"first call, 1 MB of {name}, {encoding_name}", taken, MS, 1.0)
        for library in exact:
            familiar = median(seconds[library][1])  # English once more
            against[library] = min(against[library], familiar / median(taken[library]))
    ours = against.pop(OURS)
    rival = max(against, key=against.get)
    what = f"slowest of these against own English, {encoding_name}"
    figures = f"{against[rival]:.3f}", f"{ours:.3f}"
    report.rows.append(Row(what, rival, *figures, ours, 0.25, unit=""))
    grown = {lib: min(answer["grown_mb"] for answer in found) for lib, found in answers.items()}
    report.add_memory(f"memory kept after these, {encoding_name}", grown, 4.0)
