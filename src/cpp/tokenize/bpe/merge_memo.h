// What pre-tokens seen before became: caches of fixed size that threads share without a lock.
//
// There are three, for pre-tokens with few bytes and ids (bpe/short_memo.h), and here with more,
// and with many. Where a pre-token has more ids than go with its length, there is a note instead
// that sends to the next.
//
// A pre-token has the choice of a few slots that lie side by side. It takes the first that is free
// from its home on. When none is, it must come twice before it replaces one of them: text that
// nobody has seen before leaves alone what is asked for again and again. A slot is written under an
// odd version (a sequence lock): who reads sees the same even version before and after, or takes
// the slot for empty. The memory is only touched as it fills.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "common/ids.h"
#include "tokenize/bpe/zeroed_array.h"

namespace ctx::tokenize {

/// The count of ids that says: they are in the next memo.
inline constexpr std::size_t kMoreIds = ~std::size_t{0};

namespace internal {

/// Both halves of the product of two words, which are first made unlikely to be 0.
inline std::uint64_t MixWords(std::uint64_t a, std::uint64_t b) noexcept {
  const auto product = static_cast<unsigned __int128>(a ^ 0x9E3779B97F4A7C15) *
                       static_cast<unsigned __int128>(b ^ 0xD1B54A32D192ED03);
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

/// 1 to 8 * words bytes, padded with zeros.
template <std::size_t words>
inline void LoadPadded(const char* from, std::size_t num_bytes, const char* readable_end,
                       std::array<std::uint64_t, words>& to) noexcept {
  constexpr std::size_t kBytes = 8 * words;
  static constexpr auto kKeptThenNot = [] {
    std::array<unsigned char, 2 * kBytes> mask = {};
    for (std::size_t i = 0; i < kBytes; ++i) mask[i] = 0xFF;
    return mask;
  }();
  if (static_cast<std::size_t>(readable_end - from) >= kBytes) {
    std::array<std::uint64_t, words> kept;
    std::memcpy(to.data(), from, kBytes);
    std::memcpy(kept.data(), kKeptThenNot.data() + kBytes - num_bytes, kBytes);
    for (std::size_t i = 0; i < words; ++i) to[i] &= kept[i];
  } else {
    to = {};
    std::memcpy(to.data(), from, num_bytes);
  }
}

}  // namespace internal

/// For pre-tokens of up to 8 * key_words bytes and 8 * id_groups ids:
///
///     id count, length, version : u64 | bytes : key_words u64 | ids : u24, 8 in three u64 |
template <std::size_t key_words, std::size_t id_groups, std::size_t alignment>
class alignas(alignment) MemoSlot {
 public:
  static constexpr std::size_t kMaxBytes = 8 * key_words;
  static constexpr std::size_t kMaxIds = 8 * id_groups;

  struct Key {
    std::array<std::uint64_t, key_words> bytes;
    std::size_t length;
    std::uint64_t hash;

    /// 1 to kMaxBytes bytes. (No constructor: compilers copy what they make on the stack in larger
    /// words than they wrote, and the CPU waits for that.)
    void Set(const char* from, std::size_t num_bytes, const char* readable_end) noexcept {
      internal::LoadPadded(from, num_bytes, readable_end, bytes);
      length = num_bytes;
      hash = num_bytes;
      for (std::size_t i = 0; i < key_words; i += 2) {
        hash = std::rotl(hash, 29) ^ internal::MixWords(bytes[i], bytes[i + 1]);
      }
      hash *= 0x9E3779B97F4A7C15;
    }
  };

  std::size_t Find(const Key& key, TokenId* ids) const noexcept {
    const std::uint64_t head = head_.load(std::memory_order_acquire);
    std::uint64_t difference = (head & 1) | ((head >> 32 & 0xFFFF) ^ key.length);
    for (std::size_t i = 0; i < key_words; ++i) {
      difference |= bytes_[i].load(std::memory_order_acquire) ^ key.bytes[i];
    }
    if (difference != 0) return 0;
    const std::size_t count = head >> 48;
    const bool is_note = count == kNote;
    for (std::size_t i = 0; 8 * i < count && !is_note; ++i) {
      const std::uint64_t a = ids_[3 * i].load(std::memory_order_acquire);
      const std::uint64_t b = ids_[3 * i + 1].load(std::memory_order_acquire);
      const std::uint64_t c = ids_[3 * i + 2].load(std::memory_order_acquire);
      TokenId* const to = ids + 8 * i;
      to[0] = a & kIdMask;
      to[1] = a >> 24 & kIdMask;
      to[2] = (a >> 48 | b << 16) & kIdMask;
      to[3] = b >> 8 & kIdMask;
      to[4] = b >> 32 & kIdMask;
      to[5] = (b >> 56 | c << 8) & kIdMask;
      to[6] = c >> 16 & kIdMask;
      to[7] = static_cast<TokenId>(c >> 40);
    }
    if (head_.load(std::memory_order_relaxed) != head) return 0;
    return is_note ? kMoreIds : count;
  }

  /// As far as one can see without care.
  bool SeemsToHold(const Key& key) const noexcept {
    std::uint64_t difference = (head_.load(std::memory_order_relaxed) >> 32 & 0xFFFF) ^ key.length;
    for (std::size_t i = 0; i < key_words; ++i) {
      difference |= bytes_[i].load(std::memory_order_relaxed) ^ key.bytes[i];
    }
    return difference == 0;
  }

