"""``ctxengine bench``: who takes part, whose ids are wrong, and how turns are taken."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import pytest
import tiktoken
from ctxengine import get_encoding
from ctxengine.cli import contenders, main, rounds
from ctxengine.cli.contenders import Contender

TEXT = "The quick brown fox, naïve café 结账 🏮\n  x = f(1234)\n" * 40


@pytest.fixture(autouse=True)
def only_tiktoken(monkeypatch):
    """Leave out the rivals that happen to be installed; tests plant their own."""
    loaders = {name: contenders._LOADERS[name] for name in ("ctxengine", "tiktoken")}
    monkeypatch.setattr(contenders, "_LOADERS", loaders)
    return loaders


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "text"
    path.write_text(TEXT, encoding="utf-8")
    return str(path)


def plant(loaders, name, to_list, **calls):
    loaders[name] = (lambda _: Contender(None, to_list=to_list, **calls), "gigatoken")


def ordinary():
    return get_encoding("cl100k_base").as_tiktoken().encode_ordinary


# --- the command ---


def test_measures_and_agrees(text_file, capsys):
    assert main(["bench", "-e", "cl100k_base", "--validate", text_file]) == 0
    out = capsys.readouterr().out
    assert "the same ids in every document: ctxengine, tiktoken" in out
    rows = [line.split() for line in out.splitlines()]
    assert ["buffer", "list", "count"] in rows
    speeds = {row[0]: row[2::2] for row in rows if row and row[-1].endswith("x)")}
    assert speeds.keys() == {"ctxengine", "tiktoken"}
    assert all(float(speed) > 0 for row in speeds.values() for speed in row)


def test_as_json(text_file, capsys):
    assert main(["bench", "--json", text_file, text_file]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["encoding"] == "o200k_base"
    assert report["size_bytes"] == 2 * len(TEXT.encode())
    assert report["num_documents"] == 2
    assert report["differences"] == {}
    ours, theirs = report["contenders"]
    assert (ours["name"], theirs["name"]) == ("ctxengine", "tiktoken")
    assert theirs["version"] == tiktoken.__version__
    for kind in ("buffer", "list", "count"):
        assert ours[f"{kind}_ours_times"] == 1
        assert ours[f"{kind}_mb_per_s"] > 0
        assert theirs[f"{kind}_ours_times"] > 0


def test_without_a_file_there_is_text(capsys):
    assert main(["bench", "--json", "-e", "r50k_base"]) == 0
    assert json.loads(capsys.readouterr().out)["size_bytes"] > 100_000


def test_a_wrong_rival_is_caught(only_tiktoken, text_file, capsys):
    encode = ordinary()

    def wrong(text):
        ids = encode(text)
        assert ids[3] == encode(" fox")[0]
        ids[3] = encode(" cat")[0]
        return ids

    plant(only_tiktoken, "wrong", wrong)
    assert main(["bench", "-e", "cl100k_base", text_file]) == 0
    assert "wrong differs from tiktoken" in capsys.readouterr().out
    assert main(["bench", "-e", "cl100k_base", "--validate", text_file]) == 1
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if line.startswith("wrong differs"))
    assert "document 1, token 3: after 'The quick brown'" in line
    assert "' cat|,| naï|ve' instead of" in line
    assert "' fox|,| naï|ve'" in line
    assert "the same ids in every document: ctxengine, tiktoken\n" in out


@pytest.mark.parametrize(
    ("calls", "message"),
    [
        ({"to_list": lambda ids: ids[:-1]}, "[] '' instead of ["),
        ({"to_list": lambda ids: [*ids, 0]}, "[0] '!' instead of [] ''"),
        ({"to_list": lambda ids: [*ids[:-1], 2**31]}, f"[{2**31}] '?'"),
        ({"to_buffer": lambda ids: b"".join(i.to_bytes(4, "little") for i in ids[1:])}, "token 0"),
        ({"count": lambda ids: len(ids) + 1}, "tokens instead of "),
        ({"to_list": lambda ids: ids[len(ids)]}, "IndexError: list index out of range"),
    ],
)
def test_every_way_to_be_wrong_is_caught(only_tiktoken, text_file, capsys, calls, message):
    encode = ordinary()
    wrong = {name: lambda text, call=call: call(encode(text)) for name, call in calls.items()}
    plant(only_tiktoken, "wrong", **{"to_list": encode, **wrong})
    assert main(["bench", "-e", "cl100k_base", "--validate", text_file]) == 1
    assert message in capsys.readouterr().out


def test_a_panic_is_caught(only_tiktoken, text_file, capsys):
    class PanicException(BaseException):  # as PyO3 has it
        pass

    def panic(*_):
        raise PanicException("index out of bounds\nnote: run with")

    plant(only_tiktoken, "wrong", panic)
    only_tiktoken["absent"] = (panic, "gigatoken")
    assert main(["bench", "--validate", text_file]) == 1
    out = capsys.readouterr().out
    assert "document 1, PanicException: index out of bounds" in out
    assert "can't load o200k_base: PanicException: index out of bounds\n" in out


def test_our_own_mistakes_are_caught(only_tiktoken, text_file, capsys):
    encode = ordinary()
    plant(only_tiktoken, "ctxengine", lambda text: encode(text)[:-1])
    assert main(["bench", "-e", "cl100k_base", "--validate", text_file]) == 1
    assert "ctxengine differs from tiktoken: document 1" in capsys.readouterr().out


def test_what_is_not_installed_is_said(monkeypatch, text_file, capsys):
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    assert main(["bench", text_file]) == 0
    assert "not installed (pip install tiktoken)" in capsys.readouterr().out
    assert main(["bench", "--validate", text_file]) == 3
    assert "--validate needs tiktoken: not installed" in capsys.readouterr().err


def test_documents_with_special_tokens_are_left_out(tmp_path, capsys):
    plain, special = tmp_path / "plain", tmp_path / "special"
    plain.write_text(TEXT, encoding="utf-8")
    special.write_text(TEXT + "<|endoftext|>", encoding="utf-8")
    assert main(["bench", "--validate", str(plain), str(special)]) == 0
    out = capsys.readouterr().out
    assert "1 document, one thread\n1 more left out: special tokens are spelled there" in out
    assert main(["bench", str(special)]) == 3
    assert "no text to measure with" in capsys.readouterr().err


def test_an_encoding_that_ranks_cannot_tell_is_refused(text_file, capsys):
    assert main(["bench", "-e", "qwen3", text_file]) == 3
    assert "encoding qwen3 can't be measured beside others: " in capsys.readouterr().err


# --- what rivals are loaded from ---


def test_the_rank_file_is_the_published_one(tmp_path):
    tables = contenders.write_tables(get_encoding("cl100k_base"), tmp_path)
    content = (tmp_path / "cl100k_base.tiktoken").read_bytes()
    # As in tiktoken_ext/openai_public.py.
    published = "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"
    assert hashlib.sha256(content).hexdigest() == published
    theirs = contenders.load("tiktoken", tables)
    assert theirs.to_list(TEXT) == ordinary()(TEXT)


def test_a_contender_needs_nothing_of_ours():
    code = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("contenders", {contenders.__file__!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print("ctxengine" in sys.modules, "tiktoken" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


@pytest.mark.parametrize(
    ("result", "ids"),
    [
        ([1, 2, 70000], [1, 2, 70000]),
        ([[1], [], [2, 3]], [1, 2, 3]),
        (b"\x01\0\0\0\x02\x01\0\0", [1, 258]),
        ((b"\x01\0\0\0", b"\0" * 16), [1]),
        ([], []),
    ],
)
def test_ids_of_what_libraries_return(result, ids):
    assert contenders.ids_of(result) == ids


def test_ids_of_our_own_results():
    encoding = get_encoding("cl100k_base")
    ids = encoding.encode_ordinary(TEXT)
    assert contenders.ids_of(encoding.encode_to_numpy(TEXT)) == ids
    assert contenders.ids_of(encoding.encode_ragged([TEXT, "", TEXT])) == ids * 2


# --- turns ---


def test_everybody_takes_turns():
    now, order = 0.0, []
    costs = {"a": 0.02, "b": 0.001, "c": 0.3}

    def work(name):
        nonlocal now
        now += costs[name]
        order.append(name)

    seconds = rounds.take_turns(
        {name: lambda name=name: work(name) for name in costs},
        rounds=4,
        min_seconds=0.01,
        clock=lambda: now,
    )
    # One run of each untimed, then the rounds; short ones often enough to be measurable, and the
    # slow ones rest when they can't win any more.
    warm, b = ["a", "b", "c"], ["b"] * 10
    assert order == [*warm, "a", *b, "c", *b, "c", "a", *b, *b]
    assert seconds["a"] == pytest.approx([0.02, 0.02])
    assert seconds["b"] == pytest.approx([0.001] * 4)
    assert seconds["c"] == pytest.approx([0.3, 0.3])


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_a_round_stays_on_one_processor():
    allowed = os.sched_getaffinity(0)
    seen = []
    runs = {name: lambda: seen.append(os.sched_getaffinity(0)) for name in "ab"}
    rounds.take_turns(runs, rounds=3, min_seconds=0)
    warm, turns = seen[:2], seen[2:]
    assert warm == [allowed] * 2
    assert [len(processors) for processors in turns] == [1] * 6
    assert turns[0::2] == turns[1::2]
    assert set.union(*turns) == set(sorted(allowed)[:3])
    assert os.sched_getaffinity(0) == allowed
    rounds.take_turns(runs, rounds=1, min_seconds=0, one_processor=False)
    assert seen[-1] == allowed


def test_the_ratio_is_of_rounds_that_both_ran():
    assert rounds.ratio([2.0, 9.0, 4.0], [1.0, 3.0, 1.0, 100.0]) == 3.0


@pytest.mark.parametrize("text", ["", "a", "line\n" * 1000, "x" * 1000, "é\n\n" * 500 + "end"])
def test_documents_are_the_text(text):
    parts = rounds.documents(text, 64)
    assert "".join(parts) == text
    assert all(0 < len(part) <= 65 for part in parts)


def test_documents_end_at_newlines():
    assert rounds.documents("ab\ncd\nefgh", 4) == ["ab\n", "cd\n", "efgh"]
