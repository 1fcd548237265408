"""Block hashes: equal to the plain Python definitions, and to values that the engines recorded.

The definitions pickle, encode and hash with the standard library, cbor2, xxhash and blake3.
"""

from __future__ import annotations

import array
import hashlib
import pickle
import random
import subprocess
import sys
from collections import UserList
from concurrent.futures import ThreadPoolExecutor

import blake3 as blake3_package
import cbor2 as cbor2_package
import numpy as np
import pytest
import xxhash
from ctxengine import ArgumentError, BlockHasher
from ctxengine.prefix import key_of_group
from ctxengine.reference import block_hash, keyed128
from hypothesis import given, settings
from hypothesis import strategies as st

SEED = bytes(range(32))
VLLM = ("vllm_sha256", "vllm_sha256_cbor", "vllm_xxhash", "vllm_xxhash_cbor")
SCHEMES = (*VLLM, "sglang", "dynamo", "dynamo_sequence", "lmcache", "keyed128")
ROOTS = {"vllm_xxhash": "0", "vllm_xxhash_cbor": "0", "keyed128": SEED}  # where one is needed


def make(scheme, block_size, **kwargs):
    return BlockHasher(block_size, scheme=scheme, root=ROOTS.get(scheme), **kwargs)


def xxh3_64(message, seed):
    return xxhash.xxh3_64_intdigest(message, seed=seed)


def xxh3_128(message):
    return xxhash.xxh3_128_digest(message)


def blake3(message):
    return blake3_package.blake3(message).digest()


def cbor2(value):
    return cbor2_package.dumps(value, canonical=True)


def define(scheme, tokens, block_size, *, cache_salt=None, extra_keys=(), parent=None, start=0):
    """Hash by definition."""
    if scheme in VLLM:
        serialize = cbor2 if scheme.endswith("cbor") else block_hash.pickled
        digest = xxh3_128 if "xxhash" in scheme else block_hash.sha256
        root = block_hash.none_hash(
            ROOTS.get(scheme, "vllm-none-hash"), serialize=serialize, digest=digest
        )
        return block_hash.block_hashes(
            tokens,
            block_size,
            serialize=serialize,
            digest=digest,
            cache_salt=cache_salt,
            extra_keys=extra_keys,
            root=root,
            parent=parent,
            start=start,
        )
    if scheme == "keyed128":
        moved = tuple(k if k[0] != "mm" else (*k[:2], k[2] - start, k[3]) for k in extra_keys)
        return keyed128.block_hashes(
            tokens,
            block_size,
            seed=SEED,
            cache_salt=cache_salt,
            extra_keys=moved,
            parent=parent,
            embeds_from=start,
        )
    if scheme == "sglang":
        return block_hash.sglang_hashes(
            tokens, block_size, cache_salt=cache_salt, parent=parent or b""
        )
    if scheme == "lmcache":
        return block_hash.lmcache_hashes(tokens, block_size, blake3, parent=parent)
    moved = tuple(k if k[0] != "mm" else (*k[:2], k[2] - start, k[3]) for k in extra_keys)
    local = block_hash.dynamo_hashes(tokens, block_size, xxh3_64, extra_keys=moved)
    if scheme == "dynamo_sequence":
        before = [int.from_bytes(parent, "big")] if parent else []
        local = block_hash.dynamo_sequence_hashes([*before, *local], xxh3_64)[len(before) :]
    return [h.to_bytes(8, "big") for h in local]


texts = st.text(min_size=1, max_size=8).filter(lambda s: s.isprintable())
token_lists = st.lists(
    st.one_of(st.integers(0, 30), st.integers(0, 2**17), st.integers(0, 2**31 - 1)), max_size=70
)
names = st.sampled_from(["", "a", "\xe9", "lora", "mm"]) | st.text(max_size=5)
vllm_items = st.sampled_from(["a", "b", "\xff", "\u0100", "mm", "img-1"]) | texts
hex_items = st.binary(min_size=32, max_size=32).map(bytes.hex)


@st.composite
def requests(draw, scheme):
    """Draw what the scheme takes besides token ids."""
    keys = []
    is_dynamo = scheme.startswith("dynamo")
    takes_all = scheme in VLLM or scheme == "keyed128"
    if (takes_all or is_dynamo) and draw(st.booleans()):
        keys.append(("lora", draw(names), draw(names | st.text(max_size=300))))
    if takes_all or is_dynamo:
        position = draw(st.integers(-10, 5))
        for _ in range(draw(st.integers(0, 4))):
            length = draw(st.integers(1, 40))
            identifier = draw(hex_items if is_dynamo else vllm_items)
            keys.append(("mm", identifier, position, length))
            position += length + draw(st.integers(0, 9))
    if takes_all and draw(st.booleans()):
        rows = draw(st.integers(0, 40))
        keys.append(("prompt_embeds", np.arange(rows * 3, dtype=np.float16).reshape(rows, 3)))
    salted = takes_all or scheme == "sglang"
    return {
        "cache_salt": draw(st.none() | texts | st.just("a")) if salted else None,
        "extra_keys": tuple(keys),
    }


