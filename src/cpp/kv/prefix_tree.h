// The published contents: a tree whose node stands for one block of tokens and everything before
// it. Blocks, rows and children hold references to a node; it lives as long as one is left.
//
// A prompt is matched by comparing its tokens with those of the nodes, many blocks at a time where
// nodes lie side by side as they were made. Only where a node has several children are the tokens
// of one block hashed to choose among them. Two nodes are never equal in content, whatever their
// hashes say.
//
// Not thread-safe: its owner locks. Nothing after the constructor allocates or throws. Memory: 4
// bytes per token and 48 per node, touched as nodes are first used.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "common/ids.h"
#include "kv/extra_table.h"
#include "kv/lazy_array.h"
#include "prefix/keyed128.h"

namespace ctx::kv {

using NodeId = std::int32_t;
inline constexpr NodeId kRoot = 0;  // stands for no tokens at all
inline constexpr NodeId kNoNode = -1;

/// Number of a node's content, in the order of first publication. Given out once, never again.
using ChainId = std::int64_t;

class PrefixTree {
 public:
  /// Requires 1 <= max_nodes < 2^31. `hash_bits` below 128 cuts every hash to that many bits: the
  /// tests use it to make collisions common.
  PrefixTree(std::int64_t max_nodes, std::int64_t block_size, int hash_bits, ExtraTable& extras);

  std::int64_t max_nodes() const noexcept { return max_nodes_; }
  /// Whether FindOrAdd() can add.
  bool has_room() const noexcept { return first_unused_ != kNoNode || num_touched_ < max_nodes_; }

  /// Follows the whole blocks of `token_ids` down from `from`, at most `max_blocks` of them, which
  /// the tokens must have. `extras` are their identities; where it ends, the rest have none. Writes
  /// the nodes to `path` and returns how many there are. O(tokens).
  std::int64_t Walk(NodeId from, std::span<const TokenId> token_ids,
                    std::span<const ExtraId> extras, std::int64_t max_blocks,
                    NodeId* path) const noexcept;

  /// Of the first kMaxTried children of `parent` with this identity, the one that has most of its
  /// leading tokens in common with `token_ids` (the earlier one on a tie), and how many.
  NodeId LongestChild(NodeId parent, std::span<const TokenId> token_ids, ExtraId extra,
                      std::int64_t* length) const noexcept;
  static constexpr int kMaxTried = 16;

  /// The child of `parent` with this content, made if need be. Expected O(block_size).
  NodeId FindOrAdd(NodeId parent, std::span<const TokenId> token_ids, ExtraId extra) noexcept;

  void AddRef(NodeId node) noexcept { ++links_[node].num_refs; }
  /// A node that loses its last reference goes, and takes its own off its parent.
  void Release(NodeId node) noexcept;

  /// Whether a node as its number and chain were once told is there still.
  bool IsCurrent(std::int64_t node, ChainId chain) const noexcept {
    return node >= 0 && node < num_touched_ && chain > 0 && chain_[node] == chain;
  }
  ChainId chain(NodeId node) const noexcept { return chain_[node]; }
  NodeId parent(NodeId node) const noexcept { return links_[node].parent; }
  /// Blocks from the start to the node's end; 0 for the root.
  std::int64_t depth(NodeId node) const noexcept { return links_[node].depth; }
  ExtraId extra(NodeId node) const noexcept { return extra_[node]; }
  /// Of the first block of the prefix: tenant and adapter.
  ExtraId first_extra(NodeId node) const noexcept { return links_[node].first_extra; }
  std::span<const TokenId> tokens(NodeId node) const noexcept {
    return {tokens_.data() + node * block_size_, static_cast<std::size_t>(block_size_)};
  }

  // --- for Check() ---

  std::int64_t num_touched() const noexcept { return num_touched_; }
  bool is_live(NodeId node) const noexcept { return chain_[node] != 0; }
  std::int32_t num_refs(NodeId node) const noexcept { return links_[node].num_refs; }
  /// Throws Error unless the links, the buckets and the free list agree.
  void Check() const;

 private:
  struct Links {
    NodeId parent;
    std::int32_t depth;
    NodeId next_sibling;  // or next on the list of unused nodes
    NodeId previous_sibling;
    NodeId next_in_bucket;
    std::int32_t num_refs;
    ExtraId first_extra;
  };
  bool IsAt(NodeId node, const TokenId* token_ids, ExtraId extra) const noexcept;
  NodeId Child(NodeId parent, const TokenId* token_ids, ExtraId extra) const noexcept;
  std::int64_t Bucket(NodeId parent, const TokenId* token_ids, ExtraId extra) const noexcept;
  void InsertInBucket(NodeId node) noexcept;
  void RemoveFromBucket(NodeId node) noexcept;
  void Unlink(NodeId node) noexcept;

  const std::int64_t max_nodes_;
  const std::int64_t block_size_;
  const std::int64_t bucket_mask_;
  const std::uint64_t hash_mask_;
  const prefix::Keyed128& key_;
  ExtraTable& extras_;
  std::int64_t num_touched_ = 0;  // nodes [0, num_touched_) were used once
  NodeId first_unused_ = kNoNode;
  ChainId last_chain_ = 0;
  // What a walk reads lies apart from what only changes read.
  LazyArray<TokenId> tokens_;
  LazyArray<NodeId> first_child_;  // found by comparing; its siblings through the buckets
  LazyArray<ExtraId> extra_;
  LazyArray<ChainId> chain_;  // 0: unused
  LazyArray<Links> links_;
  LazyArray<NodeId> buckets_;  // node + 1, so that zeroed memory is empty
};

}  // namespace ctx::kv
