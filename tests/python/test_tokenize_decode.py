"""Ids to text: what the calls return, refuse and promise."""

from __future__ import annotations

import array

import ctxengine
import numpy as np
import pytest

CL100K = ctxengine.get_encoding("cl100k_base")


@pytest.mark.parametrize("token", [100256, 100277, 2**31, 2**32, 2**64, -1, -(2**70)])
def test_ids_that_are_no_token(token):
    for call in (CL100K.decode, CL100K.decode_bytes, CL100K.decode_tokens_bytes):
        with pytest.raises(ctxengine.UnknownTokenError, match=str(token)):
            call([token])
    with pytest.raises(KeyError):
        CL100K.decode_single_token_bytes(token)
    assert not CL100K.is_special_token(token)


@pytest.mark.parametrize("ids", [["a"], [1.5], [None], 5, None, "text", [[1]]])
def test_ids_that_are_no_integers(ids):
    for call in (CL100K.decode, CL100K.decode_bytes, CL100K.decode_tokens_bytes):
        with pytest.raises(TypeError):
            call(ids)


@pytest.mark.parametrize("dtype", [np.uint32, np.int32, np.int64, np.uint64, np.uint16])
def test_ids_from_arrays(dtype):
    ids = np.array([15339, 1917], dtype)
    assert CL100K.decode(ids) == "hello world"
    assert CL100K.decode(ids[::-1]) == " worldhello"
    assert CL100K.decode(ids[:0]) == ""


def test_ids_from_other_arrays():
    assert CL100K.decode(array.array("I", [15339, 1917])) == "hello world"
    assert CL100K.decode((np.int64(15339), 1917)) == "hello world"
    with pytest.raises(ctxengine.UnknownTokenError):
        CL100K.decode(np.array([-1]))
    with pytest.raises(ctxengine.UnknownTokenError):
        CL100K.decode(np.array([2**40]))
    with pytest.raises(TypeError):
        CL100K.decode(np.array([1.0]))
    with pytest.raises(ctxengine.ArgumentError, match="ids has 2 dimensions"):
        CL100K.decode(np.zeros((2, 2), np.uint32))


def test_invalid_utf8_is_decoded_as_asked():
    ids = CL100K.encode("👍")
    assert CL100K.decode(ids[:1]) == "\ufffd"
    assert CL100K.decode(ids[:1], "ignore") == ""
    with pytest.raises(UnicodeDecodeError):
        CL100K.decode(ids[:1], errors="strict")
    with pytest.raises(LookupError):
        CL100K.decode(ids[:1], errors="no such handler")
    with pytest.raises(UnicodeDecodeError):
        CL100K.decode_with_offsets(ids[:1])


def test_single_tokens():
    assert CL100K.encode_single_token("hello") == CL100K.encode_single_token(b"hello") == 15339
    assert CL100K.encode_single_token("<|endoftext|>") == CL100K.eot_token == 100257
    assert CL100K.decode_single_token_bytes(100257) == b"<|endoftext|>"
    for unknown in ("", "hello world", b"\xff\xff\xff"):
        with pytest.raises(ctxengine.UnknownTokenError):
            CL100K.encode_single_token(unknown)
    with pytest.raises(TypeError):
        CL100K.encode_single_token(5)


@pytest.mark.parametrize("token", ["a", " " * 81, "é", "<|endofprompt|>"])
def test_texts_much_longer_than_they_begin(token):
    """The memory for a text is taken from how it begins, and has to grow."""
    ids = [64] * 100 + [CL100K.encode_single_token(token)] * 20_000
    assert CL100K.decode_single_token_bytes(64) == b"a"
    expected = "a" * 100 + token * 20_000
    assert CL100K.decode(ids) == expected
    assert CL100K.decode_bytes(np.array(ids, np.uint32)) == expected.encode()
