#include "tokenize/pretokenize/block_scan.h"

#if defined(__x86_64__)

// GCC 12 takes the undefined lanes of its own intrinsics for a mistake.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

#include <immintrin.h>

#include "tokenize/pretokenize/block_scan_masks.h"

#define CTX_TARGET       \
  __attribute__((target( \
      "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,avx2,bmi,bmi2,lzcnt,popcnt")))
#define CTX_INLINE [[gnu::always_inline]] CTX_TARGET inline

namespace ctx::tokenize {
namespace {

CTX_INLINE AsciiMasks ClassifyAscii(const Byte* bytes, Mask valid) noexcept {
  const __m512i v = _mm512_maskz_loadu_epi8(valid, bytes);
  const auto equal = [v](char c)
                         CTX_TARGET { return _mm512_cmpeq_epi8_mask(v, _mm512_set1_epi8(c)); };
  // Whether first <= v < first + count.
  const auto among = [v](char first, char count) CTX_TARGET {
    return _mm512_cmplt_epu8_mask(_mm512_sub_epi8(v, _mm512_set1_epi8(first)),
                                  _mm512_set1_epi8(count));
  };
  AsciiMasks masks;
  masks.upper = among('A', 26);
  masks.lower = among('a', 26);
  masks.digit = among('0', 10);
  masks.newline = equal('\n') | equal('\r');
  masks.blank = equal(' ');
  masks.space = among('\t', 5) | masks.blank;
  masks.quote = equal('\'');
  masks.slash = equal('/');
  masks.not_ascii = _mm512_movepi8_mask(v);
  masks.continuation = among(static_cast<char>(0x80), 0x40);
  return masks;
}

CTX_INLINE std::size_t StorePositions(Mask mask, unsigned base, std::uint16_t* to) noexcept {
  alignas(64) static constexpr Byte kIota[64] = {
      0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
      22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43,
      44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63};
  const __m512i offsets = _mm512_maskz_compress_epi8(mask, _mm512_load_si512(kIota));
  const __m512i bases = _mm512_set1_epi16(static_cast<short>(base));
  const __m512i low = _mm512_cvtepu8_epi16(_mm512_castsi512_si256(offsets));
  const __m512i high = _mm512_cvtepu8_epi16(_mm512_extracti64x4_epi64(offsets, 1));
  _mm512_storeu_si512(to, _mm512_add_epi16(low, bases));
  _mm512_storeu_si512(to + 32, _mm512_add_epi16(high, bases));
  return static_cast<std::size_t>(std::popcount(mask));
}

}  // namespace
}  // namespace ctx::tokenize

#include "tokenize/pretokenize/block_scan_body.h"

namespace ctx::tokenize::internal {
BlockScanner Avx512BlockScanner(Pattern pattern) noexcept { return ScannerOf(pattern); }
}  // namespace ctx::tokenize::internal

#else

namespace ctx::tokenize::internal {
BlockScanner Avx512BlockScanner(Pattern /*pattern*/) noexcept { return nullptr; }
}  // namespace ctx::tokenize::internal

#endif
