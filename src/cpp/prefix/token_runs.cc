#include "prefix/token_runs.h"

#include <array>
#include <bit>
#include <cstring>

#include "common/isa.h"

#if defined(__x86_64__)
// GCC 12 takes the undefined lanes of its own intrinsics for a mistake.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#endif

namespace ctx::prefix {
namespace {

using Put = std::uint8_t* (*)(std::span<const TokenId>, std::uint8_t*);

std::uint8_t* PutLittleEndian(std::uint64_t bytes, std::uint8_t* out) noexcept {
  for (int i = 0; i < 8; ++i) out[i] = static_cast<std::uint8_t>(bytes >> (8 * i));
  return out;
}

std::uint8_t* PutPicklePortable(std::span<const TokenId> token_ids, std::uint8_t* out) noexcept {
  static constexpr std::array<std::uint8_t, 3> kOpcodes = {'K', 'M', 'J'};
  static constexpr std::array<std::uint8_t, 3> kSizes = {2, 3, 5};
  for (const TokenId id : token_ids) {
    const std::size_t size_class = std::size_t{id > 0xFF} + std::size_t{id > 0xFFFF};
    out = PutLittleEndian(kOpcodes[size_class] | std::uint64_t{id} << 8, out) + kSizes[size_class];
  }
  return out;
}

std::uint8_t* PutCborPortable(std::span<const TokenId> token_ids, std::uint8_t* out) noexcept {
  static constexpr std::array<std::uint8_t, 4> kHeads = {0, 24, 25, 26};
  static constexpr std::array<std::uint8_t, 4> kSizes = {1, 2, 3, 5};
  static constexpr std::array<std::uint8_t, 4> kShifts = {32, 24, 16, 0};
  for (const TokenId id : token_ids) {
    const std::size_t size_class =
        std::size_t{id > 23} + std::size_t{id > 0xFF} + std::size_t{id > 0xFFFF};
    const std::uint64_t head = size_class == 0 ? id : kHeads[size_class];
    const std::uint64_t big_endian = __builtin_bswap32(id);
    out = PutLittleEndian(head | big_endian >> kShifts[size_class] << 8, out) + kSizes[size_class];
  }
  return out;
}

#if defined(__x86_64__)
#define CTX_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi2,popcnt")))
#define CTX_INLINE [[gnu::always_inline]] CTX_TARGET inline

/// Each 64-bit lane of `lanes` holds an id's bytes; `used` has all bits of those that are written.
CTX_INLINE std::uint8_t* PutUsedBytes(__m512i lanes, __m512i used, std::uint8_t* out) {
  const __mmask64 mask = _mm512_movepi8_mask(used);
  _mm512_storeu_si512(out, _mm512_maskz_compress_epi8(mask, lanes));
  return out + std::popcount(static_cast<std::uint64_t>(mask));
}

/// Calls `put(eight ids in 64-bit lanes, which of them exist, out)` for all ids.
template <typename PutEight>
CTX_INLINE std::uint8_t* ForEight(std::span<const TokenId> token_ids, std::uint8_t* out,
                                  PutEight put) {
  const TokenId* ids = token_ids.data();
  std::size_t left = token_ids.size();
  for (; left >= 8; left -= 8, ids += 8) {
    const __m256i eight = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(ids));
    out = put(_mm512_cvtepu32_epi64(eight), __mmask8{0xFF}, out);
  }
  if (left > 0) {
    const auto exist = static_cast<__mmask8>((1U << left) - 1);
    out = put(_mm512_cvtepu32_epi64(_mm256_maskz_loadu_epi32(exist, ids)), exist, out);
  }
  return out;
}

CTX_TARGET std::uint8_t* PutPickleAvx512(std::span<const TokenId> token_ids, std::uint8_t* out) {
  return ForEight(token_ids, out, [](__m512i ids, __mmask8 exist, std::uint8_t* to) CTX_TARGET {
    const __mmask8 two = _mm512_cmpgt_epu64_mask(ids, _mm512_set1_epi64(0xFF));
    const __mmask8 four = _mm512_cmpgt_epu64_mask(ids, _mm512_set1_epi64(0xFFFF));
    __m512i opcode = _mm512_set1_epi64('K');
    opcode = _mm512_mask_mov_epi64(opcode, two, _mm512_set1_epi64('M'));
    opcode = _mm512_mask_mov_epi64(opcode, four, _mm512_set1_epi64('J'));
    __m512i used = _mm512_maskz_set1_epi64(exist, 0xFFFF);
    used = _mm512_mask_mov_epi64(used, two, _mm512_set1_epi64(0xFFFFFF));
    used = _mm512_mask_mov_epi64(used, four, _mm512_set1_epi64(0xFFFFFFFFFF));
    return PutUsedBytes(_mm512_or_si512(opcode, _mm512_slli_epi64(ids, 8)), used, to);
  });
}

CTX_TARGET std::uint8_t* PutCborAvx512(std::span<const TokenId> token_ids, std::uint8_t* out) {
  // Byte 0 of a lane is the head, bytes 1 to 4 are the id, big-endian; an id below 24 is byte 4.
  const __m512i big_endian = _mm512_set4_epi32(static_cast<int>(0xFFFFFF08), 0x090A0BFF,
                                               static_cast<int>(0xFFFFFF00), 0x010203FF);
  return ForEight(token_ids, out, [=](__m512i ids, __mmask8 exist, std::uint8_t* to) CTX_TARGET {
    const __mmask8 one = _mm512_cmpgt_epu64_mask(ids, _mm512_set1_epi64(23));
    const __mmask8 two = _mm512_cmpgt_epu64_mask(ids, _mm512_set1_epi64(0xFF));
    const __mmask8 four = _mm512_cmpgt_epu64_mask(ids, _mm512_set1_epi64(0xFFFF));
    __m512i head = _mm512_set1_epi64(24);
    head = _mm512_mask_mov_epi64(head, two, _mm512_set1_epi64(25));
    head = _mm512_mask_mov_epi64(head, four, _mm512_set1_epi64(26));
    __m512i used = _mm512_maskz_set1_epi64(exist, 0xFF00000000);
    used = _mm512_mask_mov_epi64(used, one, _mm512_set1_epi64(0xFF000000FF));
    used = _mm512_mask_mov_epi64(used, two, _mm512_set1_epi64(0xFFFF0000FF));
    used = _mm512_mask_mov_epi64(used, four, _mm512_set1_epi64(0xFFFFFFFFFF));
    return PutUsedBytes(_mm512_or_si512(head, _mm512_shuffle_epi8(ids, big_endian)), used, to);
  });
}
#endif

}  // namespace

std::uint8_t* PutPickleTokens(std::span<const TokenId> token_ids, std::uint8_t* out) noexcept {
#if defined(__x86_64__)
  static const Put put = BestIsa() == Isa::kAvx512 ? PutPickleAvx512 : PutPicklePortable;
  return put(token_ids, out);
#else
  return PutPicklePortable(token_ids, out);
#endif
}

std::uint8_t* PutCborTokens(std::span<const TokenId> token_ids, std::uint8_t* out) noexcept {
#if defined(__x86_64__)
  static const Put put = BestIsa() == Isa::kAvx512 ? PutCborAvx512 : PutCborPortable;
  return put(token_ids, out);
#else
  return PutCborPortable(token_ids, out);
#endif
}

}  // namespace ctx::prefix
