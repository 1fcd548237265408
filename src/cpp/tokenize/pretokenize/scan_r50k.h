// The pre-tokenizer of GPT-2, r50k_base and p50k_base:
//
//   '(?:[sdmt]|ll|ve|re) | ?\p{L}++ | ?\p{N}++ | ?[^\s\p{L}\p{N}]++ | \s++$ | \s+(?!\S) | \s
//
// (blanks around | are not part of them; a space stands before each ?).
#pragma once

#include "tokenize/pretokenize/scan_runs.h"

namespace ctx::tokenize::scan {

/// End of the pre-token that begins at `at` < end. At most O(1) passes over any byte in a whole
/// scan.
template <typename End>
inline const Byte* NextR50k(const Byte* at, End end) noexcept {
  Char c = ReadChar(at);
  if (*at == ' ' && c.next < end) {
    const Char second = ReadChar(c.next);
    if (!second.Is(kSpace)) c = second;
  } else if (*at == '\'') {
    const Byte* const contraction_end = SkipContraction<false>(at, end);
    if (contraction_end != at) return contraction_end;
  }
  if (c.Is(kLetter)) return SkipLetters<kLetter>(c.next, end);
  if (c.Is(kNumber)) return SkipRun<kNumber>(c.next, end);
  if (c.Is(kSymbol)) return SkipRun<kSymbol>(c.next, end);
  return WhitespaceEnd<WhitespaceRule::kR50k>(at, end);
}

}  // namespace ctx::tokenize::scan
