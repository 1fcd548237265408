// Which pre-tokens are tokens, for the pre-tokens that texts consist of: short and frequent ones.
//
// Two hash tables, of the tokens with up to 8 bytes and of those with 9 to 16. A place is a cache
// line, so that a look-up waits for memory once:
//
//     short   5 keys : u64 | 5 ids : u32 | count : u32
//     long    2 keys : 2 u64 | 2 ids : u32 | 2 lengths : u32 | count : u32
//
// A short key is the bytes, and for fewer than 8 of them 0xF8 + length as the eighth.
//
// 0xF8 and above are in no UTF-8, so that the keys of different texts differ. Tokens enter in the
// order of their ranks, which is about that of their frequency, so that of those that want one
// place the more frequent have it. A token that found its place taken is not in the table; a bit
// for each place tells that there are such.
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
#include <vector>

#include "common/ids.h"
#include "common/isa.h"
#include "tokenize/bpe/byte_table.h"
#include "tokenize/bpe/large_pages.h"

namespace ctx::tokenize {

class PreTokenTable {
 public:
  static constexpr std::size_t kShortBytes = 8;
  static constexpr std::size_t kMaxBytes = 16;

  PreTokenTable() = default;

  /// For so many tokens of the two kinds; the table lives as long as the memory.
  PreTokenTable(std::size_t num_short, std::size_t num_long, LargePages& memory);

  /// What memory that takes.
  static std::size_t SizeBytes(std::size_t num_short, std::size_t num_long) noexcept;

  /// Adds up to ByteTable::kMaxInserted tokens of up to kShortBytes bytes (InsertShort) or of more
  /// up to kMaxBytes (InsertLong), but for those whose place tokens of lower rank have.
  void InsertShort(std::span<const ByteTable::Key> tokens) noexcept;
  void InsertLong(std::span<const ByteTable::Key> tokens) noexcept;

  /// Looks up `count` pre-tokens, valid UTF-8, that follow each other from `text` on: ends[i] is
  /// where pre-token i ends, counted from `text`, and ends[-1] is 0. Writes ids[i] for those found;
  /// the numbers of the others, in order, to `missed`, and returns how many they are. Pre-tokens of
  /// more than kShortBytes are never found. 8 bytes from where each begins must be readable; ends,
  /// ids and missed have room for 8 more than `count`.
  std::size_t FindShort(const char* text, const std::uint16_t* ends, std::size_t count,
                        TokenId* ids, std::uint16_t* missed) const noexcept {
    return find_short_(*this, text, ends, count, ids, missed);
  }

  /// Whether a pre-token of up to kShortBytes bytes that was not found may be a token all the same.
  bool MayMissShort(const char* bytes, std::size_t length) const noexcept {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes, length);
    return short_is_full_[ShortIndex(ShortKey(word, length))];
  }

  /// Likewise for the `num_missed` that FindShort missed, those of 9 to 16 bytes among them: writes
  /// the ids of what it finds to ids[i], takes their numbers out of `missed`, and returns how many
  /// are left. 16 bytes from where each begins must be readable.
  std::size_t FindLong(const char* text, const std::uint16_t* ends, std::size_t num_missed,
                       TokenId* ids, std::uint16_t* missed) const noexcept;

  /// Whether a pre-token of 9 to 16 bytes that was not found may be a token all the same.
  bool MayMissLong(const char* bytes, std::size_t length) const noexcept {
    LongKey key = {};
    std::memcpy(&key.head, bytes, 8);
    std::memcpy(&key.tail, bytes + 8, length - 8);
    return long_is_full_[LongIndex(key)];
  }

 private:
  static constexpr std::size_t kTokensOfPlace = 5;

  struct LongKey {
    std::uint64_t head;
    std::uint64_t tail;
  };
  struct alignas(64) ShortPlace {
    std::array<std::uint64_t, kTokensOfPlace> keys;
    std::array<TokenId, kTokensOfPlace> ids;
    std::uint32_t count;
  };
  struct alignas(64) LongPlace {
    std::array<LongKey, 2> keys;
    std::array<TokenId, 2> ids;
    std::array<std::uint32_t, 2> lengths;
    std::uint32_t count;
  };
  static_assert(sizeof(ShortPlace) == 64 && sizeof(LongPlace) == 64);

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

  static std::size_t NumShortPlaces(std::size_t num_short) noexcept {
    return std::bit_ceil(num_short / kTokensOfPlace + 2);
  }
  static std::size_t NumLongPlaces(std::size_t num_long) noexcept {
    return std::bit_ceil(num_long / 2 + 2);
  }
  static std::uint64_t ShortKey(std::uint64_t word, std::size_t length) noexcept {
    const std::size_t i = std::min<std::size_t>(length, 9);
    return (word & kKeptBytes[i]) | kAddedBytes[i];
  }
  std::size_t ShortIndex(std::uint64_t key) const noexcept {
    return key * kMultiplier >> short_shift_;
  }
  std::size_t LongIndex(const LongKey& key) const noexcept {
    return (key.head ^ std::rotl(key.tail * kMultiplier, 23)) * kMultiplier >> long_shift_;
  }

  using FindShortFunction = std::size_t (*)(const PreTokenTable&, const char*, const std::uint16_t*,
                                            std::size_t, TokenId*, std::uint16_t*) noexcept;
  static std::size_t FindShortPortable(const PreTokenTable& table, const char* text,
                                       const std::uint16_t* ends, std::size_t count, TokenId* ids,
                                       std::uint16_t* missed) noexcept;
  static std::size_t FindShortAvx2(const PreTokenTable& table, const char* text,
                                   const std::uint16_t* ends, std::size_t count, TokenId* ids,
                                   std::uint16_t* missed) noexcept;
  static std::size_t FindShortAvx512(const PreTokenTable& table, const char* text,
                                     const std::uint16_t* ends, std::size_t count, TokenId* ids,
                                     std::uint16_t* missed) noexcept;
  static FindShortFunction FindShortFor(Isa isa) noexcept;

  std::span<ShortPlace> short_;
  std::span<LongPlace> long_;
  std::vector<bool> short_is_full_;  // by place: a token found it taken
  std::vector<bool> long_is_full_;
  int short_shift_ = 63;
  int long_shift_ = 63;
  FindShortFunction find_short_ = nullptr;
};

}  // namespace ctx::tokenize
