"""A wrong argument: what the message says, and that it never repeats the argument."""

from __future__ import annotations

import ctxengine
import pytest
from ctxengine import ArgumentError, BlockHasher, KVCacheManager, LoadError

SECRET = "a private prompt"
ENCODING = ctxengine.get_encoding("cl100k_base")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ENCODING.count([SECRET]), "text must be str, not list"),
        (lambda: ENCODING.encode(None), "text must be str, not None"),
        (lambda: ENCODING.encode(SECRET.encode()), "text must be str, not bytes"),
        (lambda: ENCODING.encode_ordinary(SECRET.encode()), "text must be str, not bytes"),
        (lambda: ENCODING.encode_to_numpy([SECRET]), "text must be str, not list"),
        (lambda: ENCODING.fits(SECRET.encode(), 5), "text must be str, not bytes"),
        (lambda: ENCODING.encode_with_unstable([SECRET]), "text must be str, not list"),
        (
            lambda: ENCODING.encode_segments({SECRET}),
            "segments must be a sequence of pairs (text, trusted), not set",
        ),
        (lambda: ENCODING.encode_into(SECRET, 5), "buffer must be a writable buffer, not int"),
        (lambda: ENCODING.encode_into([SECRET], bytearray(4)), "text must be str, not list"),
        (lambda: ENCODING.encode_bytes(SECRET), "data must be bytes, not str"),
        (lambda: ENCODING.encode_batch([SECRET, 1]), "each text of a batch must be str, not int"),
        (
            lambda: ENCODING.count_batch([SECRET], num_threads="2"),
            "num_threads must be int, not str",
        ),
        (lambda: ENCODING.decode(SECRET), "ids must be a sequence of integers, not str"),
        (lambda: ENCODING.decode({1, 2}), "ids must be a sequence of integers, not set"),
        (lambda: ENCODING.decode([SECRET]), "ids[0] must be int, not str"),
        (
            lambda: ENCODING.encode("", disallowed_special={1}),
            "a special token must be str, not int",
        ),
        (lambda: BlockHasher(SECRET), "block_size must be int, not str"),
        (lambda: BlockHasher(4, scheme=5), "scheme must be str, not int"),
        (lambda: BlockHasher(4).hash([], parent=SECRET), "parent must be bytes, not str"),
        (lambda: BlockHasher(4).hash({1: 2}), "token_ids must be a sequence of integers, not dict"),
        (lambda: BlockHasher(4).hash([SECRET]), "token_ids[0] must be int, not str"),
        (lambda: KVCacheManager(SECRET, 4), "num_blocks must be int, not str"),
        (lambda: KVCacheManager(4, 4).fork(SECRET), "row must be int, not str"),
        (lambda: KVCacheManager(4, 4).truncate(0, SECRET), "num_tokens must be int, not str"),
        (
            lambda: KVCacheManager(4, 4).acquire({1, 2}),
            "token_ids must be a sequence of integers, not set",
        ),
    ],
)
def test_a_wrong_type_is_named_and_the_argument_is_not_shown(call, message):
    with pytest.raises(TypeError) as error:
        call()
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: BlockHasher(4, cache_salt="\ud800"), ArgumentError, "cache_salt holds a surrogate"),
        (lambda: BlockHasher(4, root="\ud800"), ArgumentError, "root holds a surrogate"),
        (lambda: BlockHasher(2**70), ArgumentError, "block_size is 1180591620717411303424, which"),
        (lambda: BlockHasher(4).hash([10**5000]), ArgumentError, "a number of 16610 bits"),
        (lambda: ENCODING.decode([10**5000]), ctxengine.UnknownTokenError, "16610 bits"),
        (lambda: tiny({b"a": 2**70}), LoadError, r"token id 1180591620717411303424 is outside"),
        (lambda: tiny({}, {"\ud800": 300}), ArgumentError, "a special token holds a surrogate"),
    ],
)  # fmt: skip
def test_a_value_out_of_its_domain(call, error, message):
    with pytest.raises(error, match=message):
        call()


def tiny(ranks, special_tokens=None):
    pattern = ENCODING._pat_str
    single = {bytes([byte]): byte for byte in range(256)}
    return ctxengine.Encoding(
        "tiny", pat_str=pattern, mergeable_ranks=single | ranks, special_tokens=special_tokens or {}
    )


def test_one_number_for_no_rows():
    manager = KVCacheManager(8, 4)
    assert manager.reserve([], 1).slots.tolist() == []
    manager.settle([], 1)
