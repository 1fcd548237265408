// KV writes: 16 threads take one tile, a vector of elements each at a time. Where a scale must be
// found first, they pass the tile twice, with the maxima of all threads in shared memory between.
#include "cuda/kv_write.h"

namespace ctx::cuda {
namespace {

constexpr Uint32 kWriteThreads = 256;

template <int kElements>
struct alignas(2 * kElements) Halves {
  unsigned short elements[kElements];
};
template <int kElements>
struct alignas(kElements) Bytes {
  unsigned char elements[kElements];
};

template <int kElements>
__device__ __forceinline__ void WriteTile(const KVWriteArgs& args, const TilePlace& place,
                                          Uint32 lane, float inverse) {
  const KVPart& part = *place.part;
  const auto* const source = reinterpret_cast<const Halves<kElements>*>(place.source);
  const Uint32 num_vectors = part.tile_size / kElements;
  if (part.kind == EntryKind::kCopy) {
    auto* const target = reinterpret_cast<Halves<kElements>*>(place.target);
    for (Uint32 i = lane; i < num_vectors; i += kLanesPerTile) target[i] = source[i];
    return;
  }
  auto* const target = reinterpret_cast<Bytes<kElements>*>(place.target);
  for (Uint32 i = lane; i < num_vectors; i += kLanesPerTile) {
    const Halves<kElements> halves = source[i];
    Bytes<kElements> bytes;
    for (int k = 0; k < kElements; ++k) {
      bytes.elements[k] = ToByte(part.kind, ValueOf(args, halves.elements[k]), inverse);
    }
    target[i] = bytes;
  }
}

template <int kElements>
__device__ __forceinline__ float MaximumOf(const KVWriteArgs& args, const TilePlace& place,
                                           Uint32 lane) {
  const auto* const source = reinterpret_cast<const Halves<kElements>*>(place.source);
  float maximum = 0.0f;
  for (Uint32 i = lane; i < place.part->tile_size / kElements; i += kLanesPerTile) {
    const Halves<kElements> halves = source[i];
    for (int k = 0; k < kElements; ++k) {
      maximum = Larger(maximum, ValueOf(args, halves.elements[k]));
    }
  }
  return maximum;
}

template <int kElements>
__device__ __forceinline__ void WriteTiles(const KVWriteArgs& args, float* maxima) {
  const Uint32 lane = threadIdx.x % kLanesPerTile;
  const Uint32 tiles_per_block = blockDim.x / kLanesPerTile;
  // All threads of a block go round equally often: there are barriers inside.
  for (Uint32 first = blockIdx.x * tiles_per_block; first < args.num_tiles;
       first += gridDim.x * tiles_per_block) {
    const Uint32 tile = first + threadIdx.x / kLanesPerTile;
    TilePlace place{};
    if (tile < args.num_tiles) place = PlaceOf(args, tile);
    if (place.counts && lane == 0 && args.num_skipped != nullptr) atomicAdd(args.num_skipped, 1);
    float inverse = 0.0f;
    if (place.scale != nullptr) inverse = 1.0f / *place.scale;
    if (args.finds_maximum != 0) {
      if (place.target != nullptr) {
        maxima[threadIdx.x] = MaximumOf<kElements>(args, place, lane);
      }
      __syncthreads();
      if (place.scale_out != nullptr) {
        float maximum = 0.0f;
        for (Uint32 i = 0; i < kLanesPerTile; ++i) {
          maximum = Larger(maximum, maxima[threadIdx.x - lane + i]);
        }
        const float scale = ScaleOf(place.part->kind, maximum);
        if (lane == 0) *place.scale_out = scale;
        inverse = 1.0f / scale;
      }
      __syncthreads();
    }
    if (place.target != nullptr) WriteTile<kElements>(args, place, lane, inverse);
  }
}

}  // namespace
}  // namespace ctx::cuda

extern "C" __global__ void __launch_bounds__(256)
    ctxengine_kv_write_8(const __grid_constant__ ctx::cuda::KVWriteArgs args) {
  __shared__ float maxima[ctx::cuda::kWriteThreads];
  ctx::cuda::WriteTiles<8>(args, maxima);
}

extern "C" __global__ void __launch_bounds__(256)
    ctxengine_kv_write_1(const __grid_constant__ ctx::cuda::KVWriteArgs args) {
  __shared__ float maxima[ctx::cuda::kWriteThreads];
  ctx::cuda::WriteTiles<1>(args, maxima);
}
