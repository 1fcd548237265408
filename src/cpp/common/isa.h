// Which vector instructions the CPU has: the tiers that some algorithms are compiled for.
#pragma once

#include <cstdint>

namespace ctx {

/// Each tier includes those before it.
enum class Isa : std::uint8_t {
  kPortable,  ///< what the compiler's baseline has
  kAvx2,      ///< AVX2, BMI1, BMI2, POPCNT, LZCNT
  kAvx512,    ///< besides, AVX-512 F, BW, DQ, VL, VBMI, VBMI2
};

/// The best tier of this machine, or the lower one that the environment variable CTXENGINE_ISA
/// names
/// ("portable", "avx2", "avx512"; anything else is ignored). Decided once per process.
Isa BestIsa() noexcept;

/// What the machine has, whatever the environment says.
Isa DetectIsa() noexcept;

const char* NameOf(Isa isa) noexcept;

}  // namespace ctx
