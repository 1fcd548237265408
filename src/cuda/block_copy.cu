// Block copies: each CUDA block takes tiles of one item; each thread loads all its vectors before
// it stores the first.
#include "cuda/block_copy.h"

namespace ctx::cuda {
namespace {

struct alignas(16) Vector16 {
  Uint64 words[2];
};

template <typename Vector>
__device__ __forceinline__ void CopyTiles(const BlockCopyArgs& args) {
  const Uint32 tile_vectors = blockDim.x * kVectorsPerThread;
  for (Uint32 tile = blockIdx.x; tile < args.num_tiles; tile += gridDim.x) {
    const Uint32 item = args.tiles_per_item.Quotient(tile);
    const Uint32 first = (tile - item * args.tiles_per_item.divisor) * tile_vectors + threadIdx.x;
    const Int64 source_block = BlockOf(args.source, item);
    const Int64 target_block = BlockOf(args.target, item);
    if (source_block < 0 || target_block < 0) {
      const bool outside = source_block == -2 || target_block == -2;
      if (outside && first == 0 && args.num_skipped != nullptr) atomicAdd(args.num_skipped, 1);
      continue;
    }
    const unsigned char* const source = args.source.base + source_block * args.source.block_stride;
    unsigned char* const target = args.target.base + target_block * args.target.block_stride;
    Vector vectors[kVectorsPerThread];
    Int64 to[kVectorsPerThread];
    for (Uint32 k = 0; k < kVectorsPerThread; ++k) {
      const Uint32 vector = first + k * blockDim.x;
      if (vector < args.vectors_per_item) {
        const Offsets offsets = OffsetsOf<sizeof(Vector)>(args, vector);
        vectors[k] = *reinterpret_cast<const Vector*>(source + offsets.source);
        to[k] = offsets.target;
      }
    }
    for (Uint32 k = 0; k < kVectorsPerThread; ++k) {
      if (first + k * blockDim.x < args.vectors_per_item) {
        *reinterpret_cast<Vector*>(target + to[k]) = vectors[k];
      }
    }
  }
}

}  // namespace
}  // namespace ctx::cuda

extern "C" __global__ void __launch_bounds__(256)
    ctxengine_copy_blocks_16(const __grid_constant__ ctx::cuda::BlockCopyArgs args) {
  ctx::cuda::CopyTiles<ctx::cuda::Vector16>(args);
}

extern "C" __global__ void __launch_bounds__(256)
    ctxengine_copy_blocks_8(const __grid_constant__ ctx::cuda::BlockCopyArgs args) {
  ctx::cuda::CopyTiles<ctx::cuda::Uint64>(args);
}

extern "C" __global__ void __launch_bounds__(256)
    ctxengine_copy_blocks_4(const __grid_constant__ ctx::cuda::BlockCopyArgs args) {
  ctx::cuda::CopyTiles<ctx::cuda::Uint32>(args);
}

extern "C" __global__ void __launch_bounds__(256)
    ctxengine_copy_blocks_1(const __grid_constant__ ctx::cuda::BlockCopyArgs args) {
  ctx::cuda::CopyTiles<unsigned char>(args);
}
