"""The calls that are C functions: arguments, signatures and documentation as those of any method."""

from __future__ import annotations

import ctypes
import doctest
import gc
import inspect
import random
import sys
import threading

import ctxengine
import numpy as np
import pytest
from ctxengine import _core

CL100K = ctxengine.get_encoding("cl100k_base")
NATIVE = [name for name in vars(_core.EncodingCalls) if not name.startswith("_")]


def test_the_calls_are_inherited_from_c():
    assert set(NATIVE) >= {"encode", "count", "decode", "encode_into", "fits"}
    assert not set(NATIVE) & set(vars(ctxengine.Encoding))


@pytest.mark.parametrize("name", NATIVE)
def test_documentation(name):
    method = getattr(ctxengine.Encoding, name)
    assert "self" in inspect.signature(method).parameters
    assert len(inspect.getdoc(method)) > 40
    examples = doctest.DocTestParser().get_doctest(method.__doc__, {}, name, None, 0)
    assert doctest.DocTestRunner().run(examples).failed == 0


def test_arguments_by_name():
    assert CL100K.count(text="hello world") == 2
    assert CL100K.fits(limit=2, text="hello world")
    assert not CL100K.fits("hello world", limit=1)
    assert CL100K.encode(text="<|endoftext|>", allowed_special="all") == [100257]
    assert CL100K.decode(errors="strict", tokens=[15339]) == "hello"
    buffer = np.zeros(3, np.int32)
    assert CL100K.encode_into(buffer=buffer, text="hello world") == 2
    assert buffer.tolist() == [15339, 1917, 0]


@pytest.mark.parametrize(
    "call",
    [
        CL100K.count,
        lambda: CL100K.count("a", "b"),
        lambda: CL100K.count("a", text="b"),
        lambda: CL100K.count("a", limit=3),
        lambda: CL100K.count(**{"\ud800": "b"}),
        lambda: CL100K.encode("a", "all"),
        lambda: CL100K.encode("a", allowed_special=5),
        lambda: CL100K.fits("a"),
        lambda: CL100K.fits("a", "b"),
        CL100K.decode,
        lambda: CL100K.decode([15339], 5),
        lambda: CL100K.decode([15339], "replace", True),
        lambda: ctxengine.Encoding.count("a", "b"),
        lambda: ctxengine.Encoding.__new__(ctxengine.Encoding).count("a"),
        lambda: ctxengine.Encoding.__new__(ctxengine.Encoding).decode([1]),
        lambda: CL100K._bind(CL100K._native),
        lambda: ctxengine.Encoding.__new__(ctxengine.Encoding)._bind(CL100K),
    ],
)
def test_wrong_calls(call):
    with pytest.raises((TypeError, ctxengine.ArgumentError)):
        call()
    assert CL100K.count("hello world") == 2


def as_tiktoken_reads(text):
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


# One str of each kind that CPython has, and what stands at the borders of UTF-8's lengths.
ALPHABETS = ["ab \x7f", "a\xe9\xff\x80", "a\u0100\u07ff\u0800\uffff\ud800\udc00\udfff\udbff\ufeff"]
ALPHABETS.append(ALPHABETS[-1] + "\U00010000\U0010ffff\U0001f600")


@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_every_kind_of_str_is_read_as_tiktoken_reads_it(alphabet):
    rng = random.Random(4)
    for _ in range(400):
        text = "".join(
            rng.choice(alphabet) * (rng.randrange(9, 99) if rng.random() < 0.1 else 1)
            for _ in range(rng.randrange(40))
        )
        expected = as_tiktoken_reads(text)
        ids = CL100K.encode_ordinary(text)
        assert CL100K.decode(ids) == expected
        assert ids == CL100K.encode_bytes(expected.encode())
        assert CL100K.count(text) == len(ids)
        assert CL100K.encode_batch([text, text]) == [ids, ids]


