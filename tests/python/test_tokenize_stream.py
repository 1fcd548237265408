"""The streaming detokenizer: what comes out equals decoding everything, however it is fed."""

from __future__ import annotations

import copy
import pickle
import threading
import time
from itertools import product

import ctxengine
import numpy as np
import pytest
from ctxengine.reference import decode_stream as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenize_support import SINGLE_BYTES, tiny

CL100K = ctxengine.get_encoding("cl100k_base")
BYTES = tiny(SINGLE_BYTES, {"<x>": 300, "<y>": 301})  # an id for each byte

# Few letters, so that stop strings overlap, and the parts of characters of each length.
data_bytes = st.lists(
    st.sampled_from([b"a", b"b", b"a", b"b", b"ab", "é".encode(), "中".encode(), "🦜".encode()])
    | st.binary(min_size=1, max_size=3),
    max_size=12,
).map(b"".join)
stop_strings = st.lists(st.text("ab é中🦜\ufffd", min_size=1, max_size=4), max_size=4)


@st.composite
def cut(draw, data):
    """Cut a sequence into parts, some of them empty."""
    borders = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    return [data[i:j] for i, j in zip([0, *borders], [*borders, len(data)], strict=True)]


@given(st.data(), data_bytes, stop_strings)
def test_what_comes_out_is_the_text_before_the_first_stop_string(data, text, stops):
    stream = BYTES.stream(stop=stops)
    out = ""
    fed = b""
    for part in data.draw(cut(text)):
        piece = stream.feed(list(part))
        fed += part
        out += piece
        if stream.stopped is None:
            assert stream.held_back == reference.held_back(fed, stops)
        assert stream.num_bytes == len(out.encode())
    out += stream.finish()
    expected, stop = reference.text_before_stop(text, stops)
    assert (out, stream.stopped) == (expected, stop)
    assert stream.num_bytes == len(out.encode())
    assert stream.held_back == 0


@given(st.data(), st.text(max_size=40), stop_strings)
def test_tokens_of_real_encodings(data, text, stops):
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    for name in ("cl100k_base", "qwen3"):
        encoding = ctxengine.get_encoding(name)
        stream = encoding.stream(stop=stops)
        parts = data.draw(cut(encoding.encode_ordinary(text)))
        out = "".join(stream.feed(np.array(part, np.int64)) for part in parts) + stream.finish()
        assert out == reference.text_before_stop(text.encode(), stops)[0]


def test_malformed_bytes_are_replaced_as_python_does():
    # Bytes at the borders of RFC 3629's table, in all sequences of up to four.
    borders = [0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xED]
    borders += [0xEF, 0xF0, 0xF1, 0xF4, 0xF5, 0xFF]
    for length in (1, 2, 3):
        for data in map(bytes, product(borders, repeat=length)):
            stream = BYTES.stream()
            out = "".join(map(stream.feed, data)) + stream.finish()
            assert out == data.decode("utf-8", "replace"), data
    for data in map(bytes, product(borders[2:], repeat=4)):
        stream = BYTES.stream()
        assert stream.feed(list(data)) + stream.finish() == data.decode("utf-8", "replace"), data


def test_only_whole_characters_come_out():
    stream = CL100K.stream()
    ids = CL100K.encode("👍!")
    assert len(ids) == 4
    assert [stream.feed(token) for token in ids] == ["", "", "👍", "!"]
    assert stream.finish() == ""


def test_a_stop_string_over_several_tokens():
    stream = CL100K.stream(stop=["\n\nUser:", "</answer>"])
    ids = CL100K.encode("It is 42.</answer> Next")
    out = [stream.feed(token) for token in ids]
    assert "".join(out) == "It is 42."
    assert stream.stopped == "</answer>"
    assert stream.feed(ids) == ""
    assert stream.finish() == ""
    assert stream.num_bytes == 9


def test_which_stop_string_counts():
    def stopped(text, *stops):
        stream = BYTES.stream(stop=stops)
        out = stream.feed(list(text.encode()))
        return out, stream.stopped

    assert stopped("xabcd", "abcd", "bc") == ("xa", "bc")  # ends first
    assert stopped("xabc", "bc", "abc", "c") == ("x", "abc")  # ends together: the longest
    assert stopped("xab", "ab", "abc") == ("x", "ab")
    assert stopped("xab", "\ud83d", "ab") == ("x", "ab")


