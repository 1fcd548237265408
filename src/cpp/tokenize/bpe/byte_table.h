// Hash table from token bytes to id, made for the two questions of BPE: is this pre-token a token,
// and is this pair of neighbours one? Most answers for tokens of up to 8 bytes come from one
// 16-byte slot, without touching the token's own bytes.
//
//     slot   | bytes, zero-padded (where they are, if more than 8) : u64 | id : u32 |
//            | length : u16 | hash tag : u16 |
//
// Linear probing at a load of 2/3; length 0 marks an empty slot. Beside the slots, which for a
// large vocabulary lie beyond the second-level cache, stands a filter that does not: one bit for
// each hash of a key, 16 to 32 times as many bits as keys. Most pairs that merging asks for are no
// token, and end there. The hash is keyed at random, so that no choice of tokens makes look-ups
// slow. Immutable once filled: then safe to call from any thread.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "common/ids.h"
#include "tokenize/bpe/hash_key.h"
#include "tokenize/bpe/large_pages.h"

namespace ctx::tokenize {

inline constexpr TokenId kNoToken = ~TokenId{0};

class ByteTable {
 public:
  static constexpr std::size_t kMaxKeyBytes = 65535;

  ByteTable() = default;

  /// Room for `num_keys` keys; the table lives as long as the memory.
  ByteTable(std::size_t num_keys, LargePages& memory)
      : hash_key_(HashKey::Random()),
        slots_(memory.Take<Slot>(num_keys + num_keys / 2 + 1)),  // one stays empty
        filter_(memory.Take<std::uint64_t>(NumFilterBits(num_keys) / 64)),
        filter_shift_(64 - std::countr_zero(NumFilterBits(num_keys))) {}

  /// What memory that takes.
  static std::size_t SizeBytes(std::size_t num_keys) noexcept {
    return (num_keys + num_keys / 2 + 1) * sizeof(Slot) + NumFilterBits(num_keys) / 8;
  }

  /// What is added: 1 to kMaxKeyBytes bytes, which must stay where they are; kReadableBytes more
  /// may be read.
  struct Key {
    const char* bytes;
    std::uint32_t length;
    TokenId id;
  };
  static constexpr std::size_t kReadableBytes = 8;
  static constexpr std::size_t kMaxInserted = 128;

  /// Adds up to kMaxInserted keys, up to the first that is there already: returns how many.
  /// (Fastest for keys of similar lengths.) At most `num_keys` in all.
  std::size_t Insert(std::span<const Key> keys) noexcept;

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

  Probe MakeProbe(const char* bytes, std::size_t length, const char* readable_end) const noexcept {
    const std::uint64_t head = LoadUpTo8(bytes, length, readable_end);
    std::uint64_t hash = hash_key_.Mix(head ^ length);
    for (std::size_t i = 8; i < length; i += 8) {
      hash = hash_key_.Mix(hash ^ LoadUpTo8(bytes + i, length - i, readable_end));
    }
    return {head, hash, length};
  }

  /// False when there is no such key, by a look at the filter alone.
  bool MayHold(const Probe& probe) const noexcept {
    const std::size_t bit = FilterBit(probe);
    return (filter_[bit / 64] >> bit % 64 & 1) != 0;
  }

  /// Brings near what MayHold looks at.
  void PrefetchFilter(const Probe& probe) const noexcept {
    __builtin_prefetch(&filter_[FilterBit(probe) / 64]);
  }
  /// Brings near what FindProbe looks at.
  void Prefetch(const Probe& probe) const noexcept {
    __builtin_prefetch(&slots_[FirstSlot(probe)]);
  }

  /// The id, or kNoToken; `bytes` are those of the probe.
  TokenId FindProbe(const Probe& probe, const char* bytes) const noexcept {
    for (std::size_t at = FirstSlot(probe); slots_[at].length != 0; at = Next(at)) {
      if (Matches(slots_[at], probe, bytes)) return slots_[at].id;
    }
    return kNoToken;
  }

 private:
  struct Slot {
    std::uint64_t head;  // the address of the key, if it has more than 8 bytes
    TokenId id;
    std::uint16_t length;
    std::uint16_t tag;
  };

  template <bool all_short>
  std::size_t InsertKeys(std::span<const Key> keys) noexcept;

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

  /// The top bits of the hash, scaled to the number of slots.
  std::size_t FirstSlot(const Probe& probe) const noexcept {
    return (probe.hash >> 32) * slots_.size() >> 32;
  }
  std::size_t Next(std::size_t at) const noexcept { return at + 1 == slots_.size() ? 0 : at + 1; }

  /// The top bits of the hash, as many as there are bits in the filter.
  std::size_t FilterBit(const Probe& probe) const noexcept { return probe.hash >> filter_shift_; }
  static std::size_t NumFilterBits(std::size_t num_keys) noexcept {
    return std::bit_ceil(16 * num_keys + 64);  // at least one word
  }

  static bool Matches(const Slot& slot, const Probe& probe, const char* bytes) noexcept {
    // In one, which is hardly ever true of another key.
    if (((slot.length ^ probe.length) | (slot.tag ^ probe.tag())) != 0) return false;
    if (probe.length <= sizeof slot.head) return slot.head == probe.head;
    const auto* const key = reinterpret_cast<const char*>(static_cast<std::uintptr_t>(slot.head));
    return std::memcmp(key, bytes, probe.length) == 0;
  }

  HashKey hash_key_ = {};
  std::span<Slot> slots_;
  std::span<std::uint64_t> filter_;
  int filter_shift_ = 63;
};

}  // namespace ctx::tokenize
