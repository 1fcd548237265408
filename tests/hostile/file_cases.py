"""Hostile vocabulary files: a LoadError that says what and where; valid oddities load."""

from __future__ import annotations

import base64
import copy
import functools
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import ctxengine
from cases import case, encoding, raises
from ctxengine import LoadError


@functools.cache
def folder() -> Path:
    made = tempfile.TemporaryDirectory()
    folder.keep = made  # removed at exit
    return Path(made.name)


def line(token: bytes, rank: object) -> bytes:
    return base64.b64encode(token) + f" {rank}\n".encode()


SINGLE = b"".join(line(bytes([byte]), byte) for byte in range(256))


def load_ranks(data: bytes) -> ctxengine.Encoding:
    path = folder() / "ranks.tiktoken"
    path.write_bytes(data)
    return ctxengine.load(path, pat_str=encoding()._pat_str)


def refused_ranks(data: bytes, *words: str) -> None:
    raises(LoadError, lambda: load_ranks(data), "ranks.tiktoken", *words)


AB = base64.b64encode(b"ab").decode()
BAD_LINES = {
    "the same token twice": line(b"ab", 256) + line(b"ab", 257),
    "the same rank twice": line(b"ab", 256) + line(b"cd", 256),
    "a hole in the ranks": line(b"ab", 257),
    "a rank of 2^31": line(b"ab", 2**31),
    "a rank of 2^32": line(b"ab", 2**32),
    "a rank of 2^64 and more": line(b"ab", 2**64 + 256),
    "a rank of a thousand digits": line(b"ab", "9" * 1000),
    "a plus sign": line(b"ab", "+256"),
    "a minus sign": line(b"ab", "-256"),
    "an underscore": line(b"ab", "2_56"),
    "a hexadecimal rank": line(b"ab", "0x100"),
    "a fraction": line(b"ab", "256.0"),
    "an exponent": line(b"ab", "256e0"),
    "digits of another script": line(b"ab", "\u0662\u0665\u0666"),
    "no rank": f"{AB}\n".encode(),
    "a space and no rank": f"{AB} \n".encode(),
    "two spaces": f"{AB}  256\n".encode(),
    "a tab": f"{AB}\t256\n".encode(),
    "a space in front": f" {AB} 256\n".encode(),
    "a third field": f"{AB} 256 x\n".encode(),
    "no token": b" 256\n",
    "base64 without padding": b"YWI 256\n",
    "base64 with too much padding": b"YWI== 256\n",
    "base64 with padding inside": b"YQ==YWI= 256\n",
    "base64 with other bits set": b"YWJ= 256\n",
    "base64 of the other alphabet": b"-_-_ 256\n",
    "base64 with a NUL": b"YW\0I= 256\n",
    "no base64": b"\xff\xfe!!!! 256\n",
    "a token of 64 KiB and a byte": line(b"a" * 65537, 256),
    "a carriage return inside": f"{AB}\r 256\n".encode(),
}
for _name, _data in BAD_LINES.items():
    case(f"rank file: {_name}", SINGLE + _data)(refused_ranks)
