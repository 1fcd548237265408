// XXH3 (xxHash 0.8): fast and not cryptographic, for the schemes of engines that use it.
//
// Any number of threads. O(size), no allocation.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "common/ids.h"

namespace ctx::prefix {

std::uint64_t Xxh3(std::span<const std::uint8_t> message, std::uint64_t seed) noexcept;

/// The 128-bit form in its canonical bytes, most significant first.
std::array<std::uint8_t, 16> Xxh3Wide(std::span<const std::uint8_t> message) noexcept;

/// The hashes of consecutive blocks of ids as little-endian words: `token_ids` has `block_size` ids
/// for each of `hashes`.
void Xxh3Blocks(std::span<const TokenId> token_ids, std::size_t block_size, std::uint64_t seed,
                std::span<std::uint64_t> hashes) noexcept;

}  // namespace ctx::prefix
