// Which parts of three or four bytes together are a token: most of what merging asks for.
//
// A hash table in which a key has one place, so that the answers to many questions come with as
// many loads and no branch:
//
//     bytes, zero-padded : u32 | rank : u24, length : u4, whether more keys wanted the place |
//
// Tokens enter in the order of their ranks. Where a token found its place taken, the answer is
// "look elsewhere" (the ByteTable). Immutable once filled: then safe to call from any thread.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "common/ids.h"
#include "tokenize/bpe/large_pages.h"

namespace ctx::tokenize {

class ShortMergeTable {
 public:
  static constexpr std::size_t kMinBytes = 3;
  static constexpr std::size_t kMaxBytes = 4;

  ShortMergeTable() = default;

  /// Room for the short ones among so many tokens; the table lives as long as the memory.
  ShortMergeTable(std::size_t num_tokens, LargePages& memory)
      : places_(memory.Take<Place>(NumPlaces(num_tokens))),
        shift_(32 - std::countr_zero(NumPlaces(num_tokens))) {}

  /// What memory that takes.
  static std::size_t SizeBytes(std::size_t num_tokens) noexcept {
    return NumPlaces(num_tokens) * sizeof(Place);
  }

  /// kMinBytes to kMaxBytes bytes that are in no token of lower rank; 4 are readable.
  void Insert(const char* bytes, std::size_t length, TokenId rank) noexcept {
    std::uint32_t word = 0;
    for (std::size_t i = 0; i < length; ++i) {
      word |= std::uint32_t{static_cast<unsigned char>(bytes[i])} << 8 * i;
    }
    Place& place = places_[word * kMultiplier >> shift_];
    if (place.answer != 0) {
      place.answer |= kIsCrowded;
    } else {
      place = {word, rank << kRankShift | static_cast<std::uint32_t>(length) << kLengthShift};
    }
  }

  // How a place is found and read, for whoever asks many questions together.

  struct Place {
    std::uint32_t word;    // little-endian
    std::uint32_t answer;  // 0: empty
  };
  static constexpr std::uint32_t kMultiplier = 0x9E3779B1;
  static constexpr std::uint32_t kIsCrowded = 1;
  static constexpr int kLengthShift = 1;
  static constexpr std::uint32_t kLengthMask = 7 << kLengthShift;
  static constexpr int kRankShift = 8;

  const Place* places() const noexcept { return places_.data(); }
  /// The place of a word is word * kMultiplier >> shift().
  int shift() const noexcept { return shift_; }

 private:
  static std::size_t NumPlaces(std::size_t num_tokens) noexcept {
    return std::bit_ceil(num_tokens / 2 + 64);
  }

  std::span<Place> places_;
  int shift_ = 31;
};

}  // namespace ctx::tokenize
