"""70 bytes appended to a chat of 200,000 tokens: ours goes on, the rivals encode the chat again.

fastokens has a cache of prefixes for this, which is switched on here only.
"""

from __future__ import annotations

import time

import corpora
import pytest
import rivals
from ctxengine.cli.contenders import OURS, ids_of, load
from ctxengine.cli.rounds import on_one_processor
from report import us_each

NUM_TOKENS = 200_000
ROUNDS, TURNS = 7, 20
LIBRARIES = [OURS, "fastokens", "gigatoken"]


@pytest.mark.parametrize("encoding_name", ["cl100k_base", "o200k_base"])
def test_append_a_turn(report, monkeypatch, encoding_name):
    encoding = rivals.tiktoken_encoding(encoding_name)
    prose = corpora.text("english") * 2
    chat = encoding.decode(encoding.encode_ordinary(prose)[:NUM_TOKENS])
    turns = [f"\nuser: {prose[i * 70 : i * 70 + 63]}" for i in range(ROUNDS * TURNS)]
    contenders = rivals.loaded(encoding_name, LIBRARIES)
    if "fastokens" in contenders:
        monkeypatch.setenv("FASTOKENS_INPUT_CACHE", "64")
        contenders["fastokens"] = load("fastokens", rivals.tables(encoding_name))
    appender = contenders.pop(OURS).tokenizer.appender(chat)
    for contender in contenders.values():
        contender.to_buffer(chat)
    seconds = {library: [] for library in [OURS, *contenders]}
    clock = time.process_time
    for number in range(ROUNDS):
        said = turns[number * TURNS : (number + 1) * TURNS]
        chats = [chat + "".join(said[: i + 1]) for i in range(TURNS)]
        with on_one_processor(number):
            begin = clock()
            for turn in said:
                appender.append(turn)
                appender.ids[appender.changed_from :]  # what is new, in hand
            seconds[OURS].append(clock() - begin)
            for library, contender in contenders.items():
                begin = clock()
                for longer in chats:
                    contender.to_buffer(longer)
                seconds[library].append(clock() - begin)
        chat = chats[-1]
    expected = encoding.encode_ordinary(chat)
    assert appender.ids.tolist() == expected
    for library, contender in contenders.items():
        assert ids_of(contender.to_buffer(chat)) == expected, library
    what = f"70 bytes appended to {NUM_TOKENS:,} tokens, {encoding_name}"
    report.add_seconds(what, seconds, us_each(TURNS), 60.0)
