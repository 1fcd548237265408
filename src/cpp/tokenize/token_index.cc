#include "tokenize/token_index.h"

#include <algorithm>
#include <cstddef>

namespace ctx::tokenize {
namespace {

/// Orders as the bytes do, but for those that differ behind the eighth or in length alone.
std::uint64_t KeyOf(std::string_view bytes) {
  std::uint64_t key = 0;
  for (std::size_t i = 0; i < 8; ++i) {
    key = key << 8 | (i < bytes.size() ? static_cast<unsigned char>(bytes[i]) : 0U);
  }
  return key;
}

template <typename Entries, typename Same>
TokenIndex::Pair FirstPair(const Entries& sorted, Same same) {
  const auto at = std::adjacent_find(sorted.begin(), sorted.end(), same);
  return at == sorted.end() ? TokenIndex::Pair() : TokenIndex::Pair(at->token, (at + 1)->token);
}

}  // namespace

TokenIndex::TokenIndex(std::initializer_list<std::span<const TokenDefinition>> lists) {
  std::size_t num_tokens = 0;
  for (const auto tokens : lists) num_tokens += tokens.size();
  by_bytes_.reserve(num_tokens);
  by_id_.reserve(num_tokens);
  for (const auto tokens : lists) {
    for (const TokenDefinition& token : tokens) {
      by_bytes_.push_back({KeyOf(token.bytes), &token});
      by_id_.push_back({token.id, &token});
    }
  }
  // Stable: equal tokens stay in their order.
  std::stable_sort(by_bytes_.begin(), by_bytes_.end(), [](const auto& a, const auto& b) {
    return a.key != b.key ? a.key < b.key : a.token->bytes < b.token->bytes;
  });
  std::stable_sort(by_id_.begin(), by_id_.end(),
                   [](const auto& a, const auto& b) { return a.key < b.key; });
}

const TokenDefinition* TokenIndex::FindBytes(std::string_view bytes) const noexcept {
  const Entry<std::uint64_t> wanted = {KeyOf(bytes), nullptr};
  const auto at = std::lower_bound(
      by_bytes_.begin(), by_bytes_.end(), wanted, [bytes](const auto& entry, const auto& key) {
        return entry.key != key.key ? entry.key < key.key : entry.token->bytes < bytes;
      });
  return at != by_bytes_.end() && at->token->bytes == bytes ? at->token : nullptr;
}

const TokenDefinition* TokenIndex::FindId(TokenId id) const noexcept {
  const auto at = std::lower_bound(by_id_.begin(), by_id_.end(), id,
                                   [](const auto& entry, TokenId key) { return entry.key < key; });
  return at != by_id_.end() && at->key == id ? at->token : nullptr;
}

TokenIndex::Pair TokenIndex::SameBytes() const noexcept {
  return FirstPair(by_bytes_, [](const auto& a, const auto& b) {
    return a.key == b.key && a.token->bytes == b.token->bytes;
  });
}

TokenIndex::Pair TokenIndex::SameId() const noexcept {
  return FirstPair(by_id_, [](const auto& a, const auto& b) { return a.key == b.key; });
}

}  // namespace ctx::tokenize
