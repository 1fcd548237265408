// The blocks of one KV pool: who holds them, which of them can be found by their contents, and
// which is reused next. Only host-side numbers; the KV itself lies elsewhere, at the same block
// ids.
//
// Not thread-safe: the manager that owns the pool locks. Nothing after the constructor allocates or
// throws. Memory: 4 bytes per token slot and about 80 per block, touched as blocks are first used.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "common/ids.h"
#include "prefix/keyed128.h"

namespace ctx::kv {

/// Number of a block's whole content: all tokens and identities from the start of the prefix to the
/// block's end. Given out once, never again; 0 is "none". Two published blocks have the same chain
/// if and only if they hold the same content, whatever their hashes say.
using ChainId = std::uint64_t;
inline constexpr ChainId kNoChain = 0;

/// The framed identity (prefix::AppendFramed) of a block; null when there is nothing to say.
using Extra = std::shared_ptr<const std::string>;
bool SameExtra(const Extra& a, const Extra& b) noexcept;

enum class BlockState : std::uint8_t {
  kFree,        // holds nothing
  kReferenced,  // in at least one block table
  kIdle,        // in no table, but published: can be found, or evicted
};

struct Block {
  prefix::Digest128 digest;         // valid when has_digest
  ChainId chain = kNoChain;         // not kNoChain: published
  ChainId parent_chain = kNoChain;  // of a published block: the content before it
  Extra extra;
  std::int32_t ref_count = 0;   // block tables that hold it
  BlockId next = kNoBlock;      // below on the free stack, or younger on the idle list
  BlockId previous = kNoBlock;  // older on the idle list
  BlockId next_in_bucket = kNoBlock;
  BlockId previous_in_bucket = kNoBlock;
  BlockState state = BlockState::kFree;
  bool has_digest = false;

  bool published() const noexcept { return chain != kNoChain; }
};

class BlockPool {
 public:
  /// Requires 1 <= num_blocks < 2^31 and num_blocks * block_size < 2^36. `hash_bits` below 128 cuts
  /// every digest to that many bits: the tests use it to make collisions common.
  BlockPool(std::int64_t num_blocks, std::int64_t block_size, int hash_bits);
  ~BlockPool();
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  std::int64_t num_blocks() const noexcept { return num_blocks_; }
  std::int64_t block_size() const noexcept { return block_size_; }
  std::int64_t num_free() const noexcept { return num_stacked_ + num_blocks_ - num_touched_; }
  std::int64_t num_idle() const noexcept { return num_idle_; }
  /// Blocks that Allocate() can give: free ones, then idle ones by eviction.
  std::int64_t num_available() const noexcept { return num_free() + num_idle_; }
  std::int64_t num_evicted() const noexcept { return num_evicted_; }
  std::int64_t num_duplicates() const noexcept { return num_duplicates_; }

  /// Requires that the block was ever allocated: block < num_touched().
  const Block& operator[](BlockId block) const noexcept { return blocks_[block]; }
  std::int64_t num_touched() const noexcept { return num_touched_; }
  std::span<TokenId> tokens(BlockId block) noexcept {
    return {tokens_.get() + block * block_size_, static_cast<std::size_t>(block_size_)};
  }
  std::span<const TokenId> tokens(BlockId block) const noexcept {
    return {tokens_.get() + block * block_size_, static_cast<std::size_t>(block_size_)};
  }

  // --- references; all O(1) ---

  /// A block with one reference: the top of the free stack, else the lowest never used, else the
  /// oldest idle one, evicted. Requires num_available() > 0.
  BlockId Allocate() noexcept;
  void AddRef(BlockId block) noexcept;
  /// DropRef() and Place() in one.
  void Release(BlockId block) noexcept;
  /// Takes one reference away but leaves the block where it is, even at zero, until Place().
  void DropRef(BlockId block) noexcept { --blocks_[block].ref_count; }
  void RestoreRef(BlockId block) noexcept { ++blocks_[block].ref_count; }
  /// Moves a block without references to the young end of the idle list when it is published, else
  /// onto the free stack. Does nothing to any other block.
  void Place(BlockId block) noexcept;
  /// Evicts the oldest idle block onto the free stack. Requires num_idle() > 0.
  BlockId EvictOldest() noexcept;

  // --- contents ---

  /// The digest of a block with these contents behind `parent`.
  prefix::Digest128 Hash(prefix::Digest128 parent, std::span<const TokenId> token_ids,
                         const Extra& extra) const noexcept;
  void SetExtra(BlockId block, Extra extra) noexcept { blocks_[block].extra = std::move(extra); }
  void SetDigest(BlockId block, prefix::Digest128 digest) noexcept;
  /// Writes token ids from `offset` on; a digest from before no longer holds.
  void WriteTokens(BlockId block, std::int64_t offset, std::span<const TokenId> token_ids) noexcept;
  /// Makes a full block findable behind the published `parent` (kNoBlock for none), under the
  /// digest it has or gets here. Expected O(1).
  void Publish(BlockId block, BlockId parent) noexcept;
  /// A published block with these contents, or kNoBlock; of several copies the one published first,
  /// while it lives. The digest only narrows the search: parent, tokens and identity are compared.
  BlockId Find(prefix::Digest128 digest, ChainId parent_chain, std::span<const TokenId> token_ids,
               const Extra& extra) const noexcept;

  // --- for check() and snapshot() ---

  BlockId free_top() const noexcept { return free_top_; }
  BlockId oldest_idle() const noexcept { return oldest_idle_; }
  BlockId youngest_idle() const noexcept { return youngest_idle_; }
  std::int64_t num_buckets() const noexcept { return bucket_mask_ + 1; }
  /// First block of a bucket, or kNoBlock.
  BlockId bucket_head(std::int64_t bucket) const noexcept { return buckets_.get()[bucket] - 1; }
  std::int64_t BucketOf(prefix::Digest128 digest) const noexcept {
    return static_cast<std::int64_t>(digest.low) & bucket_mask_;
  }

 private:
  struct FreeMemory {
    void operator()(void* memory) const noexcept;
  };
  void Unpublish(BlockId block) noexcept;
  void UnlinkIdle(BlockId block) noexcept;
  void PushFree(BlockId block) noexcept;

  std::int64_t num_blocks_;
  std::int64_t block_size_;
  int hash_bits_;
  std::int64_t num_touched_ = 0;  // blocks [0, num_touched_) are constructed
  std::int64_t num_stacked_ = 0;
  std::int64_t num_idle_ = 0;
  std::int64_t num_evicted_ = 0;
  std::int64_t num_duplicates_ = 0;
  ChainId last_chain_ = kNoChain;
  const prefix::Keyed128& key_;
  BlockId free_top_ = kNoBlock;
  BlockId oldest_idle_ = kNoBlock;
  BlockId youngest_idle_ = kNoBlock;
  std::int64_t bucket_mask_;
  std::unique_ptr<TokenId[]> tokens_;
  std::unique_ptr<BlockId[], FreeMemory> buckets_;  // block + 1, so that zeroed memory is empty
  Block* blocks_;
};

}  // namespace ctx::kv
