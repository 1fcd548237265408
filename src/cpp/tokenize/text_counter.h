// How many tokens a text has, when neither it nor its normalized form need be in one place.
//
// Text passes normalizer and pre-tokenizer chunk by chunk, as in an Appender: up to where the
// normalizer says that nothing can change any more, and of that up to the last final pre-token.
// Without a pre-tokenizer everything is one pre-token (but for user-defined symbols) and is merged
// as it comes.
//
// Keeps a chunk or two, whatever the text, but for what the normalizer has changed and the
// pre-tokenizer cannot cut yet (capitals behind a caseless letter, blanks behind a newline; with
// DeepSeek's scanner any pre-token), and for characters that the normalizer may still join (a
// letter under many marks). Where one of them promises nothing (Normalizer::Promises,
// PreTokenizer::FinalPrefix) that is all the text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "tokenize/bpe/merge_counter.h"
#include "tokenize/encoding.h"

namespace ctx::tokenize {

/// One text at a time, for one thread. After an exception it is of no more use.
class TextCounter {
 public:
  static constexpr std::size_t kChunkBytes = std::size_t{1} << 16;

  /// The encoding must outlive it. Chunks have at most `max_chunk_bytes`; the first ones have less.
  explicit TextCounter(const Encoding& encoding, std::int64_t limit = INT64_MAX,
                       std::size_t max_chunk_bytes = kChunkBytes);

  /// Adds ordinary text, whole characters. Without a copy where the normalizer leaves it as it is.
  void Feed(std::string_view utf8);

  /// Ends the section, as a special token does or the end of all. What follows is another one.
  void EndSection();

  /// Feed and EndSection; less is copied when they are one.
  void FeedLast(std::string_view utf8);

  /// Adds tokens.
  void Add(std::int64_t num_tokens) noexcept { count_ += num_tokens; }

  /// Whether there are more than `limit` already; what is fed then is not looked at.
  bool Full() const noexcept { return count_ > limit_; }

  /// The tokens of the sections that have ended and of what is final in this one; nothing when the
  /// text has to be in one place (MergeCounter::Finish).
  std::optional<std::int64_t> count() const noexcept {
    return gave_up_ ? std::nullopt : std::optional(count_);
  }

 private:
  /// Returns where in the text those bytes begin that the normalizer is not done with.
  std::size_t TakeStable(std::string_view utf8);
  void Take(std::string_view normalized, bool stays, std::size_t expected_bytes);
  void TakeUncut(std::string_view normalized, bool is_last);
  void CountFinal();
  void SetAside();
  void OwnOpen(std::size_t expected_bytes);
  void EndPreToken();

  const Encoding& encoding_;
  const std::int64_t limit_;
  const std::size_t max_chunk_bytes_;
  const bool is_cut_;  // by a pre-tokenizer
  std::size_t max_symbol_bytes_ = 0;
  std::size_t chunk_bytes_;
  std::int64_t count_ = 0;
  bool gave_up_ = false;

  Normalizer::Position position_ = Normalizer::Position::kInputStart;
  std::string raw_;              // what the normalizer is not done with, of earlier calls
  std::string normalized_;       // a chunk
  std::string_view open_;        // normalized text behind the last final pre-token
  std::string open_text_;        // backs open_, unless that is text of the caller
  bool owns_open_ = false;       // whether it does
  std::size_t tried_bytes_ = 0;  // so much of open_ is known to have no final pre-token
  std::string pending_;          // normalized text in which a symbol may still begin
  // The pre-token that is open, without a pre-tokenizer or when it has grown long: then so many
  // bytes of open_ stand for what it has been fed.
  MergeCounter pre_token_;
  std::size_t stand_in_bytes_ = 0;
};

}  // namespace ctx::tokenize
