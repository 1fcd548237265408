#include "tokenize/pretokenize/block_scan.h"

#if defined(__x86_64__)

// GCC 12 takes the undefined lanes of its own intrinsics for a mistake.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

#include <immintrin.h>

#include <algorithm>
#include <array>
#include <bit>

#include "tokenize/pretokenize/block_scan_masks.h"
#include "tokenize/unicode/unicode_tables.h"
#include "tokenize/unicode/utf8.h"

#define CTX_TARGET       \
  __attribute__((target( \
      "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,avx2,bmi,bmi2,lzcnt,popcnt")))
#define CTX_INLINE [[gnu::always_inline]] CTX_TARGET inline

namespace ctx::tokenize {
namespace {

alignas(64) constexpr Byte kIota[64] = {
    0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
    22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43,
    44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63};

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
  masks.control = among(0, 0x20) | equal(0x7F);
  masks.slash = equal('/');
  masks.not_ascii = _mm512_movepi8_mask(v);
  masks.continuation = among(static_cast<char>(0x80), 0x40);
  return masks;
}

/// The first eight class bits of the 64 characters from `first` on.
CTX_INLINE __m512i PageClasses(unsigned first) noexcept {
  constexpr unsigned kWithinBlock = (1 << kClassBlockBits) - 1;
  const std::uint16_t* const from =
      kClassBlocks[kClassBlockOf[first >> kClassBlockBits]] + (first & kWithinBlock);
  const __m256i low = _mm512_cvtepi16_epi8(_mm512_loadu_si512(from));
  const __m256i high = _mm512_cvtepi16_epi8(_mm512_loadu_si512(from + 32));
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

// Out of line: where everything is ASCII it would be in the way.
template <bool with_cjk>
[[gnu::noinline]] CTX_TARGET WideMasks ClassifyWide(const Byte* bytes, std::size_t size,
                                                    Mask /*not_ascii*/, Mask leads,
                                                    Straddler& straddler) noexcept {
  const auto left = static_cast<unsigned>(std::min<std::size_t>(size, 128));
  const __m512i v = _mm512_maskz_loadu_epi8(LowBits(left), bytes);
  const __m512i second = _mm512_maskz_loadu_epi8(LowBits(left - 1), bytes + 1);
  const auto at_least = [](__m512i bytes_64, unsigned char least) CTX_TARGET {
    return _mm512_cmpge_epu8_mask(bytes_64, _mm512_set1_epi8(static_cast<char>(least)));
  };
  const auto equal = [](__m512i bytes_64, unsigned char c) CTX_TARGET {
    return _mm512_cmpeq_epi8_mask(bytes_64, _mm512_set1_epi8(static_cast<char>(c)));
  };
  WideMasks masks;
  masks.cjk = 0;
  const Mask four = at_least(v, 0xF0);
  const Mask three = at_least(v, 0xE0) & ~four;
  const Mask two = leads & ~three & ~four;
  masks.leads = {two, three, four};

  // By pages of 64 characters, which agree in all but their last byte: a page is a look-up.
  __m512i classes = _mm512_setzero_si512();
  Mask rest = two;
  while (rest != 0) {
    const unsigned lead = bytes[std::countr_zero(rest)];
    const Mask of_page = equal(v, static_cast<unsigned char>(lead));
    const __m512i page = PageClasses((lead & 0x1F) << 6);
    classes = _mm512_mask_permutexvar_epi8(classes, of_page, second, page);
    rest &= ~of_page;
  }
  if (three != 0) {
    // U+4E00 to U+9FFF are letters without case. Their pages are many.
    const Mask han = three & (at_least(v, 0xE5) | (equal(v, 0xE4) & at_least(second, 0xB8))) &
                     ~at_least(v, 0xEA);
    classes = _mm512_mask_mov_epi8(classes, han, _mm512_set1_epi8(kCaseless));
    rest = three & ~han;
    const __m512i third = _mm512_maskz_loadu_epi8(LowBits(left - 2), bytes + 2);
    if constexpr (with_cjk) {
      // U+3040 to U+30FF, and of the above those up to U+9FA5.
      const Mask kana = three & equal(v, 0xE3) & at_least(second, 0x81) & ~at_least(second, 0x84);
      const Mask beyond =
          equal(v, 0xE9) & (at_least(second, 0xBF) | (equal(second, 0xBE) & at_least(third, 0xA6)));
      masks.cjk = kana | (han & ~beyond);
    }
    if (rest != 0) {
      do {
        const auto at = static_cast<unsigned>(std::countr_zero(rest));
        const Mask of_page = equal(v, bytes[at]) & equal(second, bytes[at + 1]) & rest;
        const __m512i page = PageClasses((bytes[at] & 0x0Fu) << 12 | (bytes[at + 1] & 0x3Fu) << 6);
        classes = _mm512_mask_permutexvar_epi8(classes, of_page, third, page);
        rest &= ~of_page;
      } while (rest != 0);
    }
  }
  for (rest = four; rest != 0; rest &= rest - 1) {
    const auto its =
        static_cast<char>(CharClassesOf(DecodeUtf8(bytes + std::countr_zero(rest)).value));
    classes = _mm512_mask_mov_epi8(classes, rest & -rest, _mm512_set1_epi8(its));
  }

  // From the first bytes to the others; those of the character before come first.
  const auto from_before = [&classes](__m512i to, Mask where, char distance) CTX_TARGET {
    const __m512i from = _mm512_sub_epi8(_mm512_load_si512(kIota), _mm512_set1_epi8(distance));
    return _mm512_mask_permutexvar_epi8(to, where, from, classes);
  };
  __m512i all = from_before(classes, leads << 1, 1);
  all = from_before(all, (three | four) << 2, 2);
  all = from_before(all, four << 3, 3);
  all = _mm512_mask_mov_epi8(all, LowBits(straddler.num_bytes),
                             _mm512_set1_epi8(static_cast<char>(straddler.classes)));
  for (std::size_t i = 0; i < masks.classes.size(); ++i) {
    masks.classes[i] = _mm512_test_epi8_mask(all, _mm512_set1_epi8(static_cast<char>(1 << i)));
  }
  const Mask cjk_leads = masks.cjk;
  if constexpr (with_cjk) {
    masks.cjk |= cjk_leads << 1 | cjk_leads << 2;
    if (straddler.is_cjk) masks.cjk |= LowBits(straddler.num_bytes);
  }
  straddler.num_bytes = 0;
  if ((leads >> 63 | (three | four) >> 62 | four >> 61) != 0) {
    const auto at = static_cast<unsigned>(63 - std::countl_zero(leads));
    const auto size_bytes = static_cast<unsigned>(2 + (three >> at & 1) + 2 * (four >> at & 1));
    alignas(64) std::array<Byte, 64> by_byte;
    _mm512_store_si512(by_byte.data(), all);
    straddler = {at + size_bytes - 64, by_byte[at], (cjk_leads >> at & 1) != 0};
  }
  return masks;
}

CTX_INLINE std::size_t StorePositions(Mask mask, unsigned base, std::uint16_t* to) noexcept {
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
