// What the block scanners of all instruction sets share with their code for one.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ctx::tokenize {

using Byte = unsigned char;

/// Bit i tells something of byte i of a block of 64.
using Mask = std::uint64_t;

/// The bytes of a block by what they are in ASCII.
struct AsciiMasks {
  Mask upper, lower, digit, space, newline, blank, quote, slash;
  Mask not_ascii;     // 0x80 to 0xFF
  Mask continuation;  // of them, 0x80 to 0xBF
};

}  // namespace ctx::tokenize
