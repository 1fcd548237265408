// Copies of whole KV blocks, all layers in one launch: within a pool, to and from contiguous
// staging, between pools of any two layouts.
//
// Item i moves block source.blocks[i] to block target.blocks[i]. A block is num_tensors boxes of
// equal shape (a pool may be one tensor, or one for each layer, or for each layer's K and V), each
// moved by the same Movement. All vectors of an item are counted through, outermost first; thread
// by thread, OffsetsOf() turns a count into two offsets.
//
// An item whose block lies outside a pool is skipped and counted; one that holds -1 is padding.
#pragma once

#include "cuda/stride_algebra.h"

namespace ctx::cuda {

inline constexpr Int32 kMaxTensorOffsets = 256;
inline constexpr Uint32 kVectorsPerThread = 4;  // loads in flight of one thread

/// One side of the copy. Strides in bytes, but of `blocks` in elements.
struct BlockSide {
  unsigned char* base;
  const Int32* blocks;  ///< [num_items]; null: item i is block i
  Int64 blocks_stride;
  Int64 num_blocks;
  Int64 block_stride;
  Int64 tensor_stride;  ///< tensor t is at base + t * tensor_stride,
  Int64 first_offset;   ///< or, when not negative, at base + tensor_offsets[first_offset + t]
};

struct BlockCopyArgs {
  BlockSide source;
  BlockSide target;
  Int64 num_items;
  Int32* num_skipped;  ///< null: not counted
  Int32 vector_bytes;  ///< which of the kernels
  Uint32 num_tiles;    ///< num_items * tiles_per_item, below 2^31
  Uint32 vectors_per_item;
  Divisor tiles_per_item;  ///< a tile is kVectorsPerThread vectors for each thread of a block
  Divisor vectors_per_run;
  Divisor extents[kMaxDimensions];
  Int64 source_strides[kMaxDimensions];
  Int64 target_strides[kMaxDimensions];
  Int32 num_dimensions;
  Int64 tensor_offsets[kMaxTensorOffsets];
};

/// The block of item `i`: -1 for padding, -2 when it is not one of the pool's.
CTX_HOST_DEVICE inline Int64 BlockOf(const BlockSide& side, Int64 i) {
  const Int64 block = side.blocks == nullptr ? i : side.blocks[i * side.blocks_stride];
  return block >= -1 && block < side.num_blocks ? block : -2;
}

CTX_HOST_DEVICE inline Int64 TensorOffset(const BlockCopyArgs& args, const BlockSide& side,
                                          Int64 tensor) {
  return side.first_offset < 0 ? tensor * side.tensor_stride
                               : args.tensor_offsets[side.first_offset + tensor];
}

struct Offsets {
  Int64 source;
  Int64 target;
};

/// Where vector `vector` of an item lies in its two blocks.
template <int kVectorBytes>
CTX_HOST_DEVICE inline Offsets OffsetsOf(const BlockCopyArgs& args, Uint32 vector) {
  Uint32 rest = args.vectors_per_run.Quotient(vector);
  const Int64 in_run = static_cast<Int64>(vector - rest * args.vectors_per_run.divisor);
  Offsets offsets{in_run * kVectorBytes, in_run * kVectorBytes};
  for (Int32 d = args.num_dimensions - 1; d >= 0; --d) {
    const Uint32 outer = args.extents[d].Quotient(rest);
    const Int64 index = static_cast<Int64>(rest - outer * args.extents[d].divisor);
    offsets.source += index * args.source_strides[d];
    offsets.target += index * args.target_strides[d];
    rest = outer;
  }
  offsets.source += TensorOffset(args, args.source, static_cast<Int64>(rest));
  offsets.target += TensorOffset(args, args.target, static_cast<Int64>(rest));
  return offsets;
}

}  // namespace ctx::cuda
