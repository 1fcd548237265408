#include "tokenize/bpe/pre_token_table.h"

#if defined(__x86_64__)
// GCC 12 takes the undefined lanes of its own intrinsics for a mistake.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#endif

namespace ctx::tokenize {
namespace {

/// So many look-ups are under way at a time: enough for memory, few enough for the first-level
/// cache.
constexpr std::size_t kPass = 64;
constexpr std::size_t kFew = 12;

/// Whether a byte is one that no UTF-8 has: 0xF8 or more.
bool HasForbiddenByte(std::uint64_t word) noexcept {
  constexpr std::uint64_t kEach = 0x0101010101010101;
  const std::uint64_t rest = ~word & 0xF8 * kEach;  // a zero byte where the five bits are set
  return ((rest - kEach) & ~rest & 0x80 * kEach) != 0;
}

}  // namespace

PreTokenTable::PreTokenTable(std::size_t num_tokens, LargePages& memory)
    : short_(memory.Take<ShortPlace>(NumPlaces(num_tokens))),
      short_shift_(64 - std::countr_zero(short_.size())),
      find_short_(FindShortFor(BestIsa())) {
  for (ShortPlace& place : short_) place.keys.fill(kEmptyKey);
}

void PreTokenTable::Insert(std::span<const ByteTable::Key> tokens) noexcept {
  std::array<std::uint64_t, ByteTable::kMaxInserted> keys;
  std::array<ShortPlace*, ByteTable::kMaxInserted> places;
  ShortPlace* const first = short_.data();
  const int shift = short_shift_;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    std::uint64_t word;
    std::memcpy(&word, tokens[i].bytes, sizeof word);
    keys[i] = ShortKey(word, tokens[i].length);
    places[i] = first + (keys[i] * kMultiplier >> shift);
    __builtin_prefetch(places[i], 1);
  }
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (HasForbiddenByte(keys[i] & kKeptBytes[tokens[i].length])) continue;  // no text has it
    ShortPlace& place = *places[i];
    if (place.count == kTokensOfPlace) continue;
    place.keys[place.count] = keys[i];
    place.ids[place.count] = tokens[i].id | FewIds::kThere;
    ++place.count;
  }
}

std::size_t PreTokenTable::FindShortPortable(const PreTokenTable& table, const char* text,
                                             const std::uint16_t* ends, std::size_t count,
                                             FewIds* ids, std::uint16_t* missed) noexcept {
  std::size_t num_missed = 0;
  std::size_t begin = ends[-1];
  for (std::size_t i = 0; i < count; ++i) {
    std::uint64_t word;
    std::memcpy(&word, text + begin, sizeof word);
    const std::uint64_t key = ShortKey(word, ends[i] - begin);
    const ShortPlace& place = table.short_[table.ShortIndex(key)];
    std::size_t at = 0;
    while (at < kTokensOfPlace && place.keys[at] != key) ++at;
    ids[i].ids = {at == kTokensOfPlace ? 0 : place.ids[at]};
    missed[num_missed] = static_cast<std::uint16_t>(i);
    num_missed += at == kTokensOfPlace;
    begin = ends[i];
  }
  return num_missed;
}

#if defined(__x86_64__)

#define CTX_AVX2 __attribute__((target("avx2,bmi,bmi2,lzcnt,popcnt")))
#define CTX_AVX512       \
  __attribute__((target( \
      "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,avx2,bmi,bmi2,lzcnt,popcnt")))

CTX_AVX2 std::size_t PreTokenTable::FindShortAvx2(const PreTokenTable& table, const char* text,
                                                  const std::uint16_t* ends, std::size_t count,
                                                  FewIds* ids, std::uint16_t* missed) noexcept {
  std::array<std::uint64_t, kPass> keys;
  std::array<const ShortPlace*, kPass> places;
  const ShortPlace* const first = table.short_.data();
  const int shift = table.short_shift_;
  std::size_t num_missed = 0;
  for (std::size_t done = 0; done < count; done += kPass) {
    const std::size_t pass = std::min(kPass, count - done);
    for (std::size_t i = 0; i < pass; ++i) {
      const unsigned begin = ends[static_cast<std::ptrdiff_t>(done + i) - 1];
      const unsigned length = std::min(ends[done + i] - begin, 9u);
      std::uint64_t word;
      std::memcpy(&word, text + begin, sizeof word);
      keys[i] = (word & kKeptBytes[length]) | kAddedBytes[length];
      places[i] = first + (keys[i] * kMultiplier >> shift);
      __builtin_prefetch(places[i]);
    }
    for (std::size_t i = 0; i < pass; ++i) {
      const __m256i key = _mm256_set1_epi64x(static_cast<long long>(keys[i]));
      const auto* const four = reinterpret_cast<const __m256i*>(places[i]->keys.data());
      const __m256i equal = _mm256_cmpeq_epi64(_mm256_load_si256(four), key);
      const auto mask = static_cast<unsigned>(_mm256_movemask_pd(_mm256_castsi256_pd(equal))) |
                        static_cast<unsigned>(places[i]->keys[4] == keys[i]) << 4;
      // Without a branch: no guess is good enough.
      const TokenId* const id =
          places[i]->ids.data() + static_cast<unsigned>(std::countr_zero(mask | 32));
      _mm_store_si128(reinterpret_cast<__m128i*>(ids + done + i), _mm_loadu_si32(id));
      missed[num_missed] = static_cast<std::uint16_t>(done + i);
      num_missed += mask == 0;
    }
  }
  return num_missed;
}

