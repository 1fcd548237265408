// What short pre-tokens of few ids became: of those that the table of frequent tokens does not have
// nearly all.
//
// A slot is half a cache line:
//
//     bytes 0-7 | bytes 8-14, length : u8 | FewIds |
//
// A pre-token has four slots to choose from, two in a line and two in the line beside it. It takes
// the first that is free. When none is, it must come again before many others have come, and
// replaces one of the four: text that nobody has seen before leaves alone what is asked for again
// and again.
//
// Threads share it without a lock. Each four slots have a version, odd while one of them is written
// (a sequence lock). Who looks up many asks for no versions: if nothing at all was written
// meanwhile, which two counters tell, all that was read is good; otherwise all count as missed.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "common/ids.h"
#include "common/isa.h"
#include "tokenize/bpe/few_ids.h"
#include "tokenize/bpe/merge_memo.h"
#include "tokenize/bpe/zeroed_array.h"

namespace ctx::tokenize {

class ShortMemo {
 public:
  static constexpr std::size_t kMaxBytes = 15;
  static constexpr std::size_t kMaxIds = FewIds::kMax;
  static constexpr std::size_t kNumSlots = std::size_t{1} << 16;
  /// How many bytes FindMany reads from where a pre-token begins.
  static constexpr std::size_t kReadBytes = 16;

  static constexpr int kLengthShift = 56;
  struct Key {
    std::uint64_t head;
    std::uint64_t tail;  // with the length

    /// 1 to kMaxBytes bytes.
    void Set(const char* from, std::size_t num_bytes, const char* readable_end) noexcept {
      std::array<std::uint64_t, 2> bytes;
      internal::LoadPadded(from, num_bytes, readable_end, bytes);
      head = bytes[0];
      tail = bytes[1] | std::uint64_t{num_bytes} << kLengthShift;
    }
    /// Every bit of a key has a say in the highest bits.
    std::uint64_t hash() const noexcept { return head * kHeadFactor + tail * kTailFactor; }
  };

  ShortMemo();

  /// Pre-tokens that are looked up together.
  struct alignas(64) Batch {
    static constexpr std::size_t kMaxSize = 1024;

    std::array<FewIds, kMaxSize + 8> ids;
    std::array<std::uint16_t, kMaxSize + 8> missed;  // numbers of those to look up, in order
    std::array<std::uint16_t, kMaxSize> left;        // of those that were not found
  };

  /// Looks up the first `num_missed` of batch.missed: sets the ids of those found, writes the
  /// others to batch.left and returns how many they are. Pre-tokens follow each other from `text`
  /// on: ends[i] is where number i ends, counted from `text`, and ends[-1] where the first begins;
  /// kReadBytes from where each begins must be readable.
  std::size_t FindMany(const char* text, const std::uint16_t* ends, std::size_t num_missed,
                       Batch& batch) const noexcept {
    return find_many_(*this, text, ends, num_missed, batch);
  }

  /// What Find reads beside what FindMany read.
  void Prefetch(const Key& key) const noexcept {
    __builtin_prefetch(&lines_[LineOf(key) ^ 1]);
    __builtin_prefetch(&sets_[LineOf(key) / 2]);
  }
  /// The number of its ids, which are set; kMoreIds for a note that there are more, 0 when it is
  /// not here.
  std::size_t Find(const Key& key, FewIds& ids) const noexcept;

  /// 1 to kMaxIds ids, or a note (a count of kMoreIds). It may not be here thereafter.
  void Store(const Key& key, const TokenId* ids, std::size_t count) noexcept;

 private:
  /// In the tail of a note, which is never found by FindMany.
  static constexpr std::uint64_t kNote = std::uint64_t{1} << 63;
  /// FewIds::kThere of two ids.
  static constexpr std::uint64_t kThereBits = std::uint64_t{FewIds::kThere} << 32 | FewIds::kThere;
  // Odd numbers of no structure.
  static constexpr std::uint64_t kHeadFactor = 0x9E3779B97F4A7C15;
  static constexpr std::uint64_t kTailFactor = 0xD1B54A32D192ED03;

  struct Slot {
    std::atomic<std::uint64_t> head;
    std::atomic<std::uint64_t> tail;  // 0: free
    std::array<std::atomic<std::uint64_t>, 2> ids;
  };
  static constexpr std::size_t kNear = 2;
  static constexpr std::size_t kWays = 4;
  struct alignas(64) Line {
    std::array<Slot, kNear> slots;
  };
  static_assert(kNumSlots * sizeof(Slot) == std::size_t{2} << 20);
  static constexpr std::size_t kNumLines = kNumSlots / kNear;
  static constexpr int kLineShift = 64 - std::countr_zero(kNumLines);

  struct Set {
    std::atomic<std::uint32_t> version;
    std::atomic<std::uint8_t> candidate;  // to replace one, if it comes again
    std::atomic<std::uint8_t> patience;   // as many others may come before
  };

  static constexpr std::uint8_t kPatience = 3;

  static std::size_t LineOf(const Key& key) noexcept { return key.hash() >> kLineShift; }
  Slot& SlotOf(std::size_t line, std::size_t i) const noexcept {
    return lines_[line ^ (i / kNear)].slots[i % kNear];
  }
  bool SeemsToHold(const Slot& slot, const Key& key) const noexcept;

  using FindManyFunction = std::size_t (*)(const ShortMemo&, const char*, const std::uint16_t*,
                                           std::size_t, Batch&) noexcept;
  static std::size_t FindManyPortable(const ShortMemo& memo, const char* text,
                                      const std::uint16_t* ends, std::size_t num_missed,
                                      Batch& batch) noexcept;
  static std::size_t FindManyAvx2(const ShortMemo& memo, const char* text,
                                  const std::uint16_t* ends, std::size_t num_missed,
                                  Batch& batch) noexcept;
  static FindManyFunction FindManyFor(Isa isa) noexcept;

  FindManyFunction find_many_;
  mutable ZeroedArray<Line> lines_;
  mutable ZeroedArray<Set> sets_;
  // How many slots began and ended to be written.
  alignas(64) std::atomic<std::uint64_t> num_begun_ = 0;
  std::atomic<std::uint64_t> num_ended_ = 0;
};

}  // namespace ctx::tokenize
