"""``ctxengine plan`` on the examples, on request files with every choice, and on bodies of APIs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from ctxengine.chat import count_request
from ctxengine.cli import main
from ctxengine.viz.text import cell_width

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
RESEARCH = EXAMPLES / "research.json"
BEFORE = EXAMPLES / "research_before.json"


@pytest.fixture
def shown(capsys):
    """Run the command; return the text by label, with continuation lines joined."""

    def run(*argv):
        assert main(["plan", *map(str, argv)]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        assert all(cell_width(line) <= 80 for line in out.splitlines())
        rows: dict[str, list[str]] = {}
        label = ""
        for line in out.splitlines()[1:]:
            match = re.match(r"  (\S[\S ]*?) {2,}(.*)", line)
            if match and not line.startswith(" " * 13):
                label = match[1]
                rows.setdefault(label, []).append(match[2])
            elif label:
                rows[label].append(line.strip())
        return {label: " ".join(lines) for label, lines in rows.items()}

    return run


@pytest.fixture
def reported(capsys):
    def run(*argv):
        assert main(["plan", *map(str, argv), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


# --- the example that shows all of it ---


def test_the_example_shows_all_of_it(shown):
    rows = shown(RESEARCH)
    assert rows["left out"].startswith("history: 5 of 23, ")
    assert rows["twice"] == "NL-12/88, LH-4/notes"
    assert re.fullmatch(r"WR-3/41: \d+ of \d+ tokens", rows["shortened"])
    assert rows["slack"].endswith("tokens below what the section may take")
    assert re.search(r"grid \(chosen\): from history\[6\], keeps \d+, slack \d+; next 10 calls "
                     r"\d+% cached, USD [\d.]+ tight: from history\[4\]", rows["cuts"])  # fmt: skip
    assert rows["cache"].startswith("openai-breakpoints: 0 read, ")
    assert rows["cache"].endswith("; earlier calls are not known")
    assert re.fullmatch(r"messages\[\d+\].content \([\d,]+\)", rows["marks"])
    assert rows["summary"].startswith("150 tokens for history[0:6], which has 324 and is left out")
    assert "pays after" in rows["summary"]
    assert "'Today is 21 November 2026'" in rows["lint"]
    assert "[volatile-head]" in rows["lint"]
    assert "has not published the count rule" in rows["estimate"]
    assert "with the cache" in rows["cost"]


def test_the_text_and_the_json_say_the_same(shown, reported):
    rows, report = shown(RESEARCH), reported(RESEARCH)
    grid, tight = report["cuts"]
    assert (grid["cut"], grid["chosen"], tight["chosen"]) == ("grid", True, False)
    for choice in (grid, tight):
        forecast = choice["forecast"]
        cost = f"{float(forecast['cost']['total']):.6f}"
        share = f"{forecast['cached_tokens'] / forecast['tokens']:.0%}"
        assert f"keeps {choice['kept_tokens']:,}, slack {choice['slack']:,}" in rows["cuts"]
        assert f"{share} cached, USD {cost}" in rows["cuts"]
    cache = report["cache"]
    assert f"{cache['predicted_write']:,} written (30m)" in rows["cache"]
    assert rows["marks"] == f"{cache['breakpoints'][0]['path']} ({cache['breakpoints'][0]['tokens']:,})"  # fmt: skip
    assert report["predicted"]["cost"] == report["cost"] == cache["cost"]
    (short,) = report["shortened"]
    assert rows["shortened"] == f"WR-3/41: {short['tokens']} of {short['whole_tokens']} tokens"
    assert [finding["code"] for finding in report["lint"]] == ["volatile-head"]
    assert report["exact"] is False
    compaction = report["compaction"]
    assert compaction["span"] == report["summarize_span"] == [0, 6]
    assert compaction["span_tokens"] == sum(
        d["tokens"] for d in report["dropped"] if d["section"] == "history"
    )
    assert f"after {compaction['break_even']['calls']} calls" in rows["summary"]
    slack = {s["name"]: s["slack"] for s in report["sections"] if s["slack"] is not None}
    assert rows["slack"].startswith(f"history {slack['history']}, retrieval {slack['retrieval']} ")


def test_what_the_call_before_has_stored(shown, reported):
    report = reported(RESEARCH, "--previous", BEFORE)
    cache = report["cache"]
    assert cache["exact"]
    # All that the two have in common is read: what was sent but for the last question.
    before = reported(BEFORE)["cache"]
    assert cache["predicted_read"] == before["predicted_write"] > 1024
    # Texts that went from the last user's message are no finding, and the date is the same.
    assert report["lint"] == []
    rows = shown(RESEARCH, "--previous", BEFORE)
    assert "lint" not in rows
    assert "known" not in rows["cache"]
    assert "saved" in rows["cost"]


def test_the_example_before_is_the_call_before():
    now, before = json.loads(RESEARCH.read_text()), json.loads(BEFORE.read_text())
    assert before["history"] == now["history"][:-2]
    same = set(now) - {"history", "retrieval", "about"}
    assert {key: before[key] for key in same} == {key: now[key] for key in same}


def test_the_report_for_the_browser_says_it_too(tmp_path, shown):
    page = tmp_path / "plan.html"
    rows = shown(RESEARCH, "--html", page)
    text = page.read_text()
    for heading in ("Ways to cut the history", "cache", "Where to mark it", "A summary instead",
                    "What breaks the prefix", "shortened"):  # fmt: skip
        assert f"<h3>{heading}</h3>" in text or heading == "cache"
    assert "The provider&#x27;s cache" in text
    assert rows["marks"] in text


def test_there_is_no_noise_where_there_is_nothing_to_say(tmp_path, shown):
    file = tmp_path / "small.json"
    file.write_text(
        json.dumps(
            {
                "format": "ctxengine.request/1",
                "encoding": "qwen3",
                "window": 900,
                "history": [{"role": "user", "content": "Hello"}],
            }
        )
    )
    assert set(shown(file)) == {"template", "turn", "free", "prompt", "time"}
    rows = shown(file, "--model", "gpt-4o", "-e", "o200k_base")
    assert rows["cache"] == "openai: nothing to read, and too little that stays to be stored"


# --- what a file can ask for ---


@pytest.fixture
def plan_of(tmp_path, reported):
    """Plan the research example with changes."""

    def run(*argv, **changes):
        document = json.loads(RESEARCH.read_text()) | changes
        file = tmp_path / "request.json"
        file.write_text(json.dumps({k: v for k, v in document.items() if v is not ...}))
        return reported(file, *argv)

    return run


def test_the_choices_of_a_file_are_heeded(plan_of):
    as_it_is = plan_of()
    gone = {d["index"] for d in as_it_is["dropped"] if d["section"] == "history"}
    assert 0 not in gone  # pinned
    assert 0 in {d["index"] for d in plan_of(pinned=...)["dropped"]}

    kept = plan_of(cut="keep_last", keep_last=2)
    assert [c["cut"] for c in kept["cuts"] if c["chosen"]] == ["keep_last"]
    assert kept["summarize_span"][1] == 20  # the question, and the question before it
    assert [c["chosen"] for c in plan_of(cut="tight")["cuts"]] == [False, True]
    assert plan_of(grid=1)["summarize_span"] != as_it_is["summarize_span"]

    limited = plan_of(soft_limits=[1900])
    assert limited["used"] <= limited["limit"] == 1900

    assert plan_of(summary_tokens=...)["compaction"] is None
    vllm = plan_of(rules="vllm")
    assert vllm["cache"]["rules"] == "vllm"
    assert vllm["cache"]["breakpoints"] == []
    assert plan_of(placement="system")["cache"]["predicted_write"] == 0  # tools are too short
    cut = plan_of(sections={"history": {"max_tokens": 1000}, "retrieval": {"fit": "drop_oldest"}})
    assert {d["reason"] for d in cut["dropped"] if d["section"] == "retrieval"} <= {
        "older than the newest that fit"
    }


def test_a_model_tells_what_the_file_does_not(plan_of):
    report = plan_of(window=..., soft_limits=[3000], model="gpt-4o")
    assert report["window"] == 128_000
    assert report["encoding"] == "o200k_base"
    assert report["cache"]["rules"] == "openai"
    assert report["cost"]["currency"] == "USD"
    own = plan_of(model="qwen3-8b", summary_tokens=...)
    assert (own["template"], own["cache"]) == ("qwen3", None)
    # The file has the last word, and the command line a later one.
    assert plan_of(model="gpt-4o", window=3000)["window"] == 3000
    last = plan_of("--model", "gpt-4.1", "--window", "2900", model="gpt-4o")
    assert (last["window"], last["cache"]["rules"]) == (2900, "openai")
    prices = {"currency": "EUR", "per_million_tokens": {"input": 1, "output": 1}}
    assert plan_of(prices=prices)["cost"]["currency"] == "EUR"


def test_a_summary_without_rules_is_not_silently_nothing(tmp_path, capsys):
    document = json.loads(RESEARCH.read_text()) | {"model": "qwen3-8b"}
    file = tmp_path / "request.json"
    file.write_text(json.dumps(document))
    assert main(["plan", str(file)]) == 3
    assert "summary_tokens: needs cache rules" in capsys.readouterr().err


# --- bodies ---

TOOL = {"name": "f", "description": "A tool.", "parameters": {"type": "object"}}
CHAT = {
    "model": "gpt-4o",
    "max_tokens": 100,
    "temperature": 0,
    "tools": [{"type": "function", "function": TOOL}],
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": "sun"},
    ],
}
RESPONSES = {
    "model": "gpt-4o",
    "max_output_tokens": 100,
    "instructions": "Be brief.",
    "tools": [{"type": "function", **TOOL}],
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "Hello"}]},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": "sun"},
    ],
}
ANTHROPIC = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 100,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "tools": [{"name": "f", "description": "A tool.", "input_schema": {"type": "object"}}],
    "messages": [
        {"role": "user", "content": "Hello"},
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "a", "name": "f", "input": {}},
                {"type": "tool_use", "id": "b", "name": "f", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "sun"},
                {"type": "tool_result", "tool_use_id": "b", "content": "rain"},
                {"type": "text", "text": "And now?"},
            ],
        },
    ],
}


@pytest.fixture
def body(tmp_path):
    def write(document, name="body.json"):
        file = tmp_path / name
        file.write_text(json.dumps(document))
        return file

    return write


@pytest.mark.parametrize("document", [CHAT, RESPONSES, ANTHROPIC], ids=["chat", "responses", "anthropic"])  # fmt: skip
def test_a_body_is_planned_as_it_is_counted(document, body, reported, capsys):
    file = body(document)
    report = reported(file, "--model", "qwen3-8b")
    assert report["used"] == count_request(document, "qwen3-8b").total
    assert report["exact"]
    assert report["window"] == 32_768
    assert report["reserve_output"] == 100
    assert main(["plan", str(file), "--model", "qwen3-8b", "--messages"]) == 0
    messages = json.loads(capsys.readouterr().out)
    assert messages[0] == {"role": "system", "content": "Be brief."}
    assert messages[1] == {"role": "user", "content": "Hello"}
    calls = [call["id"] for message in messages for call in message.get("tool_calls", ())]
    assert calls == [m["tool_call_id"] for m in messages if m["role"] == "tool"]
    if document is CHAT:
        assert messages == CHAT["messages"]


def test_a_body_of_its_own_model(body, reported, shown):
    report = reported(body(CHAT))
    assert report["window"] == 128_000
    assert report["cache"]["rules"] == "openai"
    assert not report["exact"]  # nobody publishes how tools are counted
    plain = {"model": "gpt-4o", "messages": CHAT["messages"][:2]}
    assert reported(body(plain))["exact"]
    rows = shown(body(CHAT))
    assert "no exact count is published for tools" in rows["estimate"]


def test_a_closed_tokenizer_is_estimated_when_asked_for(body, reported, capsys):
    file = body(ANTHROPIC)
    assert main(["plan", str(file)]) == 3
    err = capsys.readouterr().err
    assert "no vocabulary of claude-sonnet-4-5 is here; --encoding o200k_base counts" in err
    report = reported(file, "--encoding", "o200k_base")
    assert not report["exact"]
    assert report["window"] == 200_000
    assert report["cache"]["rules"] == "anthropic"


def test_a_long_body_is_cut_and_says_what_changed(body, reported):
    words = [("user", "why " * 40), ("assistant", "so " * 40)] * 30
    messages = [{"role": role, "content": text} for role, text in words]
    system = {"role": "system", "content": "Be kind. " * 600}
    now = {"model": "gpt-4o", "messages": [system, *messages, {"role": "user", "content": "So?"}]}
    before = {"model": "gpt-4o", "messages": [system, *messages[:-1]]}
    report = reported(body(now), "--window", "3000", "--previous", body(before, "before.json"))
    assert report["used"] <= 3000
    assert report["dropped"]
    assert report["cache"]["predicted_read"] > 0
    other = {**before, "messages": [{**system, "content": "Be good. " * 600}, *messages[:-1]]}
    report = reported(body(now), "--window", "3000", "--previous", body(other, "other.json"))
    assert report["cache"]["predicted_read"] == 0
    assert [finding["path"] for finding in report["lint"]] == ["messages[0].content"]


@pytest.mark.parametrize(
    ("document", "argv", "complaint"),
    [
        ({"messages": []}, [], "model: missing; give --model"),
        ({"model": 3, "messages": []}, [], "model: missing"),
        (CHAT | {"response_format": {"type": "json_object"}}, [], "body.response_format: whether"),
        (CHAT | {"mood": 1}, [], "body.mood: unknown field"),
        (CHAT | {"max_tokens": "many"}, [], "max_tokens: expected a whole number"),
        (CHAT | {"max_tokens": 20_000}, [], "reserve_output: 20000 tokens, but gpt-4o generates"),
        (CHAT | {"max_tokens": 90}, ["--window", "50"], "max_tokens: 90 is larger than the window"),
        (CHAT | {"input": "x"}, [], "body.input: messages and input are given both"),
        (CHAT | {"model": "acme-7"}, [], "no vocabulary of acme-7 is here"),
        (CHAT | {"messages": [{"role": "user", "content": 3}]}, [], "messages[0].content"),
        (CHAT | {"messages": [{"role": "user"}]}, ["--model", "qwen3-8b"], "messages[0].content"),
        (CHAT, ["--encoding", "klingon"], "unknown encoding 'klingon'"),
        (CHAT | {"tools": 3}, [], "tools"),
        (CHAT | {"tools": ["f"]}, [], "tools[0]"),
        (CHAT | {"messages": 3}, [], "messages"),
        (CHAT | {"add_generation_prompt": False}, ["--model", "qwen3-8b"], "to be answered"),
        (CHAT, ["--model", "qwen3-8b", "--previous", "self"], "--previous: no cache rules"),
    ],
)
def test_a_bad_body_is_3_and_names_the_place(document, argv, complaint, body, capsys):
    file = str(body(document))
    assert main(["plan", file, *(file if arg == "self" else arg for arg in argv)]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert complaint in err
    assert err.count("\n") == 1
