#include "tokenize/pretokenize/block_scan.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include <array>
#include <bit>
#include <cstring>

#include "tokenize/pretokenize/block_scan_masks.h"

#define CTX_TARGET __attribute__((target("avx2,bmi,bmi2,lzcnt,popcnt")))
#define CTX_INLINE [[gnu::always_inline]] CTX_TARGET inline

namespace ctx::tokenize {
namespace {

/// 64 bytes, or what a comparison says of each.
struct Bytes64 {
  __m256i low;
  __m256i high;

  CTX_INLINE Mask mask() const noexcept {
    return static_cast<std::uint32_t>(_mm256_movemask_epi8(low)) |
           Mask{static_cast<std::uint32_t>(_mm256_movemask_epi8(high))} << 32;
  }
  CTX_INLINE Mask Equal(char c) const noexcept {
    const __m256i all = _mm256_set1_epi8(c);
    return Bytes64{_mm256_cmpeq_epi8(low, all), _mm256_cmpeq_epi8(high, all)}.mask();
  }
  /// Whether first <= byte <= last, as signed numbers.
  CTX_INLINE Mask Among(char first, char last) const noexcept {
    const __m256i least = _mm256_set1_epi8(static_cast<char>(first - 1));
    const __m256i greatest = _mm256_set1_epi8(last);
    const auto within = [&](__m256i v) CTX_TARGET {
      return _mm256_andnot_si256(_mm256_cmpgt_epi8(v, greatest), _mm256_cmpgt_epi8(v, least));
    };
    return Bytes64{within(low), within(high)}.mask();
  }
  /// Whether byte <= last, as signed numbers.
  CTX_INLINE Mask UpTo(char last) const noexcept {
    const __m256i beyond = _mm256_set1_epi8(static_cast<char>(last + 1));
    return Bytes64{_mm256_cmpgt_epi8(beyond, low), _mm256_cmpgt_epi8(beyond, high)}.mask();
  }
};

CTX_INLINE AsciiMasks ClassifyAscii(const Byte* bytes, Mask valid) noexcept {
  alignas(32) Byte padded[64];
  if (valid != ~Mask{0}) [[unlikely]] {
    std::memset(padded, 0, sizeof padded);
    std::memcpy(padded, bytes, static_cast<std::size_t>(std::popcount(valid)));
    bytes = padded;
  }
  const auto* const from = reinterpret_cast<const __m256i*>(bytes);
  const Bytes64 v = {_mm256_loadu_si256(from), _mm256_loadu_si256(from + 1)};
  AsciiMasks masks;
  masks.upper = v.Among('A', 'Z');
  masks.lower = v.Among('a', 'z');
  masks.digit = v.Among('0', '9');
  masks.newline = v.Equal('\n') | v.Equal('\r');
  masks.blank = v.Equal(' ');
  masks.space = v.Among('\t', '\r') | masks.blank;
  masks.quote = v.Equal('\'');
  masks.control = v.Among(0, 0x1F) | v.Equal(0x7F);
  masks.slash = v.Equal('/');
  masks.not_ascii = v.mask();
  masks.continuation = v.UpTo(static_cast<char>(0xBF));
  return masks;
}

CTX_INLINE std::array<Mask, 8> BitPlanes(const Byte* bytes) noexcept {
  const auto* const from = reinterpret_cast<const __m256i*>(bytes);
  Bytes64 v = {_mm256_loadu_si256(from), _mm256_loadu_si256(from + 1)};
  std::array<Mask, 8> planes;
  for (std::size_t i = planes.size(); i-- > 0;) {
    planes[i] = v.mask();
    v = {_mm256_add_epi8(v.low, v.low), _mm256_add_epi8(v.high, v.high)};
  }
  return planes;
}

}  // namespace
}  // namespace ctx::tokenize

#include "tokenize/pretokenize/block_scan_basic.h"
#include "tokenize/pretokenize/block_scan_body.h"

namespace ctx::tokenize::internal {
BlockScanner Avx2BlockScanner(Pattern pattern) noexcept { return ScannerOf(pattern); }
}  // namespace ctx::tokenize::internal

#else

namespace ctx::tokenize::internal {
BlockScanner Avx2BlockScanner(Pattern /*pattern*/) noexcept { return nullptr; }
}  // namespace ctx::tokenize::internal

#endif
