"""Block hashes: equal to the plain Python definitions, and to vLLM's recorded ones."""

from __future__ import annotations

import array
import hashlib
import pickle
from collections import UserList

import numpy as np
import pytest
from ctxengine import ArgumentError, BlockHasher
from ctxengine.reference import block_hash, keyed128
from hypothesis import given, settings
from hypothesis import strategies as st

SEED = bytes(range(32))

texts = st.text(min_size=1, max_size=8).filter(lambda s: s.isprintable())
token_lists = st.lists(
    st.one_of(st.integers(0, 30), st.integers(0, 2**17), st.integers(0, 2**31 - 1)), max_size=70
)


@st.composite
def extra_keys(draw):
    keys = []
    if draw(st.booleans()):
        keys.append(("lora", draw(st.text(max_size=5)), draw(st.text(max_size=30))))
    position = draw(st.integers(-10, 5))
    for _ in range(draw(st.integers(0, 4))):
        length = draw(st.integers(1, 40))
        keys.append(("mm", draw(texts), position, length))
        position += length + draw(st.integers(0, 9))
    return tuple(keys)


@given(
    tokens=token_lists,
    block_size=st.integers(1, 40),
    salt=st.none() | texts,
    extra=extra_keys(),
    split=st.integers(0, 6),
)
@settings(deadline=None, max_examples=300)
def test_both_schemes_equal_their_definitions(tokens, block_size, salt, extra, split):
    vllm = BlockHasher(block_size, cache_salt=salt, extra_keys=extra)
    keyed = BlockHasher(block_size, scheme="keyed128", cache_salt=salt, extra_keys=extra, root=SEED)
    want = block_hash.block_hashes(tokens, block_size, cache_salt=salt, extra_keys=extra)
    want_keyed = keyed128.block_hashes(
        tokens, block_size, seed=SEED, cache_salt=salt, extra_keys=extra
    )
    assert vllm.hash(tokens) == want
    assert keyed.hash(tokens) == want_keyed
    # Behind a parent: the rest of the chain, with media counted from the first hashed token.
    if 0 < split <= len(want):
        cut = split * block_size
        rest = tuple(k if k[0] == "lora" else (*k[:2], k[2] - cut, k[3]) for k in extra)
        for scheme, root, chain in (
            ("vllm_sha256_cbor", None, want),
            ("keyed128", SEED, want_keyed),
        ):
            hasher = BlockHasher(
                block_size, scheme=scheme, cache_salt=salt, extra_keys=rest, root=root
            )
            assert hasher.hash(tokens[cut:], parent=chain[split - 1]) == chain[split:]


def test_int64_is_the_low_half_read_big_endian():
    hasher = BlockHasher(2)
    digests = hasher.hash([1, 2, 3, 4])
    low = hasher.hash_int64([1, 2, 3, 4])
    assert low.dtype == np.uint64
    assert low.tolist() == [int.from_bytes(d, "big") & (1 << 64) - 1 for d in digests]


def test_root_is_a_seed_or_the_parent_itself():
    seeded = BlockHasher(2, root="0").hash([1, 2])
    assert seeded == block_hash.block_hashes([1, 2], 2, root=block_hash.none_hash("0"))
    assert seeded == BlockHasher(2, root=block_hash.none_hash("0")).hash([1, 2])
    assert seeded != BlockHasher(2).hash([1, 2])


@pytest.mark.parametrize(
    "make",
    [
        list,
        tuple,
        UserList,
        lambda ids: np.array(ids, np.uint32),
        lambda ids: np.array(ids, np.int64),
        lambda ids: np.array(ids, np.uint64),
        lambda ids: np.array(ids, np.int32),
        lambda ids: np.array(ids, ">i4"),
        lambda ids: np.array(ids + ids, np.uint32)[: len(ids)],
        lambda ids: np.repeat(np.array(ids, np.uint32), 2)[::2],
        lambda ids: np.array(ids[::-1], np.int64)[::-1],
        lambda ids: array.array("I", ids),
        lambda ids: memoryview(np.array(ids, np.uint32)),
        lambda ids: list(np.array(ids)),
    ],
)
def test_every_kind_of_integers_hashes_alike(make):
    ids = [0, 23, 24, 255, 256, 65535, 65536, 2**31 - 1, 5]
    for scheme, root in (("vllm_sha256_cbor", None), ("keyed128", SEED)):
        hasher = BlockHasher(4, scheme=scheme, root=root)
        assert hasher.hash(make(ids)) == hasher.hash(ids)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1, -1], r"token_ids\[1\] is -1; it must be in 0\.\.2147483647"),
        ([2**31], r"token_ids\[0\] is 2147483648"),
        ([10**30], r"token_ids\[0\] is 10{30};"),
        (np.array([3, 2**31], np.uint32), r"token_ids\[1\] is 2147483648"),
        (np.array([3, -7], np.int8), r"token_ids\[1\] is -7"),
        (np.array([2**64 - 1], np.uint64), r"token_ids\[0\] is 18446744073709551615"),
        (np.zeros((2, 2), np.uint32), "token_ids has 2 dimensions"),
        (np.array(1), "token_ids has 0 dimensions"),
    ],
)
def test_ids_out_of_range_are_named(ids, message):
    with pytest.raises(ArgumentError, match=message):
        BlockHasher(1).hash(ids)


