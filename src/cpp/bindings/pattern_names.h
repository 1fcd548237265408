// The names by which Python speaks of the pre-tokenizer patterns.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "common/error.h"
#include "common/str_cat.h"
#include "tokenize/pretokenize/scanner.h"

namespace ctx::bindings {

inline constexpr std::array<std::pair<std::string_view, tokenize::Pattern>, 8> kPatternNames = {{
    {"r50k", tokenize::Pattern::kR50k},
    {"cl100k", tokenize::Pattern::kCl100k},
    {"o200k", tokenize::Pattern::kO200k},
    {"qwen2", tokenize::Pattern::kQwen2},
    {"llama3", tokenize::Pattern::kLlama3},
    {"qwen35", tokenize::Pattern::kQwen35},
    {"tekken", tokenize::Pattern::kTekken},
    {"deepseek", tokenize::Pattern::kDeepSeek},
}};

/// Throws ArgumentError for any other name.
inline tokenize::Pattern PatternOf(std::string_view name) {
  for (const auto& [known, pattern] : kPatternNames) {
    if (known == name) return pattern;
  }
  std::string names;
  for (const auto& [known, pattern] : kPatternNames) {
    if (!names.empty()) names += pattern == kPatternNames.back().second ? " or " : ", ";
    names += known;
  }
  throw ArgumentError(StrCat("pattern must be ", names, ", got '", name, "'"));
}

inline std::string_view NameOf(tokenize::Pattern pattern) {
  return kPatternNames[static_cast<std::size_t>(pattern)].first;
}

}  // namespace ctx::bindings
