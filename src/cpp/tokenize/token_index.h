// Tokens by their bytes and by their id: sorted, so that no choice of tokens makes it slow.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenize/definition.h"

namespace ctx::tokenize {

/// Keeps pointers to the tokens that it was made of. O(n log n) to make, O(log n) a look-up.
class TokenIndex {
 public:
  explicit TokenIndex(std::span<const TokenDefinition> tokens) : TokenIndex({tokens}) {}
  explicit TokenIndex(std::initializer_list<std::span<const TokenDefinition>> lists);

  /// The first such token or nullptr.
  const TokenDefinition* FindBytes(std::string_view bytes) const noexcept;
  const TokenDefinition* FindId(TokenId id) const noexcept;

  /// Two tokens with the same bytes or with the same id, the earlier one first; nullptr twice when
  /// there are none.
  using Pair = std::pair<const TokenDefinition*, const TokenDefinition*>;
  Pair SameBytes() const noexcept;
  Pair SameId() const noexcept;

 private:
  /// What tokens are ordered by, beside them: most comparisons need not look at the token.
  template <typename Key>
  struct Entry {
    Key key;
    const TokenDefinition* token;
  };
  std::vector<Entry<std::uint64_t>> by_bytes_;  // key: the first 8 bytes, big-endian
  std::vector<Entry<TokenId>> by_id_;
};

}  // namespace ctx::tokenize
