// The pre-tokenizers of cl100k_base, of Llama 3, of Qwen2 and of Qwen3.5, which differ in a few
// places:
//
//   cl100k  '(?i:[sdmt]|ll|ve|re)        | [^\r\n\p{L}\p{N}]?+\p{L}++       | \p{N}{1,3}+
//           | ?[^\s\p{L}\p{N}]++[\r\n]*+ | \s++$ | \s*[\r\n]  | \s+(?!\S) | \s
//   llama3  (?i:'s|'t|'re|'ve|'m|'ll|'d) | [^\r\n\p{L}\p{N}]?\p{L}+         | \p{N}{1,3}
//           | ?[^\s\p{L}\p{N}]+[\r\n]*           | \s*[\r\n]+ | \s+(?!\S) | \s+
//   qwen2   as llama3, but \p{N} instead of \p{N}{1,3}
//   qwen35  as qwen2, but [\p{L}\p{M}]+ instead of \p{L}+, and [^\s\p{L}\p{M}\p{N}]
//
// (blanks around | are not part of them; a space stands before the ? of the fourth alternative).
#pragma once

#include "tokenize/pretokenize/scan_runs.h"

namespace ctx::tokenize::scan {

/// End of the pre-token that begins at `at` < end; words are runs of `word`. At most O(1) passes
/// over any byte in a whole scan. A mark in `word` may be the prefix [^\r\n\p{L}\p{N}] or the
/// word's first character; either reading ends at the same place.
template <int max_digits, WhitespaceRule whitespace, unsigned word = kLetter, typename End>
inline const Byte* NextCl100kLike(const Byte* at, End end) noexcept {
  constexpr unsigned kSymbolHere = kSymbol & ~word;
  const Char c = ReadChar(at);
  if (c.Is(word)) return SkipLetters<word>(c.next, end);
  if (c.Is(kNumber)) return SkipRun<kNumber>(c.next, end, max_digits - 1);
  if (*at == '\'') {
    const Byte* const contraction_end = SkipContraction<true>(at, end);
    if (contraction_end != at) return contraction_end;
  }
  const Byte* symbols = c.Is(kSymbolHere) ? c.next : nullptr;
  if (!c.Is(kNewline) && c.next < end) {
    const Char second = ReadChar(c.next);
    if (second.Is(word)) return SkipLetters<word>(second.next, end);
    if (*at == ' ' && second.Is(kSymbolHere)) symbols = second.next;
  }
  if (symbols == nullptr) return WhitespaceEnd<whitespace>(at, end);
  return SkipRun<kNewline>(SkipRun<kSymbolHere>(symbols, end), end);
}

template <typename End>
inline const Byte* NextCl100k(const Byte* at, End end) noexcept {
  return NextCl100kLike<3, WhitespaceRule::kCl100k>(at, end);
}

template <typename End>
inline const Byte* NextLlama3(const Byte* at, End end) noexcept {
  return NextCl100kLike<3, WhitespaceRule::kNewer>(at, end);
}

template <typename End>
inline const Byte* NextQwen2(const Byte* at, End end) noexcept {
  return NextCl100kLike<1, WhitespaceRule::kNewer>(at, end);
}

template <typename End>
inline const Byte* NextQwen35(const Byte* at, End end) noexcept {
  return NextCl100kLike<1, WhitespaceRule::kNewer, kLetter | kMark>(at, end);
}

}  // namespace ctx::tokenize::scan
