// From pre-tokens to ids, many at a time: all are looked up in the tables of frequent tokens, then
// those that are not there in the memos and in the vocabulary, and what is left is merged.
//
// Safe to call from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "tokenize/bpe/vocabulary.h"
#include "tokenize/id_output.h"

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

/// Texts at a time.
inline constexpr std::size_t kMaxTexts = 256;

/// Appends their ids. On std::bad_alloc some may have been appended.
void EncodePreTokens(const Vocabulary& vocabulary, const PreTokens& pre_tokens, IdOutput& ids);

/// How many ids EncodePreTokens would append.
std::int64_t CountPreTokens(const Vocabulary& vocabulary, const PreTokens& pre_tokens);

/// Pre-tokens of up to kMaxTexts texts that lie one behind the other. borders[i] is how many
/// pre-tokens the texts up to number i have; sizes[i] becomes how many ids they have, those that
/// `ids` had counted.
void EncodePreTokensOfTexts(const Vocabulary& vocabulary, const PreTokens& pre_tokens,
                            std::span<const std::uint16_t> borders, IdOutput& ids,
                            std::int64_t* sizes);

/// The same sizes, of ids that are not stored.
void CountPreTokensOfTexts(const Vocabulary& vocabulary, const PreTokens& pre_tokens,
                           std::span<const std::uint16_t> borders, std::int64_t* sizes);

/// Appends the ids of one pre-token of any length. On std::bad_alloc some may have been appended.
void EncodeLong(const Vocabulary& vocabulary, std::string_view bytes, IdOutput& ids);

/// How many ids EncodeLong would append.
std::int64_t CountLong(const Vocabulary& vocabulary, std::string_view bytes);

}  // namespace ctx::tokenize