@pytest.mark.parametrize("scheme", SCHEMES)
@given(data=st.data(), tokens=token_lists, block_size=st.integers(1, 40), split=st.integers(0, 6))
@settings(deadline=None, max_examples=150)
def test_each_scheme_equals_its_definition(scheme, data, tokens, block_size, split):
    request = data.draw(requests(scheme))
    hasher = make(scheme, block_size, **request)
    want = define(scheme, tokens, block_size, **request)
    assert hasher.hash(tokens) == want
    assert hasher.hash_hex(tokens) == [digest.hex() for digest in want]
    assert hasher.hash_to_numpy(tokens).tobytes() == b"".join(want)
    assert hasher.hash_to_numpy(tokens).shape == (len(want), hasher.digest_size)
    at = slice(8) if scheme in ("sglang", "lmcache") else slice(-8, None)
    assert hasher.hash_int64(tokens).tolist() == [int.from_bytes(d[at], "big") for d in want]
    prompts = [tokens, tokens[: 3 * block_size], [], tokens[::-1]]
    assert hasher.hash_batch(prompts) == [hasher.hash(prompt) for prompt in prompts]
    # The rest of the chain behind a parent, as the same request and as one of its own.
    if 0 < split <= len(want):
        cut = split * block_size
        chained = {} if scheme == "dynamo" else {"parent": want[split - 1]}
        assert hasher.hash(tokens[cut:], start=cut, **chained) == want[split:]
        if any(key[0] == "prompt_embeds" for key in request["extra_keys"]):
            return
        rest = tuple(
            (*key[:2], key[2] - cut, key[3]) if key[0] == "mm" else key
            for key in request["extra_keys"]
        )
        own = make(scheme, block_size, cache_salt=request["cache_salt"], extra_keys=rest)
        assert own.hash(tokens[cut:], **chained) == want[split:]


# Blocks whose pickles are cut into frames, at several places, and where they just are not.
@pytest.mark.parametrize("block_size", [1, 2, 3, 4, 13_080, 13_100, 13_107, 20_000, 40_000])
@pytest.mark.parametrize("scheme", ["vllm_sha256", "vllm_sha256_cbor"])
def test_blocks_of_all_sizes(scheme, block_size):
    tokens = random.Random(block_size).choices([5, 300, 70_000], k=2 * block_size)
    assert make(scheme, block_size).hash(tokens) == define(scheme, tokens, block_size)


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 65_535, 65_536, 70_000])
@pytest.mark.parametrize("scheme", ["vllm_sha256", "vllm_sha256_cbor"])
def test_texts_of_all_sizes(scheme, size):
    extra_keys = (("lora", "n" * size, "p"), ("mm", "m" * (size + 1), -(2**40), 2**41))
    request = {"cache_salt": "s" * (size + 1), "extra_keys": extra_keys}
    want = define(scheme, [1, 2, 3, 4], 2, **request)
    assert make(scheme, 2, **request).hash([1, 2, 3, 4]) == want


@pytest.mark.parametrize("scheme", ["vllm_sha256", "vllm_sha256_cbor"])
def test_more_items_than_a_short_memo_index_can_name(scheme):
    extra_keys = tuple(("mm", f"{i % 7}" * (i % 3), i, 1) for i in range(300) if i % 3)
    want = define(scheme, [9] * 320, 320, extra_keys=extra_keys)
    assert make(scheme, 320, extra_keys=extra_keys).hash([9] * 320) == want


@pytest.mark.parametrize("offset", [-(2**63), -(2**31) - 1, -(2**31), -129, 0])
@pytest.mark.parametrize("scheme", ["vllm_sha256", "vllm_sha256_cbor"])
def test_offsets_of_all_sizes(scheme, offset):
    extra_keys = (("mm", "image", offset, 2**63 - 1),) if offset else (("mm", "image", 0, 1),)
    if offset == -(2**63):
        extra_keys = (("mm", "image", -(2**63) + 1, 2**63 - 1), ("mm", "other", 0, 1))
    want = define(scheme, [1, 2], 2, extra_keys=extra_keys)
    assert make(scheme, 2, extra_keys=extra_keys).hash([1, 2]) == want


