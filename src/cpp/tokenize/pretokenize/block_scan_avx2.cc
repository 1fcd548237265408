#include "tokenize/pretokenize/block_scan.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include <bit>
#include <cstring>

#include "tokenize/pretokenize/block_scan_masks.h"
#include "tokenize/unicode/unicode_tables.h"
#include "tokenize/unicode/utf8.h"

#define CTX_TARGET __attribute__((target("avx2,bmi,bmi2,lzcnt,popcnt")))
#define CTX_INLINE [[gnu::always_inline]] CTX_TARGET inline

namespace ctx::tokenize {
namespace {

CTX_INLINE Mask LowBits(unsigned count) noexcept {
  return count >= 64 ? ~Mask{0} : (Mask{1} << count) - 1;
}

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
  masks.slash = v.Equal('/');
  masks.not_ascii = v.mask();
  masks.continuation = v.UpTo(static_cast<char>(0xBF));
  return masks;
}

// Out of line: where everything is ASCII it would be in the way.
[[gnu::noinline]] CTX_TARGET WideMasks ClassifyWide(const Byte* bytes, std::size_t /*size*/,
                                                    Mask not_ascii, Mask leads,
                                                    Straddler& straddler) noexcept {
  WideMasks masks = {};
  // Every character writes its classes four times; the next one overwrites what was too much.
  alignas(32) std::array<Byte, 64 + 4> classes;
  const auto write = [&](unsigned at, Byte value) CTX_TARGET {
    const std::uint32_t four = value * std::uint32_t{0x01010101};
    std::memcpy(&classes[at], &four, sizeof four);
  };
  write(0, straddler.classes);
  straddler.num_bytes = 0;
  for (; leads != 0; leads &= leads - 1) {
    const auto at = static_cast<unsigned>(std::countr_zero(leads));
    const auto [code_point, size_bytes] = DecodeUtf8(bytes + at);
    const auto its = static_cast<Byte>(CharClassesOf(code_point));
    write(at, its);
    masks.leads[size_bytes - 2] |= Mask{1} << at;
    if (at + size_bytes > 64) straddler = {at + static_cast<unsigned>(size_bytes) - 64, its};
  }
  const auto* const from = reinterpret_cast<const __m256i*>(classes.data());
  Bytes64 v = {_mm256_load_si256(from), _mm256_load_si256(from + 1)};
  for (std::size_t i = masks.classes.size(); i-- > 0;) {
    masks.classes[i] = v.mask() & not_ascii;
    v = {_mm256_add_epi8(v.low, v.low), _mm256_add_epi8(v.high, v.high)};
  }
  return masks;
}

CTX_INLINE std::size_t StorePositions(Mask mask, unsigned base, std::uint16_t* to) noexcept {
  const auto count = static_cast<std::size_t>(std::popcount(mask));
  // Eight at a time: a few too many cost less than a branch for each.
  for (std::uint16_t* const end = to + count; to < end; to += 8) {
    for (int i = 0; i < 8; ++i) {
      to[i] = static_cast<std::uint16_t>(base + static_cast<unsigned>(std::countr_zero(mask)));
      mask &= mask - 1;
    }
  }
  return count;
}

}  // namespace
}  // namespace ctx::tokenize

#include "tokenize/pretokenize/block_scan_body.h"

namespace ctx::tokenize::internal {
BlockScanner Avx2BlockScanner(Pattern pattern) noexcept { return ScannerOf(pattern); }
}  // namespace ctx::tokenize::internal

#else

namespace ctx::tokenize::internal {
BlockScanner Avx2BlockScanner(Pattern /*pattern*/) noexcept { return nullptr; }
}  // namespace ctx::tokenize::internal

#endif
