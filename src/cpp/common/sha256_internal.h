// Shared by the implementations of SHA-256.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "common/sha256.h"

namespace ctx::internal {

struct Sha256Functions {
  /// Folds `num_blocks` blocks of 64 bytes into `state` (the eight words a..h).
  void (*compress)(std::uint32_t* state, const std::uint8_t* blocks, std::size_t num_blocks);
  void (*append)(const Sha256Link& link, Sha256Words* chain);
  void (*append_two)(const Sha256Link (&links)[2], Sha256Words (&chains)[2]);
};

extern const std::array<std::uint32_t, 64> kSha256Constants;
extern const std::array<std::uint32_t, 8> kSha256Initial;

/// The functions on the SHA extensions, or nullptr where the CPU lacks them.
const Sha256Functions* ShaNiFunctions() noexcept;

}  // namespace ctx::internal
