// SHA-256 on the SHA extensions of x86 (SHA-NI), chosen at run time.
//
// The instructions keep the eight state words in two registers, (a, b, e, f) and (c, d, g, h), do
// two rounds at a time, and compute the message schedule four words at a time (Intel, "New
// Instructions Supporting the Secure Hash Algorithm on Intel Architecture Processors").
#include "common/sha256_internal.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>

#include <algorithm>
#endif

namespace ctx::internal {

#if defined(__x86_64__)
namespace {

#define CTX_TARGET __attribute__((target("sha,sse4.1")))
#define CTX_INLINE [[gnu::always_inline]] CTX_TARGET inline

/// The eight words of a chain, as the instructions want them.
struct State {
  __m128i abef, cdgh;
};

CTX_INLINE __m128i Load(const void* from) {
  return _mm_loadu_si128(static_cast<const __m128i*>(from));
}

/// Swaps the bytes of each word.
CTX_INLINE __m128i Swap(__m128i words) {
  return _mm_shuffle_epi8(words, _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL));
}

/// Memory holds a b c d | e f g h; the instructions want (f e b a) and (h g d c), low lane first.
CTX_INLINE State LoadState(const std::uint32_t* words) {
  const __m128i badc = _mm_shuffle_epi32(Load(words), 0xB1);
  const __m128i hgfe = _mm_shuffle_epi32(Load(words + 4), 0x1B);
  return {_mm_alignr_epi8(badc, hgfe, 8), _mm_blend_epi16(hgfe, badc, 0xF0)};
}

CTX_INLINE void StoreState(const State& state, std::uint32_t* words) {
  const __m128i feba = _mm_shuffle_epi32(state.abef, 0x1B);
  const __m128i dchg = _mm_shuffle_epi32(state.cdgh, 0xB1);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(words), _mm_blend_epi16(feba, dchg, 0xF0));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(words + 4), _mm_alignr_epi8(dchg, feba, 8));
}

CTX_INLINE void LoadBlock(const std::uint8_t* block, __m128i (&words)[4]) {
  for (int i = 0; i < 4; ++i) words[i] = Swap(Load(block + 16 * i));
}

/// Folds one block into each of `kChains` states; `words` are the blocks, and scratch.
template <int kChains>
CTX_INLINE void Compress(State (&states)[kChains], __m128i (&words)[kChains][4]) {
  State before[kChains];
  for (int c = 0; c < kChains; ++c) before[c] = states[c];
#pragma GCC unroll 16
  for (int group = 0; group < 16; ++group) {  // four rounds each
    const __m128i constants = Load(kSha256Constants.data() + 4 * group);
#pragma GCC unroll 2
    for (int c = 0; c < kChains; ++c) {
      __m128i(&ring)[4] = words[c];  // the last 16 words of the schedule
      const __m128i current = ring[group % 4];
      const __m128i sum = _mm_add_epi32(current, constants);
      states[c].cdgh = _mm_sha256rnds2_epu32(states[c].cdgh, states[c].abef, sum);
      states[c].abef =
          _mm_sha256rnds2_epu32(states[c].abef, states[c].cdgh, _mm_shuffle_epi32(sum, 0x0E));
      if (group < 12) {
        const __m128i last = ring[(group + 3) % 4];
        __m128i scheduled = _mm_sha256msg1_epu32(current, ring[(group + 1) % 4]);
        scheduled = _mm_add_epi32(scheduled, _mm_alignr_epi8(last, ring[(group + 2) % 4], 4));
        ring[group % 4] = _mm_sha256msg2_epu32(scheduled, last);
      }
    }
  }
  for (int c = 0; c < kChains; ++c) {
    states[c].abef = _mm_add_epi32(states[c].abef, before[c].abef);
    states[c].cdgh = _mm_add_epi32(states[c].cdgh, before[c].cdgh);
  }
}

CTX_TARGET void CompressShaNi(std::uint32_t* words, const std::uint8_t* blocks,
                              std::size_t num_blocks) {
  State states[1] = {LoadState(words)};
  for (; num_blocks > 0; --num_blocks, blocks += 64) {
    __m128i block[1][4];
    LoadBlock(blocks, block[0]);
    Compress(states, block);
  }
  StoreState(states[0], words);
}

// Sliding a window over this shifts 16 bytes by up to 16 places, zeros coming in.
alignas(16) constexpr std::uint8_t kShifts[48] = {
    0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
    0,    1,    2,    3,    4,    5,    6,    7,    8,    9,    10,   11,   12,   13,   14,   15,
    0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80};

/// The first block of a link, with the digest in its place.
CTX_INLINE void LoadFirstBlock(const Sha256Link& link, const Sha256Words& chain,
                               __m128i (&words)[4]) {
  const __m128i low = Swap(Load(chain.words.data())), high = Swap(Load(chain.words.data() + 4));
  const __m128i up = Load(kShifts + 16 - link.offset), down = Load(kShifts + 32 - link.offset);
  const __m128i digest[3] = {_mm_shuffle_epi8(low, up),
                             _mm_or_si128(_mm_shuffle_epi8(low, down), _mm_shuffle_epi8(high, up)),
                             _mm_shuffle_epi8(high, down)};
  for (int i = 0; i < 3; ++i) {
    words[i] = Swap(_mm_or_si128(Load(link.message + 16 * i), digest[i]));
  }
  words[3] = Swap(Load(link.message + 48));
}

/// Appends a link to each chain; the links have the same number of blocks up to `num_blocks`.
template <int kChains>
CTX_INLINE void AppendBlocks(const Sha256Link* links, const Sha256Words* chains,
                             std::size_t num_blocks, State (&states)[kChains]) {
  __m128i words[kChains][4];
  for (int c = 0; c < kChains; ++c) {
    states[c] = LoadState(kSha256Initial.data());
    LoadFirstBlock(links[c], chains[c], words[c]);
  }
  Compress(states, words);
  for (std::size_t i = 1; i < num_blocks; ++i) {
    for (int c = 0; c < kChains; ++c) LoadBlock(links[c].message + 64 * i, words[c]);
    Compress(states, words);
  }
}

CTX_TARGET void AppendShaNi(const Sha256Link& link, Sha256Words* chain) {
  State states[1];
  AppendBlocks(&link, chain, link.num_blocks, states);
  StoreState(states[0], chain->words.data());
}

CTX_TARGET void AppendTwoShaNi(const Sha256Link (&links)[2], Sha256Words (&chains)[2]) {
  State states[2];
  const std::size_t common = std::min(links[0].num_blocks, links[1].num_blocks);
  AppendBlocks(links, chains, common, states);
  for (int c = 0; c < 2; ++c) {
    StoreState(states[c], chains[c].words.data());
    CompressShaNi(chains[c].words.data(), links[c].message + 64 * common,
                  links[c].num_blocks - common);
  }
}

bool CpuHasShaNi() noexcept {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0 || (ecx & bit_SSE4_1) == 0) return false;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (ebx & bit_SHA) != 0;
}

}  // namespace

const Sha256Functions* ShaNiFunctions() noexcept {
  static const bool supported = CpuHasShaNi();
  static constexpr Sha256Functions kFunctions = {CompressShaNi, AppendShaNi, AppendTwoShaNi};
  return supported ? &kFunctions : nullptr;
}
#else
const Sha256Functions* ShaNiFunctions() noexcept { return nullptr; }
#endif

}  // namespace ctx::internal
