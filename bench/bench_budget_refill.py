"""Prompt tokens that a prefix cache does not have, call by call, under each way to cut a history.

An agent's conversation grows: users ask, tools answer, and every model call sends what fits, with
other chunks retrieved for each question. What a call shares with the one before, from the beginning
on, the cache has; the rest is *refilled*. A cut that moves with every turn refills the history each
time. The offline optimum knows the conversation to come: of all sequences of cuts that keep as
much of the conversation as the grid, the one that refills least, found by dynamic programming over
calls and cuts. "As much" has two meanings, and there is a row for each: no call keeps less than the
least that the grid keeps in any call (a floor), or as much is kept on average (a price on what is
not kept).
"""

from __future__ import annotations

import itertools
import random
from statistics import fmean
from typing import NamedTuple

import pytest
from ctxengine import chat
from ctxengine.budget import Budget, plan
from ctxengine.tokenize import get_encoding
from report import Row

WINDOW = 128_000
# Room that the history has beside the system prompt, the chunks and the turn to be answered.
ROOM = 100_000
RESERVE = 4000
SYSTEM_WORDS = 4000
CONVERSATION_WORDS = 500_000
SEEDS = range(3)
GRID = 0.25
WORDS = ["the", "model", "returns", "a", "list", "of", "tokens", "and", "then", "stops", "there"]


class Call(NamedTuple):
    """What one model call sends.

    Attributes
    ----------
    end : int
        Of the conversation messages[:end].
    turn : int
        Message that the last turn begins with, which carries the chunks.
    chunks : list of (str, float)
    """

    end: int
    turn: int
    chunks: list[tuple[str, float]]


class Sent(NamedTuple):
    """What became of a call.

    Attributes
    ----------
    tokens, refilled_tokens : int
        Of the prompt, and of what the prompt before did not begin with.
    kept_tokens : int
        Of the conversation.
    chunk_tokens, reply_tokens : int
        Of the chunks, and of the beginning of the reply.
    is_cut : bool
        Whether something of the conversation was left out.
    """

    tokens: int
    refilled_tokens: int
    kept_tokens: int
    chunk_tokens: int
    reply_tokens: int
    is_cut: bool

    @property
    def system_tokens(self):
        """Return the rest: those of the system prompt."""
        return self.tokens - self.kept_tokens - self.chunk_tokens - self.reply_tokens


def words(rng, mean):
    return " ".join(rng.choices(WORDS, k=1 + round(rng.expovariate(1 / mean))))


def agent(seed, max_chunks):
    """Return a long conversation, and the calls that made it."""
    rng = random.Random(seed)
    messages, calls, num_words = [], [], 0

    def say(role, mean_words, **fields):
        nonlocal num_words
        messages.append({"role": role, "content": words(rng, mean_words), **fields})
        num_words += len(messages[-1]["content"].split())

    while num_words < CONVERSATION_WORDS:
        turn = len(messages)
        say("user", 120)
        chunks = [(words(rng, 500), 1.0) for _ in range(rng.randint(0, max_chunks))]
        for step in range(7):
            calls.append(Call(len(messages), turn, chunks))
            if step == 6 or rng.random() > 0.35:
                break
            call_id = f"call-{len(messages)}"
            function = {"name": "look", "arguments": "{}"}
            tool_call = {"id": call_id, "type": "function", "function": function}
            say("assistant", 30, tool_calls=[tool_call])
            say("tool", 1500, tool_call_id=call_id)
        say("assistant", 400)
    return messages, calls


def token_counts(messages, encoding):
    """Return the tokens of each message, which are the same in every prompt that has it."""
    return chat.count_request({"messages": messages}, encoding).messages


def send(messages, calls, system, encoding, **cut):
    """Plan each call, and compare its prompt with that of the call before."""
    sent, before = [], []
    alone = token_counts(messages, encoding)
    for end, turn, chunks in calls:
        planned = plan(
            Budget(WINDOW, reserve_output=RESERVE), encoding, system=system,
            history=messages[:end], retrieval=chunks, history_cap=ROOM, **cut
        )  # fmt: skip
        now = list(planned.messages)
        tokens = token_counts(now, encoding)
        num_shared = next(
            (i for i, (a, b) in enumerate(zip(before, now, strict=False)) if a != b),
            min(len(before), len(now)),
        )
        carrier = max(i for i, message in enumerate(now) if message["role"] == "user")
        chunk_tokens = tokens[carrier] - alone[turn]
        refilled = planned.used - sum(tokens[:num_shared])
        kept = sum(tokens[1:]) - chunk_tokens
        is_cut = len(now) <= end
        reply = planned.used - sum(tokens)
        sent.append(Sent(planned.used, refilled, kept, chunk_tokens, reply, is_cut))
        before = now
    return sent


