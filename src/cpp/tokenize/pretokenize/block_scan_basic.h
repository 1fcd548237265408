// What the block scanners have in common for instruction sets without permutations under a mask:
// characters beyond ASCII and the numbers of bits, one after the other. To be included as
// block_scan_body.h is, and before it, with
//
//     std::array<Mask, 8> BitPlanes(const Byte* bytes)    of 64 bytes: plane k has their bits k
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tokenize/pretokenize/block_scan_masks.h"
#include "tokenize/unicode/unicode_tables.h"
#include "tokenize/unicode/utf8.h"

namespace ctx::tokenize {
namespace {

// Out of line: where everything is ASCII it would be in the way.
template <bool with_cjk>
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
  if (with_cjk && straddler.is_cjk) masks.cjk = LowBits(straddler.num_bytes);
  straddler.num_bytes = 0;
  for (; leads != 0; leads &= leads - 1) {
    const auto at = static_cast<unsigned>(std::countr_zero(leads));
    const auto [code_point, size_bytes] = DecodeUtf8(bytes + at);
    const unsigned all = CharClassesOf(code_point);
    const auto its = static_cast<Byte>(all);
    const bool is_cjk = with_cjk && (all & kCjk) != 0;
    write(at, its);
    if (is_cjk) masks.cjk |= Mask{7} << at;
    masks.leads[size_bytes - 2] |= Mask{1} << at;
    if (at + size_bytes > 64) {
      straddler = {at + static_cast<unsigned>(size_bytes) - 64, its, is_cjk};
    }
  }
  masks.classes = BitPlanes(classes.data());
  for (Mask& mask : masks.classes) mask &= not_ascii;
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
