// The tokens of a long stretch of one pre-token, kept to count parts of it without merging them
// from scratch (tokenize/cuts.h says why that is exact).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "tokenize/bpe/vocabulary.h"

namespace ctx::tokenize {

class MergedRun {
 public:
  /// Merges `text`, which must outlive this.
  MergedRun(const Vocabulary& vocabulary, std::string_view text);

  /// How many tokens the first `end` bytes and `tail` merge to, or `head` and those from `begin`
  /// on. With characters for symbols both must be borders of characters. The cost of merging a few
  /// tokens, more where the cut changes tokens far away. Where it changes all to the end (in a run
  /// of one letter each of the next few bytes does), CountFrom keeps what it has merged: the next
  /// calls may meet tokens of that. So much is kept as there are bytes of text.
  std::int64_t CountTo(std::size_t end, std::string_view tail = {}) const;
  std::int64_t CountFrom(std::size_t begin, std::string_view head = {});

  /// Where the first `num_tokens` tokens end, or the last begin.
  std::size_t EndOf(std::int64_t num_tokens) const noexcept;
  std::size_t BeginOfLast(std::int64_t num_tokens) const noexcept;

 private:
  bool IsBorderOf(std::string_view text, std::size_t at) const noexcept;
  bool Joins(std::string_view left, std::string_view right) const;
  std::vector<std::size_t> Ends(std::string_view text) const;
  void KeepSuffix(std::vector<std::size_t> borders);

  const Vocabulary& vocabulary_;
  std::string_view text_;
  std::vector<std::size_t> ends_;  // ends_[i]: where the first i tokens end; ends_[0] is 0
  // Borders of the tokens of suffixes that have been merged, from some border to the text's end.
  std::vector<std::vector<std::size_t>> suffixes_;
  std::size_t num_kept_ = 0;  // all borders in them
};

}  // namespace ctx::tokenize
