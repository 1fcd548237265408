// What callers of the KV manager hand in and get back. Plain values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "common/ids.h"
#include "kv/group.h"

namespace ctx::kv {

using RowId = std::int32_t;
inline constexpr RowId kNoRow = -1;

struct Options {
  std::int64_t num_blocks = 0;
  std::int64_t block_size = 0;  // tokens
  std::int64_t max_rows = 256;
  std::int64_t max_row_tokens = 0;    // longest sequence; 0: as many as the pool holds
  int hash_bits = 128;                // below 128 for tests only, see PrefixTree
  std::int64_t watermark_blocks = 0;  // kept available when a prompt joins others
  bool partial_hits = false;          // reuse the beginning of a block too; full groups only
  std::vector<Group> groups = {Group{}};
};

/// A prefix that was found, to go on from: no reference is held, so it can go stale.
struct Match {
  std::int64_t num_tokens = 0;  // whole blocks
  std::int64_t node = 0;
  std::int64_t chain = 0;
};

struct Acquired {
  RowId row = kNoRow;
  std::int64_t num_cached_tokens = 0;  // leading tokens whose KV is there already
};

/// block_tables[group, row, column] = block.
struct TableEntry {
  RowId row;
  std::int32_t column;
  BlockId block;
  std::int32_t group;
};

/// The KV of block `source` must be copied to block `target`.
struct BlockCopy {
  BlockId source;
  BlockId target;
};

/// What the device has to do for one forward pass: table_patch, then all copies, then the pass.
struct Step {
  std::unique_ptr<Slot[]> slots;  // of the reserved tokens, row after row; group after group
  std::size_t num_slots = 0;      // in all groups together; 0 where they were not wanted
  std::vector<TableEntry> table_patch;
  std::vector<BlockCopy> copies;
  RowId oom_row = kNoRow;  // first row that found no block; then all else is empty
};

struct Stats {
  std::int64_t num_blocks, num_free, num_idle, num_referenced, num_rows;
  std::int64_t num_queried_tokens, num_hit_tokens;  // of all prompts acquired
  std::int64_t num_evicted, num_copied, num_duplicates;
  std::int64_t num_coming;  // of the referenced blocks, those that only wait for a fence
};

/// The comparable state of a manager. Two managers that were called alike have equal snapshots.
struct Snapshot {
  struct GroupState {
    std::int32_t begin, end, num_patched;
    std::vector<BlockId> blocks;  // of columns [begin, end)
    friend bool operator==(const GroupState&, const GroupState&) = default;
  };
  struct RowState {
    RowId row;
    std::int64_t num_tokens, num_computed, num_reserved;
    bool is_loading;
    std::vector<std::int64_t> reservations;
    std::vector<GroupState> groups;
    std::vector<TokenId> token_ids;
    friend bool operator==(const RowState&, const RowState&) = default;
  };
  struct PublishedBlock {
    BlockId block;
    std::int64_t chain, parent_chain;
    std::int32_t group;
    std::vector<TokenId> token_ids;
    friend bool operator==(const PublishedBlock&, const PublishedBlock&) = default;
  };
  std::vector<RowState> rows;                  // ascending
  std::vector<BlockId> free_stack;             // top first
  std::int64_t num_touched = 0;                // blocks from here on were never used
  std::vector<BlockId> idle;                   // oldest first
  std::vector<PublishedBlock> published;       // ascending
  std::vector<std::int32_t> ref_counts;        // of blocks [0, num_touched)
  std::vector<std::vector<BlockId>> deferred;  // blocks that wait for a fence, in order of freeing
  friend bool operator==(const Snapshot&, const Snapshot&) = default;
};

}  // namespace ctx::kv
