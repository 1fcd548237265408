#include "common/isa.h"

#include <array>
#include <cstdlib>
#include <string_view>

namespace ctx {
namespace {

constexpr std::array kNames = {"portable", "neon", "avx2", "avx512"};

}  // namespace

Isa DetectIsa() noexcept {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
                        __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt") &&
                        __builtin_cpu_supports("lzcnt");
  if (!has_avx2) return Isa::kPortable;
  const bool has_avx512 =
      __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2");
  return has_avx512 ? Isa::kAvx512 : Isa::kAvx2;
#elif defined(__aarch64__)
  return Isa::kNeon;
#else
  return Isa::kPortable;
#endif
}

bool HasIsa(Isa isa) noexcept {
  const Isa best = DetectIsa();
  return isa == Isa::kPortable || isa == best || (isa == Isa::kAvx2 && best == Isa::kAvx512);
}

Isa BestIsa() noexcept {
  static const Isa isa = [] {
    Isa best = DetectIsa();
    const char* const wanted = std::getenv("CTXENGINE_ISA");
    for (std::size_t i = 0; wanted != nullptr && i < kNames.size(); ++i) {
      const auto isa_of_name = static_cast<Isa>(i);
      if (std::string_view(wanted) == kNames[i] && HasIsa(isa_of_name)) best = isa_of_name;
    }
    return best;
  }();
  return isa;
}

const char* NameOf(Isa isa) noexcept { return kNames[static_cast<std::size_t>(isa)]; }

}  // namespace ctx
