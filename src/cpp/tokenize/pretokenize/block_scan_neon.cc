#include "tokenize/pretokenize/block_scan.h"

#if defined(__aarch64__)

#include <arm_neon.h>

#include <array>
#include <bit>
#include <cstring>

#include "tokenize/pretokenize/block_scan_masks.h"

#define CTX_TARGET  // every aarch64 CPU has NEON
#define CTX_INLINE [[gnu::always_inline]] inline

namespace ctx::tokenize {
namespace {

/// 64 bytes, or what a comparison says of each.
using Bytes64 = uint8x16x4_t;

/// The bytes of which `test`, a function from 16 bytes to 16 of 0x00 or 0xFF, is true.
template <typename Test>
CTX_INLINE Mask MaskOf(const Bytes64& v, Test test) noexcept {
  // Each byte its bit; sums of two, of four and of eight neighbours then are the mask's bytes.
  const uint8x16_t bits = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201));
  const uint8x16_t first = vandq_u8(test(v.val[0]), bits);
  const uint8x16_t second = vandq_u8(test(v.val[1]), bits);
  const uint8x16_t third = vandq_u8(test(v.val[2]), bits);
  const uint8x16_t fourth = vandq_u8(test(v.val[3]), bits);
  const uint8x16_t fours = vpaddq_u8(vpaddq_u8(first, second), vpaddq_u8(third, fourth));
  return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(fours, fours)), 0);
}

CTX_INLINE AsciiMasks ClassifyAscii(const Byte* bytes, Mask valid) noexcept {
  Byte padded[64];
  if (valid != ~Mask{0}) [[unlikely]] {
    std::memset(padded, 0, sizeof padded);
    std::memcpy(padded, bytes, static_cast<std::size_t>(std::popcount(valid)));
    bytes = padded;
  }
  const Bytes64 v = {
      {vld1q_u8(bytes), vld1q_u8(bytes + 16), vld1q_u8(bytes + 32), vld1q_u8(bytes + 48)}};
  const auto equal = [&v](Byte c) {
    return MaskOf(v, [c](uint8x16_t part) { return vceqq_u8(part, vdupq_n_u8(c)); });
  };
  // Whether first <= byte < first + count.
  const auto among = [&v](Byte first, Byte count) {
    return MaskOf(v, [=](uint8x16_t part) {
      return vcltq_u8(vsubq_u8(part, vdupq_n_u8(first)), vdupq_n_u8(count));
    });
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
  masks.not_ascii = among(0x80, 0x80);
  masks.continuation = among(0x80, 0x40);
  return masks;
}

CTX_INLINE std::array<Mask, 8> BitPlanes(const Byte* bytes) noexcept {
  const Bytes64 v = {
      {vld1q_u8(bytes), vld1q_u8(bytes + 16), vld1q_u8(bytes + 32), vld1q_u8(bytes + 48)}};
  std::array<Mask, 8> planes;
  for (std::size_t i = 0; i < planes.size(); ++i) {
    const uint8x16_t bit = vdupq_n_u8(static_cast<Byte>(1 << i));
    planes[i] = MaskOf(v, [bit](uint8x16_t part) { return vtstq_u8(part, bit); });
  }
  return planes;
}

}  // namespace
}  // namespace ctx::tokenize

#include "tokenize/pretokenize/block_scan_basic.h"
#include "tokenize/pretokenize/block_scan_body.h"

namespace ctx::tokenize::internal {
BlockScanner NeonBlockScanner(Pattern pattern) noexcept { return ScannerOf(pattern); }
}  // namespace ctx::tokenize::internal

#else

namespace ctx::tokenize::internal {
BlockScanner NeonBlockScanner(Pattern /*pattern*/) noexcept { return nullptr; }
}  // namespace ctx::tokenize::internal

#endif
