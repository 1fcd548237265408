"""From nothing to the first ids, in fresh processes; memory after it, and of further threads."""

from __future__ import annotations

import corpora
import fresh
import pytest
import rivals
from ctxengine.cli.contenders import OURS
from ctxengine.cli.rounds import documents, on_one_processor, rotated
from report import MS

ROUNDS = 3


@pytest.mark.parametrize("encoding_name", ["cl100k_base", "o200k_base"])
def test_load(report, encoding_name):
    libraries = [*rivals.loaded(encoding_name)]
    answers = {library: [] for library in libraries}
    for number in range(ROUNDS):
        with on_one_processor(number):
            for library in rotated(libraries, number):
                answers[library].append(fresh.measure(library, encoding_name, "load"))
    seconds = {lib: [answer["seconds"] for answer in found] for lib, found in answers.items()}
    report.add_seconds(f"import, load, first ids, {encoding_name}", seconds, MS, 3.0)
    memory = {lib: min(answer["rss_mb"] for answer in found) for lib, found in answers.items()}
    report.add_memory(f"memory of the process after it, {encoding_name}", memory, 30.0)


def test_memory_of_a_thread(report):
    path = fresh.write_documents("threads", documents(corpora.never_seen_words()))
    grown = fresh.measure(OURS, "o200k_base", "threads", path)["grown_mb"]
    what = "memory of each further thread, never-seen words, o200k_base"
    report.add_memory(what, {OURS: grown}, 4.0)
