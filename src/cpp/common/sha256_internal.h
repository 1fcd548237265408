// Shared by the implementations of SHA-256: what a compression function looks like.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace ctx::internal {

/// Folds `num_blocks` blocks of 64 bytes into `state` (the eight words a..h).
using Sha256Compress = void (*)(std::uint32_t* state, const std::uint8_t* blocks,
                                std::size_t num_blocks);

extern const std::array<std::uint32_t, 64> kSha256Constants;

/// The compression function on the SHA extensions, or nullptr where the CPU lacks them.
Sha256Compress ShaNiCompress() noexcept;

}  // namespace ctx::internal