@pytest.mark.parametrize("alphabet", ALPHABETS[1:])
def test_a_str_that_has_its_utf8_already(alphabet):
    text = as_tiktoken_reads(alphabet) * 20
    ids = CL100K.encode_ordinary(text)
    before = sys.getsizeof(text)
    ctypes.pythonapi.PyUnicode_AsUTF8(ctypes.py_object(text))
    assert sys.getsizeof(text) > before
    assert CL100K.encode_ordinary(text) == ids == CL100K.encode_bytes(text.encode())
    assert CL100K.count(text) == len(ids)
    for num_threads in (1, 2):
        batch = CL100K.encode_batch([text, "a", text], num_threads=num_threads)
        assert batch == [ids, [64], ids]


def test_a_str_of_a_subclass():
    class Text(str):
        pass

    for text in ("hello world", "h\xe9llo", "\u4e2d\u6587", "\U0001f600"):
        assert CL100K.encode(Text(text)) == CL100K.encode(text)
        assert CL100K.count_batch([Text(text)]).tolist() == [CL100K.count(text)]


def test_a_text_is_not_made_larger():
    text = "\u4e2d\u6587 and more" * 100
    size = sys.getsizeof(text)
    CL100K.count(text)
    CL100K.encode_batch([text])
    assert sys.getsizeof(text) == size


def test_a_call_inside_a_call():
    """A finalizer may run while a list is being made, and encode too."""

    class Node:
        def __del__(self):
            seen.append(CL100K.encode_ordinary("other text " * 50))

    seen = []
    text = "hello world " * 50
    expected = CL100K.encode_ordinary(text)
    threshold = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(50):
            node = Node()
            node.itself = node
            del node
            assert CL100K.encode_ordinary(text) == expected
            assert CL100K.encode_to_numpy(text).tolist() == expected
    finally:
        gc.set_threshold(*threshold)
    assert len(seen) > 10
    assert all(ids == seen[0] for ids in seen)


def test_ids_of_every_kind_decode_alike():
    ids = CL100K.encode("Hello, w\xf6rld! " * 30)
    text = CL100K.decode(ids)
    assert text == "Hello, w\xf6rld! " * 30
    for same in (
        tuple(ids),
        [np.int64(token) for token in ids],
        *(np.array(ids, kind) for kind in (np.uint32, np.int32, np.int64)),
        np.array(ids, np.uint32)[::1],
        np.repeat(np.array(ids, np.uint32), 2)[::2],
    ):
        assert CL100K.decode(same) == text
        assert CL100K.decode_bytes(same) == text.encode()
    for wrong in ([15339, -1], [15339, 2**31], [15339, 2**70], [15339, 100256]):
        with pytest.raises(ctxengine.UnknownTokenError):
            CL100K.decode(wrong)
    with pytest.raises(TypeError, match=r"ids\[1\] must be int, not str"):
        CL100K.decode([15339, "a"])


def test_decoding_begins_on_many_threads():
    encoding = ctxengine.Encoding._wrap(CL100K._native)
    barrier = threading.Barrier(8)
    texts = []

    def work():
        barrier.wait()
        texts.append(encoding.decode([15339, 1917]))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == ["hello world"] * 8


@pytest.mark.parametrize("size", [0, 1, 10, 127, 128, 129, 500, 600, 20_000, 100_000])
def test_arrays_are_the_callers_own(size):
    text = "a " * size
    ids = CL100K.encode_to_numpy(text)
    assert ids.dtype == np.uint32
    assert ids.flags.writeable
    assert ids.tolist() == CL100K.encode(text)


def test_the_first_of_the_refused_texts_is_named():
    texts = ["fine " * 20_000, "<|fim_prefix|>", "fine " * 20_000, "<|endoftext|>"] * 2
    for num_threads in (1, 4):
        with pytest.raises(ctxengine.SpecialTokenError, match="fim_prefix"):
            CL100K.encode_batch(texts, num_threads=num_threads)
