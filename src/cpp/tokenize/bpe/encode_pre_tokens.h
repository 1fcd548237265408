// From pre-tokens to ids, many at a time: all are looked up in the tables of frequent tokens, then
// those that are not there in the memos and in the vocabulary, and what is left is merged.
//
// Safe to call from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/ids.h"
#include "tokenize/bpe/vocabulary.h"

namespace ctx::tokenize {

/// Pre-tokens that follow each other from `text` on, of at most kMaxPreTokens bytes together.
struct PreTokens {
  const char* text;
  const std::uint16_t* ends;  // of each, counted from `text`; ends[-1] is 0, 8 behind are readable
  std::size_t count;
  const char* readable_end;
  bool has_wide;  // whether there are characters of three bytes
};

/// Pre-tokens at a time, and bytes that they have.
inline constexpr std::size_t kMaxPreTokens = 8192 + 64;

/// Appends their ids. On std::bad_alloc some may have been appended.
void EncodePreTokens(const Vocabulary& vocabulary, const PreTokens& pre_tokens,
                     std::vector<TokenId>& ids);

/// How many ids EncodePreTokens would append.
std::int64_t CountPreTokens(const Vocabulary& vocabulary, const PreTokens& pre_tokens);

}  // namespace ctx::tokenize