def places(messages, tokens):
    """Return where a cut may be, and what it keeps of the turn that it cuts into.

    Before a user's message; or before an answer, a call with its results; then the user's message
    that the turn began with stays.
    """
    found, carried = [], 0
    for i, message in enumerate(messages):
        if message["role"] == "user":
            carried = tokens[i]
            found.append((i, 0))
        elif message["role"] == "assistant" and messages[i - 1]["role"] != "user":
            found.append((i, carried))
    return found


def optimum(messages, calls, sent, encoding, *, price=0.0, floor=0):
    """Return the least mean refill, less `price` times the mean kept, of any sequence of cuts.

    Parameters
    ----------
    messages, calls
        The conversation, all of it.
    sent : list of Sent
        From any plan: what a prompt has beside the conversation is the same in all.
    price : float
        Refilled tokens that one kept token is worth.
    floor : int
        Tokens of the conversation that every call keeps at least, where there are as many.

    Returns
    -------
    tuple of float
        Refilled and kept tokens of a call, on average.

    Notes
    -----
    O(calls * places in the room): the best up to each call, by the cut it ends with.
    """
    tokens = token_counts(messages, encoding)
    total = list(itertools.accumulate(tokens, initial=0))
    cuts = places(messages, tokens)
    # By cut: what is to be least, tokens refilled, tokens kept.
    best = {0: (0.0, sent[0].system_tokens, 0)}
    previous = Call(0, 0, [])
    for call, one in zip(calls, sent, strict=True):
        # Unless the cut moves: all from the first message on that is not as it was.
        same = previous.turn == call.turn and previous.chunks == call.chunks
        carries = previous.chunks or (previous.turn == call.turn and call.chunks)
        differs = previous.turn if carries and not same else previous.end
        stay = total[call.end] - total[differs] + one.reply_tokens
        stay += 0 if same else one.chunk_tokens
        any_cut = min(best.values())
        now = {}
        for cut, carried in cuts:
            kept = total[call.end] - total[cut] + carried
            if cut > call.turn or not min(floor, total[call.end]) <= kept <= ROOM:
                continue
            moved = kept + one.chunk_tokens + one.reply_tokens
            options = [(any_cut, moved)] + ([(best[cut], stay)] if cut in best else [])
            now[cut] = min(
                (value + refill - price * kept, refilled + refill, sum_kept + kept)
                for (value, refilled, sum_kept), refill in options
            )
        best, previous = now, call
    _, refilled, kept = min(best.values())
    return refilled / len(calls), kept / len(calls)


def optimum_that_keeps(kept_tokens, *case):
    """Return the least refill of cuts that keep as much on average: by halving of the price.

    Between two prices' answers it is what both together would give, which is never more than what
    any sequence of cuts with that average can.
    """
    low, high = 0.0, 4.0
    below = optimum(*case, price=low)
    above = optimum(*case, price=high)
    if below[1] >= kept_tokens:
        return below[0]
    for _ in range(12):
        price = (low + high) / 2
        found = optimum(*case, price=price)
        if found[1] < kept_tokens:
            low, below = price, found
        else:
            high, above = price, found
    part = (kept_tokens - below[1]) / max(above[1] - below[1], 1)
    return below[0] + part * (above[0] - below[0])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("max_chunks", [0, 8])
def test_refill(report, max_chunks, seed):
    encoding = get_encoding("qwen2")
    messages, calls = agent(seed, max_chunks)
    system = words(random.Random(seed), 1) + " token" * SYSTEM_WORDS
    case = (messages, calls, system, encoding)
    sent = {
        "sliding window": send(*case, cut="tight"),
        "grid": send(*case, cut="grid", grid=GRID),
    }
    refill = {name: fmean(s.refilled_tokens for s in run) for name, run in sent.items()}
    kept = {name: fmean(s.kept_tokens for s in run) for name, run in sent.items()}
    conversation = (messages, calls, sent["grid"], encoding)
    floor = min(s.kept_tokens for s in sent["grid"] if s.is_cut)
    best = {
        f"never below {floor:,}": optimum(*conversation, floor=floor)[0],
        "as much on average": optimum_that_keeps(kept["grid"], *conversation),
    }
    chunks = f"0 to {max_chunks} chunks a turn" if max_chunks else "no chunks"
    what = f"refilled tokens a call, window {WINDOW:,}, {chunks}, conversation {seed}"
    figures = [f"{refill[name]:,.0f} (keeps {kept[name]:,.0f})" for name in sent]
    times = refill["sliding window"] / refill["grid"]
    report.rows.append(Row(what, "sliding window", *figures, times, 10))
    for keeps, least in best.items():
        values = f"{least:,.0f} ({keeps})", figures[1]
        ours = refill["grid"] / least
        report.rows.append(Row(what, "offline optimum", *values, ours, 1.1, at_most=True))
