"""Planning the prompt cache of 1,000 blocks: where the marks go, what is read and written.

Beside it what LiteLLM does for one request: `parse_cache_plan` (the marks that a request has, and
the digests in their look-back) and `PromptCachingCache.prefix_positions` (a digest for each block).
Neither chooses a place or predicts a number of tokens; ours does both.

LiteLLM with what it depends on is needed for its rows: ``pip install litellm==1.109.1``.
"""

from __future__ import annotations

import copy
import json
import os

import corpora
import pytest
from ctxengine.budget import CachePlan

RULES = "claude-sonnet-4-5"
MARK = {"type": "ephemeral"}


def blocks_of(body):
    return len(body["tools"]) + len(body["system"]) + len(body["messages"])


def request_of(messages):
    """Return twenty tools, a system prompt, and messages."""
    return {
        "model": RULES,
        "max_tokens": 1024,
        "tools": [
            {
                "name": f"tool_{i}",
                "description": "Looks something up and returns it. " * 5,
                "input_schema": {"type": "object", "properties": {"query": {"type": "string"}}},
            }
            for i in range(20)
        ],
        "system": [{"type": "text", "text": "You answer briefly. " * 400}],
        "messages": [
            {"role": message["role"], "content": [{"type": "text", "text": message["content"]}]}
            for message in messages
        ],
    }


def marked(body):
    made = copy.deepcopy(body)
    made["system"][-1]["cache_control"] = MARK
    made["messages"][-1]["content"][-1]["cache_control"] = MARK
    return made


@pytest.fixture(scope="module")
def case():
    messages = corpora.conversation(979)
    before, now = request_of(messages[:977]), request_of(messages)
    assert blocks_of(now) == 1000

    def tokens(body):
        counts = [len(message["content"][0]["text"]) // 4 + 3 for message in body["messages"]]
        return {"tools": 1200, "system": 1600, "messages": counts}

    sent = CachePlan.for_request(before, RULES, tokens=tokens(before), previous=(), now=0.0).sent
    counts = tokens(now)

    def plan():
        return CachePlan.for_request(now, RULES, tokens=counts, previous=sent, now=60.0)

    made = plan()
    new = sum(counts["messages"][977:])
    assert made.breakpoints[-1].path == "messages[978].content[0]"
    assert (made.predicted_write, made.predicted_uncached) == (new, 0)
    assert made.predicted_read == made.total_tokens - new
    print(
        f"\n{len(json.dumps(now)):,} bytes, {blocks_of(now)} blocks, {made.total_tokens:,} tokens"
    )
    return now, plan


def litellm_call(name, body):
    """Return what LiteLLM does, when it does it."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # fetches nothing
    pytest.importorskip("litellm", exc_type=ImportError)
    if name == "parse_cache_plan":
        from litellm.llms.anthropic.prompt_cache_prediction import PromptCachePlan, parse_cache_plan

        made = parse_cache_plan(body)
        assert isinstance(made, PromptCachePlan)
        assert len(made.breakpoints) == 2
        return lambda: parse_cache_plan(body)
    from litellm.router_utils.prompt_caching_cache import PromptCachingCache

    messages = [{"role": "system", "content": body["system"]}, *body["messages"]]
    positions = PromptCachingCache.prefix_positions(messages, body["tools"])
    assert len(positions) == len(messages)
    return lambda: PromptCachingCache.prefix_positions(messages, body["tools"])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "library", ["ctxengine", "LiteLLM parse_cache_plan", "LiteLLM prefix_positions"]
)
def test_plan(benchmark, case, library):
    benchmark.group = "cache plan of 1,000 blocks"
    body, plan = case
    call = plan if library == "ctxengine" else litellm_call(library.split()[1], marked(body))
    benchmark.pedantic(call, rounds=30, warmup_rounds=3)
