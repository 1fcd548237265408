// The pre-tokenizer scanners by blocks of 64 bytes: where many pre-tokens end, found at once.
//
// A block becomes a few 64-bit masks, one for each class of characters that the pattern tells
// apart: bit i says that byte i belongs to a character of the class. Where pre-tokens begin is then
// arithmetic on masks (block_scan_body.h), without a branch for each character.
//
//     text      He said:⏎⏎  it's 1234
//     letters  .11.1111.....11.1.....
//     starts   1..1....1..11..1.11..1     one bit for each pre-token (cl100k)
//
// What masks cannot say (a mark on no letter, a very long gap) stops a block scanner; the
// scanners of scanner.h, which it equals wherever it answers, go on from there.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/isa.h"
#include "tokenize/pretokenize/scanner.h"

namespace ctx::tokenize {

struct BlockScan {
  std::size_t count;  // of pre-tokens found
  bool has_wide;      // whether there may be characters of three bytes among them
};

/// Finds pre-tokens at the front of `text`, which begins at a cut and is valid UTF-8. Writes where
/// each ends, from the beginning of `text`: all of them, up to kBlockScanBytes, or those before
/// something that it cannot decide, possibly none. `ends` has room for kMaxBlockScanEnds. Reads no
/// byte beyond the text. O(bytes found + 1 kB).
using BlockScanner = BlockScan (*)(const char* text, std::size_t size,
                                   std::uint16_t* ends) noexcept;

inline constexpr std::size_t kBlockScanBytes = 8192;
/// How many bytes to pass by other means when a block scanner finds nothing.
inline constexpr std::size_t kBlockScanStep = 64;
inline constexpr std::size_t kMaxBlockScanEnds = kBlockScanBytes + 64;

/// nullptr for Isa::kPortable, and for a tier of another architecture.
BlockScanner BlockScannerFor(Pattern pattern, Isa isa) noexcept;

namespace internal {
BlockScanner Avx2BlockScanner(Pattern pattern) noexcept;
BlockScanner Avx512BlockScanner(Pattern pattern) noexcept;
BlockScanner NeonBlockScanner(Pattern pattern) noexcept;
}  // namespace internal

}  // namespace ctx::tokenize
