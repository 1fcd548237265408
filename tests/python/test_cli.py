"""The command line: what it prints, and the exit codes that scripts rely on."""

from __future__ import annotations

import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tokenizers
from ctxengine import get_encoding, list_encoding_names
from ctxengine.cli import main
from ctxengine.cli.io import Progress, pieces

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/support_chat.json"
COMMANDS = ["demo", "plan", "count", "encode", "decode", "models", "bench"]


@pytest.fixture
def stdin(monkeypatch):
    def give(data):
        content = data if isinstance(data, bytes) else data.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), "utf-8"))

    return give


def usage_error(*argv):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    return stop.value.code


def process(*argv, data=b"", **env):
    return subprocess.run(
        [sys.executable, "-m", "ctxengine", *argv],
        input=data,
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **env},
        check=False,
        timeout=120,
    )


# --- the program itself ---


def test_alone_it_prints_its_help(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(re.search(rf"^    {command} ", out, re.MULTILINE) for command in COMMANDS)
    assert "exit codes" in out


def test_version_says_what_was_built(capsys):
    assert usage_error("--version") == 0
    out = capsys.readouterr().out
    assert re.match(r"ctxengine \d+\.\d+\.\d+", out)
    assert "CUDA: " in out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_teaches_by_examples(command, capsys):
    assert usage_error(command, "--help") == 0
    out = capsys.readouterr().out
    examples = [line for line in out.splitlines() if re.match(rf"  .*ctxengine {command}", line)]
    assert len(examples) >= 3
    assert all(len(line) <= 100 for line in out.splitlines())


@pytest.mark.parametrize(
    "argv",
    [
        ["nonsense"],
        ["count", "--nonsense"],
        ["count", "--limit", "many"],
        ["count", "--limit", "-1"],
        ["plan"],
        ["plan", "x", "--messages", "--json"],
    ],
)
def test_wrong_usage_is_2(argv, capsys):
    assert usage_error(*argv) == 2
    assert "usage:" in capsys.readouterr().err


# --- count ---


@pytest.mark.parametrize("name", list_encoding_names())
def test_count_a_text(name, capsys):
    text = "naïve café 结账 🏮 <|endoftext|>\n  x = 1"
    assert main(["count", "-e", name, "--text", text]) == 0
    assert capsys.readouterr().out == f"{len(get_encoding(name).encode_ordinary(text))}\n"


def test_an_encoding_by_the_name_of_a_model_or_the_path_of_a_vocabulary(tmp_path, capsys):
    text = "Hello world, 你好"
    assert main(["count", "-e", "gpt-4o", "--text", text]) == 0
    assert main(["count", "-e", "o200k_base", "--text", text]) == 0
    by_model, by_name = capsys.readouterr().out.split()
    assert by_model == by_name

    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: token_id for token_id, character in enumerate(alphabet)}
    single_bytes = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, []))
    single_bytes.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    single_bytes.decoder = tokenizers.decoders.ByteLevel()
    path = tmp_path / "tokenizer.json"
    single_bytes.save(str(path))
    assert main(["count", "-e", str(path), "--text", text]) == 0
    assert capsys.readouterr().out == f"{len(text.encode())}\n"

    path.write_text("{}", encoding="utf-8")
    assert main(["count", "-e", str(path), "--text", text]) == 3
    assert str(path) in capsys.readouterr().err


def test_count_standard_input(stdin, capsys):
    for argv in (["count"], ["count", "-"]):
        stdin("Hello, world")
        assert main(argv) == 0
        assert capsys.readouterr().out == "3\n"


def test_a_reader_at_a_terminal_is_told_what_is_awaited(monkeypatch, capsys):
    class Keyboard(io.TextIOWrapper):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdin", Keyboard(io.BytesIO(b"Hello, world"), "utf-8"))
    assert main(["count"]) == 0
    out, err = capsys.readouterr()
    assert out == "3\n"
    assert "Ctrl-D" in err


def test_standard_input_may_be_closed(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["count"]) == 3
    assert "standard input is closed" in capsys.readouterr().err


