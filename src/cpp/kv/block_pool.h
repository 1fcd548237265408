// The blocks of one KV pool: who holds them, which of them can be found by their contents, and
// which is reused next. Only host-side numbers; the KV itself lies elsewhere, at the same block
// ids.
//
// Not thread-safe: the manager that owns the pool locks. Nothing after the constructor allocates or
// throws. Memory: 32 bytes per block and 4 per node and group, touched as they are first used.
#pragma once

#include <cstdint>

#include "common/ids.h"
#include "kv/lazy_array.h"
#include "kv/prefix_tree.h"

namespace ctx::kv {

enum class BlockState : std::uint8_t {
  kFree,        // holds nothing
  kReferenced,  // in at least one block table
  kIdle,        // in no table, but published: can be found, or evicted
};

struct Block {
  NodeId node;             // the content it is published with, or kNoNode
  std::int32_t ref_count;  // block tables that hold it
  BlockId next;            // below on the free stack, or younger on the idle list
  BlockId previous;        // older on the idle list
  BlockId next_copy;       // of the same content and group, published later
  BlockId previous_copy;   // the first copy has the last one here
  std::int16_t group;      // that it is published in
  BlockState state;

  bool published() const noexcept { return node != kNoNode; }
};

class BlockPool {
 public:
  /// Requires 1 <= num_blocks < 2^31. The tree must outlive the pool.
  BlockPool(std::int64_t num_blocks, std::int64_t num_groups, PrefixTree& tree);

  std::int64_t num_blocks() const noexcept { return num_blocks_; }
  std::int64_t num_free() const noexcept { return num_stacked_ + num_blocks_ - num_touched_; }
  std::int64_t num_idle() const noexcept { return num_idle_; }
  /// Blocks that Allocate() can give: free ones, then idle ones by eviction.
  std::int64_t num_available() const noexcept { return num_free() + num_idle_; }
  std::int64_t num_evicted() const noexcept { return num_evicted_; }
  std::int64_t num_duplicates() const noexcept { return num_duplicates_; }

  /// Requires that the block was ever allocated: block < num_touched().
  const Block& operator[](BlockId block) const noexcept { return blocks_[block]; }
  std::int64_t num_touched() const noexcept { return num_touched_; }

  // --- references; all O(1) ---

  /// A block with one reference: the top of the free stack, else the lowest never used, else the
  /// oldest idle one, evicted. Requires num_available() > 0.
  BlockId Allocate() noexcept;
  void AddRef(BlockId block) noexcept;
  /// Takes a reference off; Place() or RestoreRef() must follow when it was the last one.
  void DropRef(BlockId block) noexcept { --blocks_[block].ref_count; }
  void RestoreRef(BlockId block) noexcept { ++blocks_[block].ref_count; }
  /// Puts a block without references where it belongs: behind all others on the idle list when it
  /// is published, else onto the free stack. Does nothing when it has references.
  void Place(BlockId block) noexcept;
  /// Unpublishes the oldest idle block and makes it free. Requires num_idle() > 0.
  BlockId EvictOldest() noexcept;

  // --- contents; all O(1) ---

  /// Makes a full block findable at `node`; it takes a reference to the node.
  void Publish(BlockId block, NodeId node, std::int64_t group) noexcept;
  /// A block published at the node, or kNoBlock; of several copies the one published first.
  BlockId Find(NodeId node, std::int64_t group) const noexcept {
    return first_copy_[node * num_groups_ + group] - 1;
  }

  // --- for Check() and snapshots ---

  BlockId free_top() const noexcept { return free_top_; }
  BlockId oldest_idle() const noexcept { return oldest_idle_; }
  BlockId youngest_idle() const noexcept { return youngest_idle_; }

 private:
  void Unpublish(BlockId block) noexcept;
  void UnlinkIdle(BlockId block) noexcept;
  void PushFree(BlockId block) noexcept;

  const std::int64_t num_blocks_;
  const std::int64_t num_groups_;
  PrefixTree& tree_;
  std::int64_t num_touched_ = 0;  // blocks [0, num_touched_) were used once
  std::int64_t num_stacked_ = 0;
  std::int64_t num_idle_ = 0;
  std::int64_t num_evicted_ = 0;
  std::int64_t num_duplicates_ = 0;
  BlockId free_top_ = kNoBlock;
  BlockId oldest_idle_ = kNoBlock;
  BlockId youngest_idle_ = kNoBlock;
  LazyArray<Block> blocks_;
  LazyArray<BlockId> first_copy_;  // by node and group; block + 1, so that zeroed memory is empty
};

}  // namespace ctx::kv
