"""Where encodings come from, and what they are: names, equality, copies."""

from __future__ import annotations

import base64
import copy
import doctest
import json
import pickle
import pkgutil
import threading
from importlib import import_module

import ctxengine
import pytest
import tokenizers
from ctxengine import tokenize
from tokenize_support import SINGLE_BYTES, tiny

CL100K = ctxengine.get_encoding("cl100k_base")
QWEN3 = ctxengine.get_encoding("qwen3")


@pytest.mark.parametrize(
    "name", ["tokenize", *(f"tokenize.{m.name}" for m in pkgutil.iter_modules(tokenize.__path__))]
)
def test_docstring_examples(name):
    assert doctest.testmod(import_module(f"ctxengine.{name}")).failed == 0


def test_encodings_are_made_once():
    encodings = []

    def work():
        encodings.append(ctxengine.get_encoding("p50k_edit"))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(encoding) for encoding in encodings}) == 1


def test_names():
    assert ctxengine.list_encoding_names() == [
        "gpt2",
        "r50k_base",
        "p50k_base",
        "p50k_edit",
        "cl100k_base",
        "o200k_base",
        "o200k_harmony",
        "qwen2",
        "qwen3",
    ]
    for name in ctxengine.list_encoding_names():
        assert ctxengine.get_encoding(name).name == name
    assert repr(CL100K) == "<Encoding 'cl100k_base'>"
    for unknown in ("", "gpt5", "../gpt2", None, 5, ["gpt2"]):
        with pytest.raises(ValueError, match="unknown encoding"):
            ctxengine.get_encoding(unknown)


def test_models():
    assert ctxengine.encoding_for_model("gpt-4o").name == "o200k_base"
    assert ctxengine.encoding_for_model("openai/gpt-oss-120b").name == "o200k_harmony"
    assert ctxengine.encoding_for_model("Qwen/Qwen2.5-7B-Instruct").name == "qwen2"
    assert ctxengine.encoding_for_model("Qwen/Qwen3-8B").name == "qwen3"
    for unknown in ("", "claude", "Qwen/Qwen3.5-9B", "Qwen/Qwen2-7B"):
        with pytest.raises(KeyError, match="no encoding is known"):
            ctxengine.encoding_name_for_model(unknown)


def test_qwen_special_tokens():
    # added_tokens_decoder of Qwen2.5 and Qwen3: spot checks, also of what is not flagged special.
    qwen2 = ctxengine.get_encoding("qwen2")
    assert qwen2._special_tokens["<|endoftext|>"] == 151643
    assert qwen2._special_tokens["<tool_call>"] == 151657
    assert qwen2._special_tokens["<|file_sep|>"] == 151664
    assert QWEN3._special_tokens == {
        **qwen2._special_tokens,
        "<tool_response>": 151665,
        "</tool_response>": 151666,
        "<think>": 151667,
        "</think>": 151668,
    }


def test_own_tables():
    encoding = tiny({**SINGLE_BYTES, b"ab": 300}, {"<x>": 400})
    assert encoding.encode("abc<x>", allowed_special="all") == [300, 99, 400]
    assert encoding.n_vocab == 401
    assert encoding.max_token_value == 400
    assert encoding.special_tokens_set == {"<x>"}
    assert encoding.is_special_token(400)
    assert not encoding.is_special_token(300)
    with pytest.raises(ctxengine.UnknownTokenError, match="endoftext"):
        _ = encoding.eot_token
    assert tiny({**SINGLE_BYTES}, {"<x>": 256}, explicit_n_vocab=257).n_vocab == 257


@pytest.mark.parametrize(
    ("ranks", "special_tokens", "message"),
    [
        ({}, {}, r'single byte "\\x00"'),
        ({b"a": 1}, {}, r'single byte "\\x00"'),
        ({**SINGLE_BYTES, b"": 256}, {}, "token 256 is empty"),
        ({**SINGLE_BYTES, b"ab": 97}, {}, "both have the id 97"),
        ({**SINGLE_BYTES, b"ab": -1}, {}, "outside"),
        ({**SINGLE_BYTES, b"ab": 2**24}, {}, "too large"),
        ({**SINGLE_BYTES, b"ab": 2**40}, {}, "outside"),
        (SINGLE_BYTES, {"<x>": 97}, "id 97 is also that of an ordinary token"),
        (SINGLE_BYTES, {"": 300}, "empty spelling"),
    ],
)
def test_tables_that_cannot_be(ranks, special_tokens, message):
    with pytest.raises(ValueError, match=message):
        tiny(ranks, special_tokens)