CTX_AVX512 std::size_t PreTokenTable::FindShortAvx512(const PreTokenTable& table, const char* text,
                                                      const std::uint16_t* ends, std::size_t count,
                                                      FewIds* ids, std::uint16_t* missed) noexcept {
  // Of few, eight at a time would wait for what has just been written one by one.
  if (count <= kFew) return FindShortAvx2(table, text, ends, count, ids, missed);
  alignas(64) std::array<std::uint64_t, kPass> keys;
  alignas(64) std::array<std::uint64_t, kPass> offsets;
  const char* const first = reinterpret_cast<const char*>(table.short_.data());
  const __m128i shift = _mm_cvtsi32_si128(table.short_shift_);
  const __m512i multiplier = _mm512_set1_epi64(static_cast<long long>(kMultiplier));
  const __m512i kept_low = _mm512_loadu_si512(kKeptBytes.data());
  const __m512i kept_high = _mm512_loadu_si512(kKeptBytes.data() + 8);
  const __m512i added_low = _mm512_loadu_si512(kAddedBytes.data());
  const __m512i added_high = _mm512_loadu_si512(kAddedBytes.data() + 8);
  const __m128i nine = _mm_set1_epi16(9);
  std::size_t num_missed = 0;
  for (std::size_t done = 0; done < count; done += kPass) {
    const std::size_t pass = std::min(kPass, count - done);
    const std::uint16_t* const pass_ends = ends + done;
    for (std::size_t i = 0; i < pass; ++i) {
      std::memcpy(&keys[i], text + pass_ends[static_cast<std::ptrdiff_t>(i) - 1], 8);
    }
    for (std::size_t i = 0; i < pass; i += 8) {
      const __m128i end = _mm_loadu_si128(reinterpret_cast<const __m128i*>(pass_ends + i));
      const __m128i begin = _mm_loadu_si128(reinterpret_cast<const __m128i*>(pass_ends + i - 1));
      const __m512i length = _mm512_cvtepu16_epi64(_mm_min_epu16(_mm_sub_epi16(end, begin), nine));
      const __m512i kept = _mm512_permutex2var_epi64(kept_low, length, kept_high);
      const __m512i added = _mm512_permutex2var_epi64(added_low, length, added_high);
      const __m512i words = _mm512_load_si512(&keys[i]);
      // (words & kept) | added
      const __m512i key = _mm512_ternarylogic_epi64(words, kept, added, 0xEA);
      const __m512i hash = _mm512_mullo_epi64(key, multiplier);
      const __m512i offset = _mm512_slli_epi64(_mm512_srl_epi64(hash, shift), 6);
      _mm512_store_si512(&keys[i], key);
      _mm512_store_si512(&offsets[i], offset);
    }
    for (std::size_t i = 0; i < pass; ++i) __builtin_prefetch(first + offsets[i]);
    for (std::size_t i = 0; i < pass; ++i) {
      const char* const place = first + offsets[i];
      const __m512i key = _mm512_set1_epi64(static_cast<long long>(keys[i]));
      const unsigned mask = _mm512_mask_cmpeq_epi64_mask(0x1F, _mm512_load_si512(place), key);
      // Without a branch: no guess is good enough.
      const auto* const place_ids = reinterpret_cast<const TokenId*>(place) + 2 * kTokensOfPlace;
      const TokenId* const id = place_ids + static_cast<unsigned>(std::countr_zero(mask | 32));
      _mm_store_si128(reinterpret_cast<__m128i*>(ids + done + i), _mm_loadu_si32(id));
      missed[num_missed] = static_cast<std::uint16_t>(done + i);
      num_missed += mask == 0;
    }
  }
  return num_missed;
}

PreTokenTable::FindShortFunction PreTokenTable::FindShortFor(Isa isa) noexcept {
  switch (isa) {
    case Isa::kAvx512:
      return &FindShortAvx512;
    case Isa::kAvx2:
      return &FindShortAvx2;
    case Isa::kNeon:
    case Isa::kPortable:
      break;
  }
  return &FindShortPortable;
}

#else

PreTokenTable::FindShortFunction PreTokenTable::FindShortFor(Isa /*isa*/) noexcept {
  return &FindShortPortable;
}

#endif

}  // namespace ctx::tokenize
