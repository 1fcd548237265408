#include "tokenize/bpe/short_memo.h"

#include <algorithm>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace ctx::tokenize {
namespace {

/// So many look-ups are under way at a time: enough for memory, few enough for the first-level
/// cache.
constexpr std::size_t kPass = 128;

}  // namespace

ShortMemo::ShortMemo()
    : find_many_(FindManyFor(BestIsa())), lines_(kNumLines), sets_(kNumSlots / kWays) {}

bool ShortMemo::SeemsToHold(const Slot& slot, const Key& key) const noexcept {
  return ((slot.head.load(std::memory_order_acquire) ^ key.head) |
          ((slot.tail.load(std::memory_order_acquire) & ~kNote) ^ key.tail)) == 0;
}

std::size_t ShortMemo::Find(const Key& key, FewIds& ids) const noexcept {
  const std::size_t line = LineOf(key);
  const Set& set = sets_[line / 2];
  const std::uint32_t version = set.version.load(std::memory_order_acquire);
  for (std::size_t i = 0; i < kWays; ++i) {
    const Slot& slot = SlotOf(line, i);
    if (!SeemsToHold(slot, key)) continue;
    const bool is_note = (slot.tail.load(std::memory_order_acquire) & kNote) != 0;
    const std::uint64_t low = slot.ids[0].load(std::memory_order_acquire);
    const std::uint64_t high = slot.ids[1].load(std::memory_order_acquire);
    if ((version & 1) != 0 || set.version.load(std::memory_order_relaxed) != version) return 0;
    if (is_note) return kMoreIds;
    ids.ids = {static_cast<TokenId>(low), static_cast<TokenId>(low >> 32),
               static_cast<TokenId>(high), static_cast<TokenId>(high >> 32)};
    return static_cast<std::size_t>(std::popcount((low & kThereBits) | (high & kThereBits) >> 1));
  }
  return 0;
}

void ShortMemo::Store(const Key& key, const TokenId* ids, std::size_t count) noexcept {
  const std::size_t line = LineOf(key);
  Set& set = sets_[line / 2];
  std::uint32_t version = set.version.load(std::memory_order_relaxed);
  std::size_t at = 0;
  while (at < kWays && SlotOf(line, at).tail.load(std::memory_order_relaxed) != 0) {
    if (SeemsToHold(SlotOf(line, at), key)) return;
    ++at;
  }
  if (at == kWays) {
    const auto who = static_cast<std::uint8_t>(key.hash() >> 24);
    if (set.candidate.load(std::memory_order_relaxed) != who) {
      const std::uint8_t patience = set.patience.load(std::memory_order_relaxed);
      if (patience > 0) return set.patience.store(patience - 1, std::memory_order_relaxed);
      set.candidate.store(who, std::memory_order_relaxed);
      return set.patience.store(kPatience, std::memory_order_relaxed);
    }
    at = version / 2 % kWays;
  }
  if ((version & 1) != 0 ||
      !set.version.compare_exchange_strong(version, version | 1, std::memory_order_acquire)) {
    return;
  }
  num_begun_.fetch_add(1, std::memory_order_acq_rel);
  const auto id = [&](std::size_t i) {
    return i < count && count != kMoreIds ? std::uint64_t{ids[i] | FewIds::kThere} : 0;
  };
  Slot& slot = SlotOf(line, at);
  slot.head.store(key.head, std::memory_order_release);
  slot.tail.store(key.tail | (count == kMoreIds ? kNote : 0), std::memory_order_release);
  slot.ids[0].store(id(0) | id(1) << 32, std::memory_order_release);
  slot.ids[1].store(id(2) | id(3) << 32, std::memory_order_release);
  set.version.store(version + 2, std::memory_order_release);
  num_ended_.fetch_add(1, std::memory_order_release);
}

std::size_t ShortMemo::FindManyPortable(const ShortMemo& memo, const char* text,
                                        const std::uint16_t* ends, std::size_t num_missed,
                                        Batch& batch) noexcept {
  std::array<Key, kPass> keys;
  std::size_t num_left = 0;
  for (std::size_t done = 0; done < num_missed; done += kPass) {
    const std::size_t pass = std::min(kPass, num_missed - done);
    for (std::size_t m = 0; m < pass; ++m) {
      const std::size_t i = batch.missed[done + m];
      const std::size_t begin = ends[static_cast<std::ptrdiff_t>(i) - 1];
      const std::size_t length = ends[i] - begin;
      keys[m] = {};  // of none
      if (length > kMaxBytes) continue;
      keys[m].Set(text + begin, length, text + begin + kReadBytes);
      __builtin_prefetch(&memo.lines_[LineOf(keys[m])]);
      memo.Prefetch(keys[m]);
    }
    for (std::size_t m = 0; m < pass; ++m) {
      const std::size_t i = batch.missed[done + m];
      batch.left[num_left] = static_cast<std::uint16_t>(i);
      num_left += keys[m].tail == 0 || memo.Find(keys[m], batch.ids[i]) - 1 >= kMaxIds;
    }
  }
  return num_left;
}

#if defined(__x86_64__)

// What it reads may be written meanwhile: it looks whether that was so.
#define CTX_AVX2 __attribute__((target("avx2,bmi,bmi2,lzcnt,popcnt"), no_sanitize("thread")))

