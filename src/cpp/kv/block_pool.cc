// Where each block is:
//
//   0            num_touched                num_blocks
//   ├── used at least once ──┼── never used ──┤
//
//   free stack   free_top ─▶ b ─▶ b ─▶ ...            unpublished, no references, LIFO
//   idle list    oldest ⇄ b ⇄ b ⇄ ... ⇄ youngest      published, no references; evicted from the
//   left referenced   in block tables only
//
//   buckets[digest.low & mask] ─▶ b ─▶ b ─▶ ...       the published blocks; copies side by side,
//   the first in front
//
// Invariants:
//  - Free, idle and referenced blocks are disjoint and together all blocks. A block is referenced
//  if
//    and only if ref_count > 0 (but for the moment between DropRef and Place).
//  - A published block is full and never written again; it is in exactly the bucket of its digest.
//  - A chain id is never reused. So equal parent_chain means equal content before the block, and a
//    block whose parents are gone can never be reached through another prefix.
//  - Whoever releases a table does so tail first. So a block's children are older on the idle list
//    than the block, and eviction from the old end takes leaves first.
#include "kv/block_pool.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

namespace ctx::kv {

bool SameExtra(const Extra& a, const Extra& b) noexcept {
  if (a == nullptr || b == nullptr) return a == b;
  return *a == *b;
}

void BlockPool::FreeMemory::operator()(void* memory) const noexcept { std::free(memory); }

BlockPool::BlockPool(std::int64_t num_blocks, std::int64_t block_size, int hash_bits)
    : num_blocks_(num_blocks),
      block_size_(block_size),
      hash_bits_(hash_bits),
      key_(prefix::Keyed128::Process()),
      bucket_mask_(
          static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(num_blocks))) - 1),
      // None of this memory is written here, so a large pool costs what is used of it.
      tokens_(std::make_unique_for_overwrite<TokenId[]>(
          static_cast<std::size_t>(num_blocks * block_size))),
      buckets_(static_cast<BlockId*>(
          std::calloc(static_cast<std::size_t>(bucket_mask_ + 1), sizeof(BlockId)))),
      blocks_(std::allocator<Block>().allocate(static_cast<std::size_t>(num_blocks))) {
  if (buckets_ == nullptr) {
    std::allocator<Block>().deallocate(blocks_, static_cast<std::size_t>(num_blocks_));
    throw std::bad_alloc();
  }
}

BlockPool::~BlockPool() {
  std::destroy_n(blocks_, num_touched_);
  std::allocator<Block>().deallocate(blocks_, static_cast<std::size_t>(num_blocks_));
}

BlockId BlockPool::Allocate() noexcept {
  BlockId id;
  if (free_top_ == kNoBlock && num_touched_ < num_blocks_) {
    id = static_cast<BlockId>(num_touched_++);
    std::construct_at(blocks_ + id);
  } else {
    if (free_top_ == kNoBlock) EvictOldest();
    id = free_top_;
    free_top_ = blocks_[id].next;
    --num_stacked_;
  }
  Block& block = blocks_[id];
  block.next = kNoBlock;
  block.ref_count = 1;
  block.state = BlockState::kReferenced;
  return id;
}

void BlockPool::AddRef(BlockId id) noexcept {
  Block& block = blocks_[id];
  if (block.state == BlockState::kIdle) UnlinkIdle(id);
  block.state = BlockState::kReferenced;
  ++block.ref_count;
}

void BlockPool::Release(BlockId id) noexcept {
  DropRef(id);
  Place(id);
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
  block.extra.reset();
  block.has_digest = false;
  block.next = free_top_;
  free_top_ = id;
  ++num_stacked_;
}

prefix::Digest128 BlockPool::Hash(prefix::Digest128 parent, std::span<const TokenId> token_ids,
                                  const Extra& extra) const noexcept {
  prefix::Digest128 digest = key_.Block(
      parent, token_ids, extra == nullptr ? std::string_view() : std::string_view(*extra));
  if (hash_bits_ < 128) {
    digest = {0,
              hash_bits_ < 64 ? digest.low & ((std::uint64_t{1} << hash_bits_) - 1) : digest.low};
  }
  return digest;
}

void BlockPool::SetDigest(BlockId id, prefix::Digest128 digest) noexcept {
  blocks_[id].digest = digest;
  blocks_[id].has_digest = true;
}

void BlockPool::WriteTokens(BlockId id, std::int64_t offset,
                            std::span<const TokenId> token_ids) noexcept {
  std::copy(token_ids.begin(), token_ids.end(), tokens(id).begin() + offset);
  blocks_[id].has_digest = false;
}

BlockId BlockPool::Find(prefix::Digest128 digest, ChainId parent_chain,
                        std::span<const TokenId> token_ids, const Extra& extra) const noexcept {
  for (BlockId id = bucket_head(BucketOf(digest)); id != kNoBlock;
       id = blocks_[id].next_in_bucket) {
    const Block& block = blocks_[id];
    if (block.digest == digest && block.parent_chain == parent_chain &&
        std::memcmp(tokens(id).data(), token_ids.data(), token_ids.size_bytes()) == 0 &&
        SameExtra(block.extra, extra)) {
      return id;
    }
  }
  return kNoBlock;
}

void BlockPool::Publish(BlockId id, BlockId parent) noexcept {
  Block& block = blocks_[id];
  block.parent_chain = parent == kNoBlock ? kNoChain : blocks_[parent].chain;
  if (!block.has_digest) {
    const prefix::Digest128 before =
        parent == kNoBlock ? prefix::Digest128{} : blocks_[parent].digest;
    SetDigest(id, Hash(before, tokens(id), block.extra));
  }
  const BlockId twin = Find(block.digest, block.parent_chain, tokens(id), block.extra);
  block.chain = twin == kNoBlock ? ++last_chain_ : blocks_[twin].chain;
  if (twin != kNoBlock) ++num_duplicates_;
  // New content in front of the bucket; a copy right behind the first one, which stays the one
  // found.
  BlockId& head = buckets_.get()[BucketOf(block.digest)];
  block.previous_in_bucket = twin;
  block.next_in_bucket = twin == kNoBlock ? head - 1 : blocks_[twin].next_in_bucket;
  if (twin == kNoBlock) {
    head = id + 1;
  } else {
    blocks_[twin].next_in_bucket = id;
  }
  if (block.next_in_bucket != kNoBlock) blocks_[block.next_in_bucket].previous_in_bucket = id;
}

void BlockPool::Unpublish(BlockId id) noexcept {
  Block& block = blocks_[id];
  if (block.previous_in_bucket == kNoBlock) {
    buckets_.get()[BucketOf(block.digest)] = block.next_in_bucket + 1;
  } else {
    blocks_[block.previous_in_bucket].next_in_bucket = block.next_in_bucket;
  }
  if (block.next_in_bucket != kNoBlock) {
    blocks_[block.next_in_bucket].previous_in_bucket = block.previous_in_bucket;
  }
  block.next_in_bucket = block.previous_in_bucket = kNoBlock;
  block.chain = block.parent_chain = kNoChain;
}

}  // namespace ctx::kv