@pytest.mark.parametrize("ids", [[1.5], ["a"], np.array([1.0]), None, 5, object()])
def test_what_is_not_integers_is_a_type_error(ids):
    with pytest.raises(TypeError):
        BlockHasher(1).hash(ids)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"block_size": 0}, "block_size must be in 1"),
        ({"block_size": -1}, "block_size must be in 1"),
        ({"block_size": 2**31}, "block_size must be in 1"),
        ({"scheme": "md5"}, "unknown scheme 'md5'"),
        ({"cache_salt": ""}, "cache_salt is empty"),
        ({"cache_salt": 5}, "cache_salt must be a str"),
        ({"extra_keys": [("lora", "a")]}, r"extra_keys\[0\] is neither"),
        ({"extra_keys": ["lora"]}, r"extra_keys\[0\] is not a tuple"),
        ({"extra_keys": [()]}, r"extra_keys\[0\] is neither"),
        ({"extra_keys": [("lora", "a", "b")] * 2}, r"extra_keys\[1\]: a second"),
        ({"extra_keys": [("mm", "x", 0, 0)]}, "media 0: offset 0 and length 0"),
        ({"extra_keys": [("mm", "", 0, 1)]}, "media 0: empty identifier"),
        ({"extra_keys": [("mm", "x", 2**63 - 1, 1)]}, "media 0: offset"),
        (
            {"extra_keys": [("mm", "x", 2**64, 1)]},
            r"extra_keys\[0\]\[2\] is 18446744073709551616, which does not fit",
        ),
        ({"extra_keys": [("mm", "x", 0, 4), ("mm", "y", 3, 1)]}, "media 1 begins at token 3"),
        ({"root": b"short"}, "root has 5 bytes"),
        ({"root": 7}, "root must be str, bytes or None"),
        ({"scheme": "keyed128", "root": "text"}, "root of keyed128 must be 32 bytes"),
        ({"scheme": "keyed128", "root": bytes(31)}, "root of keyed128 must be 32 bytes"),
    ],
)
def test_bad_parameters_are_named(kwargs, message):
    with pytest.raises(ArgumentError, match=message):
        BlockHasher(**{"block_size": 4, **kwargs})


def test_bad_parents_are_named():
    with pytest.raises(ArgumentError, match="parent has 3 bytes"):
        BlockHasher(1).hash([1], parent=b"abc")
    with pytest.raises(ArgumentError, match="parent is not a keyed128 hash"):
        BlockHasher(1, scheme="keyed128").hash([1], parent=b"\xff" * 16)


def test_a_lone_surrogate_cannot_be_a_salt():
    with pytest.raises(ArgumentError, match="cache_salt holds a surrogate"):
        BlockHasher(1, cache_salt="\ud800")


def first(scheme, **kwargs):
    root = SEED if scheme == "keyed128" else None
    return BlockHasher(2, scheme=scheme, root=root, **kwargs).hash([1, 2])[0]


@pytest.mark.parametrize("scheme", ["vllm_sha256_cbor", "keyed128"])
def test_identities_that_look_alike_hash_apart(scheme):
    digests = [
        first(scheme),
        first(scheme, cache_salt="X"),
        first(scheme, extra_keys=[("lora", "X", "")]),
        first(scheme, extra_keys=[("lora", "", "X")]),
        first(scheme, extra_keys=[("mm", "X", 0, 1)]),
        first(scheme, extra_keys=[("mm", "X", 1, 1)]),
        first(scheme, extra_keys=[("lora", "ab", "c")]),
        first(scheme, extra_keys=[("lora", "a", "bc")]),
        first(scheme, extra_keys=[("lora", "X", "")], cache_salt="X"),
    ]
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize("scheme", ["vllm_sha256_cbor", "keyed128"])
def test_salt_pair(scheme):
    """The same salt gives the same hashes; another salt gives none of them."""
    tokens = list(range(40))
    a = BlockHasher(4, scheme=scheme, cache_salt="a").hash(tokens)
    assert a == BlockHasher(4, scheme=scheme, cache_salt="a").hash(tokens)
    assert not set(a) & set(BlockHasher(4, scheme=scheme, cache_salt="b").hash(tokens))
    assert not set(a) & set(BlockHasher(4, scheme=scheme).hash(tokens))


def test_the_process_key_is_one_and_unlike_any_other():
    tokens = [1, 2, 3, 4]
    own = BlockHasher(2, scheme="keyed128").hash(tokens)
    assert own == BlockHasher(2, scheme="keyed128").hash(tokens)
    assert own != BlockHasher(2, scheme="keyed128", root=bytes(32)).hash(tokens)


def test_the_default_scheme_never_changes():
    """Pinned: computed by hashlib from the bytes written out here."""
    parent = hashlib.sha256(b"\x6evllm-none-hash").digest()
    message = b"\x83\x58\x20" + parent + b"\x82\x01\x19\x03\xe8" + b"\xf6"
    assert BlockHasher(2).hash([1, 1000]) == [hashlib.sha256(message).digest()]


def test_hashers_cannot_be_pickled_by_accident():
    with pytest.raises(TypeError):
        pickle.dumps(BlockHasher(2))
