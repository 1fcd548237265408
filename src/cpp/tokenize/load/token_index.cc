#include "tokenize/load/token_index.h"

#include <algorithm>
#include <cstddef>

namespace ctx::tokenize::load {
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

TokenIndex::TokenIndex(std::span<const TokenDefinition> tokens) {
  by_bytes_.reserve(tokens.size());
  by_id_.reserve(tokens.size());
  for (const TokenDefinition& token : tokens) {
    by_bytes_.push_back({KeyOf(token.bytes), &token});
    by_id_.push_back({token.id, &token});
  }
  // Equal tokens stay in their order, by their address.
  std::sort(by_bytes_.begin(), by_bytes_.end(), [](const auto& a, const auto& b) {
    if (a.key != b.key) return a.key < b.key;
    const int order = a.token->bytes.compare(b.token->bytes);
    return order != 0 ? order < 0 : a.token < b.token;
  });
  std::sort(by_id_.begin(), by_id_.end(), [](const auto& a, const auto& b) {
    return a.key != b.key ? a.key < b.key : a.token < b.token;
  });
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

}  // namespace ctx::tokenize::load
