"""The packed vocabularies hold exactly the published rank tables."""

from __future__ import annotations

import base64
import hashlib
import inspect
import re
import struct
from importlib.resources import files

import pytest
from tiktoken_ext import openai_public

# dashscope 2.0.2, dashscope/resources/qwen.tiktoken.
QWEN_SHA256 = "b2b1b8dfb5cc5f024bafc373121c6aba3f66f9a5a0269e243470a1de16a33186"


def read_packed(name: str) -> tuple[int, list[bytes]]:
    """Return the first rank and the rows of a packed file, checking that nothing is left over."""
    data = (files("ctxengine") / f"vocabularies/{name}.vocab").read_bytes()
    assert data[:8] == b"CTXVOC01"
    num_rows, first_rank = struct.unpack_from("<II", data, 8)
    rows, at = [], 16
    for _ in range(num_rows):
        length = data[at]
        rows.append(data[at + 1 : at + 1 + length])
        at += 1 + length
    assert at == len(data)
    return first_rank, rows


def published_sha256(name: str) -> str:
    source = inspect.getsource(getattr(openai_public, name))
    (found,) = re.finditer(rf'{name}\.tiktoken",\s*expected_hash="(\w{{64}})"', source)
    return found[1]


def rank_file(ranks: dict[int, bytes]) -> bytes:
    return b"".join(
        base64.b64encode(token) + b" %d\n" % rank for rank, token in sorted(ranks.items()) if token
    )


@pytest.mark.parametrize("name", ["r50k_base", "cl100k_base", "o200k_base", "qwen"])
def test_the_published_rank_file_can_be_rebuilt(name: str) -> None:
    first_rank, rows = read_packed(name)
    assert first_rank == 0
    assert all(rows)
    expected = QWEN_SHA256 if name == "qwen" else published_sha256(name)
    assert hashlib.sha256(rank_file(dict(enumerate(rows)))).hexdigest() == expected


def test_p50k_base_continues_r50k_base() -> None:
    _, r50k = read_packed("r50k_base")
    first_rank, rows = read_packed("p50k_base")
    assert first_rank == len(r50k) == 50256
    assert rows[0] == b""  # the rank of <|endoftext|>, which is no token of the table
    ranks = dict(enumerate(r50k)) | dict(enumerate(rows, first_rank))
    assert hashlib.sha256(rank_file(ranks)).hexdigest() == published_sha256("p50k_base")


def test_the_notice_names_every_hash() -> None:
    notice = (files("ctxengine") / "vocabularies/NOTICE").read_text()
    for name in ["r50k_base", "p50k_base", "cl100k_base", "o200k_base"]:
        assert published_sha256(name) in notice
    assert QWEN_SHA256 in notice
