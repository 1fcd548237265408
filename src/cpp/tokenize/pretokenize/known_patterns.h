// The published spellings of the patterns that have a native scanner: which pre-tokenizer steps a
// scanner stands for. A spelling is listed for a flavor only if the reference of that flavor cuts
// every text as the scanner does; tests/conformance compares them.
//
// Immutable data and pure functions: callable from any thread.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string_view>

#include "tokenize/definition.h"
#include "tokenize/pretokenize/scanner.h"

namespace ctx::tokenize {

/// A published pre-tokenizer: regular expressions applied one after the other, each to the pieces
/// that the one before has left.
struct KnownSpelling {
  Pattern pattern;
  bool in_tiktoken;
  bool in_hugging_face;
  std::array<std::string_view, 3> regexes;  ///< those that are not there are empty
};

/// All of them, those of one pattern side by side, the one it is best known by first.
std::span<const KnownSpelling> KnownSpellings() noexcept;

/// The pattern whose scanner cuts every text as these steps do, if one is known to. O(steps).
std::optional<Pattern> KnownPattern(std::span<const PreTokenizerStep> steps) noexcept;

}  // namespace ctx::tokenize
