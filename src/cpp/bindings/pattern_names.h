// The names by which Python speaks of the pre-tokenizer patterns.
#pragma once

#include <array>
#include <string_view>
#include <utility>

#include "common/error.h"
#include "common/str_cat.h"
#include "tokenize/pretokenize/scanner.h"

namespace ctx::bindings {

inline constexpr std::array<std::pair<std::string_view, tokenize::Pattern>, 4> kPatternNames = {{
    {"r50k", tokenize::Pattern::kR50k},
    {"cl100k", tokenize::Pattern::kCl100k},
    {"o200k", tokenize::Pattern::kO200k},
    {"qwen2", tokenize::Pattern::kQwen2},
}};

/// Throws ArgumentError for any other name.
inline tokenize::Pattern PatternOf(std::string_view name) {
  for (const auto& [known, pattern] : kPatternNames) {
    if (known == name) return pattern;
  }
  throw ArgumentError(StrCat("pattern must be r50k, cl100k, o200k or qwen2, got '", name, "'"));
}

inline std::string_view NameOf(tokenize::Pattern pattern) {
  return kPatternNames[static_cast<std::size_t>(pattern)].first;
}

}  // namespace ctx::bindings
