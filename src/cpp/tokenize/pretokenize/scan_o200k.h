// The pre-tokenizers of o200k_base and o200k_harmony, and of Mistral's tekken. o200k's:
//
//     [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|...)?
//   | [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|...)?
//   | \p{N}{1,3} | ?[^\s\p{L}\p{N}]+[\r\n/]* | \s*[\r\n]+ | \s+(?!\S) | \s+
//
// (blanks around | are not part of it; a space stands before the ? of the fourth alternative).
// Tekken's has no contractions, and \p{N} instead of \p{N}{1,3}.
//
// The two word alternatives as one walk. Call the first class U and the second W; caseless letters
// and marks are in both. Let [q, u) be the run of U where the word begins:
//   - W* goes on at u when a lower-case letter stands there: the first alternative takes it all;
//   - otherwise the first alternative has to give back from U* until a character of W follows,
//     which is the last caseless one of [q, u): the word ends after it;
//   - when there is none, the second alternative takes [q, u).
// What is given back is capitals alone, so that the next word takes them whole by the third rule:
// no byte is passed more than twice. A mark may be the prefix [^\r\n\p{L}\p{N}] or the word's first
// character; either reading ends at the same place, so it is never taken as a prefix.
#pragma once

#include "tokenize/pretokenize/scan_runs.h"

namespace ctx::tokenize::scan {

/// End of the word that begins at `at` with a letter or mark.
template <typename End>
inline const Byte* WordEndO200k(const Byte* at, End end) noexcept {
  constexpr unsigned kBoth = kCaseless | kMark;
  const Byte* after_caseless = nullptr;
  while (at < end) {
    const Char c = ReadChar(at);
    if (c.Is(kLower)) {
      return SkipLetters<kLower | kBoth>(c.next, end);
    }
    if (!c.Is(kUpper | kBoth)) break;
    at = c.next;
    if (c.Is(kBoth)) after_caseless = at;
  }
  return after_caseless != nullptr ? after_caseless : at;
}

/// End of the symbols and the [\r\n/]* after them.
template <typename End>
inline const Byte* SymbolsEndO200k(const Byte* at, End end) noexcept {
  at = SkipRun<kSymbol>(at, end);
  while (at < end && (*at == '\r' || *at == '\n' || *at == '/')) ++at;
  return at;
}

/// End of the pre-token that begins at `at` < end. At most O(1) passes over any byte in a whole
/// scan.
template <int max_digits, bool contractions, typename End>
inline const Byte* NextO200kLike(const Byte* at, End end) noexcept {
  constexpr unsigned kWord = kLetter | kMark;
  const auto word_end = [end](const Byte* begin) noexcept {
    const Byte* const letters_end = WordEndO200k(begin, end);
    return contractions ? SkipContraction<true>(letters_end, end) : letters_end;
  };
  const Char c = ReadChar(at);
  if (c.Is(kWord)) return word_end(at);
  if (c.Is(kNumber)) return SkipRun<kNumber>(c.next, end, max_digits - 1);
  if (!c.Is(kNewline) && c.next < end) {
    const Char second = ReadChar(c.next);
    if (second.Is(kWord)) return word_end(c.next);
    if (*at == ' ' && second.Is(kSymbol)) return SymbolsEndO200k(second.next, end);
  }
  if (c.Is(kSpace)) return WhitespaceEnd<WhitespaceRule::kNewer>(at, end);
  return SymbolsEndO200k(c.next, end);
}

template <typename End>
inline const Byte* NextO200k(const Byte* at, End end) noexcept {
  return NextO200kLike<3, true>(at, end);
}

template <typename End>
inline const Byte* NextTekken(const Byte* at, End end) noexcept {
  return NextO200kLike<1, false>(at, end);
}

}  // namespace ctx::tokenize::scan
