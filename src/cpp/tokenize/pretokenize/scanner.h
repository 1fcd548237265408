// Pre-tokenizers: text cut into pre-tokens exactly as the published patterns cut it.
//
// The patterns match every character, so the pre-tokens follow each other without a gap, and a cut
// depends on nothing before it: NextPreToken(text, begin) may be called at any cut. Where a pattern
// looks at the end of text ($, (?!\S)), that is the end of `text`.
//
// Hand-written, without a regular expression engine: O(1) state, no recursion, and O(size) time for
// a whole text whatever it holds. Text must be valid UTF-8 (unchecked). Pure functions: callable
// from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>
#include <utility>

#include "tokenize/pretokenize/scan_cl100k.h"
#include "tokenize/pretokenize/scan_o200k.h"
#include "tokenize/pretokenize/scan_r50k.h"

namespace ctx::tokenize {

/// The pre-tokenizer patterns: of gpt2, r50k_base and p50k_base; of cl100k_base; of o200k_base and
/// o200k_harmony; of Qwen2 and later.
enum class Pattern : std::uint8_t { kR50k, kCl100k, kO200k, kQwen2 };

/// End of the pre-token that begins at `begin` < text.size(), which must be a cut; greater than
/// `begin`.
template <Pattern pattern>
inline std::size_t NextPreToken(std::string_view text, std::size_t begin) noexcept {
  const auto* const data = reinterpret_cast<const scan::Byte*>(text.data());
  const scan::Byte* const at = data + begin;
  const scan::Byte* const end = data + text.size();
  const scan::Byte* next;
  if constexpr (pattern == Pattern::kR50k) {
    next = scan::NextR50k(at, end);
  } else if constexpr (pattern == Pattern::kCl100k) {
    next = scan::NextCl100k(at, end);
  } else if constexpr (pattern == Pattern::kO200k) {
    next = scan::NextO200k(at, end);
  } else {
    next = scan::NextQwen2(at, end);
  }
  return static_cast<std::size_t>(next - data);
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
      break;
  }
  return function(std::integral_constant<Pattern, Pattern::kQwen2>());
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

}  // namespace ctx::tokenize