for _name, _data in {
    "a byte missing": SINGLE.replace(line(b"\x80", 128), b""),
    "a byte order mark": b"\xef\xbb\xbf" + SINGLE,
    "empty": b"",
    "one newline": b"\n",
    "an empty line inside": SINGLE.replace(b"\n", b"\n\n", 1),
    "UTF-16": SINGLE.decode().encode("utf-16"),
    "garbage": bytes(range(256)) * 100,
    "a megabyte without a newline": b"A" * 1_000_000,
    "cut off inside a token": SINGLE + b"YW",
    "first half only": SINGLE[: len(SINGLE) // 2],
}.items():
    case(f"rank file: {_name}", _data)(refused_ranks)


@case("rank file: a token of 65,535 bytes loads")
def longest_token() -> None:
    text = "a" * 65535
    assert load_ranks(SINGLE + line(text.encode(), 256)).encode(text) == [256]


@case("rank file: the line feed at the end missing, as in a file cut inside a number")
def no_newline() -> None:
    refused_ranks((SINGLE + line(b"ab", 256))[:-1], "257")


@case("path: a missing file")
def missing() -> None:
    raises(LoadError, lambda: ctxengine.load(folder() / "none" / "missing"), "missing")


@case("path: an empty directory")
def empty_directory() -> None:
    path = folder() / "empty"
    path.mkdir()
    raises(LoadError, lambda: ctxengine.load(path), "empty")


@case("path: a link to itself")
def link_to_itself() -> None:
    path = folder() / "loop"
    path.symlink_to(path)
    raises(LoadError, lambda: ctxengine.load(path), "loop")


@case("path: a pipe that nobody writes to")
def pipe() -> None:
    path = folder() / "pipe"
    os.mkfifo(path)
    raises(LoadError, lambda: ctxengine.load(path), "pipe")


@case("path: a device without end", "/dev/zero")
@case("path: an empty device", "/dev/null")
@case("path: a file that cannot be read", "/proc/self/mem")
def device(path: str) -> None:
    raises(LoadError, lambda: ctxengine.load(path), path.rpartition("/")[2])


@case("path: holds a NUL")
def nul_in_path() -> None:
    raises(ValueError, lambda: ctxengine.load("a\0b"))


@case("path: is a number")
def path_is_a_number() -> None:
    raises(TypeError, lambda: ctxengine.load(5))


def tiny() -> dict:
    """A tokenizer.json of the bytes and "ab", as Hugging Face writes it."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in visible]
    spelled = {byte: chr(byte) for byte in visible}
    spelled |= {byte: chr(256 + i) for i, byte in enumerate(others)}
    vocab = {spelled[byte]: byte for byte in range(256)} | {"ab": 256}
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": 257, "content": "<s>", "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True},
        ],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
            "ignore_merges": False, "vocab": vocab, "merges": [["a", "b"]],
        },
    }  # fmt: skip


def load_json(data: bytes) -> ctxengine.Encoding:
    path = folder() / "tokenizer.json"
    path.write_bytes(data)
    return ctxengine.load(path)


def refused_json(data: bytes, *words: str) -> None:
    raises(LoadError, lambda: load_json(data), "tokenizer.json", *words)


@case("tokenizer.json: the file that the others spoil loads")
def tiny_json_loads() -> None:
    import tokenizers

    text = "abab <s>cab\n\u00e9" + "ab" * 50
    loaded = load_json(json.dumps(tiny()).encode())
    reference = tokenizers.Tokenizer.from_str(json.dumps(tiny()))
    ids = reference.encode(text, add_special_tokens=False).ids
    assert loaded.encode(text, allowed_special="all") == ids
    assert 257 in ids
    assert 256 in ids


WHOLE = json.dumps(tiny())
for _name, _data in {
    "empty": b"",
    "white space": b" \n ",
    "cut off": WHOLE[: len(WHOLE) // 2].encode(),
    "cut off by one": WHOLE[:-1].encode(),
    "something behind it": (WHOLE + "{}").encode(),
    "an array": b"[1, 2]",
    "null": b"null",
    "100,000 brackets": b"[" * 100_000,
    "100,000 objects": b'{"model":' * 100_000,
    "a comment": WHOLE.replace("{", "{/* x */", 1).encode(),
    "a comma too many": WHOLE.replace('"version": "1.0",', '"version": "1.0",,').encode(),
    "NaN": WHOLE.replace('"dropout": null', '"dropout": NaN').encode(),
    "a key twice": WHOLE.replace('"version"', '"version": "1.0", "version"', 1).encode(),
    "a token twice": WHOLE.replace('"ab": 256', '"ab": 256, "ab": 256').encode(),
    "bytes that are no UTF-8": WHOLE.replace("1.0", "\udcff").encode("utf-8", "surrogateescape"),
    "a lone surrogate escaped": WHOLE.replace('"ab": 256', '"\\ud800": 256').encode(),
    "an escape that is none": WHOLE.replace('"1.0"', '"\\x"').encode(),
    "a control character in a string": WHOLE.replace('"1.0"', '"1\n0"').encode(),
    "an id of 400 digits": WHOLE.replace('"ab": 256', f'"ab": {"9" * 400}').encode(),
}.items():
    case(f"tokenizer.json: {_name}", _data)(refused_json)


def refused_change(change: Callable[[dict], object], *words: str) -> None:
    document = copy.deepcopy(tiny())
    change(document)
    refused_json(json.dumps(document).encode(), *words)


def put(*keys_and_value: object) -> Callable[[dict], None]:
    """Return the change that puts a value at the end of these keys."""
    *keys, last, value = keys_and_value

    def change(document: dict) -> None:
        for key in keys:
            document = document[key]
        document[last] = value

    return change


CHANGES: dict[str, tuple[Callable[[dict], object], str]] = {
    "no model": (lambda d: d.pop("model"), "model"),
    "another model": (put("model", "type", "WordPiece"), "model.type"),
    "dropout": (put("model", "dropout", 0.1), "model.dropout"),
    "an unknown field": (put("model", "extra", 1), "extra"),
    "a vocabulary that is a list": (put("model", "vocab", []), "model.vocab"),
    "an empty vocabulary": (put("model", "vocab", {}), "tokenizer.json"),
    "a negative id": (put("model", "vocab", "ab", -1), "vocab"),
    "an id that is a fraction": (put("model", "vocab", "ab", 256.5), "vocab"),
    "an id that is a string": (put("model", "vocab", "ab", "256"), "vocab"),
    "an id of 2^31": (put("model", "vocab", "ab", 2**31), "vocab"),
    "an id twice": (put("model", "vocab", "ab", 5), "tokenizer.json"),
    "a byte missing": (lambda d: d["model"]["vocab"].pop("a"), "tokenizer.json"),
    "a token of 64 KiB and a byte": (put("model", "vocab", "a" * 65537, 258), "tokenizer.json"),
    "a merge of unknown tokens": (put("model", "merges", [["x", "ab"]]), "merges[0]"),
    "a merge into an unknown token": (put("model", "merges", [["b", "a"]]), "merges[0]"),
    "a merge of three": (put("model", "merges", [["a", "b", "c"]]), "merges[0]"),
    "a merge of one": (put("model", "merges", ["ab"]), "merges[0]"),
    "a merge twice": (put("model", "merges", [["a", "b"]] * 2), "merge"),
    "an added token with another's id": (put("added_tokens", 0, "id", 5), "added_tokens[0].id"),
    "an added token without a spelling": (put("added_tokens", 0, "content", ""), "added_tokens[0]"),
    "an added token whose flag is a number": (put("added_tokens", 0, "lstrip", 1), "added_tokens[0].lstrip"),
    "an added token twice": (lambda d: d["added_tokens"].append(d["added_tokens"][0]), "added_tokens[1]"),
    "another normalizer": (put("normalizer", {"type": "BertNormalizer"}), "normalizer"),
    "a normalizer nested too deep": (
        put("normalizer", functools.reduce(
            lambda inner, _: {"type": "Sequence", "normalizers": [inner]}, range(100), {"type": "NFC"}
        )),
        "tokenizer.json",
    ),
    "another pre-tokenizer": (put("pre_tokenizer", {"type": "BertPreTokenizer"}), "pre_tokenizer"),
    "a pattern that nothing knows": (
        put("pre_tokenizer", {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": "(a*)*b"}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
        ]}),
        "allow_regex",
    ),
    "another decoder": (put("decoder", {"type": "CTC"}), "decoder"),
    "another post-processor": (put("post_processor", {"type": "Magic"}), "post_processor"),
}  # fmt: skip
for _name, (_change, _word) in CHANGES.items():
    case(f"tokenizer.json: {_name}", _change, _word)(refused_change)


def refused_model(data: bytes) -> None:
    path = folder() / "spoilt.model"
    path.write_bytes(data)
    raises(LoadError, lambda: ctxengine.load(path, pat_str=None), "spoilt.model")


for _name, _data in {
    "a piece longer than the file": b"\x0a\xff\xff\xff\xff\x0f" + b"a" * 20,
    "a number that does not end": b"\x0a" + b"\xff" * 50,
    "a wire type that is none": b"\x0f" * 50,
    "no pieces": b"\x12\x00",
    "a group that is never closed": b"\x0b" * 1000,
}.items():
    case(f"SentencePiece model: {_name}", _data)(refused_model)
