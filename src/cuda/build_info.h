// What the build put in: the kernels' image and the CUDA compiler that made it. CMake generates the
// definitions, with or without a CUDA compiler.
#pragma once

#include <span>
#include <string_view>

namespace ctx::cuda {

struct BuildInfo {
  std::string_view compiler_version;  ///< nvcc's, for example "13.0.88"; empty: built without CUDA
  std::span<const std::string_view> architectures;  ///< "sm_80", ...; "compute_80" is PTX
};

const BuildInfo& GetBuildInfo() noexcept;

/// The compressed fatbin of all kernels; empty when built without CUDA.
std::span<const unsigned char> KernelImage() noexcept;

}  // namespace ctx::cuda
