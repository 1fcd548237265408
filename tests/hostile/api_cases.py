"""Hostile calls: a clear error of a documented class, and the state as it was."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref

import ctxengine
import numpy as np
from cases import case, encoding, raises
from ctxengine import ArgumentError, CapacityError, SpecialTokenError, UnknownTokenError, _core

SECRET = "a private prompt"


class Index:
    """An integer whose reading runs code of the caller's."""

    def __init__(self, run) -> None:
        self.run = run

    def __index__(self) -> int:
        return self.run()


for _call in ("encode", "encode_ordinary", "encode_to_numpy", "count", "appender"):
    for _value in (None, 5, SECRET.encode(), [SECRET]):

        @case(f"{_call}: of {type(_value).__name__}", _call, _value)
        def wrong_text(call: str, value: object) -> None:
            raises(TypeError, lambda: getattr(encoding(), call)(value))
            try:
                getattr(encoding(), call)(value)
            except TypeError as error:
                assert "private" not in str(error)


for _name, _ids, _error in (
    ("a negative id", [-1], UnknownTokenError),
    ("an id past the vocabulary", [200_000], UnknownTokenError),
    ("an id of 2^31", [2**31], UnknownTokenError),
    ("an id of 2^32 that would wrap to 0", [2**32], UnknownTokenError),
    ("an id of 2^64", [2**64], UnknownTokenError),
    ("an id of 5,000 digits", [10**5000], UnknownTokenError),
    ("negative ids in an array", np.array([1, -1]), UnknownTokenError),
    ("ids in two dimensions", np.zeros((2, 2), np.uint32), ArgumentError),
    ("a fraction", [1.5], TypeError),
    ("an array of fractions", np.array([1.0]), TypeError),
    ("a str", "12", TypeError),
    ("a list of str", ["1"], TypeError),
    ("a set", {1, 2}, TypeError),
    ("a dict", {1: 2}, TypeError),
    ("None", None, TypeError),
    ("one int", 5, TypeError),
):
    for _call in ("decode", "decode_bytes"):

        @case(f"{_call}: {_name}", _call, _ids, _error)
        def wrong_ids(call: str, ids: object, error: type[BaseException]) -> None:
            raises(error, lambda: getattr(encoding(), call)(ids))


@case("decode: a list that shrinks while it is read")
def list_that_shrinks() -> None:
    ids: list = []
    ids += [Index(lambda: ids.clear() or 15339), 1917, 1917]
    assert encoding().decode(ids) == "hello world world"