def test_arguments_that_cannot_be():
    with pytest.raises(ctxengine.LoadError, match=r"no scanner knows .*allow_regex=True"):
        ctxengine.Encoding("x", pat_str=r"\w+", mergeable_ranks=SINGLE_BYTES, special_tokens={})
    with pytest.raises(ctxengine.LoadError, match="explicit_n_vocab is 999"):
        tiny(SINGLE_BYTES, explicit_n_vocab=999)
    with pytest.raises(TypeError):
        tiny({"a": 1})
    with pytest.raises(TypeError):
        tiny({**SINGLE_BYTES, b"ab": "300"})


def test_gpt2s_own_pattern_is_known():
    encoding = ctxengine.Encoding(
        "gpt2",
        pat_str=r"'s|'t|'re|'ve|'m|'ll|'d| ?[\p{L}]+| ?[\p{N}]+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        mergeable_ranks=ctxengine.get_encoding("gpt2")._mergeable_ranks,
        special_tokens={"<|endoftext|>": 50256},
    )
    assert encoding == ctxengine.get_encoding("gpt2")


def test_equality_is_of_what_decides_the_ids():
    assert ctxengine.get_encoding("gpt2") == ctxengine.get_encoding("r50k_base")
    assert hash(ctxengine.get_encoding("gpt2")) == hash(ctxengine.get_encoding("r50k_base"))
    assert CL100K != QWEN3
    assert CL100K != "cl100k_base"
    assert tiny(SINGLE_BYTES) != tiny(SINGLE_BYTES, {"<x>": 300})
    assert tiny({**SINGLE_BYTES, b"ab": 300}) != tiny({**SINGLE_BYTES, b"ab": 301})
    assert tiny({**SINGLE_BYTES, b"ab": 300}) == tiny({b"ab": 300, **SINGLE_BYTES})


def test_copies_and_pickles():
    assert pickle.loads(pickle.dumps(CL100K)) is CL100K
    assert len(pickle.dumps(CL100K)) < 200
    assert copy.copy(CL100K) is copy.deepcopy(CL100K) is CL100K
    encoding = tiny({**SINGLE_BYTES, b"ab": 300}, {"<x>": 400})
    again = pickle.loads(pickle.dumps(encoding))
    assert again == encoding
    assert again.name == "tiny"
    assert again.encode("ab<x>", allowed_special="all") == [300, 400]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (2, [(0, 1, True, 0, "")], "must have a pattern"),
        (4, [0, 1], "ranks must ascend"),
        (5, [(b"a", 97)], "single byte"),
        (6, [(b"a", 300)], "are both"),  # whole tokens
        (7, [(b"", 300)], "token 300 is empty"),  # unused tokens
        (7, [(b"abcd", 97)], "both have the id 97"),
        (7, [(b"x" * 65536, 300)], "longer than 65535 bytes"),
        (8, [(b"[X]", 300)], "user-defined symbols are for models over characters"),
        (9, [300], "byte ids are for models over characters"),
        (10, [("<x>", 97, True, False, False, False)], "also that of an ordinary token"),
        (10, [("<x>", 400 + i, True, False, False, False) for i in range(2)], "is there twice"),
        (12, ([500], []), "adds the id 500"),
    ],
)
def test_a_pickle_is_refused_for_what_a_file_is(field, value, message):
    encoding = tiny({**SINGLE_BYTES, b"ab": 256}, {"<x>": 400})
    rebuild, (fields, facts) = encoding.__reduce__()
    assert rebuild(fields, facts) == encoding
    with pytest.raises(ctxengine.LoadError, match=message):
        rebuild((*fields[:field], value, *fields[field + 1 :]), facts)


def test_a_loaded_encoding_travels_by_value(tmp_path):
    ranks = {**SINGLE_BYTES, b"ab": 256, b"abc": 257}
    path = tmp_path / "tiny.tiktoken"
    lines = [f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in ranks.items()]
    path.write_text("".join(lines))
    pattern = ctxengine.get_encoding("cl100k_base")._pat_str
    encoding = ctxengine.load(path, pat_str=pattern, special_tokens={"<x>": 258})
    path.unlink()
    for twin in (pickle.loads(pickle.dumps(encoding)), copy.deepcopy(encoding)):
        assert twin == encoding
        assert hash(twin) == hash(encoding)
        assert twin.encode("abcab<x>", allowed_special="all") == [257, 256, 258]
        assert twin.model_facts == ({}, None, None)
    assert encoding == tiny(ranks, {"<x>": 258})
    assert encoding != tiny(ranks, {"<y>": 258})


