"""The demo: what it claims is recounted by other means, and it is fit to be shown."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from ctxengine import cli, get_encoding
from ctxengine.cli import demo, main
from ctxengine.cli.request import read_request
from ctxengine.cli.session import Session
from ctxengine.viz.text import cell_width
from tiktoken import Encoding as TiktokenEncoding

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/support_chat.json"
DOCUMENT = json.loads(EXAMPLE.read_text(encoding="utf-8"))
BLOCK_SIZE = DOCUMENT["blocks"]["block_size"]


@pytest.fixture(scope="module")
def played():
    """The frames of the demo with the plans that they were made from."""
    plans = []

    class Recorder(Session):
        def plan(self, history, retrieval):
            plans.append((list(history), super().plan(history, retrieval)))
            return plans[-1][1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli.session, "Session", Recorder)
        frames = list(demo.play(read_request("example", EXAMPLE.read_bytes())))
    return frames, plans


# --- the example itself ---


def test_the_example_is_what_the_documents_promise():
    roles = [message["role"] for message in DOCUMENT["history"]]
    assert roles.count("user") == 40
    assert roles.count("tool") > 15
    assert len(DOCUMENT["tools"]) == 6
    assert len(DOCUMENT["retrieval"]) == 24
    assert len(DOCUMENT["replay"]["turns"]) == 3
    texts = [chunk["text"] for chunk in DOCUMENT["retrieval"]]
    for alphabet in ("[\u4e00-\u9fff]", "[\u0900-\u097f]", "[\U0001f300-\U0001faff]", "```"):
        assert sum(bool(re.search(alphabet, text)) for text in texts) >= 2, alphabet


def test_every_tool_result_of_the_example_answers_a_call():
    reply = [m for turn in DOCUMENT["replay"]["turns"] for m in turn["reply"]]
    messages = [*DOCUMENT["history"], *DOCUMENT["replay"]["reply"], *reply]
    names = {tool["function"]["name"] for tool in DOCUMENT["tools"]}
    calls = {}
    for message in messages:
        for call in message.get("tool_calls", ()):
            assert call["function"]["name"] in names
            assert isinstance(json.loads(call["function"]["arguments"]), dict)
            calls[call["id"]] = call["function"]["name"]
        if message["role"] == "tool":
            assert calls.pop(message["tool_call_id"]) == message["name"]
    assert calls == {}


def test_the_installed_example_is_the_one_in_the_tree():
    assert demo.example_path().read_bytes() == EXAMPLE.read_bytes()


# --- what it claims ---


def test_no_prompt_is_ever_over_the_window(played):
    frames, plans = played
    assert len(frames) == len(plans) == 4
    for frame, (_, planned) in zip(frames, plans, strict=False):
        assert frame.prompt_tokens == len(planned.token_ids)
        assert frame.prompt_tokens <= DOCUMENT["window"] - DOCUMENT["reserve_output"]
        assert sum(tokens for _, tokens in frame.sections) == frame.prompt_tokens
        assert 0 <= frame.cached_tokens < frame.prompt_tokens


def test_tokens_are_those_of_tiktoken(played):
    """Each message rendered as ChatML by hand and encoded by tiktoken."""
    encoding = get_encoding("qwen3")
    tiktoken = TiktokenEncoding(
        "qwen3",
        pat_str=encoding._pat_str,
        mergeable_ranks=encoding._mergeable_ranks,
        special_tokens=encoding._special_tokens,
    )
    controls = {"<|im_start|>", "<|im_end|>"}
    for _, planned in played[1]:
        text = tiktoken.decode(planned.token_ids.tolist())
        assert text.startswith("<|im_start|>system\n" + DOCUMENT["system"])
        assert text.endswith("<|im_start|>assistant\n")
        for message in planned.messages:
            assert (message["content"] or "").strip() in text
        assert not [c for c in controls for m in planned.messages if c in (m["content"] or "")]
        assert tiktoken.encode(text, allowed_special="all") == planned.token_ids.tolist()


def test_cached_is_the_longest_common_prefix_in_whole_blocks(played):
    frames, plans = played
    sent = []
    for frame, (_, planned) in zip(frames, plans, strict=False):
        ids = planned.token_ids.tolist()
        longest = 0
        for earlier in sent:
            same = (i for i, (a, b) in enumerate(zip(ids, earlier, strict=False)) if a != b)
            longest = max(longest, next(same, min(len(ids), len(earlier))))
        assert frame.cached_tokens == min(longest, len(ids) - 1) // BLOCK_SIZE * BLOCK_SIZE
        sent.append(ids)


def test_hits_grow_from_turn_to_turn(played):
    hits = [frame.blocks.hit for frame in played[0]]
    assert hits[0] == 0
    assert hits == sorted(set(hits))
    assert all(f.cached_tokens > 0.8 * f.prompt_tokens for f in played[0][1:])


def test_blocks_add_up_to_the_pool(played):
    for frame in played[0]:
        blocks = frame.blocks
        assert blocks.hit * BLOCK_SIZE == frame.cached_tokens
        assert blocks.hit + blocks.allocated == -(-frame.prompt_tokens // BLOCK_SIZE)
        total = blocks.hit + blocks.allocated + blocks.kept + blocks.free
        assert total == DOCUMENT["blocks"]["num_blocks"]
    assert sum(frame.blocks.evicted for frame in played[0]) > 0


def test_something_is_left_out_and_nothing_is_lost(played):
    for frame, (history, planned) in zip(*played, strict=False):
        assert any(group.section == "history" for group in frame.left_out)
        dropped = {item.index for item in planned.dropped if item.section == "history"}
        kept = [message for i, message in enumerate(history) if i not in dropped]
        assert [m["role"] for m in planned.messages] == ["system", *(m["role"] for m in kept)]
        assert planned.messages[-1]["content"].endswith(history[-1]["content"])
        # A call and its results are kept or dropped together.
        called = {c["id"] for m in planned.messages for c in m.get("tool_calls") or ()}
        answered = {m["tool_call_id"] for m in planned.messages if m["role"] == "tool"}
        assert called == answered


def test_costs_are_recounted(played):
    price = {k: float(v) for k, v in DOCUMENT["prices"]["per_million_tokens"].items()}
    for frame in played[0]:
        output = frame.cost.output / 10**12
        with_cache = (
            frame.cached_tokens * price["cached_input"]
            + (frame.prompt_tokens - frame.cached_tokens) * price["input"]
        ) / 1e6
        assert frame.cost.total / 1e12 == pytest.approx(with_cache + output)
        without = frame.prompt_tokens * price["input"] / 1e6 + output
        assert frame.cost_without_cache.total / 1e12 == pytest.approx(without)


def test_the_reply_is_priced_by_what_the_model_writes(played):
    """By hand for the turn whose reply is a tool round: the calls, the answer, and their ends."""
    encoding = get_encoding("qwen3")
    price = float(DOCUMENT["prices"]["per_million_tokens"]["output"])
    replies = [DOCUMENT["replay"]["reply"], *(t["reply"] for t in DOCUMENT["replay"]["turns"])]
    for frame, reply in zip(played[0], replies, strict=False):
        written = 0
        for message in reply:
            if message["role"] == "assistant":
                calls = [
                    '<tool_call>\n{{"name": "{}", "arguments": {}}}\n</tool_call>'.format(
                        c["function"]["name"],
                        json.dumps(json.loads(c["function"]["arguments"]), ensure_ascii=False),
                    )
                    for c in message.get("tool_calls", ())
                ]
                written += encoding.count(message["content"] + "\n".join(calls))
        output = frame.cost.output / 1e6 / price
        # Between them: the end marker, line breaks, and the template's empty reasoning block.
        assert written < output < written + 12 * len(reply)


# --- what it shows ---


def test_the_demo_is_fit_to_be_shown(capsys):
    assert main(["demo"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert len(lines) <= 100
    assert all(cell_width(line) <= 80 for line in lines)
    assert "\x1b" not in out
    assert out.count("with the cache") == 3  # the first prompt meets an empty one
    assert "Try next:" in out


def test_what_it_says_is_what_it_returns_as_json(capsys):
    assert main(["demo", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert main(["demo"]) == 0
    out = capsys.readouterr().out
    for request in report["requests"]:
        new = request["prompt_tokens"] - request["cached_tokens"]
        assert f"{request['prompt_tokens']:,} tokens = {request['cached_tokens']:,} cached" in out
        assert f" + {new:,} new" in out
        assert f"{request['blocks']['hit']:,} hit, {request['blocks']['allocated']:,} allo" in out
    sent = sum(request["prompt_tokens"] for request in report["requests"])
    assert f"{sent:,} tokens sent" in out


def test_the_request_it_prints_can_be_played_again(tmp_path, capsysbinary):
    assert main(["demo", "--request"]) == 0
    printed = capsysbinary.readouterr().out
    assert printed == EXAMPLE.read_bytes()
    copy = tmp_path / "my.json"
    copy.write_bytes(printed)
    assert main(["demo", str(copy), "--html", str(tmp_path / "demo.html")]) == 0
    page = (tmp_path / "demo.html").read_text(encoding="utf-8")
    assert page.count("<h3>Pool of 768 blocks") == 4


def test_a_request_without_a_replay_is_one_prompt(tmp_path, capsys):
    file = tmp_path / "short.json"
    short = {key: value for key, value in DOCUMENT.items() if key not in ("replay", "prices")}
    file.write_text(json.dumps(short))
    assert main(["demo", str(file), "--json"]) == 0
    (only,) = json.loads(capsys.readouterr().out)["requests"]
    assert only["cost"] is None


def test_a_pool_that_is_too_small_is_3_with_the_numbers(tmp_path, capsys):
    file = tmp_path / "small.json"
    file.write_text(json.dumps(DOCUMENT | {"blocks": {"block_size": 16, "num_blocks": 100}}))
    assert main(["demo", str(file)]) == 3
    assert re.search(r"ctxengine: .*\d+ blocks.*100", capsys.readouterr().err)
