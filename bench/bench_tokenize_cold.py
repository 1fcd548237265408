"""The first and only pass of a fresh process, and text that nobody has seen before.

Each round starts every contender anew; what is timed is encoding alone. Memory that has grown is
that of the never-seen text.
"""

from __future__ import annotations

import corpora
import fresh
import pytest
import rivals
from ctxengine.cli.contenders import OURS
from ctxengine.cli.rounds import documents, on_one_processor, rotated
from report import mb_per_s

ENCODINGS = ["cl100k_base", "o200k_base"]
LIBRARIES = [OURS, "fastokens", "gigatoken"]  # the others are slower even when warm
ROUNDS, LONG_ROUNDS = 4, 2
TARGETS = {"english": 1.4, "code": 1.4, "cjk": 1.5, "multilingual": 1.5}
NEVER_SEEN = {
    "words": (corpora.never_seen_words, 2.0),
    "camelCase identifiers": (corpora.never_seen_identifiers, 1.5),
}


def passes(libraries, encoding_name, path, rounds):
    """Return each library's answers, and check that they gave the same ids."""
    answers = {library: [] for library in libraries}
    for number in range(rounds):
        with on_one_processor(number):
            for library in rotated(libraries, number):
                answer = fresh.measure(library, encoding_name, "encode", path, digests=not number)
                assert None not in answer["seconds"], library
                answers[library].append(answer)
    for library in libraries:
        assert answers[library][0]["digests"] == answers[OURS][0]["digests"], library
    return answers


def add(report, what, answers, size_bytes, target):
    seconds = {
        library: [sum(answer["seconds"]) for answer in found] for library, found in answers.items()
    }
    report.add_seconds(what, seconds, mb_per_s(size_bytes), target)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("encoding_name", ENCODINGS)
def test_first_pass(report, encoding_name, name):
    text = corpora.text(name)
    path = fresh.write_documents(name, documents(text.replace("\0", "")))
    libraries = [*rivals.loaded(encoding_name, LIBRARIES)]
    answers = passes(libraries, encoding_name, path, ROUNDS)
    what = f"first pass, {encoding_name} {name}"
    add(report, what, answers, len(text.encode()), TARGETS[name])


@pytest.mark.parametrize("name", NEVER_SEEN)
@pytest.mark.parametrize("encoding_name", ENCODINGS)
def test_never_seen(report, encoding_name, name):
    make, target = NEVER_SEEN[name]
    text = make()
    path = fresh.write_documents(name, documents(text))
    libraries = [*rivals.loaded(encoding_name, LIBRARIES)]
    answers = passes(libraries, encoding_name, path, LONG_ROUNDS)
    what = f"never-seen {name}, {encoding_name}"
    add(report, what, answers, len(text), target)
    grown = {lib: min(answer["grown_mb"] for answer in found) for lib, found in answers.items()}
    report.add_memory(f"memory kept after {what}", grown, 4.0)
