// The slot mapping kernel: one thread per slot, any grid (each thread strides over the rest).
#include "cuda/slot_mapping.h"

extern "C" __global__ void ctxengine_slot_mapping(ctx::cuda::SlotMappingArgs args) {
  using ctx::cuda::Int64;
  const Int64 step = static_cast<Int64>(gridDim.x) * blockDim.x;
  const Int64 first = static_cast<Int64>(blockIdx.x) * blockDim.x + threadIdx.x;
  for (Int64 i = first; i < args.num_slots; i += step) {
    args.slots[i * args.slots_stride] = ctx::cuda::SlotOf(args, i);
  }
}