@case("decode: an id whose reading raises")
def id_that_raises() -> None:
    raises(ZeroDivisionError, lambda: encoding().decode([1, Index(lambda: 1 // 0)]))


@case("decode: a buffer whose owner is gone")
def buffer_of_the_dead() -> None:
    view = memoryview(bytearray(8)).cast("I")
    assert encoding().decode(view) == "!!"
    view.release()
    raises(ValueError, lambda: encoding().decode(view))


@case("fits: limits of all sizes")
def limits() -> None:
    text = "hello world"
    assert [encoding().fits(text, limit) for limit in (-(2**63), -1, 0, 1, 2, 2**63 - 1)] == [
        False, False, False, False, True, True,
    ]  # fmt: skip
    assert encoding().fits(text, 2**63)
    raises(TypeError, lambda: encoding().fits(text, 1.5))


@case("encode_into: buffers that do not fit")
def buffers() -> None:
    text = "hello world"
    small = np.full(1, 7, np.uint32)
    raises(CapacityError, lambda: encoding().encode_into(text, small), "2")
    assert small.tolist() == [7]
    wrong = [
        np.zeros(9, np.int64),
        np.zeros((3, 3), np.uint32),
        np.zeros(9, np.uint32)[::2],
        np.zeros(9),
    ]
    for buffer in wrong:
        raises(TypeError, lambda buffer=buffer: encoding().encode_into(text, buffer), "uint32")
    for buffer in (bytearray(64), 5, None, [0] * 9):
        raises(TypeError, lambda buffer=buffer: encoding().encode_into(text, buffer))
    read_only = np.zeros(9, np.uint32)
    read_only.setflags(write=False)
    raises((BufferError, ValueError), lambda: encoding().encode_into(text, read_only))


@case("encode: special tokens that do not exist, are empty, or are no str")
def odd_special_tokens() -> None:
    assert encoding().encode("a", allowed_special={"<|none|>"}) == encoding().encode("a")
    raises(ArgumentError, lambda: encoding().encode("a", disallowed_special={""}))
    raises(TypeError, lambda: encoding().encode("a", disallowed_special={5}))
    raises(ArgumentError, lambda: encoding().encode("a", disallowed_special={"\ud800"}))


@case("encode: a spelling in user text raises and is named")
def spelling_in_text() -> None:
    text = "a" * 100_000 + "<|endoftext|>"
    raises(SpecialTokenError, lambda: encoding().encode(text), "<|endoftext|>")
    assert encoding().count(text) == len(encoding().encode(text, disallowed_special=()))


@case("encode: hundreds of spellings that share all their beginnings")
def spellings_with_one_beginning() -> None:
    spellings = {"a" * i + "b" for i in range(1, 300)} | {"a" * 65_535}
    text = "a" * 60_000
    ids = encoding().encode(text, disallowed_special=spellings)
    assert ids == encoding().encode_ordinary(text)
    raises(SpecialTokenError, lambda: encoding().encode(text + "b", disallowed_special=spellings))


@case("encode: a subclass of str with a length of its own")
def lying_str() -> None:
    class Lying(str):
        def __len__(self) -> int:
            return 10**18

        def encode(self, *_args: object) -> bytes:
            return b"lie"

    assert encoding().encode(Lying("hello world")) == [15339, 1917]
    assert encoding().count(Lying("hello world")) == 2


@case("encode_segments: pairs that are none")
def odd_segments() -> None:
    for segment in (("a",), ("a", True, 1), ("a", 1), (b"a", True), (None, False), 5, "ab"):
        raises(TypeError, lambda segment=segment: encoding().encode_segments([segment]))


@case("encode_segments: a spelling cut at every place, in trusted pieces")
def cut_spelling() -> None:
    spelling = "<|endoftext|>"
    for at in range(1, len(spelling)):
        pieces = [(spelling[:at], True), (spelling[at:], True)]
        assert 100257 not in encoding().encode_segments(pieces).tolist()
    assert encoding().encode_segments([(spelling, True), (spelling, False)])[0] == 100257


@case("encode_batch: things that are no batch")
def odd_batches() -> None:
    for batch in ("text", [None], ["a", b"b"], 5, None):
        raises(TypeError, lambda batch=batch: encoding().encode_batch(batch))
    raises(ZeroDivisionError, lambda: encoding().encode_batch(str(1 // i) for i in (1, 0)))
    assert encoding().encode_batch([]) == []


@case("encode_batch: more threads than any machine has")
def many_threads() -> None:
    assert encoding().encode_batch(["hello"] * 10, num_threads=10**9) == [[15339]] * 10
    raises(ArgumentError, lambda: encoding().encode_batch(["a"], num_threads=0))
    raises(ArgumentError, lambda: encoding().encode_batch(["a"], num_threads=-1))


@case("objects that were never initialised")
def never_initialised() -> None:
    for native in (_core.Encoding, _core.SpecialTokens, _core.BlockHasher, _core.KVCacheManager):
        raises(TypeError, lambda native=native: native.__new__(native).__reduce_ex__(0))
        raises(TypeError, native.__base__)
    raises(TypeError, lambda: ctxengine.Encoding.__new__(ctxengine.Encoding).encode("a"))


@case("methods called on something else")
def foreign_self() -> None:
    raises(TypeError, lambda: _core.EncodingCalls.encode_ordinary(5, "a"))
    raises(TypeError, lambda: _core.EncodingCalls.count(None, "a"))


@case("pickles: copies are equal, spoilt ones raise")
def pickles() -> None:
    ours = encoding()
    for copied in (pickle.loads(pickle.dumps(ours)), copy.deepcopy(ours), copy.copy(ours)):
        assert copied.fingerprint == ours.fingerprint
        assert copied.encode("hello world") == [15339, 1917]
    data = pickle.dumps(ours)
    for spoilt in (data[: len(data) // 2], data[:-2], b""):
        raises((pickle.UnpicklingError, EOFError), lambda spoilt=spoilt: pickle.loads(spoilt))


@case("ranks that are no vocabulary")
def odd_ranks() -> None:
    single = {bytes([byte]): byte for byte in range(256)}

    def make(ranks: dict, special_tokens: dict | None = None) -> ctxengine.Encoding:
        return ctxengine.Encoding(
            "odd",
            pat_str=encoding()._pat_str,
            mergeable_ranks=ranks,
            special_tokens=special_tokens or {},
        )

    assert make(single).encode("ab") == [97, 98]
    errors = (ctxengine.LoadError, ArgumentError)
    raises(errors, lambda: make({}))
    raises(errors, lambda: make({b"a": 0}))
    raises(errors, lambda: make(single | {b"": 256}))
    raises(errors, lambda: make(single | {b"ab": -1}))
    raises(errors, lambda: make(single | {b"ab": 2**31}))
    raises(errors, lambda: make(single | {b"ab": 2**70}))
    raises(errors, lambda: make(single | {b"ab": 5}))
    raises(errors, lambda: make(single | {b"a" * 65537: 256}))
    raises(errors, lambda: make(single, {"<s>": 5}))
    raises(errors, lambda: make(single, {"": 300}))
    raises(errors, lambda: make(single, {"<s>": 2**31}))
    raises(errors, lambda: make(single, {"\ud800": 300}))
    raises(TypeError, lambda: make(single | {"ab": 256}))
    raises(TypeError, lambda: make(single | {b"ab": 1.5}))


@case("an encoding outlives its name, and arrays outlive their encoding")
def lifetimes() -> None:
    mine = ctxengine.Encoding(
        "mine",
        pat_str=encoding()._pat_str,
        mergeable_ranks={bytes([byte]): byte for byte in range(256)},
        special_tokens={},
    )
    ids = mine.encode_to_numpy("abc")
    appender = mine.appender("abc")
    view = appender.ids
    gone = weakref.ref(mine)
    del mine
    appender.append("d" * 1000)
    del appender
    gc.collect()
    assert gone() is None
    assert ids.tolist() == view.tolist() == [97, 98, 99]


@case("appender: a view stays as it was, and cannot be written to")
def appender_views() -> None:
    appender = encoding().appender("hello")
    view = appender.ids
    raises(ValueError, lambda: view.__setitem__(0, 1))
    for _ in range(1000):
        appender.append(" world")
    assert view.tolist() == [15339]
    assert appender.count == 1001
    raises(TypeError, lambda: appender.append(None))
    assert appender.count == 1001
