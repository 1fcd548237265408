"""Ids, bytes and errors are tiktoken's.

tiktoken's encodings are made from the packed tables, whose SHA-256 another test holds to the
published rank files; so nothing is fetched.
"""

from __future__ import annotations

import functools
import inspect
import random
import sysconfig
from pathlib import Path

import ctxengine
import numpy as np
import pytest
import tiktoken
import tokenizers
from ctxengine import tokenize
from tiktoken_ext import openai_public

NAMES = ctxengine.list_encoding_names()
OPENAI_NAMES = [name for name in NAMES if not name.startswith("qwen")]
# One for each pre-tokenizer and vocabulary.
DISTINCT_NAMES = ["r50k_base", "p50k_base", "cl100k_base", "o200k_base", "qwen2"]


@functools.cache
def plain(name: str) -> ctxengine.Encoding:
    """The shipped encoding; of Qwen the same tables without its normalizer, which tiktoken lacks."""
    shipped = ctxengine.get_encoding(name)
    if not name.startswith("qwen"):
        return shipped
    return ctxengine.Encoding(
        name,
        pat_str=shipped._pat_str,
        mergeable_ranks=shipped._mergeable_ranks,
        special_tokens=shipped._special_tokens,
    )


@functools.cache
def rival(name: str) -> tiktoken.Encoding:
    return plain(name).as_tiktoken()


@pytest.mark.parametrize("name", ["qwen2", "qwen3"])
def test_qwen_normalizes_first(name):
    normalizer = tokenizers.normalizers.NFC()
    encoding, reference = ctxengine.get_encoding(name), rival(name)
    rng = random.Random(name)
    marks = "aeou\u0301\u0308\u0323\u0327\u1100\u1161\u11a8\uac00\u212b\u0958 '"
    for _ in range(3000):
        text = random_text(rng, rng.randint(0, 8)) + "".join(
            rng.choices(marks, k=rng.randint(0, 9))
        )
        text = text.encode("utf-8", "replace").decode()
        expected = reference.encode_ordinary(normalizer.normalize_str(text))
        assert encoding.encode_ordinary(text) == expected, text
        assert encoding.count(text) == len(expected), text


@pytest.mark.parametrize("name", OPENAI_NAMES)
def test_patterns_ranks_and_special_tokens_are_those_that_tiktoken_ships(name, monkeypatch):
    ranks = ctxengine.get_encoding(name)._mergeable_ranks
    for loader in ("load_tiktoken_bpe", "data_gym_to_mergeable_bpe_ranks"):
        monkeypatch.setattr(openai_public, loader, lambda *_, **__: ranks)
    published = openai_public.ENCODING_CONSTRUCTORS[name]()
    encoding = ctxengine.get_encoding(name)
    assert encoding.name == published["name"]
    assert encoding._pat_str == published["pat_str"]
    assert encoding._special_tokens == published["special_tokens"]
    reference = tiktoken.Encoding(**published)
    assert encoding.max_token_value == reference.max_token_value
    assert encoding.n_vocab == reference.n_vocab
    assert encoding.eot_token == reference.eot_token
    assert encoding.special_tokens_set == reference.special_tokens_set


def test_all_of_tiktokens_encodings_are_there():
    assert set(openai_public.ENCODING_CONSTRUCTORS) == set(OPENAI_NAMES)


def test_models_have_tiktokens_encodings():
    for model, name in tiktoken.model.MODEL_TO_ENCODING.items():
        assert ctxengine.encoding_name_for_model(model) == name
    for prefix, name in tiktoken.model.MODEL_PREFIX_TO_ENCODING.items():
        assert ctxengine.encoding_name_for_model(prefix + "2030-01-01") == name


@pytest.mark.parametrize("name", DISTINCT_NAMES)
def test_source_code(name):
    encoding, reference = plain(name), rival(name)
    folder = Path(sysconfig.get_paths()["stdlib"])
    paths = [*sorted(folder.glob("*.py"))[::4], *sorted(folder.glob("encodings/*.py"))[::10]]
    for path in paths:
        text = path.read_text(encoding="utf-8", errors="replace")
        expected = reference.encode_ordinary(text)
        assert encoding.encode_ordinary(text) == expected, path
        assert encoding.count(text) == len(expected), path