def test_held_back_is_what_finish_gives():
    stream = BYTES.stream(stop="hello")
    assert stream.feed(list(b"say hel")) == "say "
    assert stream.held_back == 3
    assert stream.feed([0xE2, 0x80]) == ""
    assert stream.held_back == 4
    assert stream.finish() == "hel\ufffd"
    assert stream.held_back == 0
    assert stream.finish() == ""
    with pytest.raises(ctxengine.ArgumentError, match="finished"):
        stream.feed(97)


def test_special_tokens_come_out_or_are_skipped():
    ids = [97, 300, 98, 301]
    assert BYTES.stream().feed(ids) == "a<x>b<y>"
    assert BYTES.stream(skip_special_tokens=True).feed(ids) == "ab"
    assert BYTES.stream(stop="<x>").feed(ids) == "a"
    assert BYTES.decode(ids, skip_special_tokens=True) == "ab"
    assert BYTES.decode_batch([ids, [300]], skip_special_tokens=True) == ["ab", ""]
    # The bytes before and after a skipped token are neighbours.
    assert BYTES.stream(skip_special_tokens=True).feed([0xC3, 300, 0xA9]) == "é"


def test_copies_go_their_own_ways():
    stream = BYTES.stream(stop="stop")
    assert stream.feed(list(b"a st")) == "a "
    fork, pickled = copy.copy(stream), pickle.loads(pickle.dumps(stream))
    assert stream.feed(list(b"ay")) == "stay"
    for other in (fork, pickled, copy.deepcopy(fork)):
        assert other.held_back == 2
        assert other.feed(list(b"op")) == ""
        assert other.stopped == "stop"
        assert other.num_bytes == 2
        assert pickle.loads(pickle.dumps(other)).stopped == "stop"
    assert stream.stopped is None


@given(st.data(), data_bytes, stop_strings)
@settings(max_examples=50)
def test_a_pickle_goes_on_where_it_was(data, text, stops):
    parts = data.draw(cut(text))
    stream = BYTES.stream(stop=stops)
    out = ""
    for part in parts:
        stream = pickle.loads(pickle.dumps(stream))
        out += stream.feed(list(part))
    assert out + stream.finish() == reference.text_before_stop(text, stops)[0]


@pytest.mark.parametrize(
    "state",
    [
        (-1, 0, -1, b"", False, False),
        (0, 99, -1, b"", False, False),
        (0, 0, 1, b"", False, False),
        (0, 0, -2, b"", False, False),
        (0, 0, -1, b"a", False, False),
        (0, 0, -1, b"\xe2\x80\x80", False, False),
        (0, 0, -1, b"\xf0\x9f\xa6\x9c", False, False),
        (0, 1, -1, b"", False, True),
    ],
)
def test_states_that_cannot_be_are_refused(state):
    native = BYTES.stream(stop="ab")._native
    with pytest.raises(ctxengine.ArgumentError, match="no stream has such a state"):
        native.restored(state)


def test_bad_arguments_leave_the_stream_as_it_was():
    stream = BYTES.stream(stop="ab")
    stream.feed(97)
    with pytest.raises(ctxengine.UnknownTokenError, match="no token 999, at index 2"):
        stream.feed([98, 99, 999])
    for bad in (-1, 2**40):
        with pytest.raises(ctxengine.UnknownTokenError):
            stream.feed(bad)
    for wrong in ("a", None, 1.5, [1.5], [[1]]):
        with pytest.raises(TypeError):
            stream.feed(wrong)
    assert stream.held_back == 1
    assert stream.feed([]) == ""
    assert stream.feed(98) == ""
    assert stream.stopped == "ab"
    with pytest.raises(ctxengine.ArgumentError, match="stop string 1 is empty"):
        BYTES.stream(stop=["a", ""])
    for wrong in ([b"a"], 5, [None]):
        with pytest.raises(TypeError):
            BYTES.stream(stop=wrong)


def test_numpy_integers_and_arrays_are_ids():
    stream = BYTES.stream()
    assert stream.feed(np.int64(97)) == "a"
    assert stream.feed(np.array([98, 99], np.uint32)) == "bc"
    assert stream.feed((100,)) == "d"


# --- many sequences ---


