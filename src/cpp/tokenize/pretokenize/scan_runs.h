// The pieces that the pre-tokenizer scanners share: classified characters, runs of a class, English
// contractions, and the white space rules.
//
// Everything works on [at, end) of valid UTF-8, never reads at or past `end`, and costs time linear
// in the bytes that it passes. Pure functions: callable from any thread.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tokenize/unicode/unicode_tables.h"
#include "tokenize/unicode/utf8.h"

namespace ctx::tokenize::scan {

using Byte = unsigned char;

inline constexpr unsigned kLetter = kUpper | kLower | kCaseless;  // \p{L}
inline constexpr unsigned kSymbol = kOther | kMark;               // [^\s\p{L}\p{N}]

/// A character: the bits of its class and where the next one begins.
struct Char {
  unsigned classes;
  const Byte* next;
  bool Is(unsigned mask) const noexcept { return (classes & mask) != 0; }
};

/// The character at `at` < end.
inline Char ReadChar(const Byte* at) noexcept {
  if (*at < 0x80) return {kClassBlocks[0][*at], at + 1};
  const auto [value, size_bytes] = DecodeUtf8(at);
  constexpr char32_t kWithinBlock = (char32_t{1} << kClassBlockBits) - 1;
  return {kClassBlocks[kClassBlockOf[value >> kClassBlockBits]][value & kWithinBlock],
          at + size_bytes};
}

/// End of the run of characters in `mask` that begins at `at`; `at` itself when there is none.
template <unsigned mask>
inline const Byte* SkipRun(const Byte* at, const Byte* end) noexcept {
  while (at < end) {
    const Char c = ReadChar(at);
    if (!c.Is(mask)) break;
    at = c.next;
  }
  return at;
}

/// Likewise for at most `max_chars` characters.
template <unsigned mask>
inline const Byte* SkipRun(const Byte* at, const Byte* end, int max_chars) noexcept {
  for (int i = 0; i < max_chars && at < end; ++i) {
    const Char c = ReadChar(at);
    if (!c.Is(mask)) break;
    at = c.next;
  }
  return at;
}

/// Number of bytes at the front of `word` (little endian: lowest byte first) that are a-z, or A-Z
/// too when `any_case`. Eight bytes in a few instructions, without a branch to mispredict.
template <bool any_case>
inline std::size_t CountAsciiLetters(std::uint64_t word) noexcept {
  constexpr std::uint64_t kOnes = 0x0101010101010101;
  constexpr std::uint64_t kHigh = 0x80 * kOnes;
  const std::uint64_t folded = any_case ? word | 0x20 * kOnes : word;
  const std::uint64_t low7 = folded & ~kHigh;  // so that the sums below stay within their bytes
  const std::uint64_t from_a = low7 + (0x80 - 'a') * kOnes;
  const std::uint64_t past_z = low7 + (0x80 - 'z' - 1) * kOnes;
  const std::uint64_t letters = from_a & ~past_z & ~word & kHigh;
  return static_cast<std::size_t>(std::countr_one(letters | ~kHigh)) / 8;
}

/// SkipRun for classes of letters, by eight ASCII letters at a time where there are.
template <unsigned mask>
inline const Byte* SkipLetters(const Byte* at, const Byte* end) noexcept {
  static_assert((mask & kLower) != 0, "the fast path passes a-z");
  constexpr bool kAnyCase = (mask & kUpper) != 0;
  while (at < end) {
    if constexpr (std::endian::native == std::endian::little) {
      while (end - at >= 8) {
        std::uint64_t word;
        std::memcpy(&word, at, sizeof word);
        const std::size_t num_letters = CountAsciiLetters<kAnyCase>(word);
        at += num_letters;
        if (num_letters < 8) break;
      }
    }
    // What stopped the fast path: the tail of the text, a letter beyond ASCII, or no letter.
    do {
      if (at == end) return at;
      const Char c = ReadChar(at);
      if (!c.Is(mask)) return at;
      at = c.next;
    } while (end - at < 8 || *at >= 0x80);
  }
  return at;
}

/// End of the contraction ('s 't 'd 'm 'll 've 're) that begins at `at`, or `at` when there is
/// none. `fold_case` is (?i): besides A-Z it lets U+017F, the long s, stand for s (its simple case
/// folding; no other character beyond ASCII folds to one of these letters).
template <bool fold_case>
inline const Byte* SkipContraction(const Byte* at, const Byte* end) noexcept {
  if (end - at < 2 || *at != '\'') return at;
  const auto letter = [at](int i) -> unsigned { return fold_case ? at[i] | 0x20u : at[i]; };
  const unsigned first = letter(1);
  if (first == 's' || first == 't' || first == 'd' || first == 'm') return at + 2;
  if (end - at < 3) return at;
  const unsigned second = letter(2);
  if ((first == 'l' && second == 'l') || (second == 'e' && (first == 'v' || first == 'r'))) {
    return at + 3;
  }
  if (fold_case && at[1] == 0xC5 && at[2] == 0xBF) return at + 3;
  return at;
}

/// Which alternatives a pattern has for white space, in their order.
enum class WhitespaceRule {
  kR50k,    // \s++$ | \s+(?!\S) | \s
  kCl100k,  // \s++$ | \s*[\r\n] | \s+(?!\S) | \s
  kQwen2,   // \s*[\r\n]+ | \s+(?!\S) | \s+     (o200k too)
};

/// End of the pre-token that begins with the white space at `at` and no other alternative took.
///
/// A run is passed at most three times until it is used up: up to its last newline, up to its last
/// character (which may belong to the word that follows), and that character.
template <WhitespaceRule rule>
inline const Byte* WhitespaceEnd(const Byte* at, const Byte* end) noexcept {
  const Byte* const begin = at;
  const Byte* last = at;
  const Byte* after_newline = nullptr;
  while (at < end) {
    const Char c = ReadChar(at);
    if (!c.Is(kSpace)) break;
    last = at;
    at = c.next;
    if (c.Is(kNewline)) after_newline = at;
  }
  if (rule == WhitespaceRule::kCl100k && at == end) return end;
  if (rule != WhitespaceRule::kR50k && after_newline != nullptr) return after_newline;
  return at == end || last == begin ? at : last;
}

}  // namespace ctx::tokenize::scan