# Recorded in Dynamo's own tests (lib/tokens, lib/kv-router).
def test_dynamo_recorded():
    tokens = list(range(1, 13))
    local = [14643705804678351452, 16777012769546811212, 483935686894639516]
    sequence = [14643705804678351452, 4945711292740353085, 12583592247330656132]
    assert make("dynamo", 4).hash_int64(tokens).tolist() == local
    assert make("dynamo_sequence", 4).hash_int64(tokens).tolist() == sequence


def test_every_instruction_set_agrees():
    """Portable code in a process of its own gives the hashes that this one computes."""
    program = (
        "import sys, numpy as np\n"
        "from ctxengine import BlockHasher\n"
        "tokens = np.random.default_rng(5).integers(0, 1 << 31, 5000, dtype=np.uint32)\n"
        "tokens >>= np.random.default_rng(6).integers(0, 31, 5000, dtype=np.uint32)\n"
        f"for scheme in {SCHEMES!r}:\n"
        f"    hasher = BlockHasher(16, scheme=scheme, root={ROOTS!r}.get(scheme))\n"
        "    print(scheme, hasher.hash_hex(tokens)[-1])\n"
        "    print(*(hashes[-1].hex() for hashes in hasher.hash_batch([tokens, tokens[16:]])))\n"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            capture_output=True,
            env={"CTXENGINE_ISA": isa, "PYTHONPATH": ":".join(sys.path)},
        ).stdout
        for isa in ("portable", "avx2", "avx512")
    ]
    assert outputs[0].count(b"\n") == 2 * len(SCHEMES)
    assert outputs[1:] == outputs[:-1]


def test_root_is_a_seed_or_the_parent_itself():
    seeded = BlockHasher(2, root="0").hash([1, 2])
    assert seeded == block_hash.block_hashes([1, 2], 2, root=block_hash.none_hash("0"))
    assert seeded == BlockHasher(2, root=block_hash.none_hash("0")).hash([1, 2])
    assert seeded != BlockHasher(2).hash([1, 2])


