// Where each block is:
//
//   0            num_touched                num_blocks
//   ├── used at least once ──┼── never used ──┤
//
//   free stack   free_top ─▶ b ─▶ b ─▶ ...            unpublished, no references, LIFO
//   idle list    oldest ⇄ b ⇄ b ⇄ ... ⇄ youngest      published, no references; evicted from the
//   left referenced   in block tables only
//
//   first_copy[node, group] ─▶ b ─▶ b ─▶ ...          the published blocks, in that order
//
// Invariants:
//  - Free, idle and referenced blocks are disjoint and together all blocks. A block is referenced
//    if and only if ref_count > 0 (but for the moment between DropRef and Place).
//  - A published block is full and never written again; it is among the copies of its node, to
//    which it holds a reference.
//  - Whoever releases a table does so tail first. So a block's children are older on the idle list
//    than the block, and eviction from the old end takes leaves first.
#include "kv/block_pool.h"

namespace ctx::kv {

BlockPool::BlockPool(std::int64_t num_blocks, std::int64_t num_groups, PrefixTree& tree)
    : num_blocks_(num_blocks),
      num_groups_(num_groups),
      tree_(tree),
      blocks_(num_blocks),
      first_copy_(tree.max_nodes() * num_groups) {}

BlockId BlockPool::Allocate() noexcept {
  BlockId id;
  if (free_top_ == kNoBlock && num_touched_ < num_blocks_) {
    id = static_cast<BlockId>(num_touched_++);
  } else {
    if (free_top_ == kNoBlock) EvictOldest();
    id = free_top_;
    free_top_ = blocks_[id].next;
    --num_stacked_;
  }
  blocks_[id] = {.node = kNoNode,
                 .ref_count = 1,
                 .next = kNoBlock,
                 .previous = kNoBlock,
                 .next_copy = kNoBlock,
                 .previous_copy = kNoBlock,
                 .group = 0,
                 .state = BlockState::kReferenced};
  return id;
}

void BlockPool::AddRef(BlockId id) noexcept {
  Block& block = blocks_[id];
  if (block.state == BlockState::kIdle) UnlinkIdle(id);
  block.state = BlockState::kReferenced;
  ++block.ref_count;
}

void BlockPool::Place(BlockId id) noexcept {
  Block& block = blocks_[id];
  if (block.ref_count > 0 || block.state != BlockState::kReferenced) return;
  if (!block.published()) {
    PushFree(id);
    return;
  }
  block.state = BlockState::kIdle;
  block.previous = youngest_idle_;
  block.next = kNoBlock;
  (youngest_idle_ == kNoBlock ? oldest_idle_ : blocks_[youngest_idle_].next) = id;
  youngest_idle_ = id;
  ++num_idle_;
}

BlockId BlockPool::EvictOldest() noexcept {
  const BlockId id = oldest_idle_;
  UnlinkIdle(id);
  Unpublish(id);
  PushFree(id);
  ++num_evicted_;
  return id;
}

void BlockPool::UnlinkIdle(BlockId id) noexcept {
  Block& block = blocks_[id];
  (block.previous == kNoBlock ? oldest_idle_ : blocks_[block.previous].next) = block.next;
  (block.next == kNoBlock ? youngest_idle_ : blocks_[block.next].previous) = block.previous;
  block.previous = block.next = kNoBlock;
  --num_idle_;
}

void BlockPool::PushFree(BlockId id) noexcept {
  Block& block = blocks_[id];
  block.state = BlockState::kFree;
  block.next = free_top_;
  free_top_ = id;
  ++num_stacked_;
}

void BlockPool::Publish(BlockId id, NodeId node, std::int64_t group) noexcept {
  Block& block = blocks_[id];
  block.node = node;
  block.group = static_cast<std::int16_t>(group);
  tree_.AddRef(node);
  BlockId& first = first_copy_[node * num_groups_ + group];
  if (first == 0) {
    first = id + 1;
    block.previous_copy = id;
  } else {
    Block& front = blocks_[first - 1];
    block.previous_copy = front.previous_copy;
    blocks_[front.previous_copy].next_copy = id;
    front.previous_copy = id;
    ++num_duplicates_;
  }
}

void BlockPool::Unpublish(BlockId id) noexcept {
  Block& block = blocks_[id];
  BlockId& first = first_copy_[block.node * num_groups_ + block.group];
  if (first - 1 == id) {
    first = block.next_copy + 1;
    if (block.next_copy != kNoBlock) blocks_[block.next_copy].previous_copy = block.previous_copy;
  } else {
    blocks_[block.previous_copy].next_copy = block.next_copy;
    // The last one's predecessor is the last one now.
    blocks_[block.next_copy == kNoBlock ? first - 1 : block.next_copy].previous_copy =
        block.previous_copy;
  }
  block.next_copy = block.previous_copy = kNoBlock;
  const NodeId node = block.node;
  block.node = kNoNode;
  tree_.Release(node);
}

}  // namespace ctx::kv