def test_an_encoding_out_of_a_hugging_face_tokenizer():
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    vocab = {character: i for i, character in enumerate(sorted(alphabet))}
    vocab |= {"ab": 256, "abc": 257}
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.BPE(vocab=vocab, merges=[("a", "b"), ("ab", "c")])
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_special_tokens(["<end>"])
    encoding = ctxengine.Encoding.from_hf(tokenizer)
    for text in ("abcab cab<end>ab", "it's 12", "é中  \n"):
        expected = tokenizer.encode(text, add_special_tokens=False).ids
        assert encoding.encode(text, allowed_special="all") == expected
        assert encoding.decode(expected) == text
    with pytest.raises(ctxengine.ArgumentError, match="not dict"):
        ctxengine.Encoding.from_hf({})
    tokenizer.normalizer = tokenizers.normalizers.StripAccents()
    with pytest.raises(ctxengine.LoadError, match=r"tokenizer.json.*normalizer.*StripAccents"):
        ctxengine.Encoding.from_hf(tokenizer)


def test_what_tiktoken_cannot_be():
    with pytest.raises(ctxengine.ArgumentError, match="qwen3: it normalizes text"):
        ctxengine.get_encoding("qwen3").as_tiktoken()


def tokenizer_json(*, ignore_merges=False, normalizers=(), special=True):
    """A byte-level tokenizer.json with a token that no merge gives."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocab = {character: i for i, character in enumerate(alphabet)} | {"ab": 256, "abc": 257}
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [
                {
                    "id": 258,
                    "content": "<x>",
                    "single_word": False,
                    "lstrip": False,
                    "rstrip": False,
                    "normalized": False,
                    "special": special,
                }
            ],
            "normalizer": {"type": "Sequence", "normalizers": list(normalizers)},
            "pre_tokenizer": {
                "type": "ByteLevel",
                "add_prefix_space": False,
                "trim_offsets": True,
                "use_regex": False,
            },
            "post_processor": None,
            "decoder": {
                "type": "ByteLevel",
                "add_prefix_space": True,
                "trim_offsets": True,
                "use_regex": True,
            },
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": ignore_merges,
                "vocab": vocab,
                "merges": [["a", "b"]],
            },
        }
    )


def loaded(**options):
    reference = tokenizers.Tokenizer.from_str(tokenizer_json(**options))
    return ctxengine.Encoding.from_hf(reference), reference


def test_encodings_that_differ_are_not_equal():
    variants = [
        loaded()[0],
        loaded(ignore_merges=True)[0],
        loaded(special=False)[0],
        loaded(normalizers=[{"type": "NFC"}])[0],
    ]
    assert variants[0].encode("abc") != variants[1].encode("abc")
    assert len(set(variants)) == len(variants)
    assert loaded()[0] == variants[0]


@pytest.mark.parametrize(
    ("normalizers", "text"),
    [
        ([{"type": "NFC"}] * 16, "h"),
        ([{"type": "Lowercase"}] * 40, "ABC"),
        ([{"type": "Replace", "pattern": {"String": "xyzxyzxyz"}, "content": "q"}], "xyz" * 15),
        ([{"type": "Replace", "pattern": {"String": "z"}, "content": ""}], "z" * 100),
    ],
)
def test_what_fits_after_a_normalizer_that_shortens(normalizers, text):
    encoding, reference = loaded(normalizers=normalizers)
    count = len(reference.encode(text, add_special_tokens=False).ids)
    assert encoding.count(text) == count
    assert encoding.fits(text, count)
    assert not encoding.fits(text, count - 1)


def test_modes_are_sets_or_all():
    encoding = ctxengine.get_encoding("gpt2")
    with pytest.raises(ctxengine.ArgumentError, match="allowed_special"):
        encoding.encode("x", allowed_special="<|endoftext|>")
    with pytest.raises(ctxengine.ArgumentError, match="disallowed_special"):
        encoding.encode("x", disallowed_special="<|endoftext|>")
    assert encoding.encode("<|endoftext|>", allowed_special=["<|endoftext|>"]) == [50256]
