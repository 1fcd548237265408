// The pre-tokenizer of o200k_base and o200k_harmony:
//
//     [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|...)?
//   | [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|...)?
//   | \p{N}{1,3} | ?[^\s\p{L}\p{N}]+[\r\n/]* | \s*[\r\n]+ | \s+(?!\S) | \s+
//
// (blanks around | are not part of it; a space stands before the ? of the fourth alternative).
//
// The two word alternatives as one walk. Call the first class U and the second W; caseless letters
// and marks are in both. Let [q, u) be the run of U where the word begins:
//   - W* goes on at u when a lower-case letter stands there: the first alternative takes it all;
//   - otherwise the first alternative has to give back from U* until a character of W follows,
//   which
//     is the last caseless one of [q, u): the word ends after it;
//   - when there is none, the second alternative takes [q, u).
// What is given back is capitals alone, so that the next word takes them whole by the third rule:
// no byte is passed more than twice. A mark may be the prefix [^\r\n\p{L}\p{N}] or the word's first
// character; either reading ends at the same place, so it is never taken as a prefix.
#pragma once

#include "tokenize/pretokenize/scan_runs.h"

namespace ctx::tokenize::scan {

/// End of the word that begins at `at` with a letter or mark.
inline const Byte* WordEndO200k(const Byte* at, const Byte* end) noexcept {
  constexpr unsigned kBoth = kCaseless | kMark;
  const Byte* after_caseless = nullptr;
  while (at < end) {
    const Char c = ReadChar(at);
    if (c.Is(kLower)) {
      at = SkipLetters<kLower | kBoth>(c.next, end);
      return SkipContraction<true>(at, end);
    }
    if (!c.Is(kUpper | kBoth)) break;
    at = c.next;
    if (c.Is(kBoth)) after_caseless = at;
  }
  return SkipContraction<true>(after_caseless != nullptr ? after_caseless : at, end);
}

/// End of the symbols and the [\r\n/]* after them.
inline const Byte* SymbolsEndO200k(const Byte* at, const Byte* end) noexcept {
  at = SkipRun<kSymbol>(at, end);
  while (at < end && (*at == '\r' || *at == '\n' || *at == '/')) ++at;
  return at;
}

/// End of the pre-token that begins at `at` < end. At most O(1) passes over any byte in a whole
/// scan.
inline const Byte* NextO200k(const Byte* at, const Byte* end) noexcept {
  constexpr unsigned kWord = kLetter | kMark;
  const Char c = ReadChar(at);
  if (c.Is(kWord)) return WordEndO200k(at, end);
  if (c.Is(kNumber)) return SkipRun<kNumber>(c.next, end, 2);
  if (c.next < end && !c.Is(kNewline)) {
    const Char second = ReadChar(c.next);
    if (second.Is(kWord)) return WordEndO200k(c.next, end);
    if (*at == ' ' && second.Is(kOther)) return SymbolsEndO200k(second.next, end);
  }
  if (c.Is(kSpace)) return WhitespaceEnd<WhitespaceRule::kQwen2>(at, end);
  return SymbolsEndO200k(c.next, end);
}

}  // namespace ctx::tokenize::scan