  void Store(const Key& key, const TokenId* ids, std::size_t count) noexcept {
    std::uint64_t head = head_.load(std::memory_order_relaxed);
    if ((head & 1) != 0 ||
        !head_.compare_exchange_strong(head, head | 1, std::memory_order_acquire)) {
      return;
    }
    for (std::size_t i = 0; i < key_words; ++i) {
      bytes_[i].store(key.bytes[i], std::memory_order_release);
    }
    for (std::size_t i = 0; 8 * i < count && count != kMoreIds; ++i) {
      const auto id = [&](std::size_t at) {
        return 8 * i + at < count ? std::uint64_t{ids[8 * i + at]} : 0;
      };
      ids_[3 * i].store(id(0) | id(1) << 24 | id(2) << 48, std::memory_order_release);
      ids_[3 * i + 1].store(id(2) >> 16 | id(3) << 8 | id(4) << 32 | id(5) << 56,
                            std::memory_order_release);
      ids_[3 * i + 2].store(id(5) >> 8 | id(6) << 16 | id(7) << 40, std::memory_order_release);
    }
    const auto version = static_cast<std::uint32_t>(head) + 2;
    const std::uint64_t stored = count == kMoreIds ? kNote : count;
    head_.store(stored << 48 | std::uint64_t{key.length} << 32 | version,
                std::memory_order_release);
  }

  /// Counts what was stored, and is 0 in the beginning.
  std::uint64_t version() const noexcept {
    return static_cast<std::uint32_t>(head_.load(std::memory_order_relaxed));
  }

 private:
  static constexpr std::uint64_t kNote = 0xFFFF;
  static constexpr std::uint64_t kIdMask = (std::uint64_t{1} << 24) - 1;

  std::atomic<std::uint64_t> head_;
  std::array<std::atomic<std::uint64_t>, key_words> bytes_;
  std::array<std::atomic<std::uint64_t>, 3 * id_groups> ids_;
};

/// num_sets of ways slots each, all powers of 2.
template <typename Slot, std::size_t ways, std::size_t num_sets>
class MergeMemo {
 public:
  using Key = typename Slot::Key;
  static constexpr std::size_t kMaxBytes = Slot::kMaxBytes;
  static constexpr std::size_t kMaxIds = Slot::kMaxIds;
  static constexpr std::size_t kNumSlots = ways * num_sets;
  static constexpr std::size_t kSizeBytes = kNumSlots * sizeof(Slot);

  MergeMemo() : sets_(num_sets), came_last_(num_sets) {}

  /// What Find reads first.
  void Prefetch(const Key& key) const noexcept {
    const char* const at = reinterpret_cast<const char*>(&SlotOf(key, 0));
    for (std::size_t i = 0; i < sizeof(Slot); i += 64) __builtin_prefetch(at + i);
  }

  /// Copies its ids and returns their number, kMoreIds for a note; 0 when it is not here. All
  /// kMaxIds of `ids` may be written.
  std::size_t Find(const Key& key, TokenId* ids) const noexcept {
    for (std::size_t i = 0; i < ways; ++i) {
      if (const std::size_t count = SlotOf(key, i).Find(key, ids)) return count;
    }
    return 0;
  }

  /// 1 to kMaxBytes bytes, and 1 to kMaxIds ids or a note (a count of kMoreIds). It may not be here
  /// thereafter.
  void Store(const Key& key, const TokenId* ids, std::size_t count) noexcept {
    std::atomic<std::uint8_t>& came_last = came_last_[SetOf(key)];
    const auto who = static_cast<std::uint8_t>(key.hash | 1);
    const std::uint8_t last = came_last.load(std::memory_order_relaxed);
    if (last != 0 && last != who) return came_last.store(who, std::memory_order_relaxed);
    std::uint64_t num_stored = 0;
    for (std::size_t i = 0; i < ways; ++i) {
      Slot& slot = SlotOf(key, i);
      const std::uint64_t version = slot.version();
      if (version == 0 || slot.SeemsToHold(key)) return slot.Store(key, ids, count);
      num_stored += version / 2;
    }
    if (last == who) {
      SlotOf(key, num_stored % ways).Store(key, ids, count);
    } else {
      came_last.store(who, std::memory_order_relaxed);
    }
  }

 private:
  using Set = std::array<Slot, ways>;

  static std::size_t SetOf(const Key& key) noexcept {
    return key.hash >> (64 - std::countr_zero(num_sets));
  }
  /// The i-th from its home on.
  Slot& SlotOf(const Key& key, std::size_t i) const noexcept {
    return sets_[SetOf(key)][((key.hash >> 8) % ways) ^ i];
  }

  mutable ZeroedArray<Set> sets_;
  mutable ZeroedArray<std::atomic<std::uint8_t>> came_last_;  // by set; 0: it has room
};

using MiddleMemo = MergeMemo<MemoSlot<4, 1, 64>, 4, std::size_t{1} << 12>;
using LongMemo = MergeMemo<MemoSlot<14, 5, 256>, 2, std::size_t{1} << 10>;
static_assert(MiddleMemo::kSizeBytes == std::size_t{1} << 20);
static_assert(LongMemo::kSizeBytes == std::size_t{1} << 19);

}  // namespace ctx::tokenize
