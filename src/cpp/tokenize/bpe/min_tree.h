// The least of the ranks that stand beside each other, as they change.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/isa.h"
#include "tokenize/bpe/vocabulary.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace ctx::tokenize::internal {

#if defined(__x86_64__)

/// The least of children[i] & ~15 | i, for i from 0 to 15.
__attribute__((target("avx2"))) inline std::int32_t LeastOf16Avx2(
    const std::int32_t* children) noexcept {
  const auto* const from = reinterpret_cast<const __m256i*>(children);
  const __m256i mask = _mm256_set1_epi32(~15);
  const __m256i first = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i second = _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15);
  const __m256i eight = _mm256_min_epi32(
      _mm256_or_si256(_mm256_and_si256(_mm256_loadu_si256(from), mask), first),
      _mm256_or_si256(_mm256_and_si256(_mm256_loadu_si256(from + 1), mask), second));
  __m128i four = _mm_min_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  four = _mm_min_epi32(four, _mm_shuffle_epi32(four, 0x4E));
  four = _mm_min_epi32(four, _mm_shuffle_epi32(four, 0xB1));
  return _mm_cvtsi128_si32(four);
}
#endif

inline std::int32_t LeastOf16Portable(const std::int32_t* children) noexcept {
  // Signed, because baseline x86-64 has no unsigned vector minimum.
  std::array<std::int32_t, 4> least;
  least.fill(INT32_MAX);
  for (std::int32_t i = 0; i < 16; i += 4) {
    for (std::int32_t lane = 0; lane < 4; ++lane) {
      least[lane] = std::min(least[lane], (children[i + lane] & ~15) | (i + lane));
    }
  }
  return std::min(std::min(least[0], least[1]), std::min(least[2], least[3]));
}

/// The least of many ranks, leftmost of equals, under updates: a tree of minima in which every node
/// has 16 children, so that a node is a few vector instructions and the whole of a block has three
/// levels.
///
///     an entry: rank << 4 | which child holds it      a leaf: rank << 4
class MinTree {
 public:
  static constexpr std::size_t kNothing = ~std::size_t{0};

  MinTree() noexcept {
#if defined(__x86_64__)
    if (BestIsa() >= Isa::kAvx2) least_of_16_ = &LeastOf16Avx2;
#endif
  }

  /// `size` >= 1 leaves without a rank.
  void Reset(std::size_t size) {
    num_levels_ = 0;
    do {
      if (num_levels_ == levels_.size()) levels_.emplace_back();
      levels_[num_levels_++].assign((size + 15) / 16 * 16, kNone);
      size = (size + 15) / 16;
    } while (size > 1);
  }

  /// Takes effect with the next Refresh or RefreshAll.
  void Set(std::size_t leaf, Rank rank) noexcept {
    levels_[0][leaf] = rank == kNoToken ? kNone : static_cast<std::int32_t>(rank << kChildBits);
  }

  void RefreshAll() noexcept {
    for (std::size_t level = 0; level < num_levels_; ++level) {
      for (std::size_t node = 0; node < levels_[level].size() / 16; ++node)
        RefreshNode(level, node);
    }
  }

  /// After changes of these three leaves.
  void Refresh(std::array<std::size_t, 3> at) noexcept {
    for (std::size_t level = 0; level < num_levels_; ++level) {
      for (std::size_t& i : at) i /= 16;
      RefreshNode(level, at[0]);
      if (at[1] != at[0]) RefreshNode(level, at[1]);
      if (at[2] != at[0] && at[2] != at[1]) RefreshNode(level, at[2]);
    }
  }

  /// The leaf of the least rank, or kNothing when no leaf has one.
  std::size_t Least() const noexcept {
    if (root_ >= (kNone & ~kChildMask)) return kNothing;
    std::size_t at = root_ & kChildMask;
    for (std::size_t level = num_levels_ - 1; level > 0; --level) {
      at = at * 16 + (levels_[level][at] & kChildMask);
    }
    return at;
  }

  Rank LeastRank() const noexcept { return static_cast<Rank>(root_ >> kChildBits); }

 private:
  static constexpr int kChildBits = 4;
  static constexpr std::int32_t kChildMask = 15;
  static constexpr std::int32_t kNone = INT32_MAX;
  static_assert(Vocabulary::kMaxTokens <= std::uint32_t{1} << (30 - kChildBits));

  void RefreshNode(std::size_t level, std::size_t node) noexcept {
    const std::int32_t entry = least_of_16_(&levels_[level][node * 16]);
    (level + 1 < num_levels_ ? levels_[level + 1][node] : root_) = entry;
  }

  std::int32_t (*least_of_16_)(const std::int32_t*) noexcept = &LeastOf16Portable;
  std::vector<std::vector<std::int32_t>> levels_;
  std::size_t num_levels_ = 0;
  std::int32_t root_ = kNone;
};

}  // namespace ctx::tokenize::internal
