// The pre-tokenizer of DeepSeek-V3 and R1: three patterns one after the other, each applied to the
// pieces that the one before it has left (a piece is a match, or what lies between two matches):
//
//   1. \p{N}{1,3}
//   2. [一-龥぀-ゟ゠-ヿ]+
//   3. [!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+ | [^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+
//      | ?[\p{P}\p{S}]+[\r\n]* | \s*[\r\n]+ | \s+(?!\S) | \s+
//
// (blanks around | are not part of it; a space stands before the ? of the third alternative).
//
// As one walk: the first two cut the text into stretches of numbers, of kCjk, and of all else, and
// to the third pattern the text ends where its stretch ends. Numbers match nothing in it. What else
// matches nothing is a character of kOther, unless letters follow, which take it as their prefix;
// a run of such characters is one pre-token.
#pragma once

#include "tokenize/pretokenize/scan_runs.h"

namespace ctx::tokenize::scan {

/// Whether `c` is of the classes `mask` (no numbers) and in the stretch.
template <bool cjk>
inline bool IsInStretch(Char c, unsigned mask) noexcept {
  return c.Is(mask) && c.Is(kCjk) == cjk;
}

template <bool cjk, unsigned mask, typename End>
inline const Byte* SkipInStretch(const Byte* at, End end) noexcept {
  while (at < end) {
    const Char c = ReadChar(at);
    if (!IsInStretch<cjk>(c, mask)) break;
    at = c.next;
  }
  return at;
}

/// End of the pre-token that begins with `c` at `at` < end, in a stretch of kCjk or of all else.
template <bool cjk, typename End>
inline const Byte* NextInStretch(Char c, const Byte* at, End end) noexcept {
  constexpr unsigned kWord = kLetter | kMark;
  const auto word_end = [end](const Byte* from) noexcept {
    if constexpr (cjk) return SkipInStretch<true, kWord>(from, end);
    return SkipLetters<kWord, kCjk>(from, end);
  };
  const auto symbols_end = [end](const Byte* from) noexcept {
    const Byte* const symbols = SkipInStretch<cjk, kPunctuation>(from, end);
    return cjk ? symbols : SkipRun<kNewline>(symbols, end);
  };
  if (c.Is(kWord)) return word_end(c.next);
  if (c.Is(kPunctuation)) {
    const auto is_ascii_letter = [](Byte byte) { return (byte | 0x20u) - 'a' < 26u; };
    const Byte* after = c.next;
    if (*at < 0x80) {
      while (after < end && is_ascii_letter(*after)) ++after;
    }
    return after != c.next ? after : symbols_end(after);
  }
  if (!c.Is(kNewline) && c.next < end) {
    const Char second = ReadChar(c.next);
    if (IsInStretch<cjk>(second, kWord)) return word_end(second.next);
    if (*at == ' ' && IsInStretch<cjk>(second, kPunctuation)) return symbols_end(second.next);
  }
  if (c.Is(kSpace)) return WhitespaceEnd<WhitespaceRule::kNewer, kNumber | kCjk>(at, end);
  const Byte* last = at;
  at = c.next;
  while (at < end) {
    const Char next = ReadChar(at);
    if (IsInStretch<cjk>(next, kWord)) return last;
    if (!IsInStretch<cjk>(next, kOther)) break;
    last = at;
    at = next.next;
  }
  return at;
}

/// End of the pre-token that begins at `at` < end. At most O(1) passes over any byte in a whole
/// scan.
template <typename End>
inline const Byte* NextDeepSeek(const Byte* at, End end) noexcept {
  const Char c = ReadChar(at);
  if (c.Is(kNumber)) return SkipRun<kNumber>(c.next, end, 2);
  return c.Is(kCjk) ? NextInStretch<true>(c, at, end) : NextInStretch<false>(c, at, end);
}

}  // namespace ctx::tokenize::scan
