#include "tokenize/load/token_index.h"

#include <algorithm>

namespace ctx::tokenize::load {
namespace {

// Tokens that are equal stay in their order, by their address.
bool BytesLess(const TokenDefinition* a, const TokenDefinition* b) {
  const int order = a->bytes.compare(b->bytes);
  return order != 0 ? order < 0 : a < b;
}

bool IdLess(const TokenDefinition* a, const TokenDefinition* b) {
  return a->id != b->id ? a->id < b->id : a < b;
}

template <typename Same>
TokenIndex::Pair FirstPair(const std::vector<const TokenDefinition*>& sorted, Same same) {
  const auto at = std::adjacent_find(sorted.begin(), sorted.end(), same);
  return at == sorted.end() ? TokenIndex::Pair() : TokenIndex::Pair(*at, *(at + 1));
}

}  // namespace

TokenIndex::TokenIndex(std::span<const TokenDefinition> tokens) {
  by_bytes_.reserve(tokens.size());
  for (const TokenDefinition& token : tokens) by_bytes_.push_back(&token);
  by_id_ = by_bytes_;
  std::sort(by_bytes_.begin(), by_bytes_.end(), BytesLess);
  std::sort(by_id_.begin(), by_id_.end(), IdLess);
}

const TokenDefinition* TokenIndex::FindBytes(std::string_view bytes) const noexcept {
  const auto at = std::lower_bound(
      by_bytes_.begin(), by_bytes_.end(), bytes,
      [](const TokenDefinition* token, std::string_view key) { return token->bytes < key; });
  return at != by_bytes_.end() && (*at)->bytes == bytes ? *at : nullptr;
}

const TokenDefinition* TokenIndex::FindId(TokenId id) const noexcept {
  const auto at =
      std::lower_bound(by_id_.begin(), by_id_.end(), id,
                       [](const TokenDefinition* token, TokenId key) { return token->id < key; });
  return at != by_id_.end() && (*at)->id == id ? *at : nullptr;
}

TokenIndex::Pair TokenIndex::SameBytes() const noexcept {
  return FirstPair(by_bytes_, [](const auto* a, const auto* b) { return a->bytes == b->bytes; });
}

TokenIndex::Pair TokenIndex::SameId() const noexcept {
  return FirstPair(by_id_, [](const auto* a, const auto* b) { return a->id == b->id; });
}

}  // namespace ctx::tokenize::load
