// CUDA's language as far as our kernels use it, for a C++ compiler: `-include cuda_language.h` in
// front of an unchanged .cu file. executor.h runs what comes out.
//
// Supported: threadIdx, blockIdx, blockDim, gridDim, __shared__ (as static), __syncthreads, the
// integer atomics below. Not supported: warp intrinsics, dynamic shared memory, inline PTX.
#pragma once

#include <cstddef>
#include <source_location>

namespace executor {

struct Dim3 {
  unsigned x = 1;
  unsigned y = 1;
  unsigned z = 1;
  std::size_t Volume() const { return std::size_t{x} * y * z; }
  Dim3 Unflatten(std::size_t flat) const {
    return {static_cast<unsigned>(flat % x), static_cast<unsigned>(flat / x % y),
            static_cast<unsigned>(flat / x / y)};
  }
};

/// What __syncthreads does for the running CUDA thread.
class Barrier {
 public:
  virtual ~Barrier() = default;
  virtual void Wait(unsigned line) = 0;
};

struct ThreadState {
  Dim3 thread_idx, block_idx, block_dim, grid_dim;
  Barrier* barrier = nullptr;
};
inline thread_local ThreadState current;

}  // namespace executor

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __launch_bounds__(...)
#define __grid_constant__
#define __forceinline__ inline
#define threadIdx (::executor::current.thread_idx)
#define blockIdx (::executor::current.block_idx)
#define blockDim (::executor::current.block_dim)
#define gridDim (::executor::current.grid_dim)

inline void __syncthreads(std::source_location where = std::source_location::current()) {
  ::executor::current.barrier->Wait(where.line());
}

template <typename T>
T atomicAdd(T* address, T value) {
  return __atomic_fetch_add(address, value, __ATOMIC_RELAXED);
}

template <typename T>
T atomicExch(T* address, T value) {
  return __atomic_exchange_n(address, value, __ATOMIC_RELAXED);
}

template <typename T>
T atomicCAS(T* address, T expected, T desired) {
  __atomic_compare_exchange_n(address, &expected, desired, false, __ATOMIC_RELAXED,
                              __ATOMIC_RELAXED);
  return expected;
}
