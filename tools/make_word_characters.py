r"""Generate src/cpp/tokenize/unicode/word_character.cc: the word characters of Unicode 16.0.

They are ``\w`` of Unicode's regular expressions (UTS 18, annex C): Alphabetic, Mark,
Decimal_Number, Connector_Punctuation and Join_Control. Data and use are those of
make_unicode_tables.py beside this file.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tarfile
from pathlib import Path

from make_unicode_tables import (
    GENERATED,
    NUM_CODE_POINTS,
    PACKAGE,
    PACKAGE_SHA256,
    ROOT,
    join_wrapped,
    read_property,
)

SOURCE = ROOT / "src/cpp/tokenize/unicode/word_character.cc"
PROPERTIES = ["Alphabetic", "Mark", "Decimal_Number", "Connector_Punctuation", "Join_Control"]

TEXT = """\
#include "tokenize/unicode/word_character.h"

#include <algorithm>
#include <iterator>

namespace ctx::tokenize {{
namespace {{

// The first code point of each run of word characters and the first one behind it, in turn.
// clang-format off
constexpr char32_t kBounds[] = {{
{bounds}
}};
// clang-format on

}}  // namespace

bool IsWordCharacter(char32_t code_point) noexcept {{
  const auto* const above = std::upper_bound(std::begin(kBounds), std::end(kBounds), code_point);
  return (above - kBounds) % 2 == 1;
}}

}}  // namespace ctx::tokenize
"""


def main() -> int:
    """Write or check the source; return the exit code."""
    parser = argparse.ArgumentParser(description="Generate the table of word characters.")
    parser.add_argument("package", type=Path, help=f"the npm tarball of {PACKAGE}")
    parser.add_argument("--check", action="store_true", help="compare with the source only")
    arguments = parser.parse_args()
    sha256 = hashlib.sha256(arguments.package.read_bytes()).hexdigest()
    if sha256 != PACKAGE_SHA256:
        sys.exit(f"{arguments.package}: SHA-256 is {sha256}, expected {PACKAGE_SHA256}")
    is_word = bytearray(NUM_CODE_POINTS + 1)  # and one behind, at which index -1 looks
    with tarfile.open(arguments.package) as package:
        for name in PROPERTIES:
            for code_points in read_property(package, name):
                for code_point in code_points:
                    is_word[code_point] = 1
    bounds = [
        at for at in range(NUM_CODE_POINTS + 1) if is_word[at] != (is_word[at - 1] if at else 0)
    ]
    generator = Path(__file__).name
    text = GENERATED.replace("make_unicode_tables.py", generator)
    text += TEXT.format(bounds=join_wrapped(bounds, "    "))
    if not arguments.check:
        SOURCE.write_text(text)
    elif not SOURCE.is_file() or SOURCE.read_text() != text:
        print(f"{SOURCE}: is not what {arguments.package} gives")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
