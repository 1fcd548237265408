#include <algorithm>
#include <vector>

#include "common/error.h"
#include "common/str_cat.h"
#include "cuda/host_backend.h"

namespace ctx::cuda {
namespace {

[[noreturn]] void ThrowRow(const BlockTables& state, Int64 i, Int64 row) {
  if (row >= state.max_rows) {
    throw ArgumentError(
        StrCat("rows[", i, "] = ", row, ", but the block tables have ", state.max_rows, " rows"));
  }
  const Int64 length = state.lengths[row];
  if (length < 0 || length / state.block_size >= state.num_columns) {
    throw ArgumentError(StrCat("rows[", i, "] = ", row, " has ", length,
                               " tokens; the tables hold ", state.num_columns * state.block_size));
  }
  throw ArgumentError(StrCat("rows[", i, "] = ", row, " has ", length,
                             " tokens, but no block in column ", length / state.block_size));
}

}  // namespace

void DecodeAppendOnHost(const DecodeAppendArgs& args) {
  const BlockTables& state = args.state;
  std::vector<Int32> batch;
  std::vector<Int32> full;  // rows that need blocks, in batch order
  for (Int64 i = 0; i < args.num_rows; ++i) {
    const Int32 row = args.rows[i * args.rows_stride];
    const Append append = AppendOf(state, row);
    if (append == Append::kInvalid) ThrowRow(state, i, row);
    if (append == Append::kPadding) continue;
    batch.push_back(row);
    if (append == Append::kNeedsBlocks) full.push_back(row);
  }
  std::sort(batch.begin(), batch.end());
  if (const auto twice = std::adjacent_find(batch.begin(), batch.end()); twice != batch.end()) {
    throw ArgumentError(StrCat("row ", *twice, " comes twice in rows"));
  }
  Int64& head = state.counters[0];
  const auto num_free = static_cast<std::size_t>((state.counters[1] - head) / state.num_groups);
  const bool out_of_blocks = full.size() > num_free;
  *args.oom_row = out_of_blocks ? full[num_free] : -1;
  for (Int64 i = 0; i < args.num_rows; ++i) {
    const Int32 row = args.rows[i * args.rows_stride];
    const bool writes = row >= 0 && !out_of_blocks;
    const Int64 position = writes ? state.lengths[row]++ : 0;
    for (Int64 group = 0; group < state.num_groups; ++group) {
      Int64& slot = args.slots[group * args.slots_group_stride + i * args.slots_stride];
      slot = kPaddingSlot;
      if (!writes) continue;
      Int32& block = *CellOf(state, group, row, position / state.block_size);
      if (position % state.block_size == 0) block = state.ring[head++ % state.ring_size];
      slot = block * state.block_size + position % state.block_size;
    }
  }
}

void RingPushOnHost(const RingPushArgs& args) {
  const BlockTables& state = args.state;
  const Int64 num_free = state.ring_size - (state.counters[1] - state.counters[0]);
  if (args.num_blocks > num_free) {
    throw CapacityError(StrCat(args.num_blocks, " blocks for a ring of ", state.ring_size,
                               " that has room for ", num_free),
                        args.num_blocks, num_free);
  }
  for (Int64 i = 0; i < args.num_blocks; ++i) {
    state.ring[state.counters[1]++ % state.ring_size] = args.blocks[i * args.blocks_stride];
  }
}

void TablePatchOnHost(const TablePatchArgs& args) {
  const BlockTables& state = args.state;
  const Int64 limits[] = {state.max_rows, state.num_columns, 0, state.num_groups};
  const char* const names[] = {"row", "column", "block", "group"};
  for (Int64 i = 0; i < args.num_entries; ++i) {
    const Int32* const entry = args.entries + 4 * i;
    if (entry[0] < 0) continue;
    for (const int field : {0, 1, 3}) {
      if (entry[field] < 0 || entry[field] >= limits[field]) {
        throw ArgumentError(StrCat("entries[", i, "] has ", names[field], " ", entry[field],
                                   ", but there are ", limits[field]));
      }
    }
  }
  for (Int64 i = 0; i < args.num_entries; ++i) {
    const Int32* const entry = args.entries + 4 * i;
    if (entry[0] >= 0) *CellOf(state, entry[3], entry[0], entry[1]) = entry[2];
  }
}

}  // namespace ctx::cuda
