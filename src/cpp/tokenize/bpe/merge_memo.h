// What merging made of pre-tokens seen before: caches of fixed size that threads share without a
// lock.
//
// A pre-token has the choice of a few slots that lie side by side; what is new replaces what was
// there in them by turns. A slot is written under an odd version (a sequence lock): who reads
// sees the same even version before and after, or takes the slot for empty. The memory is only
// touched as it fills.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "common/ids.h"
#include "tokenize/bpe/zeroed_array.h"

namespace ctx::tokenize {

/// The bytes of a pre-token, padded with zeros, its length, and a hash of them.
template <std::size_t words>
struct MemoKey {
  static constexpr std::size_t kMaxBytes = 8 * words;

  std::array<std::uint64_t, words> bytes;
  std::size_t length;
  std::uint64_t hash;

  /// 1 to kMaxBytes bytes. (No constructor: compilers copy what they make on the stack in larger
  /// words than they wrote, and the CPU waits for that.)
  void Set(const char* from, std::size_t num_bytes, const char* readable_end) noexcept {
    length = num_bytes;
    if (static_cast<std::size_t>(readable_end - from) >= kMaxBytes) {
      std::memcpy(bytes.data(), from, kMaxBytes);
      for (std::size_t i = 0; i < words; ++i) {
        const std::size_t count = num_bytes > 8 * i ? num_bytes - 8 * i : 0;
        if (count < 8) bytes[i] &= (std::uint64_t{1} << 8 * count) - 1;
      }
    } else {
      bytes = {};
      std::memcpy(bytes.data(), from, num_bytes);
    }
    std::uint64_t mixed = num_bytes;
    for (const std::uint64_t word : bytes) mixed = std::rotl((mixed ^ word) * kMultiplier, 29);
    hash = mixed * kMultiplier;
  }

 private:
  static constexpr std::uint64_t kMultiplier = 0x9E3779B97F4A7C15;  // 2^64 / golden ratio
};

/// Half a cache line, for pre-tokens of up to 15 bytes that became up to 4 ids, or a note that the
/// ids are more:
///
///     bytes 0-7 | bytes 8-14, length and count : u8 | 2 ids : u24, version | 2 ids, version |
class ShortMemoSlot {
 public:
  using Key = MemoKey<2>;
  static constexpr std::size_t kMaxBytes = 15;
  static constexpr std::size_t kMaxIds = 4;
  static constexpr std::size_t kMoreIds = 15;  // the count that says so

  std::size_t Find(const Key& key, TokenId* ids) const noexcept {
    const std::uint64_t low = low_.load(std::memory_order_acquire);
    const std::uint64_t head = head_.load(std::memory_order_acquire);
    const std::uint64_t tail = tail_.load(std::memory_order_acquire);
    const std::uint64_t high = high_.load(std::memory_order_acquire);
    const std::uint64_t length = std::uint64_t{key.length} << kLengthShift;
    if (((head ^ key.bytes[0]) | ((tail & ~kCountMask) ^ (key.bytes[1] | length)) |
         (low & kOddVersion)) != 0) {
      return 0;
    }
    ids[0] = low & kIdMask;
    ids[1] = low >> 24 & kIdMask;
    ids[2] = high & kIdMask;
    ids[3] = high >> 24 & kIdMask;
    const bool unchanged = high_.load(std::memory_order_acquire) == high &&
                           low_.load(std::memory_order_relaxed) == low;
    return unchanged ? tail >> kCountShift : 0;
  }

  void Store(const Key& key, const TokenId* ids, std::size_t count) noexcept {
    std::uint64_t low = low_.load(std::memory_order_relaxed);
    if ((low & kOddVersion) != 0 ||
        !low_.compare_exchange_strong(low, low | kOddVersion, std::memory_order_acquire)) {
      return;
    }
    const auto id = [&](std::size_t i) {
      return i < count && count <= kMaxIds ? std::uint64_t{ids[i]} : 0;
    };
    const std::uint64_t low_version = ((low >> kVersionShift) + 2) & 0xFFFF;
    std::uint64_t high_version = high_.load(std::memory_order_relaxed) >> kVersionShift;
    if (low_version == 0) ++high_version;
    head_.store(key.bytes[0], std::memory_order_release);
    tail_.store(key.bytes[1] | std::uint64_t{key.length} << kLengthShift |
                    std::uint64_t{count} << kCountShift,
                std::memory_order_release);
    high_.store(id(2) | id(3) << 24 | high_version << kVersionShift, std::memory_order_release);
    low_.store(id(0) | id(1) << 24 | low_version << kVersionShift, std::memory_order_release);
  }

  /// Counts what was stored, more or less.
  std::uint64_t version() const noexcept {
    return low_.load(std::memory_order_relaxed) >> kVersionShift;
  }

