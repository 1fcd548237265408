// SHA-256 (FIPS 180-4) of a whole message in memory. Two implementations give the same digest: a
// portable one and one on the SHA extensions of x86; Sha256() picks at its first call.
//
// Any number of threads. O(size), no allocation.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace ctx {

using Sha256Digest = std::array<std::uint8_t, 32>;

/// The digest of `message` by the fastest implementation that this CPU runs.
Sha256Digest Sha256(std::span<const std::uint8_t> message) noexcept;

/// The implementations behind Sha256(), so that tests can hold each to the same answers.
enum class Sha256Implementation : std::uint8_t { kPortable, kShaNi };
bool IsSupported(Sha256Implementation implementation) noexcept;
/// Requires IsSupported(implementation).
Sha256Digest Sha256(std::span<const std::uint8_t> message,
                    Sha256Implementation implementation) noexcept;

}  // namespace ctx