@given(st.lists(data_bytes, min_size=1, max_size=4), stop_strings, st.randoms())
def test_rows_are_streams(texts, stops, random):
    batch = BYTES.stream_batch(len(texts), stop=stops)
    order = [row for row, text in enumerate(texts) for _ in text]
    random.shuffle(order)
    left = [list(text) for text in texts]
    out = [""] * len(texts)
    while order:
        rows = [order.pop() for _ in range(min(len(order), random.randint(1, 4)))]
        for row, text in zip(rows, batch.feed(rows, [left[r].pop(0) for r in rows]), strict=True):
            out[row] += text
        if random.random() < 0.1:
            batch = pickle.loads(pickle.dumps(batch))
    all_rows = range(len(texts))
    for row, text in zip(all_rows, batch.finish(all_rows), strict=True):
        out[row] += text
    expected = [reference.text_before_stop(text, stops) for text in texts]
    assert out == [text for text, _ in expected]
    assert batch.stopped.tolist() == [stop is not None for _, stop in expected]
    assert [batch.row(row).stopped for row in all_rows] == [stop for _, stop in expected]
    assert batch.num_bytes.tolist() == [len(text.encode()) for text in out]
    assert batch.held_back.tolist() == [0] * len(texts)


def test_a_row_serves_one_request_after_another():
    batch = BYTES.stream_batch(3, stop="!")
    assert len(batch) == 3
    assert batch.feed([2, 0, 2], list(b"abc")) == ["a", "b", "c"]
    assert batch.finish([2]) == [""]
    with pytest.raises(ctxengine.ArgumentError, match="row 2 is finished"):
        batch.feed([0, 2], [97, 97])
    batch.reset([2], BYTES.stream(stop="cd"))
    assert batch.feed([2, 0], list(b"c!")) == ["", ""]
    assert batch.stopped.tolist() == [True, False, False]
    assert batch.stopped.dtype == np.bool_
    assert batch.held_back.tolist() == [0, 0, 1]
    assert batch.num_bytes.tolist() == [1, 0, 0]
    fork = copy.copy(batch)
    assert batch.feed([2], [100]) == [""]
    assert batch.row(2).stopped == "cd"
    assert fork.row(2).stopped is None


def test_a_batch_that_raises_is_as_it_was():
    batch = BYTES.stream_batch(2, stop="ab")
    batch.feed([1], [97])
    before = pickle.dumps(batch)
    for rows, ids, error, message in (
        ([0, 1, 1], [97, 98, 999], ctxengine.UnknownTokenError, "no token 999, at index 2"),
        ([0, 2], [97, 97], ctxengine.ArgumentError, r"row 2, at index 1, is outside \[0, 2\)"),
        ([-1], [97], ctxengine.ArgumentError, "row -1"),
        ([0, 1], [97], ctxengine.ArgumentError, "2 rows but 1 ids"),
        ([0.5], [97], TypeError, "float"),
        ([0], ["a"], TypeError, "str"),
    ):
        with pytest.raises(error, match=message):
            batch.feed(rows, ids)
        assert pickle.dumps(batch) == before
    for call in (batch.finish, lambda rows: batch.reset(rows, BYTES.stream())):
        with pytest.raises(ctxengine.ArgumentError, match="row 7"):
            call([0, 7])
        assert pickle.dumps(batch) == before
    with pytest.raises(ctxengine.ArgumentError, match="the batch of tiny"):
        batch.reset([0], CL100K.stream())
    with pytest.raises(TypeError, match="must be a DecodeStream, got NoneType"):
        batch.reset([0], None)
    with pytest.raises(ctxengine.ArgumentError, match="row 2"):
        batch.row(2)
    for wrong in (0, -1):
        with pytest.raises(ctxengine.ArgumentError, match="num_rows"):
            BYTES.stream_batch(wrong)
    assert batch.feed([], []) == []


def test_rows_from_several_threads():
    batch = BYTES.stream_batch(8)
    text = list(("é" * 2000).encode())
    out = [""] * 8

    def work(row):
        out[row] = "".join(batch.feed([row], [byte])[0] for byte in text)

    threads = [threading.Thread(target=work, args=(row,)) for row in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert out == ["é" * 2000] * 8


def test_hostile_stop_strings_are_read_in_linear_time():
    def seconds(size):
        # All of the text is the beginning of a stop string until its last letter.
        stream = BYTES.stream(stop=["a" * n + "b" for n in (size, size // 2, size // 3)])
        begin = time.perf_counter()
        for _ in range(size):
            stream.feed([97, 97])
        assert stream.held_back == size
        stream.feed(list(b"c"))
        assert stream.held_back == 0
        return time.perf_counter() - begin

    seconds(1000)
    small, large = min(seconds(4000) for _ in range(3)), min(seconds(32_000) for _ in range(3))
    assert large < 8 * small * 3  # quadratic: 64 times
