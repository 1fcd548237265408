"""Hostile text: ids are tiktoken's, counts and bytes are those of the ids."""

from __future__ import annotations

import functools
import random

from cases import case, encoding

CHANCE = random.Random(20)
N = 20_000  # tiktoken takes seconds for a million of some of these


def letters(alphabet: str, size: int = N) -> str:
    return "".join(CHANCE.choices(alphabet, k=size))


TEXTS = {
    "empty": "",
    "NUL": "\0",
    "many NULs": "\0" * N,
    "NUL between words": "a\0b\0 c" * 1000,
    "byte order mark": "\ufeffhello \ufeff world\ufeff",
    "non-characters": "\ufffe\uffff\U0001fffe\U0010ffff a\ufdd0b",
    "the last code point of each length": "\x7f\u07ff\uffff\U0010ffff" * 500,
    "lone high surrogates": "a\ud800b\udbff " * 500,
    "lone low surrogates": "\udc00\udfff a" * 500,
    "a pair of surrogates": "x\ud83d\ude00y" * 500,
    "surrogates the wrong way round": "\ude00\ud83d" * 500,
    "one letter": "a" * N,
    "one letter, upper case": "A" * N,
    "one letter of two bytes": "é" * N,
    "one letter of four bytes": "\U00010400" * 5000,
    "random letters": letters("abcdefghijklmnopqrstuvwxyz"),
    "random upper and lower": letters("abXY"),
    "spaces, then a letter": " " * N + "x",
    "spaces, then the end": " " * N,
    "tabs": "\t" * N,
    "newlines": "\n" * N,
    "carriage returns and newlines": "\r\n" * (N // 2),
    "random white space": letters(" \t\n\r\u00a0\u3000\x0b\x0c\x85"),
    "white space of other scripts": "\u2028\u2029\u0085\u1680\u2003\u202f" * 1000,
    "controls that are no white space": "\x1c\x1d\x1e\x1f a" * 1000,
    "spaces between newlines": (" " * 7 + "\n") * 2000,
    "letter, space": "a " * (N // 2),
    "apostrophes": "'" * N,
    "contractions": "'s't're've'm'll'd'S'T'RE" * 500,
    "contractions that fail": "'l'v'r" * 2000,
    "long s after an apostrophe": "a'\u017f b'\u017ft" * 500,
    "dotted and dotless i": "İıiI'İ" * 1000,
    "digits": letters("0123456789"),
    "digits of other scripts": letters("०१٣४፩Ⅷ¾"),
    "digits and letters": "a1" * (N // 2),
    "symbols": "^" * N,
    "random symbols": letters("!\"#$%&()*+,-./:;<=>?@[]^_`{|}~"),
    "symbols, then newlines": "!\n" * (N // 2),
    "slashes and newlines": "a/\n/" * 3000,
    "marks without a letter": "\u0301" * N,
    "a letter under many marks": "e" + "\u0301\u0323" * (N // 2),
    "joined emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467" * 500,
    "flags and skin tones": "\U0001f1e9\U0001f1ea\U0001f44d\U0001f3fd" * 500,
    "right to left": "\u202e\u0627\u0644\u0639\u0631\u0628\u064a\u0629\u202c " * 500,
    "random han": "".join(chr(CHANCE.randint(0x4E00, 0x9FFF)) for _ in range(5000)),
    "hangul, composed and not": "\ud55c\u1112\u1161\u11ab" * 1000,
    "random code points": "".join(
        chr(c) for c in (CHANCE.randint(0, 0x10FFFF) for _ in range(5000)) if not 0xD800 <= c < 0xE000
    ),
    "unassigned and private": "\u0378\ue000\U000e0001\U000f0000" * 500,
    "base64": letters("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"),
    "camel case": "someVeryLongIdentifierNameHTTPServer" * 300,
    "spellings of special tokens": "<|endoftext|><|im_start|><|fim_prefix|>" * 200,
    "nearly special": "<|endoftext|<|endoftext" * 200,
}  # fmt: skip


def is_tiktokens(text: str) -> None:
    for name in ("cl100k_base", "o200k_base"):
        ours = encoding(name)
        ids = ours.encode_ordinary(text)
        assert ids == rival(name).encode_ordinary(text)
        assert ours.encode_to_numpy(text, disallowed_special=()).tolist() == ids
        assert ours.count(text) == len(ids)
        assert ours.fits(text, len(ids))
        assert not ids or not ours.fits(text, len(ids) - 1)
        clean = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        assert ours.decode(ids) == clean
        assert ours.encode_bytes(clean.encode()) == ids


@functools.cache
def rival(name: str):
    return encoding(name).as_tiktoken()


for _name, _text in TEXTS.items():
    case(f"text: {_name}", _text)(is_tiktokens)


def comes_back(data: bytes) -> None:
    for name in ("cl100k_base", "o200k_base"):
        ids = encoding(name).encode_bytes(data)
        assert encoding(name).decode_bytes(ids) == data
        assert ids == rival(name)._encode_bytes(data)


for _name, _data in {
    "all bytes": bytes(range(256)) * 20,
    "overlong forms": b"\xc0\x80\xe0\x80\xaf\xf0\x80\x80\x80" * 200,
    "surrogates in UTF-8": b"\xed\xa0\x80\xed\xbf\xbf" * 200,
    "above U+10FFFF": b"\xf4\x90\x80\x80\xff\xfe" * 200,
    "cut-off sequences": b"abc \xe2\x82 def \xf0\x9f\x98",
    "tails alone": b"\x80" * 5000,
}.items():
    case(f"bytes: {_name}", _data)(comes_back)
