// Pre-tokenizers: text cut into pre-tokens exactly as the published patterns cut it.
//
// The patterns match every character, so the pre-tokens follow each other without a gap, and a cut
// depends on nothing before it: NextPreToken(text, begin) may be called at any cut. Where a pattern
// looks at the end of text ($, (?!\S)), that is the end of `text`.
//
// A pre-token is final when its end was decided without a look at the end of the text: no text
// appended can change it, nor any final one before it. Any other may change.
//
// Hand-written, without a regular expression engine: O(1) state, no recursion, and O(size) time for
// a whole text whatever it holds. Text must be valid UTF-8 (unchecked). Pure functions: callable
// from any thread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>
#include <utility>

#include "tokenize/pretokenize/scan_cl100k.h"
#include "tokenize/pretokenize/scan_deepseek.h"
#include "tokenize/pretokenize/scan_o200k.h"
#include "tokenize/pretokenize/scan_r50k.h"

namespace ctx::tokenize {

/// The pre-tokenizer patterns; known_patterns.cc has their published spellings.
enum class Pattern : std::uint8_t {
  kR50k,      ///< gpt2, r50k_base, p50k_base
  kCl100k,    ///< cl100k_base as tiktoken spells it now
  kO200k,     ///< o200k_base, o200k_harmony
  kQwen2,     ///< Qwen2, Qwen2.5, Qwen3
  kLlama3,    ///< Llama 3, GLM-4, and cl100k_base as tiktoken once did and Hugging Face does
  kQwen35,    ///< Qwen3.5
  kTekken,    ///< Mistral's tekken
  kDeepSeek,  ///< DeepSeek-V3, DeepSeek-R1
};

namespace scan {

template <Pattern pattern, typename End>
inline const Byte* Next(const Byte* at, End end) noexcept {
  if constexpr (pattern == Pattern::kR50k) return NextR50k(at, end);
  if constexpr (pattern == Pattern::kCl100k) return NextCl100k(at, end);
  if constexpr (pattern == Pattern::kO200k) return NextO200k(at, end);
  if constexpr (pattern == Pattern::kQwen2) return NextQwen2(at, end);
  if constexpr (pattern == Pattern::kLlama3) return NextLlama3(at, end);
  if constexpr (pattern == Pattern::kQwen35) return NextQwen35(at, end);
  if constexpr (pattern == Pattern::kTekken) return NextTekken(at, end);
  if constexpr (pattern == Pattern::kDeepSeek) return NextDeepSeek(at, end);
}

}  // namespace scan

/// End of the pre-token that begins at `begin` < text.size(), which must be a cut; greater than
/// `begin`.
template <Pattern pattern>
inline std::size_t NextPreToken(std::string_view text, std::size_t begin) noexcept {
  const auto* const data = reinterpret_cast<const scan::Byte*>(text.data());
  return static_cast<std::size_t>(scan::Next<pattern>(data + begin, data + text.size()) - data);
}

/// Likewise, but 0 when that pre-token is not final.
template <Pattern pattern>
inline std::size_t NextFinalPreToken(std::string_view text, std::size_t begin) noexcept {
  const auto* const data = reinterpret_cast<const scan::Byte*>(text.data());
  bool met_end = false;
  const scan::Byte* const next =
      scan::Next<pattern>(data + begin, scan::WatchedEnd(data + text.size(), met_end));
  return met_end ? 0 : static_cast<std::size_t>(next - data);
}

/// How many bytes the final pre-tokens at the front of `text` have. O(size).
template <Pattern pattern>
std::size_t FinalPrefix(std::string_view text) noexcept {
  std::size_t begin = 0;
  while (begin < text.size()) {
    const std::size_t end = NextFinalPreToken<pattern>(text, begin);
    if (end == 0) break;
    begin = end;
  }
  return begin;
}

/// Returns function(std::integral_constant<Pattern, pattern>()), so that a loop over pre-tokens is
/// compiled once for each pattern, with the scanner inside it.
template <typename Function>
decltype(auto) WithPattern(Pattern pattern, Function&& function) {
  switch (pattern) {
    case Pattern::kR50k:
      return function(std::integral_constant<Pattern, Pattern::kR50k>());
    case Pattern::kCl100k:
      return function(std::integral_constant<Pattern, Pattern::kCl100k>());
    case Pattern::kO200k:
      return function(std::integral_constant<Pattern, Pattern::kO200k>());
    case Pattern::kQwen2:
      return function(std::integral_constant<Pattern, Pattern::kQwen2>());
    case Pattern::kLlama3:
      return function(std::integral_constant<Pattern, Pattern::kLlama3>());
    case Pattern::kQwen35:
      return function(std::integral_constant<Pattern, Pattern::kQwen35>());
    case Pattern::kTekken:
      return function(std::integral_constant<Pattern, Pattern::kTekken>());
    case Pattern::kDeepSeek:
      break;
  }
  return function(std::integral_constant<Pattern, Pattern::kDeepSeek>());
}

/// Calls visit(std::string_view pre_token) for each pre-token of `text`, in order.
template <typename Visit>
void ForEachPreToken(Pattern pattern, std::string_view text, Visit&& visit) {
  WithPattern(pattern, [&](auto constant) {
    for (std::size_t begin = 0; begin < text.size();) {
      const std::size_t end = NextPreToken<constant()>(text, begin);
      visit(text.substr(begin, end - begin));
      begin = end;
    }
  });
}

/// Likewise for the final ones at the front of `text`; returns how many bytes they have.
template <typename Visit>
std::size_t ForEachFinalPreToken(Pattern pattern, std::string_view text, Visit&& visit) {
  return WithPattern(pattern, [&](auto constant) {
    std::size_t begin = 0;
    while (begin < text.size()) {
      const std::size_t end = NextFinalPreToken<constant()>(text, begin);
      if (end == 0) break;
      visit(text.substr(begin, end - begin));
      begin = end;
    }
    return begin;
  });
}

/// A place close to the end of `text` where each pattern cuts, whatever stands elsewhere; 0 when
/// none is found in O(1). No alternative of any has white space or these punctuation marks behind a
/// letter.
inline std::size_t CertainCut(std::string_view text) noexcept {
  constexpr std::size_t kLookedAt = 256;
  const auto* const data = reinterpret_cast<const scan::Byte*>(text.data());
  const std::size_t first = text.size() - std::min(text.size(), kLookedAt);
  for (std::size_t at = text.size(); at-- > first + 1;) {
    const std::string_view rest = text.substr(at);
    if (rest[0] != ' ' && rest[0] != '\n' && !rest.starts_with("\u3001") &&
        !rest.starts_with("\u3002") && !rest.starts_with("\uFF0C")) {
      continue;
    }
    std::size_t before = at - 1;
    while (before > 0 && (data[before] & 0xC0) == 0x80) --before;
    if (scan::ReadChar(data + before).Is(scan::kLetter)) return at;
  }
  return 0;
}

inline std::size_t FinalPrefix(Pattern pattern, std::string_view text) noexcept {
  const std::size_t cut = CertainCut(text);
  return cut + WithPattern(pattern, [rest = text.substr(cut)](auto constant) {
           return FinalPrefix<constant()>(rest);
         });
}

}  // namespace ctx::tokenize
