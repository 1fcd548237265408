// Counting what merging gives, without ever holding all the bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "tokenize/bpe/vocabulary.h"

namespace ctx::tokenize {

/// Counts the tokens of one pre-token after the other, whose bytes come in parts and are never held
/// all at once. For one thread at a time. After an exception it is of no more use.
class MergeCounter {
 public:
  /// The vocabulary must outlive it.
  explicit MergeCounter(const Vocabulary& vocabulary);
  ~MergeCounter();
  MergeCounter(const MergeCounter&) = delete;
  MergeCounter& operator=(const MergeCounter&) = delete;

  /// Adds bytes to the pre-token, whole characters if those are the symbols. Amortized as
  /// CountMerged; keeps a bounded number of bytes and ranks beyond the bytes of one call.
  void Feed(std::string_view bytes);

  /// How many tokens the pre-token has: one if it is a token, else as CountMerged. Nothing when
  /// that takes all its bytes at once (where CountMerged merges in one go, which no published
  /// vocabulary makes it do). Then begins anew.
  std::optional<std::int64_t> Finish();

 private:
  struct State;

  std::unique_ptr<State> state_;
};

}  // namespace ctx::tokenize
