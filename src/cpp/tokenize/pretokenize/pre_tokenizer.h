// What cuts text into pre-tokens: a hand-written scanner, or Hugging Face's pre-tokenizer steps one
// after the other.
//
// Every pre-token is a part of the text, not empty, and they come in order. They cover the text but
// for what steps of behavior kRemoved drop (tiktoken drops what its pattern does not match; so its
// patterns are steps that are inverted and kRemoved).
//
// Immutable: any number of threads may use one. Texts must be valid UTF-8 (unchecked).
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "tokenize/definition.h"
#include "tokenize/pretokenize/block_scan.h"
#include "tokenize/pretokenize/scanner.h"

namespace ctx::tokenize {

class PreTokenizer {
 public:
  explicit PreTokenizer(Pattern pattern);

  /// The scanner that is known to cut as these steps do, or the steps themselves: each splits the
  /// pieces of the one before, which it sees as texts of their own. No steps: the text is one
  /// pre-token. Throws LoadError for a regular expression that no scanner knows unless
  /// `allow_regex`, for one that is not supported (regex_syntax.h), and for an empty literal.
  explicit PreTokenizer(std::vector<PreTokenizerStep> steps, bool allow_regex = false);

  /// Set when a hand-written scanner does it all.
  std::optional<Pattern> pattern() const noexcept { return pattern_; }

  /// What finds many pre-tokens of that pattern at once, if there is something on this machine.
  BlockScanner block_scanner() const noexcept { return block_scanner_; }

  const std::vector<PreTokenizerStep>& steps() const noexcept { return steps_; }
  /// The regular expression that by itself is this pre-tokenizer in tiktoken, if there is one.
  std::optional<std::string_view> tiktoken_pattern() const noexcept;
  /// Whether pre-tokens may leave out parts of the text.
  bool removes_text() const noexcept;

  /// Calls visit(std::string_view pre_token), which returns whether to go on, for each pre-token.
  /// O(size) unless there are regular expressions; those throw ArgumentError when a search has to
  /// give up (regex.h).
  template <typename Visit>
  void ForEach(std::string_view text, Visit&& visit) const {
    if (!pattern_) {
      ForEachOfSteps(text, std::ref(visit));
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

  /// Bytes at the front of `text` up to a cut such that no appended text changes the pre-tokens
  /// before it, and those after it are the pre-tokens of the text from there on alone; 0 when none
  /// is certain. O(size) but for regular expressions.
  std::size_t FinalPrefix(std::string_view text) const;

 private:
  struct Compiled;

  void ForEachOfSteps(std::string_view text,
                      const std::function<bool(std::string_view)>& visit) const;

  std::optional<Pattern> pattern_;
  BlockScanner block_scanner_ = nullptr;
  std::vector<PreTokenizerStep> steps_;
  std::shared_ptr<const Compiled> compiled_;  ///< unless a scanner does it
};

}  // namespace ctx::tokenize