def test_count_several_files_and_their_total(tmp_path, capsys):
    one, two, none = tmp_path / "one", tmp_path / "two", tmp_path / "none"
    one.write_text("Hello, world")
    two.write_text("Hello" * 100)
    none.write_text("")
    assert main(["count", str(one), str(two), str(none)]) == 0
    counts = dict(line.split()[::-1] for line in capsys.readouterr().out.splitlines())
    assert counts[str(one)] == "3"
    assert counts[str(none)] == "0"
    assert int(counts["total"]) == 3 + int(counts[str(two)])


def test_count_as_json(tmp_path, capsys):
    file = tmp_path / "a"
    file.write_text("Hello, world")
    assert main(["count", "--json", "--limit", "3", str(file)]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "encoding": "o200k_base",
        "num_tokens": 3,
        "limit": 3,
        "fits": True,
        "files": [{"name": str(file), "num_tokens": 3}],
    }


@pytest.mark.parametrize(("limit", "code"), [("2", 1), ("3", 0), ("0", 1)])
def test_a_limit_decides_the_exit_code(limit, code, capsys):
    assert main(["count", "--limit", limit, "--text", "Hello, world"]) == code
    assert capsys.readouterr().out == "3\n"


# --- encode and decode ---


def test_encode_and_decode_are_inverse_for_any_text(stdin, capsysbinary):
    text = "naïve\tcafé\r\n结账 🏮 \x00 <|endoftext|> " * 50
    stdin(text)
    assert main(["encode"]) == 0
    ids = capsysbinary.readouterr().out
    assert (
        ids
        == (" ".join(map(str, get_encoding("o200k_base").encode_ordinary(text)))).encode() + b"\n"
    )
    stdin(ids)
    assert main(["decode"]) == 0
    assert capsysbinary.readouterr().out == text.encode()


