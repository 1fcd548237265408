"""Generate src/cpp/tokenize/unicode/normalization_tables.{h,cc} from Hugging Face's normalizers.

The reference is PyPI's ``tokenizers``, whose NFC and NFKC know an older Unicode than its Lowercase;
so the tables are not read from Unicode's files but found by asking: what each code point becomes,
and which neighbours change places. ``pip install tokenizers==0.23.1``, then run ``python
tools/make_normalization_tables.py``; with ``--check`` nothing is written, and the exit code is 1
when the sources are not what would be written.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import tokenizers
from tokenizers import normalizers

ROOT = Path(__file__).resolve().parent.parent
VERSION = "0.23.1"
BLOCK_BITS = 7
BLOCK_SIZE = 1 << BLOCK_BITS

HANGUL = range(0xAC00, 0xD7A4)
JOINING_JAMO = {*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)}  # vowels and finals
CHARACTERS = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000 and c != 0x0A]

# (C++ name, value, what it says)
FLAGS = [
    ("kNotNfc", 0x01, "may be changed by NFC, by itself or after another character"),
    ("kNotNfkc", 0x02, "likewise for NFKC"),
    ("kJoinsNfc", 0x04, "NFC may move or compose it with what stands before it"),
    ("kJoinsNfkc", 0x08, "likewise for NFKC"),
    ("kHasLower", 0x10, "is not its own lowercase"),
]


def ask(normalizer: str, texts: Iterable[str]) -> list[str]:
    """Return what the normalizer makes of each text; line breaks keep them apart."""
    texts = list(texts)
    normalized: str = getattr(normalizers, normalizer)().normalize_str("\n".join(texts))
    answers = normalized.split("\n")
    assert len(answers) == len(texts)
    return answers


def changes(normalizer: str) -> dict[str, str]:
    """Return the characters that the normalizer changes, each with what it becomes."""
    answers = zip(CHARACTERS, ask(normalizer, CHARACTERS), strict=True)
    return {character: answer for character, answer in answers if answer != character}


def find_combining_classes(candidates: Sequence[str]) -> dict[str, int]:
    """Return the combining class, where it is not 0, of characters that do not decompose.

    Two neighbours change places when the first has the larger class and none has 0. Marks of known
    class, which Unicode never changes, are the measure.
    """

    def swapped(pairs: Iterable[tuple[str, str]]) -> list[bool]:
        texts = [left + right for left, right in pairs]
        return [answer != text for answer, text in zip(ask("NFD", texts), texts, strict=True)]

    lowest, highest = "\u0334", "\u0345"
    falls = swapped((character, lowest) for character in candidates)
    rises = swapped((highest, character) for character in candidates)
    moving = [c for c, *moves in zip(candidates, falls, rises, strict=True) if any(moves)]
    measure: dict[int, str] = {}
    for character in moving:
        measure.setdefault(unicodedata.combining(character), character)
    assert min(measure) == unicodedata.combining(lowest) > 0
    assert max(measure) == unicodedata.combining(highest)
    classes = {}
    for character in moving:
        after = swapped((character, mark) for mark in measure.values())
        before = swapped((mark, character) for mark in measure.values())
        moves = dict(zip(measure, zip(after, before, strict=True), strict=True))
        (classes[character],) = (
            own
            for own in measure
            if all(moves[level] == (own > level, level > own) for level in measure)
        )
    return classes


def find_compositions(canonical: dict[str, str]) -> dict[tuple[str, str], str]:
    """Return the pairs that NFC joins and what they become, Hangul left out."""
    composites = [c for c in canonical if ord(c) not in HANGUL]
    composed = zip(composites, ask("NFC", (canonical[c] for c in composites)), strict=True)
    composites = [composite for composite, answer in composed if answer == composite]
    firsts = ask("NFC", (canonical[c][:-1] for c in composites))
    pairs = {(f, canonical[c][-1]): c for f, c in zip(firsts, composites, strict=True)}
    assert len(pairs) == len(composites)
    assert all(len(first) == 1 for first in firsts)
    assert ask("NFC", (f + s for f, s in pairs)) == list(pairs.values())
    return pairs


def two_stages(values: Sequence[int]) -> tuple[list[int], list[tuple[int, ...]]]:
    """Split into blocks; return each block's number among the distinct ones, and those.

    The first is all zeros. Blocks of zeros at the end are left out.
    """
    numbers: dict[tuple[int, ...], int] = {(0,) * BLOCK_SIZE: 0}
    index = []
    for begin in range(0, len(values), BLOCK_SIZE):
        block = tuple(values[begin : begin + BLOCK_SIZE])
        index.append(numbers.setdefault(block, len(numbers)))
    while index[-1] == 0:
        index.pop()
    assert len(numbers) <= 256
    return index, list(numbers)


def pool_decompositions(
    canonical: dict[str, str], compatibility: dict[str, str]
) -> tuple[list[int], list[int]]:
    """Return for each code point where its record begins (0: it has none), and all records.

    A record is a head, then the canonical decomposition, then the compatibility decomposition. The
    head is the length of the one plus 8 times that of the other, 0 standing for the other's equal.
    """
    places: dict[tuple[int, ...], int] = {}
    where = [0] * 0x110000
    pool = [0]
    for character, full in compatibility.items():
        if ord(character) in HANGUL:
            continue
        own = canonical.get(character, "")
        other = full if full != own else ""
        record = (len(own) + 8 * len(other), *map(ord, own + other))
        if record not in places:
            places[record] = len(pool)
            pool.extend(record)
        where[ord(character)] = places[record]
    assert canonical.keys() <= compatibility.keys()
    assert max(map(len, canonical.values())) < 8
    return where, pool


def lowercase_runs(lower: dict[str, str]) -> list[tuple[int, int, int, int]]:
    """Return (first, last, step, distance to the lowercase) of runs of characters."""
    runs: list[tuple[int, int, int, int]] = []
    for character, answer in lower.items():
        if len(answer) != 1:
            assert (character, answer) == ("\u0130", "i\u0307"), "the source knows no other"
            continue
        code_point, distance = ord(character), ord(answer) - ord(character)
        first, last, step, runs_distance = runs[-1] if runs else (0, 0, 0, 0)
        gap = code_point - last
        if runs and distance == runs_distance and (gap == step or (first == last and gap <= 2)):
            runs[-1] = (first, code_point, gap, distance)
        else:
            runs.append((code_point, code_point, 1, distance))
    return runs


GENERATED = f"""\
// Generated by tools/make_normalization_tables.py from the normalizers of tokenizers {VERSION}
// (PyPI, Apache-2.0; Unicode data: Unicode License v3). Do not edit.
"""

HEADER = """\
//
// What NFC, NFKC and lowercase need to know of all code points; Hangul syllables, which are
// computed, are left out. Immutable: any thread may read it.
#pragma once

