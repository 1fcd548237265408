// The pre-tokenizers of cl100k_base and of Qwen2 and later, which differ in two places:
//
//   cl100k  '(?i:[sdmt]|ll|ve|re)            | [^\r\n\p{L}\p{N}]?+\p{L}++ | \p{N}{1,3}+
//           | ?[^\s\p{L}\p{N}]++[\r\n]*+     | \s++$ | \s*[\r\n]  | \s+(?!\S) | \s
//   qwen2   (?i:'s|'t|'re|'ve|'m|'ll|'d)     | [^\r\n\p{L}\p{N}]?\p{L}+   | \p{N}
//           | ?[^\s\p{L}\p{N}]+[\r\n]*       |         \s*[\r\n]+ | \s+(?!\S) | \s+
//
// (blanks around | are not part of them; a space stands before the ? of the fourth alternative).
#pragma once

#include "tokenize/pretokenize/scan_runs.h"

namespace ctx::tokenize::scan {

/// End of the pre-token that begins at `at` < end. At most O(1) passes over any byte in a whole
/// scan.
template <int max_digits, WhitespaceRule whitespace>
inline const Byte* NextCl100kLike(const Byte* at, const Byte* end) noexcept {
  const Char c = ReadChar(at);
  if (c.Is(kLetter)) return SkipLetters<kLetter>(c.next, end);
  if (c.Is(kNumber)) return SkipRun<kNumber>(c.next, end, max_digits - 1);
  if (*at == '\'') {
    const Byte* const contraction_end = SkipContraction<true>(at, end);
    if (contraction_end != at) return contraction_end;
  }
  const Byte* symbols = c.Is(kSymbol) ? c.next : nullptr;
  if (c.next < end && !c.Is(kNewline)) {
    const Char second = ReadChar(c.next);
    if (second.Is(kLetter)) return SkipLetters<kLetter>(second.next, end);
    if (*at == ' ' && second.Is(kSymbol)) symbols = second.next;
  }
  if (symbols == nullptr) return WhitespaceEnd<whitespace>(at, end);
  return SkipRun<kNewline>(SkipRun<kSymbol>(symbols, end), end);
}

inline const Byte* NextCl100k(const Byte* at, const Byte* end) noexcept {
  return NextCl100kLike<3, WhitespaceRule::kCl100k>(at, end);
}

inline const Byte* NextQwen2(const Byte* at, const Byte* end) noexcept {
  return NextCl100kLike<1, WhitespaceRule::kQwen2>(at, end);
}

}  // namespace ctx::tokenize::scan
