// Device block tables. decode_append is one CUDA block: each thread takes a run of the batch,
// counts the rows that need blocks, and learns from a scan over the threads which blocks are its
// own.
#include "cuda/tables.h"

namespace ctx::cuda {
namespace {

constexpr Uint32 kMaxThreads = 1024;

/// Appends one row. `rank`: how many rows before it need blocks.
__device__ __forceinline__ void AppendRow(const DecodeAppendArgs& args, Int64 i, Int64 head,
                                          Int64 rank, Append append, bool out_of_blocks) {
  const BlockTables& state = args.state;
  const bool valid = append == Append::kFits || append == Append::kNeedsBlocks;
  const Int64 row = args.rows[i * args.rows_stride];
  const Int64 position = valid ? state.lengths[row] : 0;
  const Int64 column = position / state.block_size;
  for (Int64 group = 0; group < state.num_groups; ++group) {
    Int64 slot = append == Append::kInvalid ? kInvalidSlot : kPaddingSlot;
    if (valid && !out_of_blocks) {
      Int32* const cell = CellOf(state, group, row, column);
      if (append == Append::kNeedsBlocks) {
        *cell = state.ring[(head + rank * state.num_groups + group) % state.ring_size];
      }
      slot = *cell * state.block_size + (position - column * state.block_size);
    }
    args.slots[group * args.slots_group_stride + i * args.slots_stride] = slot;
  }
  if (valid && !out_of_blocks) state.lengths[row] = static_cast<Int32>(position + 1);
}

}  // namespace
}  // namespace ctx::cuda

extern "C" __global__ void __launch_bounds__(1024)
    ctxengine_decode_append(const __grid_constant__ ctx::cuda::DecodeAppendArgs args) {
  using namespace ctx::cuda;
  __shared__ Int64 counts[2][kMaxThreads];
  const Uint32 thread = threadIdx.x;
  const Int64 per_thread = (args.num_rows + blockDim.x - 1) / blockDim.x;
  const Int64 begin = thread * per_thread;
  const Int64 end = begin + per_thread < args.num_rows ? begin + per_thread : args.num_rows;
  const Int64 head = args.state.counters[0];
  const Int64 tail = args.state.counters[1];
  Int64 count = 0;
  for (Int64 i = begin; i < end; ++i) {
    count += AppendOf(args.state, args.rows[i * args.rows_stride]) == Append::kNeedsBlocks ? 1 : 0;
  }
  // Inclusive scan; one barrier a step, for the steps read one half and write the other.
  counts[0][thread] = count;
  Uint32 from = 0;
  for (Uint32 distance = 1; distance < blockDim.x; distance *= 2) {
    __syncthreads();
    const Int64 before = thread >= distance ? counts[from][thread - distance] : 0;
    counts[1 - from][thread] = counts[from][thread] + before;
    from = 1 - from;
  }
  __syncthreads();
  const Int64 total = counts[from][blockDim.x - 1];
  Int64 rank = counts[from][thread] - count;
  const Int64 num_free = (tail - head) / args.state.num_groups;  // rows that find blocks
  const bool out_of_blocks = total > num_free;
  for (Int64 i = begin; i < end; ++i) {
    const Int64 row = args.rows[i * args.rows_stride];
    const Append append = AppendOf(args.state, row);
    AppendRow(args, i, head, rank, append, out_of_blocks);
    if (append == Append::kNeedsBlocks) {
      if (out_of_blocks && rank == num_free) *args.oom_row = static_cast<Int32>(row);
      ++rank;
    }
  }
  if (thread == 0 && !out_of_blocks) {
    *args.oom_row = -1;
    args.state.counters[0] = head + total * args.state.num_groups;
  }
}

extern "C" __global__ void __launch_bounds__(1024)
    ctxengine_ring_push(const __grid_constant__ ctx::cuda::RingPushArgs args) {
  using namespace ctx::cuda;
  const BlockTables& state = args.state;
  const Int64 head = state.counters[0];
  const Int64 tail = state.counters[1];
  const bool fits = args.num_blocks <= state.ring_size - (tail - head);
  for (Int64 i = threadIdx.x; fits && i < args.num_blocks; i += blockDim.x) {
    state.ring[(tail + i) % state.ring_size] = args.blocks[i * args.blocks_stride];
  }
  __syncthreads();  // all have read the counters
  if (threadIdx.x == 0) {
    if (fits) {
      state.counters[1] = tail + args.num_blocks;
    } else if (args.num_skipped != nullptr) {
      atomicAdd(args.num_skipped, static_cast<Int32>(args.num_blocks));
    }
  }
}

extern "C" __global__ void __launch_bounds__(256)
    ctxengine_table_patch(const __grid_constant__ ctx::cuda::TablePatchArgs args) {
  using namespace ctx::cuda;
  const BlockTables& state = args.state;
  const Int64 step = static_cast<Int64>(gridDim.x) * blockDim.x;
  const Int64 first = static_cast<Int64>(blockIdx.x) * blockDim.x + threadIdx.x;
  for (Int64 i = first; i < args.num_entries; i += step) {
    const Int32* const entry = args.entries + 4 * i;
    const Int64 row = entry[0];
    const Int64 column = entry[1];
    const Int64 group = entry[3];
    if (row < 0) continue;
    if (row < state.max_rows && column >= 0 && column < state.num_columns && group >= 0 &&
        group < state.num_groups) {
      *CellOf(state, group, row, column) = entry[2];
    } else if (args.num_skipped != nullptr) {
      atomicAdd(args.num_skipped, 1);
    }
  }
}
