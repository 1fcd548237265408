#include <bit>
#include <string>

#include "doctest/doctest.h"
#include "tokenize/pretokenize/scan_runs.h"
#include "tokenize/unicode/unicode_tables.h"
#include "tokenize/unicode/utf8.h"

namespace ctx::tokenize {
namespace {

// Written from the definition of UTF-8 (RFC 3629, section 3).
std::string EncodeUtf8(char32_t c) {
  const auto tail = [c](int shift) { return static_cast<char>(0x80 | (c >> shift & 0x3F)); };
  if (c < 0x80) return {static_cast<char>(c)};
  if (c < 0x800) return {static_cast<char>(0xC0 | c >> 6), tail(0)};
  if (c < 0x10000) return {static_cast<char>(0xE0 | c >> 12), tail(6), tail(0)};
  return {static_cast<char>(0xF0 | c >> 18), tail(12), tail(6), tail(0)};
}

TEST_CASE("every code point is in exactly one class, beside newlines and kCjk") {
  int num_newlines = 0;
  for (char32_t c = 0; c < 0x110000; ++c) {
    const unsigned classes = CharClassesOf(c);
    REQUIRE(std::has_single_bit(classes & ~unsigned{kNewline | kCjk}));
    if ((classes & kNewline) != 0) {
      ++num_newlines;
      REQUIRE((classes & kSpace) != 0);
    }
  }
  CHECK(num_newlines == 2);
}

TEST_CASE("classes of well-known characters") {
  CHECK(CharClassesOf(U'A') == kUpper);
  CHECK(CharClassesOf(U'z') == kLower);
  CHECK(CharClassesOf(U'7') == kNumber);
  CHECK(CharClassesOf(U' ') == kSpace);
  CHECK(CharClassesOf(U'\n') == (kSpace | kNewline));
  CHECK(CharClassesOf(U'\r') == (kSpace | kNewline));
  CHECK(CharClassesOf(U'\t') == kSpace);
  CHECK(CharClassesOf(U'_') == kPunctuation);
  CHECK(CharClassesOf(U'\0') == kOther);
  CHECK(CharClassesOf(0x1C) == kOther);      // FILE SEPARATOR: a control, not White_Space
  CHECK(CharClassesOf(0x85) == kSpace);      // NEXT LINE
  CHECK(CharClassesOf(0xA0) == kSpace);      // NO-BREAK SPACE
  CHECK(CharClassesOf(0xB2) == kNumber);     // SUPERSCRIPT TWO, No
  CHECK(CharClassesOf(0x17F) == kLower);     // LATIN SMALL LETTER LONG S
  CHECK(CharClassesOf(0x1C5) == kUpper);     // D WITH SMALL LETTER Z WITH CARON, Lt
  CHECK(CharClassesOf(0x2B0) == kCaseless);  // MODIFIER LETTER SMALL H, Lm
  CHECK(CharClassesOf(0x301) == kMark);      // COMBINING ACUTE ACCENT
  CHECK(CharClassesOf(0x180E) == kOther);    // MONGOLIAN VOWEL SEPARATOR: no White_Space since 6.3
  CHECK(CharClassesOf(0x200B) == kOther);    // ZERO WIDTH SPACE: no White_Space
  CHECK(CharClassesOf(0x200D) == kOther);    // ZERO WIDTH JOINER
  CHECK(CharClassesOf(0x2160) == kNumber);   // ROMAN NUMERAL ONE, Nl
  CHECK(CharClassesOf(0x3000) == kSpace);    // IDEOGRAPHIC SPACE
  CHECK(CharClassesOf(0x4E2D) == (kCaseless | kCjk));
  CHECK(CharClassesOf(0x30FB) == (kPunctuation | kCjk));
  CHECK(CharClassesOf(0x9FA6) == kCaseless);
  CHECK(CharClassesOf(0x200B) == kOther);
  CHECK(CharClassesOf(0xD800) == kOther);  // a surrogate
  CHECK(CharClassesOf(0xFFFF) == kOther);  // a non-character
  CHECK(CharClassesOf(0x1C89) == kUpper);  // CYRILLIC CAPITAL LETTER TJE, new in Unicode 16.0
  CHECK(CharClassesOf(0x1F600) == kPunctuation);
  CHECK(CharClassesOf(0x10FFFF) == kOther);
}

TEST_CASE("every code point is decoded and classified from its UTF-8") {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    const std::string text = EncodeUtf8(c);
    const auto* const at = reinterpret_cast<const unsigned char*>(text.data());
    const CodePoint decoded = DecodeUtf8(at);
    REQUIRE(decoded.value == c);
    REQUIRE(decoded.size_bytes == text.size());
    const scan::Char read = scan::ReadChar(at);
    REQUIRE(read.classes == CharClassesOf(c));
    REQUIRE(read.next == at + text.size());
  }
}

TEST_CASE("letters are counted eight bytes at a time") {
  const auto word_of = [](unsigned byte, unsigned position, unsigned char fill) {
    std::uint64_t word = 0;
    for (unsigned i = 0; i < 8; ++i) {
      word |= std::uint64_t{i == position ? byte : fill} << (8 * i);
    }
    return word;
  };
  for (unsigned byte = 0; byte < 256; ++byte) {
    const bool lower = byte >= 'a' && byte <= 'z';
    const bool upper = byte >= 'A' && byte <= 'Z';
    for (unsigned position = 0; position < 8; ++position) {
      REQUIRE(scan::CountAsciiLetters<false>(word_of(byte, position, 'q')) ==
              (lower ? 8 : position));
      REQUIRE(scan::CountAsciiLetters<true>(word_of(byte, position, 'Q')) ==
              (lower || upper ? 8 : position));
    }
  }
}

}  // namespace
}  // namespace ctx::tokenize
