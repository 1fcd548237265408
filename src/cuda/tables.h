// Block tables that live on the device, and the allocation of blocks at the decode step.
//
//     tables[group, row, column] = block       lengths[row] = tokens of the row
//     ring[i % ring_size]: the blocks that the host has handed out, i from head up to tail
//
// decode_append gives each row of a batch the slot of its next token. A row whose last block is
// full takes one new block for each group: the row that is the r-th of those, in batch order, takes
// ring[head + r * num_groups + group]. So the host, which knows the same batch, knows the same
// blocks without reading anything back; and since head and tail are on the device, the launch can
// be captured in a CUDA graph.
#pragma once

#include "cuda/types.h"

namespace ctx::cuda {

/// The state. Tables and lengths are dense; counters are {head, tail}.
struct BlockTables {
  Int32* tables;   ///< [num_groups, max_rows, num_columns]; negative: no block
  Int32* lengths;  ///< [max_rows]
  Int32* ring;     ///< [ring_size]
  Int64* counters;
  Int64 num_groups;
  Int64 max_rows;
  Int64 num_columns;
  Int64 ring_size;
  Int64 block_size;
};

struct DecodeAppendArgs {
  BlockTables state;
  const Int32* rows;  ///< [num_rows], distinct; negative: padding
  Int64 rows_stride;
  Int64 num_rows;
  Int64* slots;  ///< [num_groups, num_rows]
  Int64 slots_group_stride;
  Int64 slots_stride;
  Int32* oom_row;  ///< [1]: the first row that found no block, or -1
};

/// Blocks that the host hands out: ring[tail + i] = blocks[i]. All or nothing.
struct RingPushArgs {
  BlockTables state;
  const Int32* blocks;
  Int64 blocks_stride;
  Int64 num_blocks;
  Int32* num_skipped;  ///< null: not counted
};

/// tables[group, row, column] = block for each entry {row, column, block, group}.
struct TablePatchArgs {
  BlockTables state;
  const Int32* entries;  ///< [num_entries, 4], dense; a negative row: padding
  Int64 num_entries;
  Int32* num_skipped;  ///< null: not counted
};

/// What the next token of a row needs.
enum class Append : Int32 { kPadding, kInvalid, kFits, kNeedsBlocks };

CTX_HOST_DEVICE inline Int32* CellOf(const BlockTables& state, Int64 group, Int64 row,
                                     Int64 column) {
  return state.tables + ((group * state.max_rows + row) * state.num_columns + column);
}

/// Invalid: a row that the tables do not have, one that fills them, one without the block it is in.
CTX_HOST_DEVICE inline Append AppendOf(const BlockTables& state, Int64 row) {
  if (row < 0) return Append::kPadding;
  if (row >= state.max_rows) return Append::kInvalid;
  const Int64 position = state.lengths[row];
  const Int64 column = position / state.block_size;
  if (position < 0 || column >= state.num_columns) return Append::kInvalid;
  if (column * state.block_size == position) return Append::kNeedsBlocks;
  for (Int64 group = 0; group < state.num_groups; ++group) {
    if (*CellOf(state, group, row, column) < 0) return Append::kInvalid;
  }
  return Append::kFits;
}

}  // namespace ctx::cuda