namespace {

/// Bytes and length as in a slot; of a pre-token that is too long, a length that none has there.
CTX_AVX2 inline __m128i LoadKey(const char* from, std::size_t length) noexcept {
  static constexpr std::size_t kTooLong = ShortMemo::kMaxBytes + 1;
  using Words = std::array<std::uint64_t, 2>;
  static constexpr auto kKept = [] {
    std::array<Words, kTooLong + 1> kept = {};
    for (std::size_t size = 0; size < kTooLong; ++size) {
      for (std::size_t i = 0; i < size; ++i) {
        kept[size][i / 8] |= std::uint64_t{0xFF} << 8 * (i % 8);
      }
    }
    return kept;
  }();
  static constexpr auto kLength = [] {
    std::array<Words, kTooLong + 1> added = {};
    for (std::uint64_t size = 0; size <= kTooLong; ++size)
      added[size][1] = size << ShortMemo::kLengthShift;
    return added;
  }();
  const std::size_t at = std::min(length, kTooLong);
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  const __m128i kept = _mm_loadu_si128(reinterpret_cast<const __m128i*>(&kKept[at]));
  const __m128i added = _mm_loadu_si128(reinterpret_cast<const __m128i*>(&kLength[at]));
  return _mm_or_si128(_mm_and_si128(bytes, kept), added);
}

/// Sets the ids if the line has the key, else others. Without a branch: no guess is good enough.
CTX_AVX2 inline bool FindInLine(const char* line, __m128i key, FewIds& ids) noexcept {
  const auto* const words = reinterpret_cast<const __m128i*>(line);
  const __m128i other_0 = _mm_xor_si128(_mm_load_si128(words), key);
  const __m128i other_1 = _mm_xor_si128(_mm_load_si128(words + 2), key);
  const int in_0 = _mm_testz_si128(other_0, other_0);
  const int in_1 = _mm_testz_si128(other_1, other_1);
  _mm_store_si128(reinterpret_cast<__m128i*>(&ids), _mm_load_si128(words + 1 + 2 * in_1));
  return (in_0 | in_1) != 0;
}

}  // namespace

CTX_AVX2 std::size_t ShortMemo::FindManyAvx2(const ShortMemo& memo, const char* text,
                                             const std::uint16_t* ends, std::size_t num_missed,
                                             Batch& batch) noexcept {
  const char* const first = reinterpret_cast<const char*>(memo.lines_.data());
  const auto key_of = [&](std::size_t i) CTX_AVX2 {
    const std::size_t begin = ends[static_cast<std::ptrdiff_t>(i) - 1];
    return LoadKey(text + begin, ends[i] - begin);
  };
  std::size_t num_left = 0;
  for (std::size_t done = 0; done < num_missed; done += kPass) {
    const std::size_t pass = std::min(kPass, num_missed - done);
    const std::uint16_t* const missed = &batch.missed[done];
    std::uint16_t* const left = &batch.left[num_left];
    std::array<std::uint32_t, kPass> lines;
    const std::uint64_t num_ended = memo.num_ended_.load(std::memory_order_acquire);
    for (std::size_t m = 0; m < pass; ++m) {
      const std::size_t i = missed[m];
      const __m128i key = key_of(i);
      _mm_store_si128(reinterpret_cast<__m128i*>(&batch.ids[i]), key);  // for now
      const auto head = static_cast<std::uint64_t>(_mm_cvtsi128_si64(key));
      const auto tail = static_cast<std::uint64_t>(_mm_extract_epi64(key, 1));
      const std::size_t line = LineOf({head, tail}) * sizeof(Line);
      lines[m] = static_cast<std::uint32_t>(line);
      __builtin_prefetch(first + line);
    }
    std::size_t num_far = 0;
    for (std::size_t m = 0; m < pass; ++m) {
      const std::size_t i = missed[m];
      const __m128i key = _mm_load_si128(reinterpret_cast<const __m128i*>(&batch.ids[i]));
      const std::uint32_t line = lines[m];
      left[num_far] = static_cast<std::uint16_t>(i);
      lines[num_far] = line ^ static_cast<std::uint32_t>(sizeof(Line));
      num_far += !FindInLine(first + line, key, batch.ids[i]);
    }
    for (std::size_t m = 0; m < num_far; ++m) __builtin_prefetch(first + lines[m]);
    std::size_t num_nowhere = 0;
    for (std::size_t m = 0; m < num_far; ++m) {
      const std::size_t i = left[m];
      left[num_nowhere] = static_cast<std::uint16_t>(i);
      num_nowhere += !FindInLine(first + lines[m], key_of(i), batch.ids[i]);
    }
    std::atomic_signal_fence(std::memory_order_acquire);  // x86 loads in order
    if (memo.num_begun_.load(std::memory_order_relaxed) != num_ended) [[unlikely]] {
      std::copy_n(missed, pass, left);
      num_nowhere = pass;
    }
    num_left += num_nowhere;
  }
  return num_left;
}

ShortMemo::FindManyFunction ShortMemo::FindManyFor(Isa isa) noexcept {
  return isa >= Isa::kAvx2 ? &FindManyAvx2 : &FindManyPortable;
}

#else

ShortMemo::FindManyFunction ShortMemo::FindManyFor(Isa /*isa*/) noexcept {
  return &FindManyPortable;
}

#endif

}  // namespace ctx::tokenize