SCRIPTS = [
    (0x00, 0x7F),
    (0x20, 0x7E),
    (0x80, 0x24F),
    (0x370, 0x5FF),
    (0x600, 0x6FF),
    (0x900, 0xDFF),
    (0x2000, 0x206F),
    (0x3040, 0x30FF),
    (0x4E00, 0x9FFF),
    (0xAC00, 0xD7A3),
    (0x1F300, 0x1FAFF),
    (0xD800, 0xDFFF),  # surrogates
    (0xFDD0, 0xFDEF),  # noncharacters
    (0xFFFE, 0xFFFF),
    (0x00, 0x10FFFF),
]
FRAGMENTS = ["'s", "'LL", "\r\n", "\n", "  ", "\t", " a", "A", "1234", "!?", "/", "\u0301", "ſ"]


def random_text(rng: random.Random, num_runs: int) -> str:
    """Runs of one script or another, with what the patterns treat specially in between."""
    parts = []
    for _ in range(num_runs):
        low, high = rng.choice(SCRIPTS)
        parts.append("".join(chr(rng.randint(low, high)) for _ in range(rng.randint(0, 6))))
        parts.append(rng.choice(FRAGMENTS) * rng.choice([0, 1, 1, 2, 5]))
    return "".join(parts)


@pytest.mark.parametrize("name", DISTINCT_NAMES)
def test_random_unicode(name):
    rng = random.Random(name)
    encoding, reference = plain(name), rival(name)
    for _ in range(1500):
        text = random_text(rng, rng.randint(0, 12))
        expected = reference.encode_ordinary(text)
        assert encoding.encode_ordinary(text) == expected, ascii(text)
        assert encoding.encode_to_numpy(text, disallowed_special=()).tolist() == expected
        assert encoding.count(text) == len(expected)
        assert encoding.decode(expected) == reference.decode(expected)


