// The table of kernels: the name of each in the image, its arguments, and how many threads it can
// use. Runtime::Launch takes an entry. For the host only.
//
// A kernel is added in five places: its header (arguments and arithmetic), its .cu file (the list
// in CMakeLists.txt), its entry here, its CPU backend beside, and tests/cuda/kernel_list.h, from
// which the executor and the stand-in for libcuda know it.
#pragma once

#include <algorithm>
#include <array>

#include "cuda/block_copy.h"
#include "cuda/kv_write.h"
#include "cuda/slot_mapping.h"
#include "cuda/tables.h"

namespace ctx::cuda {

/// An array of a call; `name` is what the caller knows it by.
struct NamedArray {
  const void* address;
  const char* name;
};

/// One kernel of the image. It works for any grid; `num_threads` says how many threads a call can
/// use, 0 when it has nothing to do.
template <typename Args>
struct Kernel {
  const char* name;
  Int64 (*num_threads)(const Args& args);
  unsigned threads_per_block = 256;
  // Enough to fill any device; more would only take room from kernels running beside this one.
  Int64 max_blocks = 1024;
};

template <typename Args>
unsigned NumBlocks(const Kernel<Args>& kernel, const Args& args) {
  const Int64 threads = kernel.threads_per_block;
  return static_cast<unsigned>(
      std::min((kernel.num_threads(args) + threads - 1) / threads, kernel.max_blocks));
}

// ArraysOf: what a call reads and writes; the device of the first is the device of the call.

inline constexpr Kernel<SlotMappingArgs> kSlotMapping{
    "ctxengine_slot_mapping", [](const SlotMappingArgs& args) { return args.num_slots; }};
inline std::array<NamedArray, 4> ArraysOf(const SlotMappingArgs& args) {
  return {{{args.slots, "out"},
           {args.block_tables, "block_tables"},
           {args.rows, "rows"},
           {args.positions, "positions"}}};
}

inline Int64 NumThreads(const BlockCopyArgs& args) { return Int64{args.num_tiles} * 256; }
inline constexpr Kernel<BlockCopyArgs> kCopyBlocks16{"ctxengine_copy_blocks_16", NumThreads};
inline constexpr Kernel<BlockCopyArgs> kCopyBlocks8{"ctxengine_copy_blocks_8", NumThreads};
inline constexpr Kernel<BlockCopyArgs> kCopyBlocks4{"ctxengine_copy_blocks_4", NumThreads};
inline constexpr Kernel<BlockCopyArgs> kCopyBlocks1{"ctxengine_copy_blocks_1", NumThreads};
/// The kernel that moves words of `vector_bytes`.
constexpr const Kernel<BlockCopyArgs>& CopyBlocksKernel(Int32 vector_bytes) {
  return vector_bytes == 16  ? kCopyBlocks16
         : vector_bytes == 8 ? kCopyBlocks8
         : vector_bytes == 4 ? kCopyBlocks4
                             : kCopyBlocks1;
}
inline std::array<NamedArray, 5> ArraysOf(const BlockCopyArgs& args) {
  return {{{args.target.base, "the target"},
           {args.source.base, "the source"},
           {args.target.blocks, "the target's block ids"},
           {args.source.blocks, "the source's block ids"},
           {args.num_skipped, "skipped"}}};
}

inline Int64 NumThreads(const KVWriteArgs& args) { return Int64{args.num_tiles} * kLanesPerTile; }
inline constexpr Kernel<KVWriteArgs> kKVWrite8{"ctxengine_kv_write_8", NumThreads};
inline constexpr Kernel<KVWriteArgs> kKVWrite1{"ctxengine_kv_write_1", NumThreads};
inline std::array<NamedArray, 9> ArraysOf(const KVWriteArgs& args) {
  const KVPart& first = args.parts[0];
  const KVPart& second = args.parts[1];
  return {{{first.target, "the pool"},
           {first.source, "the first input"},
           {second.source, "the second input"},
           {args.slots, "slots"},
           {first.scales, "the first scale"},
           {second.scales, "the second scale"},
           {first.scales_out, "the first scale_out"},
           {second.scales_out, "the second scale_out"},
           {args.num_skipped, "skipped"}}};
}

/// One CUDA block: the order of allocation is that of the batch.
inline constexpr Kernel<DecodeAppendArgs> kDecodeAppend{
    "ctxengine_decode_append", [](const DecodeAppendArgs& args) { return args.num_rows; }, 1024, 1};
inline constexpr Kernel<RingPushArgs> kRingPush{
    "ctxengine_ring_push", [](const RingPushArgs& args) { return args.num_blocks; }, 1024, 1};
inline constexpr Kernel<TablePatchArgs> kTablePatch{
    "ctxengine_table_patch", [](const TablePatchArgs& args) { return args.num_entries; }};
inline std::array<NamedArray, 7> ArraysOf(const DecodeAppendArgs& args) {
  return {{{args.state.tables, "tables"},
           {args.state.lengths, "lengths"},
           {args.state.ring, "ring"},
           {args.state.counters, "counters"},
           {args.rows, "rows"},
           {args.slots, "slots"},
           {args.oom_row, "oom_row"}}};
}
inline std::array<NamedArray, 4> ArraysOf(const RingPushArgs& args) {
  return {{{args.state.ring, "ring"},
           {args.state.counters, "counters"},
           {args.blocks, "blocks"},
           {args.num_skipped, "skipped"}}};
}
inline std::array<NamedArray, 3> ArraysOf(const TablePatchArgs& args) {
  return {
      {{args.state.tables, "tables"}, {args.entries, "entries"}, {args.num_skipped, "skipped"}}};
}

}  // namespace ctx::cuda
