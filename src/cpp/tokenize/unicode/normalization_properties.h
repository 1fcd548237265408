// Looking characters up in the normalization tables.
#pragma once

#include <algorithm>
#include <iterator>
#include <utility>

#include "tokenize/unicode/normalization_tables.h"

namespace ctx::tokenize {

/// O(1).
inline NormalizationProperties PropertiesOf(char32_t c) noexcept {
  const char32_t block = c >> kNormalizationBlockBits;
  if (block >= kNumPropertyBlocks) return {0, 0};
  constexpr char32_t kInBlock = (1 << kNormalizationBlockBits) - 1;
  return kNormalizationProperties[kPropertyBlocks[kPropertyBlockOf[block]][c & kInBlock]];
}

/// The record in kDecompositions; that of a character without one begins with 0. O(1).
inline const char32_t* DecompositionOf(char32_t c) noexcept {
  const char32_t block = c >> kNormalizationBlockBits;
  if (block >= kNumDecompositionBlocks) return kDecompositions;
  constexpr char32_t kInBlock = (1 << kNormalizationBlockBits) - 1;
  return kDecompositions + kDecompositionBlocks[kDecompositionBlockOf[block]][c & kInBlock];
}

/// What the two, no Hangul, become, or 0. O(log(pairs)).
inline char32_t CompositeOf(char32_t first, char32_t second) noexcept {
  const auto* const found =
      std::lower_bound(std::begin(kCompositions), std::end(kCompositions), std::pair(first, second),
                       [](const Composition& pair, const std::pair<char32_t, char32_t>& key) {
                         return std::pair(pair.first, pair.second) < key;
                       });
  if (found == std::end(kCompositions)) return 0;
  return found->first == first && found->second == second ? found->composite : 0;
}

}  // namespace ctx::tokenize