 private:
  static constexpr int kLengthShift = 56;
  static constexpr int kCountShift = 60;
  static constexpr int kVersionShift = 48;
  static constexpr std::uint64_t kCountMask = std::uint64_t{15} << kCountShift;
  static constexpr std::uint64_t kOddVersion = std::uint64_t{1} << kVersionShift;
  static constexpr std::uint64_t kIdMask = (std::uint64_t{1} << 24) - 1;

  std::atomic<std::uint64_t> head_;
  std::atomic<std::uint64_t> tail_;
  std::atomic<std::uint64_t> low_;
  std::atomic<std::uint64_t> high_;
};

/// Two cache lines, for pre-tokens of up to 64 bytes that became up to 14 ids:
///
///     id count, length, version : u64 | bytes : 8 u64 | ids : 14 u32 |
class LongMemoSlot {
 public:
  using Key = MemoKey<8>;
  static constexpr std::size_t kMaxBytes = Key::kMaxBytes;
  static constexpr std::size_t kMaxIds = 14;

  std::size_t Find(const Key& key, TokenId* ids) const noexcept {
    const std::uint64_t head = head_.load(std::memory_order_acquire);
    std::uint64_t difference = (head & 1) | ((head >> 32 & 0xFFFF) ^ key.length);
    for (std::size_t i = 0; i < bytes_.size(); ++i) {
      difference |= bytes_[i].load(std::memory_order_acquire) ^ key.bytes[i];
    }
    if (difference != 0) return 0;
    for (std::size_t i = 0; i < ids_.size(); ++i) {
      const std::uint64_t two = ids_[i].load(std::memory_order_acquire);
      std::memcpy(ids + 2 * i, &two, sizeof two);
    }
    return head_.load(std::memory_order_relaxed) == head ? head >> 48 : 0;
  }

  void Store(const Key& key, const TokenId* ids, std::size_t count) noexcept {
    std::uint64_t head = head_.load(std::memory_order_relaxed);
    if ((head & 1) != 0 ||
        !head_.compare_exchange_strong(head, head | 1, std::memory_order_acquire)) {
      return;
    }
    for (std::size_t i = 0; i < bytes_.size(); ++i) {
      bytes_[i].store(key.bytes[i], std::memory_order_release);
    }
    for (std::size_t i = 0; 2 * i < count; ++i) {
      std::uint64_t two = 0;
      std::memcpy(&two, ids + 2 * i, 2 * i + 1 < count ? 8 : 4);
      ids_[i].store(two, std::memory_order_release);
    }
    const auto version = static_cast<std::uint32_t>(head) + 2;
    head_.store(std::uint64_t{count} << 48 | std::uint64_t{key.length} << 32 | version,
                std::memory_order_release);
  }

  std::uint64_t version() const noexcept { return head_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> head_;
  std::array<std::atomic<std::uint64_t>, 8> bytes_;
  std::array<std::atomic<std::uint64_t>, kMaxIds / 2> ids_;
};

/// num_sets of ways slots each, both powers of 2.
template <typename Slot, std::size_t ways, std::size_t num_sets>
class MergeMemo {
 public:
  using Key = typename Slot::Key;
  static constexpr std::size_t kMaxBytes = Slot::kMaxBytes;
  static constexpr std::size_t kMaxIds = Slot::kMaxIds;

  MergeMemo() : sets_(num_sets) {}

  void Prefetch(const Key& key) const noexcept {
    const char* const at = reinterpret_cast<const char*>(&SetOf(key));
    for (std::size_t i = 0; i < sizeof(Set); i += 64) __builtin_prefetch(at + i);
  }

  /// Copies the ids of the pre-token and returns their number; 0 when it is not here. All kMaxIds
  /// of `ids` may be written.
  std::size_t Find(const Key& key, TokenId* ids) const noexcept {
    for (const Slot& slot : SetOf(key)) {
      if (const std::size_t count = slot.Find(key, ids)) return count;
    }
    return 0;
  }

  /// 1 to kMaxBytes bytes and 1 to kMaxIds ids (or a count of kMoreIds, and no ids). Does nothing
  /// while another thread writes the slot.
  void Store(const Key& key, const TokenId* ids, std::size_t count) noexcept {
    Set& set = SetOf(key);
    std::uint64_t stored = 0;  // versions go up by 2
    for (const Slot& slot : set) stored += slot.version() / 2;
    set[stored % ways].Store(key, ids, count);
  }

 private:
  using Set = std::array<Slot, ways>;

  Set& SetOf(const Key& key) const noexcept {
    return sets_[key.hash >> (64 - std::countr_zero(num_sets))];
  }

  mutable ZeroedArray<Set> sets_;
};

using ShortMemo = MergeMemo<ShortMemoSlot, 4, std::size_t{1} << 14>;  // 2 MB
using LongMemo = MergeMemo<LongMemoSlot, 2, std::size_t{1} << 13>;    // 2 MB

}  // namespace ctx::tokenize