@pytest.mark.parametrize("name", DISTINCT_NAMES)
@pytest.mark.parametrize("text", ["a", "^", "0", "ab", "\n", "the", "中", "👍", "\u0301", "\x00"])
def test_long_runs(name, text):
    text = text * (100_000 // len(text))
    assert ctxengine.get_encoding(name).encode_ordinary(text) == rival(name).encode_ordinary(text)


@pytest.mark.parametrize("name", DISTINCT_NAMES)
def test_long_words_of_random_letters(name):
    rng = random.Random(name)
    for alphabet in ["ab", "aeiou", "abcdefghijklmnopqrstuvwxyz", "中文字符的"]:
        for size in [60, 64, 65, 66, 100, 1000, 1024, 1030, 2100, 20_000]:
            text = "".join(rng.choices(alphabet, k=size))
            expected = rival(name).encode_ordinary(text)
            assert ctxengine.get_encoding(name).encode_ordinary(text) == expected


@pytest.mark.parametrize("name", DISTINCT_NAMES)
def test_bytes_that_are_not_utf8(name):
    rng = random.Random(name)
    encoding, reference = plain(name), rival(name)
    for _ in range(1500):
        data = random_text(rng, rng.randint(0, 3)).encode("utf-8", "surrogatepass")
        data += rng.randbytes(rng.randint(0, 4)) + rng.choice([b"", b"abc", b" \xe4\xb8"])
        assert encoding.encode_bytes(data) == reference._encode_bytes(data), data
        assert encoding.decode_bytes(encoding.encode_bytes(data)) == data


def random_marked_text(rng: random.Random, spellings: list[str]) -> str:
    parts = []
    for _ in range(rng.randint(0, 6)):
        spelling = rng.choice(spellings)
        parts.append(rng.choice([spelling, spelling[1:], spelling[:-1], "<|", "|>", "<", "x"]))
        parts.append(rng.choice(["", " ", "\n", "hello world", "  \n ", "it's", "\ud83d"]))
    return "".join(parts)


def ids_or_complaint(reference, text, modes):
    try:
        return reference.encode(text, **modes)
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize("name", NAMES)
def test_special_tokens_in_every_mode(name):
    rng = random.Random(name)
    encoding, reference = plain(name), rival(name)
    spellings = sorted(encoding.special_tokens_set)[:30]
    for _ in range(
        150 if len(encoding.special_tokens_set) < 100 else 10
    ):  # harmony's 1091 are slow
        text = random_marked_text(rng, spellings)
        some = set(rng.sample(spellings, min(len(spellings), rng.randint(0, 3))))
        for allowed in ("all", set(), some, some | {"no token"}):
            for disallowed in ("all", (), sorted(some), {"hello"}):
                modes = {"allowed_special": allowed, "disallowed_special": disallowed}
                expected = ids_or_complaint(reference, text, modes)
                if isinstance(expected, str):
                    for call in (encoding.encode, encoding.encode_to_numpy):
                        with pytest.raises(ctxengine.SpecialTokenError) as ours:
                            call(text, **modes)
                        assert str(ours.value) == expected
                    with pytest.raises(ctxengine.SpecialTokenError):
                        encoding.encode_batch([text], **modes)
                    continue
                assert encoding.encode(text, **modes) == expected
                assert encoding.encode_to_numpy(text, **modes).tolist() == expected
                assert encoding.encode_batch(["", text], **modes) == [[], expected]
                assert encoding.decode_bytes(expected) == reference.decode_bytes(expected)


@pytest.mark.parametrize("name", ["gpt2", "cl100k_base", "o200k_base"])
def test_unstable_ends(name):
    rng = random.Random(name)
    encoding, reference = plain(name), rival(name)
    texts = [
        "",
        "hello fanta",
        "hello ",
        "\n\n",
        "x<|endoftext|>",
        "it'",
        "1234",
        "a  \n ",
        "中",
        " \x85",
    ]
    texts += [random_text(rng, 2) for _ in range(15)]
    for text in texts:
        if not text.isprintable() and any(0xD800 <= ord(c) < 0xE000 for c in text):
            continue  # here alone tiktoken raises for surrogates
        stable, completions = encoding.encode_with_unstable(text, allowed_special="all")
        their_stable, their_completions = reference.encode_with_unstable(
            text, allowed_special="all"
        )
        assert stable == their_stable
        assert completions == sorted(map(list, their_completions))


@pytest.mark.parametrize("name", ["gpt2", "cl100k_base", "o200k_harmony"])
def test_batches_and_decoding(name):
    rng = random.Random(name)
    encoding, reference = plain(name), rival(name)
    texts = [random_text(rng, 4) for _ in range(200)]
    expected = reference.encode_ordinary_batch(texts)
    assert encoding.encode_ordinary_batch(texts) == expected
    assert encoding.encode_batch(texts, disallowed_special=()) == expected
    assert encoding.count_batch(texts).tolist() == [len(ids) for ids in expected]
    assert encoding.decode_batch(expected) == reference.decode_batch(expected)
    assert encoding.decode_bytes_batch(expected) == reference.decode_bytes_batch(expected)
    for ids in expected:
        assert encoding.decode_tokens_bytes(ids) == reference.decode_tokens_bytes(ids)
        assert encoding.decode_with_offsets(ids) == reference.decode_with_offsets(ids)
        for errors in ("ignore", "replace", "backslashreplace"):
            assert encoding.decode(ids[1:], errors) == reference.decode(ids[1:], errors)


@pytest.mark.parametrize("name", DISTINCT_NAMES)
def test_every_token_by_itself(name):
    encoding, reference = plain(name), rival(name)
    assert encoding.token_byte_values() == reference.token_byte_values()
    for token in range(0, encoding.n_vocab + 2, 7):
        try:
            expected = reference.decode_single_token_bytes(token)
        except KeyError:
            with pytest.raises(KeyError):
                encoding.decode_single_token_bytes(token)
            continue
        assert encoding.decode_single_token_bytes(token) == expected
        assert encoding.encode_single_token(expected) == token
        assert encoding.is_special_token(token) == reference.is_special_token(token)
        assert encoding._encode_single_piece(expected) == reference._encode_single_piece(expected)


def test_conversion_both_ways():
    reference = rival("cl100k_base")
    assert tokenize.Encoding.from_tiktoken(reference) == ctxengine.get_encoding("cl100k_base")


def test_public_names_and_parameters_are_tiktokens():
    theirs = {n for n in vars(tiktoken.Encoding) if not n.startswith("_")}
    theirs |= {"name", "max_token_value"}
    assert theirs <= set(dir(tokenize.Encoding))
    for name in theirs:
        method = getattr(tiktoken.Encoding, name, None)
        if not inspect.isfunction(method):
            continue
        _, *parameters = inspect.signature(method).parameters.values()
        _, *ours = inspect.signature(getattr(tokenize.Encoding, name)).parameters.values()
        # Ours come after theirs, by keyword only, with defaults.
        extra = ours[len(parameters) :]
        assert [(p.name, p.kind) for p in ours if p not in extra] == [
            (p.name, p.kind) for p in parameters
        ], name
        assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in extra), name
    for name in ("Encoding", "encoding_for_model", "encoding_name_for_model", "get_encoding"):
        assert hasattr(ctxengine, name)


def test_arrays_have_tiktokens_type():
    ids = ctxengine.get_encoding("gpt2").encode_to_numpy("hello world")
    assert ids.dtype == np.uint32
    assert np.array_equal(ids, rival("gpt2").encode_to_numpy("hello world"))
