// What every kernel header starts from. These headers are compiled by nvcc, by NVRTC (hence no
// standard headers) and by the host compiler.
#pragma once

#ifdef __CUDACC__
#define CTX_HOST_DEVICE __host__ __device__
#else
#define CTX_HOST_DEVICE
#endif

namespace ctx::cuda {

using Int32 = int;
using Int64 = long;
using Uint32 = unsigned;
using Uint64 = unsigned long;
static_assert(sizeof(Int32) == 4 && sizeof(Int64) == 8);

inline constexpr Int64 kPaddingSlot = -1;  ///< no token here: attention and cache writes skip it
inline constexpr Int64 kInvalidSlot = -2;  ///< the token has no block: a mistake of the caller

}  // namespace ctx::cuda
