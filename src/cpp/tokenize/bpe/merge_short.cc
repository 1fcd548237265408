#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

#include "tokenize/bpe/merge.h"
#include "tokenize/bpe/symbols.h"

namespace ctx::tokenize {
namespace {

using internal::BeginsCharacter;

template <bool characters>
std::size_t MergeShortSymbols(const Vocabulary& vocabulary, std::string_view bytes,
                              const char* readable_end, Rank* ranks) noexcept {
  // Bit i of `starts` says that a part begins at byte i. keys[i] is the rank of that part joined
  // with the next, then the position, so that the least key is the next pair to join. Signed,
  // because baseline x86-64 has no unsigned vector minimum.
  constexpr std::size_t kLanes = 8;
  constexpr std::int32_t kNone = INT32_MAX;
  constexpr int kPositionBits = 6;
  static_assert(kShortBytes == 1 << kPositionBits);
  static_assert(Vocabulary::kMaxTokens <= std::uint32_t{1} << (31 - kPositionBits));
  std::array<Rank, kShortBytes> rank_at;
  std::array<std::int32_t, kShortBytes> keys;
  const std::size_t size = bytes.size();
  const std::size_t padded = (size + kLanes - 1) / kLanes * kLanes;
  std::uint64_t starts = 0;
  if constexpr (characters) {
    for (std::size_t i = 0; i < size; ++i) {
      starts |= std::uint64_t{BeginsCharacter(bytes, i)} << i;
    }
  } else {
    starts = size == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << size) - 1;
  }

  const auto key_of = [](Rank rank, std::size_t at) {
    return rank == kNoToken
               ? kNone
               : static_cast<std::int32_t>(rank << kPositionBits | static_cast<Rank>(at));
  };
  const auto byte_at = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  // First part that begins after byte i, or `size`.
  const auto next_part = [&](std::size_t i) {
    const std::uint64_t later = i == 63 ? 0 : starts >> (i + 1) << (i + 1);
    return later == 0 ? size : static_cast<std::size_t>(std::countr_zero(later));
  };
  const auto find_pair = [&](std::size_t left) {
    const std::size_t right = next_part(left);
    const std::size_t end = right == size ? size : next_part(right);
    const bool possible = right != size && end - left <= vocabulary.max_token_bytes();
    return possible ? vocabulary.FindMerged(bytes.data() + left, end - left, readable_end)
                    : kNoToken;
  };
  const auto update_pair = [&](std::size_t left) {
    const Rank rank = find_pair(left);
    const bool may_have_equals = characters && rank != kNoToken;
    keys[left] = key_of(may_have_equals ? vocabulary.PriorityOf(rank) : rank, left);
  };

  if constexpr (characters) {
    for (std::size_t i = 0; i < padded; ++i) keys[i] = kNone;
    for (std::size_t i = 0; i < size; i = next_part(i)) {
      rank_at[i] = vocabulary.Find(bytes.data() + i, next_part(i) - i, readable_end);
      update_pair(i);
    }
  } else {
    for (std::size_t i = 0; i + 1 < size; ++i) {
      rank_at[i] = vocabulary.ByteToken(byte_at(i));
      keys[i] = key_of(vocabulary.FindPair(byte_at(i), byte_at(i + 1)), i);
    }
    rank_at[size - 1] = vocabulary.ByteToken(byte_at(size - 1));
    for (std::size_t i = size - 1; i < padded; ++i) keys[i] = kNone;
  }

  for (;;) {
    std::array<std::int32_t, kLanes> least;
    least.fill(kNone);
    for (std::size_t i = 0; i < padded; i += kLanes) {
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        least[lane] = std::min(least[lane], keys[i + lane]);
      }
    }
    const std::int32_t key = *std::min_element(least.begin(), least.end());
    if (key == kNone) break;
    const std::size_t left = key & (kShortBytes - 1);
    const std::size_t right = next_part(left);
    // The key tells the token, unless the token has equals.
    rank_at[left] = characters ? find_pair(left) : static_cast<Rank>(key >> kPositionBits);
    keys[right] = kNone;
    starts &= ~(std::uint64_t{1} << right);
    update_pair(left);
    const std::uint64_t earlier = starts & ((std::uint64_t{1} << left) - 1);
    if (earlier != 0) update_pair(63 - std::countl_zero(earlier));
  }

  std::size_t num_ranks = 0;
  for (std::uint64_t rest = starts; rest != 0; rest &= rest - 1) {
    const auto i = static_cast<std::size_t>(std::countr_zero(rest));
    if (!characters || rank_at[i] != kNoToken) {
      ranks[num_ranks++] = rank_at[i];
    } else {
      for (std::size_t j = i; j < next_part(i); ++j) {
        ranks[num_ranks++] = vocabulary.ByteToken(byte_at(j));
      }
    }
  }
  return num_ranks;
}

}  // namespace

std::size_t MergeShort(const Vocabulary& vocabulary, std::string_view bytes,
                       const char* readable_end, Rank* ranks) noexcept {
  if (vocabulary.symbols() == Vocabulary::Symbols::kCharacters) {
    return MergeShortSymbols<true>(vocabulary, bytes, readable_end, ranks);
  }
  return MergeShortSymbols<false>(vocabulary, bytes, readable_end, ranks);
}

}  // namespace ctx::tokenize
