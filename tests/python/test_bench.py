"""What the benchmarks print is what was measured: bench/report.py and bench/corpora.py."""

from __future__ import annotations

from itertools import islice

import corpora
import pytest
from report import MS, Report, Row, mb_per_s, us_each


def test_the_best_rival_and_the_median_of_the_rounds_ratios():
    report = Report()
    seconds = {
        "ctxengine": [1.0, 2.0, 1.0],
        "slow": [9.0, 9.0, 9.0],
        "fast": [2.0, 8.0, 2.0],
        "middling": [5.0, 5.0],
    }
    report.add_seconds("work", seconds, mb_per_s(4_000_000), 1.5)
    assert report.rows == [Row("work", "fast", "2 MB/s", "4 MB/s", 2.0, 1.5)]
    assert report.lines()[-1] == "| work | fast | 2 MB/s | 4 MB/s | 2x | 1.5 | met |"


@pytest.mark.parametrize(("target", "verdict"), [(2.0, "met"), (2.1, "no"), (None, "")])
def test_a_target_is_met_from_itself_on(target, verdict):
    report = Report()
    report.add_seconds("work", {"ctxengine": [0.001], "rival": [0.002]}, MS, target)
    assert report.rows[0].verdict == verdict
    assert report.rows[0].ours == "1 ms"


@pytest.mark.parametrize(("target", "verdict"), [(4.0, "met"), (3.9, "no")])
def test_memory_must_not_be_above_its_target(target, verdict):
    report = Report()
    report.add_memory("memory", {"ctxengine": 4.0, "one": 50.0, "two": 3.0}, target)
    assert report.rows[0].verdict == verdict
    assert report.rows[0].rival == "two"
    report.add_memory("ours alone", {"ctxengine": 4.0}, target)
    assert report.rows[1].rival == ""


def test_a_row_without_a_rival_is_an_error():
    with pytest.raises(ValueError, match="no rival"):
        Report().add_seconds("work", {"ctxengine": [1.0]}, us_each(1))


@pytest.mark.parametrize("name", corpora.TEXTS)
def test_texts_spell_no_special_token_and_are_long_enough(monkeypatch, name):
    monkeypatch.setattr(corpora, "FOLDER", None)
    text = corpora.text.__wrapped__(name)
    assert "<|" not in text
    assert 1_000_000 < len(text.encode()) <= corpora.SIZE_BYTES


@pytest.mark.parametrize("name", ["english", "cjk"])
def test_texts_of_your_own_are_read(monkeypatch, tmp_path, name):
    monkeypatch.setattr(corpora, "FOLDER", str(tmp_path))
    (tmp_path / f"{name}.txt").write_text("naïve <|endoftext|>", encoding="utf-8")
    assert corpora.text.__wrapped__(name) == "naïve < |endoftext|>"
    assert corpora.origin(name) == "file"
    assert corpora.origin("code") == "made"


@pytest.mark.parametrize("make", [corpora.never_seen_words, corpora.never_seen_identifiers])
def test_what_nobody_has_seen_comes_once(make):
    text = make()
    assert len(text) == corpora.NEVER_SEEN_BYTES
    words = [*islice(text.split(), 100_000)]
    assert len(set(words)) > 0.99 * len(words)


def test_short_strings_differ():
    texts = corpora.short_strings(1000, 30)
    assert len(set(texts)) == 1000
    assert {len(text.encode()) for text in texts} == {30}


def test_messages_have_the_mean_length_that_was_asked_for():
    messages = corpora.chat_messages(20_000, 81)
    assert sum(map(len, messages)) / len(messages) == pytest.approx(81, rel=0.02)
