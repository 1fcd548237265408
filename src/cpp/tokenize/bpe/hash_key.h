// A hash of 64-bit words that nobody can find collisions for who does not know its key: so that no
// file can be written to make the tables that are built from it slow.
#pragma once

#include <cstdint>
#include <random>

namespace ctx::tokenize {

struct HashKey {
  std::uint64_t mask;
  std::uint64_t multiplier;  // odd

  /// Throws what std::random_device throws.
  static HashKey Random() {
    std::random_device random;
    const auto word = [&] { return std::uint64_t{random()} << 32 | random(); };
    return {word(), word() | 1};
  }

  /// Folds the 128-bit product: every input bit reaches the high bits.
  std::uint64_t Mix(std::uint64_t word) const noexcept {
    const auto product = static_cast<unsigned __int128>(word ^ mask) * multiplier;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
  }
};

}  // namespace ctx::tokenize
