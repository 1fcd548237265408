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

#include <array>
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

  /// A token of kMinBytes to kMaxBytes bytes, of which 4 are readable.
  struct Key {
    const char* bytes;
    std::uint32_t length;
    TokenId rank;
  };
  static constexpr std::size_t kMaxInserted = 128;

  /// Adds up to kMaxInserted tokens that are not there yet, in the order of their ranks.
  void Insert(std::span<const Key> keys) noexcept {
    Place* const places = places_.data();
    std::array<std::uint32_t, kMaxInserted> words;
    for (std::size_t i = 0; i < keys.size(); ++i) {
      std::memcpy(&words[i], keys[i].bytes, sizeof words[i]);
      if constexpr (std::endian::native == std::endian::big) {
        words[i] = __builtin_bswap32(words[i]);
      }
      words[i] &= ~std::uint32_t{0} >> (32 - 8 * keys[i].length);
      __builtin_prefetch(&places[words[i] * kMultiplier >> shift_], 1);
    }
    for (std::size_t i = 0; i < keys.size(); ++i) {
      // Without a branch: whether a place is taken is hard to guess.
      Place& place = places[words[i] * kMultiplier >> shift_];
      const bool is_free = place.answer == 0;
      const std::uint32_t answer = keys[i].rank << kRankShift | keys[i].length << kLengthShift;
      place.word = is_free ? words[i] : place.word;
      place.answer = is_free ? answer : place.answer | kIsCrowded;
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