#include <cstdint>

namespace ctx::tokenize {{

enum NormalizationFlag : std::uint8_t {{
{flags}
}};

struct NormalizationProperties {{
  std::uint8_t combining_class;  // 0 also where the character decomposes
  std::uint8_t flags;
}};

inline constexpr unsigned kNormalizationBlockBits = {bits};

// Two-stage tables: the number of the block, by code point >> kNormalizationBlockBits, then the
// block. Block 0 is all zeros, and so is everything behind the end of the first stage.

/// Stage two leads to kNormalizationProperties, whose first entry is all zeros.
inline constexpr char32_t kNumPropertyBlocks = {num_property_index};
extern const std::uint8_t kPropertyBlockOf[kNumPropertyBlocks];
extern const std::uint8_t kPropertyBlocks[{num_property_blocks}][1 << kNormalizationBlockBits];
extern const NormalizationProperties kNormalizationProperties[{num_properties}];

/// Stage two leads to a record in kDecompositions, or is 0. A record is a head, the canonical
/// decomposition and the compatibility decomposition, both full. The head is the length of the one
/// plus 8 times that of the other; 0 there stands for the other's equal.
inline constexpr char32_t kNumDecompositionBlocks = {num_decomposition_index};
extern const std::uint8_t kDecompositionBlockOf[kNumDecompositionBlocks];
extern const std::uint16_t kDecompositionBlocks{decomposition_rows}[1 << kNormalizationBlockBits];
extern const char32_t kDecompositions[{num_decompositions}];

/// The pairs of characters that NFC and NFKC join, in order of `first`, then `second`.
struct Composition {{
  char32_t first;
  char32_t second;
  char32_t composite;
}};
extern const Composition kCompositions[{num_compositions}];

/// The characters whose lowercase is one other character: every `step`-th of a run, which are in
/// order. U+0130, whose lowercase is two, is not among them.
struct LowercaseRun {{
  char32_t first;
  char32_t last;
  std::int32_t step;
  std::int32_t distance;
}};
extern const LowercaseRun kLowercaseRuns[{num_lowercase_runs}];

}}  // namespace ctx::tokenize
"""


def join_wrapped(values: Iterable[object], indent: str = "  ") -> str:
    """Return the numbers or records, comma-separated, in lines of at most 100 columns."""
    spaced = ", ".join(map(str, values))
    wrapped = textwrap.fill(spaced, 103, initial_indent=indent, subsequent_indent=indent)
    return wrapped.replace(", ", ",")


def array(declaration: str, values: Iterable[object]) -> str:
    """Return the definition of a one-dimensional array."""
    return f"const {declaration} = {{\n{join_wrapped(values)}\n}};\n"


def blocks_array(declaration: str, blocks: Iterable[Iterable[int]]) -> str:
    """Return the definition of an array of blocks."""
    rows = "\n".join(f"  {{\n{join_wrapped(block, '    ')}\n  }}," for block in blocks)
    return f"const {declaration}[1 << kNormalizationBlockBits] = {{\n{rows}\n}};\n"


def records(tuples: Iterable[tuple[int, ...]]) -> list[str]:
    """Return initializers of structs."""
    return ["{" + ",".join(map(str, fields)) + "}" for fields in tuples]


def generate() -> dict[Path, str]:
    """Return the text of both sources."""
    canonical, compatibility = changes("NFD"), changes("NFKD")
    composed = {"Nfc": changes("NFC"), "Nfkc": changes("NFKC")}
    lower = changes("Lowercase")
    classes = find_combining_classes([c for c in CHARACTERS if c not in canonical])
    compositions = find_compositions(canonical)
    seconds = {second for _, second in compositions} | set(map(chr, JOINING_JAMO))

    def flags_of(character: str) -> int:
        names = {"kHasLower"} if character in lower else set()
        for form, decompositions in (("Nfc", canonical), ("Nfkc", compatibility)):
            first = decompositions.get(character, character)[0]
            if first in classes or first in seconds:
                names.add(f"kJoins{form}")
            if character in composed[form] or character in seconds:
                names.add(f"kNot{form}")
        return sum(value for name, value, _ in FLAGS if name in names)

    numbers = {(0, 0): 0}
    properties = [0] * 0x110000
    for character in CHARACTERS:
        key = (classes.get(character, 0), flags_of(character))
        properties[ord(character)] = numbers.setdefault(key, len(numbers))
    where, pool = pool_decompositions(canonical, compatibility)
    property_index, property_blocks = two_stages(properties)
    decomposition_index, decomposition_blocks = two_stages(where)
    triples = sorted((ord(f), ord(s), ord(c)) for (f, s), c in compositions.items())
    runs = lowercase_runs(lower)
    flags = "\n".join(
        f"  {name} = 0x{bit:02X},{' ' * (11 - len(name))} // {meaning}"
        for name, bit, meaning in FLAGS
    )
    header = HEADER.format(
        flags=flags,
        bits=BLOCK_BITS,
        num_property_index=len(property_index),
        num_property_blocks=len(property_blocks),
        num_properties=len(numbers),
        num_decomposition_index=len(decomposition_index),
        decomposition_rows=f"[{len(decomposition_blocks)}]",
        num_decompositions=len(pool),
        num_compositions=len(triples),
        num_lowercase_runs=len(runs),
    )
    source = [
        GENERATED + '#include "tokenize/unicode/normalization_tables.h"\n',
        "namespace ctx::tokenize {\n",
        "// clang-format off",
        array("std::uint8_t kPropertyBlockOf[kNumPropertyBlocks]", property_index),
        blocks_array(f"std::uint8_t kPropertyBlocks[{len(property_blocks)}]", property_blocks),
        array(
            f"NormalizationProperties kNormalizationProperties[{len(numbers)}]", records(numbers)
        ),
        array("std::uint8_t kDecompositionBlockOf[kNumDecompositionBlocks]", decomposition_index),
        blocks_array(
            f"std::uint16_t kDecompositionBlocks[{len(decomposition_blocks)}]",
            decomposition_blocks,
        ),
        array(f"char32_t kDecompositions[{len(pool)}]", pool),
        array(f"Composition kCompositions[{len(triples)}]", records(triples)),
        array(f"LowercaseRun kLowercaseRuns[{len(runs)}]", records(runs)),
        "// clang-format on\n",
        "}  // namespace ctx::tokenize\n",
    ]
    folder = ROOT / "src/cpp/tokenize/unicode"
    return {
        folder / "normalization_tables.h": GENERATED + header,
        folder / "normalization_tables.cc": "\n".join(source),
    }


def main() -> int:
    """Write or check the sources; return the exit code."""
    parser = argparse.ArgumentParser(description="Generate the normalization tables.")
    parser.add_argument("--check", action="store_true", help="compare with the sources only")
    arguments = parser.parse_args()
    if tokenizers.__version__ != VERSION:
        sys.exit(f"tokenizers is {tokenizers.__version__}, expected {VERSION}")
    different = 0
    for path, text in generate().items():
        if not arguments.check:
            path.write_text(text)
        elif not path.is_file() or path.read_text() != text:
            print(f"{path}: is not what tokenizers {VERSION} gives")
            different += 1
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
