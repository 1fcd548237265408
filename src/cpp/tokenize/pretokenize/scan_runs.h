// The pieces that the pre-tokenizer scanners share: classified characters, runs of a class, English
// contractions, and the white space rules.
//
// Everything works on [at, end) of valid UTF-8, never reads at or past `end`, and costs time linear
// in the bytes that it passes. Pure functions: callable from any thread.
//
// `end` is a plain pointer or a WatchedEnd, which tells whether the end of the text had a part in
// what was decided. So every comparison with it asks what the pattern asks: is there a character
// here? The one exception is `end - at`, which only chooses between two ways to the same result.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tokenize/unicode/unicode_tables.h"
#include "tokenize/unicode/utf8.h"

namespace ctx::tokenize::scan {

using Byte = unsigned char;

inline constexpr unsigned kLetter = kUpper | kLower | kCaseless;    // \p{L}
inline constexpr unsigned kSymbol = kPunctuation | kMark | kOther;  // [^\s\p{L}\p{N}]

/// The end of a text that sets a flag when it is met.
class WatchedEnd {
 public:
  WatchedEnd(const Byte* end, bool& met) noexcept : end_(end), met_(&met) {}
  friend bool operator<(const Byte* at, WatchedEnd end) noexcept {
    if (at < end.end_) return true;
    *end.met_ = true;
    return false;
  }
  friend bool operator==(const Byte* at, WatchedEnd end) noexcept { return !(at < end); }
  friend std::ptrdiff_t operator-(WatchedEnd end, const Byte* at) noexcept { return end.end_ - at; }

 private:
  const Byte* end_;
  bool* met_;
};

/// A character: the bits of its class and where the next one begins.
struct Char {
  unsigned classes;
  const Byte* next;
  bool Is(unsigned mask) const noexcept { return (classes & mask) != 0; }
  bool Is(unsigned mask, unsigned but) const noexcept { return Is(mask) && !Is(but); }
};

/// The character at `at` < end.
inline Char ReadChar(const Byte* at) noexcept {
  if (*at < 0x80) return {kClassBlocks[0][*at], at + 1};
  const auto [value, size_bytes] = DecodeUtf8(at);
  return {CharClassesOf(value), at + size_bytes};
}

/// End of the run of characters in `mask` and not in `but` that begins at `at`; `at` itself when
/// there is none.
template <unsigned mask, unsigned but = 0, typename End>
inline const Byte* SkipRun(const Byte* at, End end) noexcept {
  while (at < end) {
    const Char c = ReadChar(at);
    if (!c.Is(mask, but)) break;
    at = c.next;
  }
  return at;
}

/// Likewise for at most `max_chars` characters.
template <unsigned mask, typename End>
inline const Byte* SkipRun(const Byte* at, End end, int max_chars) noexcept {
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
template <unsigned mask, unsigned but = 0, typename End>
inline const Byte* SkipLetters(const Byte* at, End end) noexcept {
  static_assert((mask & kLower) != 0 && (but & kLetter) == 0, "the fast path passes a-z");
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
      if (!c.Is(mask, but)) return at;
      at = c.next;
    } while (end - at < 8 || *at >= 0x80);
  }
  return at;
}

/// End of the contraction ('s 't 'd 'm 'll 've 're) that begins at `at`, or `at` when there is
/// none. `fold_case` is (?i): besides A-Z it lets U+017F, the long s, stand for s (its simple case
/// folding; no other character beyond ASCII folds to one of these letters).
template <bool fold_case, typename End>
inline const Byte* SkipContraction(const Byte* at, End end) noexcept {
  if (!(at < end) || *at != '\'' || !(at + 1 < end)) return at;
  const auto letter = [at](int i) -> unsigned { return fold_case ? at[i] | 0x20u : at[i]; };
  const unsigned first = letter(1);
  if (first == 's' || first == 't' || first == 'd' || first == 'm') return at + 2;
  if (fold_case && at[1] == 0xC5 && at[2] == 0xBF) return at + 3;
  if ((first != 'l' && first != 'v' && first != 'r') || !(at + 2 < end)) return at;
  return letter(2) == (first == 'l' ? 'l' : 'e') ? at + 3 : at;
}

/// Which alternatives a pattern has for white space, in their order.
enum class WhitespaceRule {
  kR50k,    // \s++$ | \s+(?!\S) | \s
  kCl100k,  // \s++$ | \s*[\r\n] | \s+(?!\S) | \s
  kNewer,   // \s*[\r\n]+ | \s+(?!\S) | \s+
};

/// End of the pre-token that begins with the white space at `at` and no other alternative took. A
/// character in `border` is, as far as the pattern sees, the end of the text.
///
/// A run is passed at most three times until it is used up: up to its last newline, up to its last
/// character (which may belong to the word that follows), and that character.
template <WhitespaceRule rule, unsigned border = 0, typename End>
inline const Byte* WhitespaceEnd(const Byte* at, End end) noexcept {
  const Byte* const begin = at;
  const Byte* last = at;
  const Byte* after_newline = nullptr;
  bool at_end = true;
  while (at < end) {
    const Char c = ReadChar(at);
    if (!c.Is(kSpace)) {
      at_end = c.Is(border);
      break;
    }
    last = at;
    at = c.next;
    if (c.Is(kNewline)) after_newline = at;
  }
  if (rule == WhitespaceRule::kCl100k && at_end) return at;
  if (rule != WhitespaceRule::kR50k && after_newline != nullptr) return after_newline;
  return at_end || last == begin ? at : last;
}

}  // namespace ctx::tokenize::scan
