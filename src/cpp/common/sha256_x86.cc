// SHA-256 on the SHA extensions of x86 (SHA-NI), chosen at run time.
//
// The instructions keep the eight state words in two registers, (a, b, e, f) and (c, d, g, h), do
// two rounds at a time, and compute the message schedule four words at a time (Intel, "New
// Instructions Supporting the Secure Hash Algorithm on Intel Architecture Processors").
#include "common/sha256_internal.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace ctx::internal {

#if defined(__x86_64__)
namespace {

__attribute__((target("sha,sse4.1"))) void CompressShaNi(std::uint32_t* state,
                                                         const std::uint8_t* blocks,
                                                         std::size_t num_blocks) {
  const __m128i byte_swap = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
  // Memory holds a b c d | e f g h; the instructions want (f e b a) and (h g d c), low lane first.
  const __m128i badc =
      _mm_shuffle_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(state)), 0xB1);
  const __m128i hgfe =
      _mm_shuffle_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(state + 4)), 0x1B);
  __m128i abef = _mm_alignr_epi8(badc, hgfe, 8);
  __m128i cdgh = _mm_blend_epi16(hgfe, badc, 0xF0);

  for (; num_blocks > 0; --num_blocks, blocks += 64) {
    const __m128i abef_before = abef;
    const __m128i cdgh_before = cdgh;
    __m128i words[4];  // a ring: the last 16 words of the schedule
    for (int i = 0; i < 4; ++i) {
      words[i] = _mm_shuffle_epi8(
          _mm_loadu_si128(reinterpret_cast<const __m128i*>(blocks + 16 * i)), byte_swap);
    }
#pragma GCC unroll 16
    for (int group = 0; group < 16; ++group) {  // four rounds each
      const __m128i current = words[group % 4];
      const __m128i sum = _mm_add_epi32(
          current,
          _mm_loadu_si128(reinterpret_cast<const __m128i*>(kSha256Constants.data() + 4 * group)));
      cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
      abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0E));
      if (group < 12) {
        const __m128i next = words[(group + 1) % 4];
        const __m128i last = words[(group + 3) % 4];
        __m128i scheduled = _mm_sha256msg1_epu32(current, next);
        scheduled = _mm_add_epi32(scheduled, _mm_alignr_epi8(last, words[(group + 2) % 4], 4));
        words[group % 4] = _mm_sha256msg2_epu32(scheduled, last);
      }
    }
    abef = _mm_add_epi32(abef, abef_before);
    cdgh = _mm_add_epi32(cdgh, cdgh_before);
  }

  const __m128i feba = _mm_shuffle_epi32(abef, 0x1B);
  const __m128i dchg = _mm_shuffle_epi32(cdgh, 0xB1);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(state), _mm_blend_epi16(feba, dchg, 0xF0));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}

bool CpuHasShaNi() noexcept {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0 || (ecx & bit_SSE4_1) == 0) return false;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (ebx & bit_SHA) != 0;
}

}  // namespace

Sha256Compress ShaNiCompress() noexcept {
  static const bool supported = CpuHasShaNi();
  return supported ? CompressShaNi : nullptr;
}
#else
Sha256Compress ShaNiCompress() noexcept { return nullptr; }
#endif

}  // namespace ctx::internal
