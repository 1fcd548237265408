// What the block scanners of all instruction sets share with their code for one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace ctx::tokenize {

using Byte = unsigned char;

/// Bit i tells something of byte i of a block of 64.
using Mask = std::uint64_t;

/// The lowest bits, or all.
[[gnu::always_inline]] inline Mask LowBits(unsigned count) noexcept {
  return count >= 64 ? ~Mask{0} : (Mask{1} << count) - 1;
}

/// The bytes of a block by what they are in ASCII.
struct AsciiMasks {
  Mask upper, lower, digit, space, newline, blank, quote, slash;
  Mask control;       // up to 0x1F, and 0x7F
  Mask not_ascii;     // 0x80 to 0xFF
  Mask continuation;  // of them, 0x80 to 0xBF
};

/// The characters of several bytes in a block.
struct WideMasks {
  std::array<Mask, 8> classes;  // all their bytes, by the first eight of CharClass
  Mask cjk;                     // if asked for: all bytes of those of kCjk
  std::array<Mask, 3> leads;    // the first bytes of those of 2, 3 and 4 bytes
};

/// A character at the end of a block that goes on in the next.
struct Straddler {
  unsigned num_bytes = 0;  // of the next block
  Byte classes = 0;        // the first eight of CharClass
  bool is_cjk = false;     // if asked for
};

}  // namespace ctx::tokenize
