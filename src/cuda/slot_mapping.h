// Slot mapping: where in the KV pool each token of a batch lives.
//
//     slot[i] = block_tables[rows[i], positions[i] / block_size] * block_size + positions[i] %
//     block_size
//
// This header is the whole of the arithmetic. The CUDA kernel and the CPU backend both call SlotOf,
// so they cannot disagree.
#pragma once

#include "cuda/types.h"

namespace ctx::cuda {

/// The arrays of one call, on the host or on one device. Strides count elements, in 64 bits, as
/// block id times block size does: a pool may hold far more than 2^31 tokens' worth of slots.
struct SlotMappingArgs {
  const Int32* block_tables;  ///< [num_rows, num_columns]; a negative id marks "no block"
  Int64 num_rows;
  Int64 num_columns;
  Int64 row_stride;
  Int64 column_stride;
  const Int32* rows;  ///< [num_tokens]; negative: padding
  Int64 rows_stride;
  const Int64* positions;  ///< [num_tokens], from 0 in each sequence; negative: padding
  Int64 positions_stride;
  Int64 num_tokens;
  Int64 block_size;  ///< tokens per block, 1 .. 2^31 - 1
  Int64* slots;      ///< [num_slots], num_slots >= num_tokens; the tail is filled with padding
  Int64 slots_stride;
  Int64 num_slots;
};

/// The slot of token `i`, i < num_slots. Reads nothing outside the arrays, whatever they hold.
CTX_HOST_DEVICE inline Int64 SlotOf(const SlotMappingArgs& args, Int64 i) {
  if (i >= args.num_tokens) return kPaddingSlot;
  const Int64 row = args.rows[i * args.rows_stride];
  const Int64 position = args.positions[i * args.positions_stride];
  if (row < 0 || position < 0) return kPaddingSlot;
  const Int64 column = position / args.block_size;
  if (row >= args.num_rows || column >= args.num_columns) return kInvalidSlot;
  const Int64 block = args.block_tables[row * args.row_stride + column * args.column_stride];
  if (block < 0) return kInvalidSlot;
  return block * args.block_size + (position - column * args.block_size);
}

}  // namespace ctx::cuda
