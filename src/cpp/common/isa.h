// Which vector instructions the CPU has: the tiers that some algorithms are compiled for.
#pragma once

#include <cstdint>

namespace ctx {

/// kNeon is all that aarch64 has; the tiers of x86-64 include each other.
enum class Isa : std::uint8_t {
  kPortable,  ///< what the compiler's baseline has, without vector code
  kNeon,      ///< aarch64's baseline
  kAvx2,      ///< AVX2, BMI1, BMI2, POPCNT, LZCNT
  kAvx512,    ///< besides, AVX-512 F, BW, DQ, VL, VBMI, VBMI2
};

/// The best tier of this machine, or the lower one that the environment variable CTXENGINE_ISA
/// names ("portable", "neon", "avx2", "avx512"; anything else, and what the machine does not have,
/// is ignored). Decided once per process.
Isa BestIsa() noexcept;

/// The best tier of this machine, whatever the environment says.
Isa DetectIsa() noexcept;

/// Whether this machine has the tier.
bool HasIsa(Isa isa) noexcept;

const char* NameOf(Isa isa) noexcept;

}  // namespace ctx
