// Which pre-tokens are tokens, for the pre-tokens that texts consist of: short and frequent ones.
//
// A hash table of the tokens with up to 8 bytes. A place is a cache line, so that a look-up waits
// for memory once:
//
//     5 keys : u64 | 5 ids : u32 | count : u32
//
// A key is the bytes, and for fewer than 8 of them 0xF8 + length as the eighth.
// 0xF8 and above are in no UTF-8, so that the keys of different texts differ. Tokens enter in the
// order of their ranks, which is about that of their frequency, so that of those that want one
// place the more frequent have it. A token that found its place taken is not in the table.
//
// Immutable once filled: then safe to call from any thread.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "common/ids.h"
#include "common/isa.h"
#include "tokenize/bpe/byte_table.h"
#include "tokenize/bpe/few_ids.h"
#include "tokenize/bpe/large_pages.h"

namespace ctx::tokenize {

class PreTokenTable {
 public:
  static constexpr std::size_t kShortBytes = 8;

  PreTokenTable() = default;

  /// For so many tokens; the table lives as long as the memory.
  PreTokenTable(std::size_t num_tokens, LargePages& memory);

  /// What memory that takes.
  static std::size_t SizeBytes(std::size_t num_tokens) noexcept {
    return NumPlaces(num_tokens) * sizeof(ShortPlace);
  }

  /// Adds up to ByteTable::kMaxInserted tokens of up to kShortBytes bytes, but for those whose
  /// place tokens of lower rank have.
  void Insert(std::span<const ByteTable::Key> tokens) noexcept;

  /// Looks up `count` pre-tokens, valid UTF-8, that follow each other from `text` on: ends[i] is
  /// where pre-token i ends, counted from `text`, and ends[-1] where the first begins. Writes
  /// ids[i], of one each, for those found; the numbers of the others, in order, to `missed`, and
  /// returns how many they are. Pre-tokens of more than kShortBytes are never found. 8 bytes from
  /// where each begins must be readable; ends, ids and missed have room for 8 more than `count`.
  std::size_t FindShort(const char* text, const std::uint16_t* ends, std::size_t count, FewIds* ids,
                        std::uint16_t* missed) const noexcept {
    return find_short_(*this, text, ends, count, ids, missed);
  }

 private:
  static constexpr std::size_t kTokensOfPlace = 5;

  struct alignas(64) ShortPlace {
    std::array<std::uint64_t, kTokensOfPlace> keys;
    std::array<TokenId, kTokensOfPlace> ids;
    std::uint32_t count;
  };
  static_assert(sizeof(ShortPlace) == 64);

  static constexpr std::uint64_t kMultiplier = 0x9E3779B97F4A7C15;  // 2^64 / golden ratio
  // No text has these keys: that of an empty slot, and that of a pre-token of more than 8 bytes.
  static constexpr std::uint64_t kEmptyKey = 0xFEFEFEFEFEFEFEFE;
  static constexpr std::uint64_t kTooLongKey = 0xFDFDFDFDFDFDFDFD;

  // By length, up to 9 and more: what to keep of 8 bytes, what to add.
  static constexpr std::array<std::uint64_t, 16> kKeptBytes = {0,
                                                               0xFF,
                                                               0xFFFF,
                                                               0xFFFFFF,
                                                               0xFFFFFFFF,
                                                               0xFFFFFFFFFF,
                                                               0xFFFFFFFFFFFF,
                                                               0xFFFFFFFFFFFFFF,
                                                               ~std::uint64_t{0}};
  static constexpr std::array<std::uint64_t, 16> kAddedBytes = {
      0xF8ull << 56, 0xF9ull << 56, 0xFAull << 56,
      0xFBull << 56, 0xFCull << 56, 0xFDull << 56,
      0xFEull << 56, 0xFFull << 56, 0,
      kTooLongKey};

  static std::size_t NumPlaces(std::size_t num_tokens) noexcept {
    // A larger table would hold more of the rarest tokens, and less of it would be near.
    return std::bit_ceil(num_tokens / 8 + 2);
  }
  static std::uint64_t ShortKey(std::uint64_t word, std::size_t length) noexcept {
    const std::size_t i = std::min<std::size_t>(length, 9);
    return (word & kKeptBytes[i]) | kAddedBytes[i];
  }
  std::size_t ShortIndex(std::uint64_t key) const noexcept {
    return key * kMultiplier >> short_shift_;
  }

  using FindShortFunction = std::size_t (*)(const PreTokenTable&, const char*, const std::uint16_t*,
                                            std::size_t, FewIds*, std::uint16_t*) noexcept;
  static std::size_t FindShortPortable(const PreTokenTable& table, const char* text,
                                       const std::uint16_t* ends, std::size_t count, FewIds* ids,
                                       std::uint16_t* missed) noexcept;
  static std::size_t FindShortAvx2(const PreTokenTable& table, const char* text,
                                   const std::uint16_t* ends, std::size_t count, FewIds* ids,
                                   std::uint16_t* missed) noexcept;
  static std::size_t FindShortAvx512(const PreTokenTable& table, const char* text,
                                     const std::uint16_t* ends, std::size_t count, FewIds* ids,
                                     std::uint16_t* missed) noexcept;
  static FindShortFunction FindShortFor(Isa isa) noexcept;

  std::span<ShortPlace> short_;
  int short_shift_ = 63;
  FindShortFunction find_short_ = nullptr;
};

}  // namespace ctx::tokenize
