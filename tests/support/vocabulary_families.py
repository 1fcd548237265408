"""Vocabularies that this or other packages carry, each with the reference that encodes with it.

A package that is not installed leaves its families out; ``nox -s tests`` installs them all (the
dependency groups `test` and `vocabularies`).
"""

from __future__ import annotations

import base64
import functools
import importlib.util
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ctxengine
import pytest

Encode = Callable[[str], list[int]]


def package_file(package: str, name: str) -> Path:
    """Return the path of a file inside an installed package, without importing the package."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"{package}, which carries the file, is not installed")
    return Path(spec.origin).parent / name


@dataclass(frozen=True)
class Family:
    """The vocabulary's file, or the name of a shipped encoding, and the reference for its ids."""

    path: Path | str
    reference: Encode

    def load(self) -> ctxengine.Encoding:
        """The encoding as we have it."""
        if isinstance(self.path, str):
            return ctxengine.get_encoding(self.path)
        return ctxengine.load(self.path)


def shipped(name: str, _: Path) -> Family:
    """tiktoken with our tables, which another test holds to the published ones by SHA-256."""
    encoding = ctxengine.get_encoding(name)
    if not name.startswith("qwen"):
        return Family(name, encoding.as_tiktoken().encode_ordinary)
    import tokenizers

    normalize = tokenizers.normalizers.NFC().normalize_str
    plain = ctxengine.Encoding(
        name,
        pat_str=encoding._pat_str,
        mergeable_ranks=encoding._mergeable_ranks,
        special_tokens=encoding._special_tokens,
    ).as_tiktoken()
    return Family(name, lambda text: plain.encode_ordinary(normalize(text)))


def tekken(_: Path) -> Family:
    path = package_file("mistral_common", "data/tekken_240911.json")
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    tokenizer = Tekkenizer.from_file(path)
    return Family(path, lambda text: tokenizer.encode(text, bos=False, eos=False))


def hugging_face(path: Path) -> Family:
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = True  # their spellings are text, as in encode_ordinary
    return Family(path, lambda text: tokenizer.encode(text, add_special_tokens=False).ids)


def deepseek(_: Path) -> Family:
    return hugging_face(
        package_file("litellm", "litellm_core_utils/tokenizers/deepseek_tokenizer.json")
    )


def claude2(_: Path) -> Family:
    return hugging_face(
        package_file("litellm", "litellm_core_utils/tokenizers/anthropic_tokenizer.json")
    )


LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@functools.cache
def llama3_ranks() -> dict[bytes, int]:
    """Meta's ranks, out of quicktok's table: u32 rows; of each u16 length, bytes, u32 rank."""
    data = package_file("quicktok", "data/llama3.vocab").read_bytes()
    (num_rows,) = struct.unpack_from("<I", data)
    ranks = {}
    at = 4
    for _ in range(num_rows):
        (length,) = struct.unpack_from("<H", data, at)
        token = data[at + 2 : at + 2 + length]
        (ranks[token],) = struct.unpack_from("<I", data, at + 2 + length)
        at += 6 + length
    assert at == len(data)
    return ranks


def llama3(folder: Path) -> Family:
    """Meta's rank file."""
    import tiktoken

    ranks = llama3_ranks()
    path = folder / "tokenizer.model"
    with path.open("wb") as file:
        for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
            file.write(base64.b64encode(token) + b" %d\n" % rank)
    encoding = tiktoken.Encoding(
        "llama3", pat_str=LLAMA3_PATTERN, mergeable_ranks=ranks, special_tokens={}
    )
    return Family(path, encoding.encode_ordinary)


def sentencepiece_model(path: Path, _: Path) -> Family:
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    return Family(path, processor.encode)


def mistral_v3(folder: Path) -> Family:
    name = "data/mistral_instruct_tokenizer_240323.model.v3"
    return sentencepiece_model(package_file("mistral_common", name), folder)


def converted_mistral_v3(*, legacy: bool) -> Callable[[Path], Family]:
    """The tokenizer.json that transformers makes of it.

    As transformers 5.23 has it (convert_slow_tokenizer.generate_merges, models/llama): every pair of
    pieces that joins to a piece is a merge, in the order of the joined piece, then of the left part's
    and the right part's length; Metaspace with "first" as pre-tokenizer, or, of old, Prepend and
    Replace as normalizers.
    """

    def make(folder: Path) -> Family:
        import sentencepiece

        path = package_file("mistral_common", "data/mistral_instruct_tokenizer_240323.model.v3")
        processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
        pieces = [processor.id_to_piece(i) for i in range(processor.get_piece_size())]
        vocab = {piece: i for i, piece in enumerate(pieces)}
        control = [i for i in range(len(pieces)) if processor.is_control(i)]
        merges = sorted(
            (
                (piece[:cut], piece[cut:])
                for piece in pieces
                for cut in range(1, len(piece))
                if piece[:cut] in vocab and piece[cut:] in vocab
            ),
            key=lambda pair: (vocab[pair[0] + pair[1]], len(pair[0]), len(pair[1])),
        )
        content: dict[str, Any] = {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [
                {
                    "id": i,
                    "content": pieces[i],
                    "single_word": False,
                    "lstrip": False,
                    "rstrip": False,
                    "normalized": False,
                    "special": True,
                }
                for i in sorted({0, *control})
            ],
            "normalizer": {
                "type": "Sequence",
                "normalizers": [
                    {"type": "Prepend", "prepend": "▁"},
                    {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
                ],
            }
            if legacy
            else None,
            "pre_tokenizer": None
            if legacy
            else {
                "type": "Metaspace",
                "replacement": "▁",
                "prepend_scheme": "first",
                "split": False,
            },
            "post_processor": None,
            "decoder": {
                "type": "Sequence",
                "decoders": [
                    {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                    {"type": "ByteFallback"},
                    {"type": "Fuse"},
                    {"type": "Strip", "content": " ", "start": 1, "stop": 0},
                ],
            },
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": "<unk>",
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": True,
                "byte_fallback": True,
                "ignore_merges": False,
                "vocab": vocab,
                "merges": [list(pair) for pair in merges],
            },
        }
        path = folder / "tokenizer.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        return hugging_face(path)

    return make


FAMILIES: dict[str, Callable[[Path], Family]] = {
    "tekken": tekken,
    "deepseek": deepseek,
    "claude2": claude2,
    "llama3": llama3,
    "mistral_v3": mistral_v3,
    "mistral_v3_metaspace": converted_mistral_v3(legacy=False),
    "mistral_v3_legacy": converted_mistral_v3(legacy=True),
}


@functools.cache
def family(name: str, folder: Path) -> Family:
    return FAMILIES[name](folder)
