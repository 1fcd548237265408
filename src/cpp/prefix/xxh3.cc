#include "prefix/xxh3.h"

#include <bit>

// The implementation as inline functions, so that a known length is compiled in.
#define XXH_INLINE_ALL
#include "xxhash.h"

namespace ctx::prefix {

static_assert(std::endian::native == std::endian::little, "ids are hashed as they lie in memory");

std::uint64_t Xxh3(std::span<const std::uint8_t> message, std::uint64_t seed) noexcept {
  return XXH3_64bits_withSeed(message.data(), message.size(), seed);
}

std::array<std::uint8_t, 16> Xxh3Wide(std::span<const std::uint8_t> message) noexcept {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(message.data(), message.size()));
  return std::to_array(canonical.digest);
}

void Xxh3Blocks(std::span<const TokenId> token_ids, std::size_t block_size, std::uint64_t seed,
                std::span<std::uint64_t> hashes) noexcept {
  const TokenId* block = token_ids.data();
  constexpr std::size_t kCommonSize = 16;
  if (block_size == kCommonSize) {
    for (std::uint64_t& hash : hashes) {
      hash = XXH3_64bits_withSeed(block, kCommonSize * sizeof(TokenId), seed);
      block += kCommonSize;
    }
    return;
  }
  for (std::uint64_t& hash : hashes) {
    hash = XXH3_64bits_withSeed(block, block_size * sizeof(TokenId), seed);
    block += block_size;
  }
}

}  // namespace ctx::prefix
