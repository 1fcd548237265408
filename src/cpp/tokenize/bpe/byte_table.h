// Open-addressing hash table from token bytes to id, made for the two questions of BPE: is this
// pre-token a token, and is this pair of neighbours one? Most answers for tokens of up to 8 bytes
// come from one 16-byte slot, without touching the token's own bytes.
//
//     slot   | first 8 bytes, zero-padded : u64 | id : u32 | length : u16 | hash tag : u16 |
//
// Linear probing at a load of at most 1/2; length 0 marks an empty slot. Beside the slots, which
// for a large vocabulary lie beyond the second-level cache, stands a filter that does not: one bit
// for each hash of a key, eight times as many bits as slots. Most pairs that merging asks for are
// no token, and end there. Immutable once filled: then safe to call from any thread.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "common/ids.h"
#include "tokenize/bpe/zeroed_array.h"

namespace ctx::tokenize {

inline constexpr TokenId kNoToken = ~TokenId{0};

class ByteTable {
 public:
  static constexpr std::size_t kMaxKeyBytes = 65535;

  /// Room for `num_keys` keys.
  explicit ByteTable(std::size_t num_keys = 0)
      : slots_(std::bit_ceil(2 * num_keys + 8)),  // at least one word of filter
        long_keys_(slots_.size()),
        filter_(slots_.size() * kFilterBitsPerSlot / 64),
        shift_(64 - std::countr_zero(slots_.size())) {}

  /// Adds a key of 1 to kMaxKeyBytes bytes, which must stay where they are. False, and nothing
  /// changed, when the key is there already. At most `num_keys` keys. Bytes up to `readable_end`
  /// may be read.
  bool Insert(std::string_view key, TokenId id, const char* readable_end) noexcept {
    const Probe probe = MakeProbe(key.data(), key.size(), readable_end);
    std::size_t at = probe.hash >> shift_;
    for (; slots_[at].length != 0; at = Next(at)) {
      if (Matches(at, probe, key.data())) return false;
    }
    slots_[at] = {probe.head, id, static_cast<std::uint16_t>(key.size()), probe.tag()};
    if (key.size() > 8) long_keys_[at] = key.data();
    const std::size_t bit = FilterBit(probe);
    filter_[bit / 64] |= std::uint64_t{1} << bit % 64;
    return true;
  }

  /// Brings near what Insert will touch.
  void PrefetchInsert(std::string_view key, const char* readable_end) const noexcept {
    const Probe probe = MakeProbe(key.data(), key.size(), readable_end);
    const std::size_t at = probe.hash >> shift_;
    __builtin_prefetch(&slots_[at], 1);
    __builtin_prefetch(&filter_[FilterBit(probe) / 64], 1);
    if (key.size() > 8) __builtin_prefetch(&long_keys_[at], 1);
  }

  /// The id of the key [bytes, bytes + length), length >= 1, or kNoToken. Bytes up to
  /// `readable_end` may be read. O(length).
  TokenId Find(const char* bytes, std::size_t length, const char* readable_end) const noexcept {
    return FindProbe(MakeProbe(bytes, length, readable_end), bytes);
  }

  /// As Find, faster when there is no such key and slower when there is.
  TokenId FindUnlikely(const char* bytes, std::size_t length,
                       const char* readable_end) const noexcept {
    const Probe probe = MakeProbe(bytes, length, readable_end);
    return MayHold(probe) ? FindProbe(probe, bytes) : kNoToken;
  }

  // FindUnlikely in steps, so that many can be under way at a time.

  struct Probe {
    std::uint64_t head;
    std::uint64_t hash;
    std::size_t length;
    std::uint16_t tag() const noexcept { return static_cast<std::uint16_t>(hash); }
  };

  static Probe MakeProbe(const char* bytes, std::size_t length, const char* readable_end) noexcept {
    constexpr std::uint64_t kMultiplier = 0x9E3779B97F4A7C15;  // 2^64 / golden ratio
    const std::uint64_t head = LoadUpTo8(bytes, length, readable_end);
    std::uint64_t hash = Mix(head ^ length, kMultiplier);
    for (std::size_t i = 8; i < length; i += 8) {
      const std::uint64_t word = LoadUpTo8(bytes + i, length - i, readable_end);
      hash = Mix(hash ^ word, kMultiplier);
    }
    return {head, hash, length};
  }

  /// False when there is no such key, by a look at the filter alone.
  bool MayHold(const Probe& probe) const noexcept {
    const std::size_t bit = FilterBit(probe);
    return (filter_[bit / 64] >> bit % 64 & 1) != 0;
  }

  void Prefetch(const Probe& probe) const noexcept {
    __builtin_prefetch(&slots_[probe.hash >> shift_]);
  }

  /// The id, or kNoToken; `bytes` are those of the probe.
  TokenId FindProbe(const Probe& probe, const char* bytes) const noexcept {
    for (std::size_t at = probe.hash >> shift_; slots_[at].length != 0; at = Next(at)) {
      if (Matches(at, probe, bytes)) return slots_[at].id;
    }
    return kNoToken;
  }

 private:
  struct Slot {
    std::uint64_t head;
    TokenId id;
    std::uint16_t length;
    std::uint16_t tag;
  };

  static std::uint64_t Load8(const char* bytes) noexcept {
    std::uint64_t word;
    std::memcpy(&word, bytes, sizeof word);
    if constexpr (std::endian::native == std::endian::big) word = __builtin_bswap64(word);
    return word;
  }

  /// Up to 8 bytes as a little-endian number. A full load where that many bytes are readable.
  static std::uint64_t LoadUpTo8(const char* bytes, std::size_t length,
                                 const char* readable_end) noexcept {
    if (length >= 8) return Load8(bytes);
    if (readable_end - bytes >= 8) return Load8(bytes) & ((std::uint64_t{1} << 8 * length) - 1);
    std::uint64_t word = 0;
    for (std::size_t i = 0; i < length; ++i) {
      word |= std::uint64_t{static_cast<unsigned char>(bytes[i])} << 8 * i;
    }
    return word;
  }

  /// Folds the 128-bit product: every input bit reaches the high bits, which choose the slot.
  static std::uint64_t Mix(std::uint64_t a, std::uint64_t b) noexcept {
    const auto product = static_cast<unsigned __int128>(a) * b;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
  }

  /// The top bits of the hash, as many as there are bits in the filter.
  std::size_t FilterBit(const Probe& probe) const noexcept {
    return probe.hash >> (shift_ - std::countr_zero(kFilterBitsPerSlot));
  }

  bool Matches(std::size_t at, const Probe& probe, const char* bytes) const noexcept {
    const Slot& slot = slots_[at];
    if (slot.head != probe.head || slot.length != probe.length) return false;
    if (probe.length <= 8) return true;
    return slot.tag == probe.tag() &&
           std::memcmp(long_keys_[at] + 8, bytes + 8, probe.length - 8) == 0;
  }

  std::size_t Next(std::size_t at) const noexcept { return (at + 1) & (slots_.size() - 1); }

  static constexpr std::size_t kFilterBitsPerSlot = 8;

  ZeroedArray<Slot> slots_;
  ZeroedArray<const char*> long_keys_;  // where the whole key is, for keys of more than 8 bytes
  ZeroedArray<std::uint64_t> filter_;
  int shift_;
};

}  // namespace ctx::tokenize
