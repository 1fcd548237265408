// The ids of pre-tokens, room for four each, side by side: written without asking how many they
// are, and moved together afterwards.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "common/ids.h"

namespace ctx::tokenize {

/// Up to four ids of one pre-token.
struct alignas(16) FewIds {
  static constexpr std::size_t kMax = 4;
  /// Is added to each that is there; the others are 0.
  static constexpr TokenId kThere = TokenId{1} << 31;

  std::array<TokenId, kMax> ids;
};

/// Copies the ids of `count` pre-tokens to `to`, without gaps, and returns how many they are. 3
/// pre-tokens behind the last are read, and 16 ids behind the last overwritten.
std::size_t PackIds(const FewIds* from, std::size_t count, TokenId* to) noexcept;

/// How many they are.
std::size_t NumIds(const FewIds* from, std::size_t count) noexcept;

}  // namespace ctx::tokenize