def test_special_tokens_only_on_request(capsys):
    assert main(["encode", "--text", "a<|endoftext|>", "--json"]) == 0
    assert 199999 not in json.loads(capsys.readouterr().out)["ids"]
    assert main(["encode", "--special", "--text", "a<|endoftext|>", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ids"] == [64, 199999]


def test_show_separates_the_tokens(capsys):
    assert main(["encode", "--show", "-e", "cl100k_base", "--text", "Hello world\n🏮"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Hello| world|↵\n|")
    assert r"\x" in shown


@pytest.mark.parametrize(
    "ids", ["13225 11 2375", "13225,11,2375", "[13225, 11,\n2375]", " 13225\t11 2375 "]
)
def test_decode_reads_every_usual_spelling(ids, stdin, capsys):
    stdin(ids)
    assert main(["decode"]) == 0
    assert capsys.readouterr().out == "Hello, world"


def test_decode_writes_bytes_that_are_not_text(capsysbinary):
    lantern = get_encoding("o200k_base").encode_ordinary("🏮")
    assert len(lantern) > 1
    assert main(["decode", "--ids", str(lantern[0])]) == 0
    half = capsysbinary.readouterr().out
    assert "🏮".encode().startswith(half)
    assert main(["decode", "--json", "--ids", str(lantern[0])]) == 0
    report = json.loads(capsysbinary.readouterr().out)
    assert (report["text"], report["valid_utf8"]) == ("\N{REPLACEMENT CHARACTER}", False)


# --- input that is not what it must be ---


@pytest.mark.parametrize(
    ("argv", "data", "complaint"),
    [
        (["count"], b"ab\xff", "<stdin>: not UTF-8: byte 0xff at offset 2 (line 1)"),
        (["count"], b"a\nb\n\xe7\xbb", "<stdin>: not UTF-8: byte 0xe7 at offset 4 (line 3)"),
        (["encode"], b"\xed\xa0\x80", "<stdin>: not UTF-8: byte 0xed at offset 0"),
        (["decode"], b"1 2 x", "<stdin>: id 2: expected a token id, got 'x'"),
        (["decode"], b"-1", "expected a token id, got '-1'"),
        (["decode"], b"1.5", "expected a token id, got '1.5'"),
        (["decode"], "١".encode(), "expected a token id"),
        (["decode"], b"9" * 5000, "expected a token id"),
        (["decode"], b"999999999", "no token 999999999"),
        (["decode"], b"\x1b[2J", r"got '\x1b'"),
        (["count", "no/such/file"], b"", "no/such/file: No such file or directory"),
        (["count", "."], b"", ".: Is a directory"),
        (["count", "-e", "klingon"], b"", "unknown encoding 'klingon'; known: gpt2, "),
        (["count", "--text", "a\udcff"], b"", "--text: not UTF-8 at character 1"),
        (["count", "--text", "a", "file"], b"", "either FILE or --text"),
        (["decode", "--ids", "1", "file"], b"", "either FILE or --ids"),
        (["plan", "no/such/file"], b"", "no/such/file: No such file"),
    ],
)
def test_bad_input_is_3_and_says_where(argv, data, complaint, stdin, capsys):
    stdin(data)
    assert main(argv) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("ctxengine: ")
    assert complaint in err
    assert err.count("\n") == 1
    assert "\x1b" not in err


def request(**changes):
    base = {
        "format": "ctxengine.request/1",
        "encoding": "qwen3",
        "window": 1000,
        "history": [{"role": "user", "content": "Hello"}],
    }
    return json.dumps({k: v for k, v in (base | changes).items() if v is not ...})


def user(content="x", **more):
    return [{"role": "user", "content": content, **more}]


def call(**changes):
    function = {"name": "f", "arguments": "{}"} | changes.pop("function", {})
    tool_call = {"id": "1", "type": "function", "function": function} | changes
    return [{"role": "assistant", "content": None, "tool_calls": [tool_call]}, *user()]


def prices(**per_million):
    return {"currency": "USD", "per_million_tokens": {"input": 1, "output": 1} | per_million}


CHUNK = {"id": "a", "score": 0.5, "text": "t"}


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ("", "not JSON: Expecting value at line 1 column 1"),
        ('{"a": 1,\n}', "not JSON: Expecting property name enclosed in double quotes at line 2"),
        ("[]", "top level: expected an object, got []"),
        ('"x"', "top level: expected an object"),
        ("{}", "format: missing"),
        ("[" * 100_000, "nested deeper than 64 levels"),
        ('{"a":' * 100 + "1" + "}" * 100, "nested deeper than 64 levels"),
        (request(window=...)[:-1] + ', "window": 1, "window": 2}', "window: the key stands twice"),
        (
            request(tools=[{"type": "function", "function": {"name": "f"}}]).replace(
                '"name": "f"', '"name": "f", "name": "g"'
            ),
            "tools[0].function.name: the key stands twice",
        ),
        (request(window="1" * 30).replace(f'"{"1" * 30}"', "1" * 30), "number too large"),
        (request(window="9" * 5000).replace(f'"{"9" * 5000}"', "9" * 5000), "number too large"),
        (
            request(window=2**63),
            "window: expected a whole number of at least 1, got 9223372036854775808",
        ),
        (request(window=0), "window: expected a whole number of at least 1, got 0"),
        (request(window=1.5), "window: expected a whole number"),
        (request(window=True), "window: expected a whole number of at least 1, got true"),
        (request(window=float("nan")), "NaN is not JSON"),
        (request(window=float("inf")), "Infinity is not JSON"),
        (request(about="\ud800"), "about: lone surrogate U+D800 at character 0"),
        (
            request(history=user("ab\udfff")),
            "history[0].content: lone surrogate U+DFFF at character 2",
        ),
        (
            request().replace('"encoding"', '"\\ud800": 1, "encoding"'),
            "top level: a key: lone surrogate",
        ),
        (request(format="ctxengine.request/2"), 'format: expected "ctxengine.request/1"'),
        (request(extra=1), "extra: unknown field; known: format, history, about, model"),
        (request(encoding="klingon"), "unknown encoding 'klingon'"),
        (request(encoding=3), "encoding: expected a string that is not empty, got 3"),
        (request(template="klingon"), "klingon"),
        (request(reserve_output=1001), "reserve_output: expected a whole number from 0 to 1000"),
        (request(system=["x"]), "system: expected a string"),
        (request(history=[]), "history: the last message must be one that waits"),
        (request(history={}), "history: expected a list, got {}"),
        (request(history=["x"]), 'history[0]: expected an object, got "x"'),
        (request(history=[{"content": "x"}]), "history[0].role: expected"),
        (
            request(history=[{"role": "robot", "content": "x"}]),
            'history[0].role: expected "system" or',
        ),
        (request(history=[{"role": "user"}]), "history[0].content: missing"),
        (request(history=user(None)), "history[0].content: expected a string, got null"),
        (request(history=user(["x"])), "history[0].content: expected a string"),
        (request(history=user(mood="x")), "history[0].mood: unknown field"),
        (request(history=[{"role": "tool", "content": "x"}]), "history[0].tool_call_id: missing"),
        (
            request(history=[*user(), {"role": "assistant", "content": "x"}]),
            "history: the last message must be one that waits",
        ),
        (request(history=call(id="")), "history[0].tool_calls[0].id: expected a string"),
        (request(history=call(type="x")), 'history[0].tool_calls[0].type: expected "function"'),
        (
            request(history=call(function={"arguments": {}})),
            "history[0].tool_calls[0].function.arguments: expected a string, got {}",
        ),
        (request(history=call(function={"arguments": "{"})), "arguments: not valid JSON"),
        (request(tools=[{}]), "tools[0].type: missing"),
        (request(tools=[{"type": "function", "function": {}}]), "tools[0].function.name: missing"),
        (
            request(retrieval=[CHUNK | {"score": "high"}]),
            'retrieval[0].score: expected a number, got "high"',
        ),
        (
            request(retrieval=[CHUNK | {"score": -1}]),
            "retrieval[0].score: expected a number that is not",
        ),
        (
            request(retrieval=[CHUNK | {"score": 0}]).replace('"score": 0', '"score": 1e999'),
            "retrieval[0].score: number too large",
        ),
        (request(retrieval=[CHUNK, CHUNK]), "retrieval[1].id: a is also retrieval[0].id"),
        (
            request(retrieval=[CHUNK | {"text": ""}]),
            "retrieval[0].text: expected a string that is not",
        ),
        (
            request(retrieval=[CHUNK | {"pinned": 1}]),
            "retrieval[0].pinned: expected true or false, got 1",
        ),
        (request(sections={"tools": {}}), "sections.tools: unknown section"),
        (
            request(sections={"history": {"weight": 0}}),
            "sections.history.weight: expected a positive",
        ),
        (
            request(sections={"history": {"min_tokens": 5, "max_tokens": 4}}),
            "sections.history.max_tokens: expected a whole number of at least 5, got 4",
        ),
        (
            request(sections={"history": {"fit": "best"}}),
            "sections.history.fit: unknown field",
        ),
        (
            request(sections={"retrieval": {"fit": "worst"}}),
            'sections.retrieval.fit: expected "best" or "drop_oldest" or "truncate", got "worst"',
        ),
        (
            request(retrieval=[CHUNK | {"partial": "middle"}]),
            'retrieval[0].partial: expected "head" or "tail" or "ends", got "middle"',
        ),
        (
            request(retrieval=[CHUNK | {"partial": "head", "group": "g"}]),
            "retrieval[0].partial: expected none beside group",
        ),
        (request(encoding=...), "encoding: missing"),
        (request(window=...), "window: missing"),
        (
            request(window=..., model="acme-7"),
            "window: missing, and none is known for the model acme-7",
        ),
        (
            request(encoding=..., model="claude-opus-5"),
            "encoding: missing, and none is known for the model claude-opus-5",
        ),
        (request(cut="loose"), 'cut: expected "grid" or "tight" or "keep_last", got "loose"'),
        (request(cut="keep_last"), 'keep_last: needed for "cut": "keep_last"'),
        (request(keep_last=3), 'keep_last: is for "cut": "keep_last"'),
        (request(cut="keep_last", keep_last=0), "keep_last: expected a whole number of at least 1"),
        (request(grid=0), "grid: expected a positive number, got 0"),
        (request(grid=1.5), "grid: expected a number that is at most 1, got 1.5"),
        (request(pinned=[0, 1]), "pinned[1]: expected a whole number from 0 to 0, got 1"),
        (request(pinned=0), "pinned: expected a list, got 0"),
        (request(placement="end"), 'placement: expected "turn" or "history" or "system"'),
        (request(soft_limits=[0]), "soft_limits[0]: expected a whole number of at least 1, got 0"),
        (request(summary_tokens=0), "summary_tokens: expected a whole number of at least 1"),
        (request(rules="klingon"), "rules: no cache rules are known for the model 'klingon'"),
        (request(rules=3), "rules: expected a string that is not empty, got 3"),
        (request(blocks={"block_size": 16}), "blocks.num_blocks: missing"),
        (request(blocks={"block_size": 0, "num_blocks": 1}), "blocks.block_size: expected a whole"),
        (request(prices={}), "prices.currency: expected"),
        (request(prices=prices(input=-1)), "prices.per_million_tokens.input: expected a price"),
        (request(prices=prices(tax=1)), "prices.per_million_tokens.tax: unknown field"),
        (request(replay={"reply": []}), "replay.turns: missing"),
        (
            request(replay={"reply": [], "turns": []}),
            "replay.reply: the last message must be the assistant",
        ),
        (
            request(
                replay={"reply": [{"role": "assistant", "content": "x"}], "turns": [{"user": ""}]}
            ),
            "replay.turns[0].retrieval: missing",
        ),
        (
            request(
                replay={"reply": [*user(), {"role": "assistant", "content": "x"}], "turns": []}
            ),
            "replay.reply[0].role: expected",
        ),
    ],
)
def test_a_bad_request_is_3_and_names_the_place(document, complaint, tmp_path, capsys):
    file = tmp_path / "request.json"
    file.write_text(document)
    assert main(["plan", str(file)]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("ctxengine: ")
    assert complaint in err
    assert err.count("\n") == 1


def test_hostile_keys_and_values_cannot_steer_the_terminal(tmp_path, capsys):
    file = tmp_path / "request.json"
    for document in (request(**{"\x1b[2J\u202e": 1}), request(window="\x1b[2J" * 1000)):
        file.write_text(document)
        assert main(["plan", str(file)]) == 3
        err = capsys.readouterr().err
        assert "\x1b" not in err
        assert "\u202e" not in err
        assert len(err) < 500


def test_no_request_however_mangled_is_a_traceback(tmp_path, capsys):
    rng = random.Random(40)
    junk = [
        None,
        True,
        -1,
        0,
        1.5,
        2**63,
        "",
        "x",
        "\udc00",
        [],
        {},
        ["x"],
        {"role": "tool"},
        1e308,
    ]
    file = tmp_path / "request.json"
    original = json.loads(
        request(
            system="s",
            reserve_output=10,
            tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}],
            history=[*call()[:1], {"role": "tool", "content": "r", "tool_call_id": "1"}, *user()],
            retrieval=[CHUNK, CHUNK | {"id": "b", "pinned": True, "group": "g"}],
            sections={"history": {"min_tokens": 1, "max_tokens": 9, "weight": 2, "priority": 1}},
            blocks={"block_size": 4, "num_blocks": 400},
            prices=prices(cached_input=0.5),
            replay={"reply": [{"role": "assistant", "content": "a"}], "turns": []},
        )
    )
    codes = set()
    for _ in range(400):
        document = json.loads(json.dumps(original))
        for _ in range(rng.choice([1, 1, 2])):
            parent, key = document, rng.choice(list(document))
            while isinstance(parent[key], (dict, list)) and parent[key] and rng.random() < 0.8:
                parent = parent[key]
                key = rng.choice(list(parent) if isinstance(parent, dict) else range(len(parent)))
            if rng.random() < 0.2:
                del parent[key]
            else:
                parent[key] = rng.choice(junk)
            if not document:
                break
        file.write_text(json.dumps(document))
        code = main([rng.choice(["plan", "demo"]), str(file)])
        err = capsys.readouterr().err
        assert (code, err.count("\n")) in ((0, 0), (1, 1), (3, 1)), document
        codes.add(code)
    assert codes >= {0, 3}


# --- plan ---


def test_plan_the_example(capsys):
    assert main(["plan", str(EXAMPLE)]) == 0
    out = capsys.readouterr().out
    for name in ("system", "tools", "history", "retrieval", "left out", "twice", "cost"):
        assert re.search(rf"^  {name} ", out, re.MULTILINE), name


def test_plan_as_json_agrees_with_the_messages(capsys):
    assert main(["plan", str(EXAMPLE), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert main(["plan", str(EXAMPLE), "--messages"]) == 0
    messages = json.loads(capsys.readouterr().out)
    document = json.loads(EXAMPLE.read_text())
    assert report["used"] <= document["window"] - document["reserve_output"]
    assert len(report["prefix"]) == report["used"] // 16
    assert messages[0] == {"role": "system", "content": document["system"]}
    assert messages[-1]["content"].endswith(document["history"][-1]["content"])


def test_plan_reads_standard_input(stdin, capsys):
    stdin(EXAMPLE.read_bytes())
    assert main(["plan", "-"]) == 0
    assert "Plan of <stdin>" in capsys.readouterr().out


def test_what_cannot_fit_is_1_with_the_numbers(capsys):
    assert main(["plan", str(EXAMPLE), "--window", "2000"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("ctxengine: does not fit: ")
    assert re.search(r"\d", err)


def test_plan_counts_for_models_whose_prompt_is_not_public(stdin, capsys):
    stdin(request(encoding="o200k_base", system="Be brief."))
    assert main(["plan", "-"]) == 0
    assert "prompt" in capsys.readouterr().out


def test_plan_writes_an_envelope_and_a_report(tmp_path, capsys):
    from ctxengine.engine import Envelope

    envelope, page = tmp_path / "e", tmp_path / "p.html"
    assert main(["plan", str(EXAMPLE), "--envelope", str(envelope), "--html", str(page)]) == 0
    decoded = Envelope.decode(envelope.read_bytes(), encoding=get_encoding("qwen3"))
    assert f"{len(decoded.token_ids):,} tokens" in capsys.readouterr().out
    assert "retrieval" in page.read_text()


def test_a_file_that_cannot_be_written_is_3(tmp_path, capsys):
    assert main(["plan", str(EXAMPLE), "--html", str(tmp_path / "no/such/dir")]) == 3
    assert "No such file or directory" in capsys.readouterr().err


# --- pieces and progress ---


@pytest.mark.parametrize("name", list_encoding_names())
def test_pieces_encode_like_the_whole(name):
    encoding = get_encoding(name)
    rng = random.Random(20261121)
    alphabet = [*"ab1²½ⅷ.;/{}'s \t\n\n\n\r\v\f", "\r\n", "\u0085", "\u2028", "\u00a0", "\u3000"]
    alphabet += [
        "\x1c",
        "é",
        "e\u0301",
        "结",
        "हि",
        "🏮",
        "İ",
        "ǅ",
        "<|endoftext|>",
        "don't",
        "n\nword",
    ]
    for _ in range(400):
        text = "".join(rng.choices(alphabet, k=rng.randrange(60)))
        cut = list(pieces(text, size=rng.choice([1, 3, 10])))
        assert "".join(cut) == text
        assert [i for p in cut for i in encoding.encode_ordinary(p)] == encoding.encode_ordinary(
            text
        )
        special = [i for p in cut for i in encoding.encode(p, allowed_special="all")]
        assert special == encoding.encode(text, allowed_special="all")


def test_pieces_really_cut():
    text = "a line\n" * 1000
    assert len(list(pieces(text, size=100))) > 50
    assert list(pieces("")) == [""]


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def test_progress_is_drawn_on_a_terminal_and_wiped(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(Progress, "_QUIET_SECONDS", 0)
    with Progress("counting", 4) as progress:
        progress.advance(2)
    drawn = terminal.getvalue()
    assert "counting" in drawn
    assert " 50%" in drawn
    assert drawn.endswith("\r")


def test_progress_is_silent_elsewhere_and_for_quick_work(monkeypatch):
    for stream in (io.StringIO(), Terminal()):
        monkeypatch.setattr(sys, "stderr", stream)
        with Progress("counting", 4) as progress:
            progress.advance(4)
        assert stream.getvalue() == ""


# --- as a real process ---


def test_a_pipeline_of_processes():
    encoded = process("encode", data="结账 🏮\n".encode())
    assert (encoded.returncode, encoded.stderr) == (0, b"")
    decoded = process("decode", data=encoded.stdout)
    assert (decoded.returncode, decoded.stdout) == (0, "结账 🏮\n".encode())


def test_exit_codes_reach_the_shell():
    assert process("count", "--limit", "1", data=b"a b c").returncode == 1
    assert process("count", "--wrong").returncode == 2
    bad = process("count", data=b"\xff")
    assert bad.returncode == 3
    assert b"Traceback" not in bad.stderr


def test_a_terminal_without_unicode_gets_ascii(tmp_path):
    run = process("plan", str(EXAMPLE), PYTHONIOENCODING="ascii")
    assert (run.returncode, run.stderr) == (0, b"")
    assert run.stdout.isascii()
    shown = process("encode", "--show", "--text", "结\n", PYTHONIOENCODING="ascii")
    assert (shown.returncode, shown.stderr) == (0, b"")
    name = tmp_path / "结.txt"
    name.write_text("Hello")
    counted = process("count", str(name), str(name), PYTHONIOENCODING="ascii")
    assert (counted.returncode, counted.stderr) == (0, b"")
    assert rb"\u7ed3.txt" in counted.stdout


def test_a_reader_that_goes_away_is_141():
    ids = b" ".join([b"13225"] * 400_000)
    with subprocess.Popen(
        [sys.executable, "-m", "ctxengine", "decode"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as run:
        run.stdout.close()
        run.stdin.write(ids)
        run.stdin.close()
        err = run.stderr.read()
        assert (run.wait(60), err) == (141, b"")


def test_an_interrupt_is_130():
    with subprocess.Popen(
        [sys.executable, "-m", "ctxengine", "count"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as run:
        run.stdin.write(b"x")
        run.stdin.flush()
        deadline = time.monotonic() + 60
        # Reading standard input has begun when the pipe is empty again.
        while _unread(run.stdin) and time.monotonic() < deadline:
            time.sleep(0.05)
        run.send_signal(signal.SIGINT)
        assert run.wait(60) == 130
        assert run.stderr.read() == b"ctxengine: interrupted\n"


def _unread(pipe):
    import fcntl
    import struct
    import termios

    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))[0]


# --- models ---


def test_models_are_listed(capsys):
    assert main(["models"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == [
        "name",
        "context_window",
        "max_input_tokens",
        "max_output_tokens",
        "encoding",
    ]
    assert ["gpt-4o", "128000", "-", "16384", "o200k_base"] in [line.split() for line in lines]
    assert main(["models", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [model["name"] for model in report["models"]] == [line.split()[0] for line in lines]


def test_one_model_with_its_sources(capsys):
    assert main(["models", "azure/gpt-4o-2024-05-13"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^name +gpt-4o-2024-05-13$", out, re.MULTILINE)
    assert re.search(r"^sources +https://", out, re.MULTILINE)
    assert main(["models", "gpt-4o", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["context_window"] == 128_000


def test_an_unknown_model_and_a_table_of_ones_own(capsys, tmp_path):
    assert main(["models", "gpt-4p"]) == 3
    assert "unknown model 'gpt-4p'" in capsys.readouterr().err
    path = tmp_path / "own.json"
    entry = {"like": "gpt-4o", "context_window": 9000}
    path.write_text(
        json.dumps(
            {"format": "ctxengine.models/1", "as_of": "2026-12-01", "models": {"acme": entry}}
        )
    )
    assert main(["models", "acme", "--table", str(path)]) == 0
    assert re.search(r"^context_window +9000$", capsys.readouterr().out, re.MULTILINE)
    path.write_text("{}")
    assert main(["models", "--table", str(path)]) == 3
    assert "format: expected" in capsys.readouterr().err
    assert main(["models", "--table", str(tmp_path / "absent.json")]) == 3
