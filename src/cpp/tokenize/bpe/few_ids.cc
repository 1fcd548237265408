#include "tokenize/bpe/few_ids.h"

#include <algorithm>

#include "common/isa.h"

#if defined(__x86_64__)
// GCC 12 takes the undefined lanes of its own intrinsics for a mistake.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#endif

namespace ctx::tokenize {
namespace {

std::size_t PackPortable(const FewIds* from, std::size_t count, TokenId* to) noexcept {
  TokenId* const first = to;
  for (std::size_t i = 0; i < count; ++i) {
    for (const TokenId id : from[i].ids) {
      *to = id & ~FewIds::kThere;
      to += id >> 31;
    }
  }
  return static_cast<std::size_t>(to - first);
}

std::size_t CountPortable(const FewIds* from, std::size_t count) noexcept {
  std::size_t num_ids = 0;
  for (std::size_t i = 0; i < count; ++i) {
    for (const TokenId id : from[i].ids) num_ids += id >> 31;
  }
  return num_ids;
}

#if defined(__x86_64__)

#define CTX_AVX2 __attribute__((target("avx2,bmi,bmi2,lzcnt,popcnt")))
#define CTX_AVX512       \
  __attribute__((target( \
      "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,avx2,bmi,bmi2,lzcnt,popcnt")))

CTX_AVX2 std::size_t PackAvx2(const FewIds* from, std::size_t count, TokenId* to) noexcept {
  TokenId* const first = to;
  const __m128i id_bits = _mm_set1_epi32(static_cast<int>(~FewIds::kThere));
  for (std::size_t i = 0; i < count; ++i) {
    const __m128i ids = _mm_load_si128(reinterpret_cast<const __m128i*>(from + i));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm_and_si128(ids, id_bits));
    to += __builtin_popcount(static_cast<unsigned>(_mm_movemask_ps(_mm_castsi128_ps(ids))));
  }
  return static_cast<std::size_t>(to - first);
}

CTX_AVX2 std::size_t CountAvx2(const FewIds* from, std::size_t count) noexcept {
  __m128i minus_num = _mm_setzero_si128();
  for (std::size_t i = 0; i < count; ++i) {
    const __m128i ids = _mm_load_si128(reinterpret_cast<const __m128i*>(from + i));
    minus_num = _mm_add_epi32(minus_num, _mm_srai_epi32(ids, 31));
  }
  alignas(16) std::array<std::int32_t, 4> sums;
  _mm_store_si128(reinterpret_cast<__m128i*>(sums.data()), minus_num);
  return static_cast<std::size_t>(-(sums[0] + sums[1] + sums[2] + sums[3]));
}

CTX_AVX512 std::size_t PackAvx512(const FewIds* from, std::size_t count, TokenId* to) noexcept {
  TokenId* const first = to;
  const __m512i id_bits = _mm512_set1_epi32(static_cast<int>(~FewIds::kThere));
  for (std::size_t i = 0; i < count; i += 4) {
    const auto left = static_cast<unsigned>(std::min<std::size_t>(count - i, 4));
    const __m512i ids = _mm512_loadu_si512(from + i);
    const unsigned there = _bzhi_u32(_mm512_movepi32_mask(ids), 4 * left);
    _mm512_storeu_si512(to, _mm512_maskz_compress_epi32(static_cast<__mmask16>(there),
                                                        _mm512_and_si512(ids, id_bits)));
    to += __builtin_popcount(there);
  }
  return static_cast<std::size_t>(to - first);
}

CTX_AVX512 std::size_t CountAvx512(const FewIds* from, std::size_t count) noexcept {
  std::size_t num_ids = 0;
  for (std::size_t i = 0; i < count; i += 4) {
    const auto left = static_cast<unsigned>(std::min<std::size_t>(count - i, 4));
    const unsigned there = _mm512_movepi32_mask(_mm512_loadu_si512(from + i));
    num_ids += static_cast<std::size_t>(__builtin_popcount(_bzhi_u32(there, 4 * left)));
  }
  return num_ids;
}

#endif

struct Functions {
  std::size_t (*pack)(const FewIds* from, std::size_t count, TokenId* to) noexcept;
  std::size_t (*count)(const FewIds* from, std::size_t count) noexcept;
};

Functions FunctionsFor([[maybe_unused]] Isa isa) noexcept {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) return {&PackAvx512, &CountAvx512};
  if (isa == Isa::kAvx2) return {&PackAvx2, &CountAvx2};
#endif
  return {&PackPortable, &CountPortable};
}

const Functions& Best() noexcept {
  static const Functions functions = FunctionsFor(BestIsa());
  return functions;
}

}  // namespace

std::size_t PackIds(const FewIds* from, std::size_t count, TokenId* to) noexcept {
  return Best().pack(from, count, to);
}

std::size_t NumIds(const FewIds* from, std::size_t count) noexcept {
  return Best().count(from, count);
}

}  // namespace ctx::tokenize
