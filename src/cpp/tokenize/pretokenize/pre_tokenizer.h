// The pre-tokenizer of an encoding: one hand-written scanner where the steps are a published
// pattern, else the steps one after the other, each cutting the pieces that the one before has
// left, as Hugging Face's tokenizers do it. Immutable: any thread may use it.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "tokenize/definition.h"
#include "tokenize/pretokenize/known_patterns.h"
#include "tokenize/pretokenize/scanner.h"

namespace ctx::tokenize {

class PreTokenizer {
 public:
  explicit PreTokenizer(Pattern pattern);

  /// No steps: a text is one pre-token. Throws LoadError that names the step for a regular
  /// expression that is none of the published ones.
  explicit PreTokenizer(std::vector<PreTokenizerStep> steps);

  /// Set when one scanner does it all.
  std::optional<Pattern> pattern() const noexcept { return pattern_; }
  const std::vector<PreTokenizerStep>& steps() const noexcept { return steps_; }
  /// The one regular expression that it is in tiktoken's dialect, if there is one.
  std::optional<std::string_view> tiktoken_pattern() const noexcept;
  /// Whether pre-tokens may leave out parts of the text.
  bool removes_text() const noexcept { return false; }

  /// Calls visit(std::string_view pre_token) for each pre-token in order, until it returns false.
  template <typename Visit>
  void ForEach(std::string_view text, Visit&& visit) const {
    if (!pattern_) {
      if (!text.empty()) visit(text);
      return;
    }
    WithPattern(*pattern_, [&](auto constant) {
      for (std::size_t begin = 0; begin < text.size();) {
        const std::size_t end = NextPreToken<constant()>(text, begin);
        if (!visit(text.substr(begin, end - begin))) return;
        begin = end;
      }
    });
  }

  /// How many bytes the pre-tokens at the front of `text` have that no text appended to it can
  /// change. O(text).
  std::size_t FinalPrefix(std::string_view text) const {
    return pattern_ ? tokenize::FinalPrefix(*pattern_, text) : 0;
  }

 private:
  std::optional<Pattern> pattern_;
  std::vector<PreTokenizerStep> steps_;
};

}  // namespace ctx::tokenize