@pytest.mark.parametrize(
    "kind",
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
def test_every_kind_of_integers_hashes_alike(kind):
    ids = [0, 23, 24, 255, 256, 65535, 65536, 2**31 - 1, 5]
    for scheme in SCHEMES:
        hasher = make(scheme, 4)
        assert hasher.hash(kind(ids)) == hasher.hash(ids)


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
        ({"scheme": "keyed128", "root": "text"}, "the root of scheme keyed128 is no seed text"),
        ({"scheme": "sglang", "root": "text"}, "the root of scheme sglang is no seed text"),
        ({"scheme": "sglang", "root": bytes(8)}, "root has 8 bytes"),
        ({"scheme": "sglang", "root": SEED, "cache_salt": "a"}, "root or a cache_salt"),
        ({"scheme": "vllm_xxhash"}, "needs a root: without PYTHONHASHSEED vLLM draws"),
        ({"scheme": "vllm_xxhash_cbor", "root": SEED}, "root has 32 bytes; .* has 16"),
        ({"scheme": "dynamo", "root": bytes(8)}, "scheme dynamo has no root"),
        ({"scheme": "dynamo", "cache_salt": "a"}, "dynamo has no place for a cache_salt"),
        ({"scheme": "lmcache", "cache_salt": "a"}, "lmcache has no place for a cache_salt"),
        ({"scheme": "lmcache", "extra_keys": [("mm", "a", 0, 1)]}, "no place for media"),
        ({"scheme": "sglang", "extra_keys": [("lora", "a", "")]}, "no place for an adapter"),
        (
            {"scheme": "dynamo", "extra_keys": [("prompt_embeds", np.zeros((1, 1)))]},
            "no place for prompt embeddings",
        ),
        (
            {"scheme": "dynamo", "extra_keys": [("mm", "g" * 64, 0, 1)]},
            "media 0: the identifier has 64 characters; Dynamo's schemes take 64 hexadecimal",
        ),
        (
            {"extra_keys": [("prompt_embeds", np.zeros(4))]},
            r"extra_keys\[0\]\[1\] must be an array",
        ),
        ({"extra_keys": [("prompt_embeds", np.zeros((4, 4))[:, ::2])]}, "two dimensions"),
        ({"extra_keys": [("prompt_embeds", "text")]}, r"extra_keys\[0\]\[1\] must be an array"),
        ({"extra_keys": [("prompt_embeds", np.zeros((1, 1)))] * 2}, r"extra_keys\[1\]: a second"),
        ({"extra_keys": [("prompt_embeds", np.zeros((1, 1)))], "block_size": 0}, "block_size must"),
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

    with pytest.raises(ArgumentError, match="scheme dynamo does not chain blocks"):
        make("dynamo", 1).hash([1], parent=bytes(8))
    with pytest.raises(ArgumentError, match=r"parent has 32 bytes; .* has 16"):
        make("vllm_xxhash", 1).hash([1], parent=bytes(32))


def test_bad_starts_are_named():
    hasher = BlockHasher(4)
    for start in (-4, 2, 4 - 2**63):
        with pytest.raises(ArgumentError, match=f"start is {start}; it must be a multiple"):
            hasher.hash([1] * 4, parent=bytes(32), start=start)
    with pytest.raises(ArgumentError, match="start is 4 and there is no parent"):
        hasher.hash([1] * 4, start=4)
    with pytest.raises(ArgumentError, match="which is too large"):
        hasher.hash([1] * 4, parent=bytes(32), start=2**63 - 4)
    with pytest.raises(ArgumentError, match="does not fit in 64 bits"):
        hasher.hash([1] * 4, start=2**63)


def test_bad_batches_are_named():
    with pytest.raises(ArgumentError, match=r"prompts\[1\]\[0\] is -1"):
        BlockHasher(1).hash_batch([[1], [-1]])
    with pytest.raises(TypeError, match="prompts must be a list or a tuple, not int"):
        BlockHasher(1).hash_batch(5)
    with pytest.raises(TypeError, match=r"prompts\[0\] must be a sequence of integers, not None"):
        BlockHasher(1).hash_batch([None])
    assert BlockHasher(1).hash_batch([]) == []


def test_batches_of_every_size():
    hasher = BlockHasher(4, scheme="vllm_sha256")
    rng = np.random.default_rng(7)
    for count in range(6):
        prompts = [rng.integers(0, 1 << 20, rng.integers(0, 3000)) for _ in range(count)]
        assert hasher.hash_batch(prompts) == [hasher.hash(prompt) for prompt in prompts]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_long_prompts_by_every_way(scheme):
    """Above all limits where the way changes; eight threads share the hasher."""
    hasher = make(scheme, 16)
    tokens = np.random.default_rng(8).integers(0, 1 << 31, 70_000, dtype=np.uint32)
    rows = hasher.hash_to_numpy(tokens)
    with ThreadPoolExecutor(8) as pool:
        lists = list(pool.map(hasher.hash, [tokens] * 8))
    assert lists == [[row.tobytes() for row in rows]] * 8
    assert hasher.hash(tokens[:1600]) == lists[0][:100]
    assert hasher.hash_hex(tokens) == [digest.hex() for digest in lists[0]]
    assert hasher.hash_batch([tokens, tokens[:4000]]) == [lists[0], lists[0][:250]]


def test_empty_blocks_and_prompts():
    for scheme in SCHEMES:
        hasher = make(scheme, 4)
        assert hasher.hash([]) == hasher.hash([1, 2, 3]) == []
        assert hasher.hash_to_numpy([]).shape == (0, hasher.digest_size)
        assert hasher.hash_int64([]).shape == (0,)


def test_the_key_of_a_group():
    assert key_of_group(b"abc", 258) == b"abc\0\0\1\2"
    for group_id in (-1, 2**32):
        with pytest.raises(ArgumentError, match=f"group_id is {group_id}"):
            key_of_group(b"", group_id)


def test_a_lone_surrogate_cannot_be_a_salt():
    with pytest.raises(ArgumentError, match="cache_salt holds a surrogate"):
        BlockHasher(1, cache_salt="\ud800")


def first(scheme, **kwargs):
    return make(scheme, 2, **kwargs).hash([1, 2])[0]


@pytest.mark.parametrize("scheme", [*VLLM, "keyed128"])
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
        first(scheme, extra_keys=[("prompt_embeds", np.zeros((2, 1)))]),
        first(scheme, extra_keys=[("prompt_embeds", np.zeros((1, 1)))]),
        first(scheme, extra_keys=[("prompt_embeds", np.zeros((0, 1)))]),
    ]
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize("scheme", [*VLLM, "sglang", "keyed128"])
def test_salt_pair(scheme):
    """The same salt gives the same hashes; another salt gives none of them."""
    tokens = list(range(40))
    a = make(scheme, 4, cache_salt="a").hash(tokens)
    assert a == make(scheme, 4, cache_salt="a").hash(tokens)
    assert not set(a) & set(make(scheme, 4, cache_salt="b").hash(tokens))
    assert not set(a) & set(make(scheme, 4).hash(tokens))


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
