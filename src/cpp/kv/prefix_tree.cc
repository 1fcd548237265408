// A node with three children, A, B and C (the first one was made first, or is the oldest left):
//
//   first_child ─▶ A ⇄ B ⇄ C          siblings
//   buckets ─▶ ... ─▶ B ─▶ ...        by (parent, tokens, extra): all but first children
//   buckets ─▶ ... ─▶ C ─▶ ...
//
// Invariants:
//  - A node is in a bucket if and only if it is not the first child of its parent.
//  - num_refs = children + published blocks + rows that end there; unused when it is 0. The root
//    has one reference more.
//  - A live node's parent is live. So its depth is one more than the parent's.
//  - first_child and extra of the nodes that were never used are zero, which no walk reaches.
#include "kv/prefix_tree.h"

#include <bit>
#include <cstring>

#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::kv {

PrefixTree::PrefixTree(std::int64_t max_nodes, std::int64_t block_size, int hash_bits,
                       ExtraTable& extras)
    : max_nodes_(max_nodes),
      block_size_(block_size),
      bucket_mask_(static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(max_nodes))) -
                   1),
      hash_mask_(hash_bits < 64 ? (std::uint64_t{1} << hash_bits) - 1 : ~std::uint64_t{0}),
      key_(prefix::Keyed128::Process()),
      extras_(extras),
      tokens_(max_nodes * block_size),
      first_child_(max_nodes),
      extra_(max_nodes),
      chain_(max_nodes),
      links_(max_nodes),
      buckets_(bucket_mask_ + 1) {
  num_touched_ = 1;
  chain_[kRoot] = ChainId{1} << 62;  // of no other node
  first_child_[kRoot] = kNoNode;
  links_[kRoot] = {kNoNode, 0, kNoNode, kNoNode, kNoNode, 1, kNoExtra};
}

bool PrefixTree::IsAt(NodeId node, const TokenId* token_ids, ExtraId extra) const noexcept {
  return extra_[node] == extra &&
         std::memcmp(tokens_.data() + node * block_size_, token_ids,
                     static_cast<std::size_t>(block_size_) * sizeof(TokenId)) == 0;
}

NodeId PrefixTree::Child(NodeId parent, const TokenId* token_ids, ExtraId extra) const noexcept {
  const NodeId first = first_child_[parent];
  if (first == kNoNode || IsAt(first, token_ids, extra)) return first;
  if (links_[first].next_sibling == kNoNode) return kNoNode;
  NodeId node = buckets_[Bucket(parent, token_ids, extra)] - 1;
  while (node != kNoNode && !(links_[node].parent == parent && IsAt(node, token_ids, extra))) {
    node = links_[node].next_in_bucket;
  }
  return node;
}

std::int64_t PrefixTree::Walk(NodeId from, std::span<const TokenId> token_ids,
                              std::span<const ExtraId> extras, std::int64_t max_blocks,
                              NodeId* path) const noexcept {
  constexpr std::int64_t kRunBytes = 4096;
  const std::int64_t max_run = std::max<std::int64_t>(
      kRunBytes / (block_size_ * static_cast<std::int64_t>(sizeof(TokenId))), 1);
  const auto num_extras = static_cast<std::int64_t>(extras.size());
  const TokenId* next = token_ids.data();
  NodeId node = from;
  std::int64_t num_found = 0;
  while (num_found < max_blocks) {
    // Nodes made one after the other lie side by side: compare a run of them at once.
    std::int64_t run = 0;
    if (num_found >= num_extras) {
      const std::int64_t limit = std::min(max_run, max_blocks - num_found);
      while (run < limit && first_child_[node + run] == node + run + 1 &&
             extra_[node + run + 1] == kNoExtra) {
        ++run;
      }
    }
    if (run > 1 &&
        std::memcmp(tokens_.data() + (node + 1) * block_size_, next,
                    static_cast<std::size_t>(run * block_size_) * sizeof(TokenId)) == 0) {
      for (std::int64_t i = 0; i < run; ++i) path[num_found++] = ++node;
      next += run * block_size_;
      continue;
    }
    const NodeId child =
        Child(node, next,
              num_found < num_extras ? extras[static_cast<std::size_t>(num_found)] : kNoExtra);
    if (child == kNoNode) break;
    path[num_found++] = node = child;
    next += block_size_;
  }
  return num_found;
}

NodeId PrefixTree::LongestChild(NodeId parent, std::span<const TokenId> token_ids, ExtraId extra,
                                std::int64_t* length) const noexcept {
  NodeId longest = kNoNode;
  *length = 0;
  NodeId child = first_child_[parent];
  for (int i = 0; i < kMaxTried && child != kNoNode; ++i, child = links_[child].next_sibling) {
    if (extra_[child] != extra) continue;
    const auto end = std::ranges::mismatch(token_ids, tokens(child)).in1;
    if (end - token_ids.begin() <= *length) continue;
    *length = end - token_ids.begin();
    longest = child;
  }
  return longest;
}

NodeId PrefixTree::FindOrAdd(NodeId parent, std::span<const TokenId> token_ids,
                             ExtraId extra) noexcept {
  const NodeId first = first_child_[parent];
  if (first != kNoNode) {
    const NodeId found = Child(parent, token_ids.data(), extra);
    if (found != kNoNode) return found;
  }
  NodeId node = first_unused_;
  if (node == kNoNode) {
    node = static_cast<NodeId>(num_touched_++);
  } else {
    first_unused_ = links_[node].next_sibling;
  }
  std::copy(token_ids.begin(), token_ids.end(), tokens_.data() + node * block_size_);
  chain_[node] = ++last_chain_;
  extra_[node] = extra;
  extras_.AddRef(extra);
  first_child_[node] = kNoNode;
  links_[node] = {parent,
                  links_[parent].depth + 1,
                  kNoNode,
                  kNoNode,
                  kNoNode,
                  0,
                  parent == kRoot ? extra : links_[parent].first_extra};
  ++links_[parent].num_refs;
  if (first == kNoNode) {
    first_child_[parent] = node;
  } else {  // right behind the first
    const NodeId second = links_[first].next_sibling;
    links_[node].previous_sibling = first;
    links_[node].next_sibling = second;
    links_[first].next_sibling = node;
    if (second != kNoNode) links_[second].previous_sibling = node;
    InsertInBucket(node);
  }
  return node;
}

void PrefixTree::Release(NodeId node) noexcept {
  while (--links_[node].num_refs == 0) {
    const NodeId parent = links_[node].parent;
    Unlink(node);
    chain_[node] = 0;
    extras_.Release(extra_[node]);
    links_[node].next_sibling = first_unused_;
    first_unused_ = node;
    node = parent;
  }
}

void PrefixTree::Unlink(NodeId node) noexcept {
  const Links& links = links_[node];
  const NodeId next = links.next_sibling, previous = links.previous_sibling;
  if (previous == kNoNode) {
    first_child_[links.parent] = next;
    if (next != kNoNode) RemoveFromBucket(next);
  } else {
    RemoveFromBucket(node);
    links_[previous].next_sibling = next;
  }
  if (next != kNoNode) links_[next].previous_sibling = previous;
}

std::int64_t PrefixTree::Bucket(NodeId parent, const TokenId* token_ids,
                                ExtraId extra) const noexcept {
  const prefix::Digest128 digest =
      key_.Block({static_cast<std::uint64_t>(chain_[parent]), static_cast<std::uint64_t>(extra)},
                 {token_ids, static_cast<std::size_t>(block_size_)}, {});
  return static_cast<std::int64_t>(digest.low & hash_mask_) & bucket_mask_;
}

void PrefixTree::InsertInBucket(NodeId node) noexcept {
  NodeId& head = buckets_[Bucket(links_[node].parent, tokens(node).data(), extra_[node])];
  links_[node].next_in_bucket = head - 1;
  head = node + 1;
}

void PrefixTree::RemoveFromBucket(NodeId node) noexcept {
  NodeId& head = buckets_[Bucket(links_[node].parent, tokens(node).data(), extra_[node])];
  const NodeId next = links_[node].next_in_bucket;
  if (head - 1 == node) {
    head = next + 1;
    return;
  }
  NodeId before = head - 1;
  while (links_[before].next_in_bucket != node) before = links_[before].next_in_bucket;
  links_[before].next_in_bucket = next;
}

void PrefixTree::Check() const {
  const auto hold = [](bool condition, const auto&... message) {
    if (!condition) throw Error(StrCat("kv invariant broken: ", message...));
  };
  std::int64_t num_live = 0, num_in_buckets = 0, num_not_first = 0;
  for (NodeId node = 0; node < num_touched_; ++node) {
    if (!is_live(node)) continue;
    ++num_live;
    const Links& links = links_[node];
    hold(links.num_refs > 0, "node ", node, " lives without a reference");
    hold(node == kRoot || (is_live(links.parent) && links.depth == links_[links.parent].depth + 1),
         "node ", node, " has lost its parent");
    num_not_first += node != kRoot && first_child_[links.parent] != node;
    NodeId before = kNoNode;
    for (NodeId child = first_child_[node]; child != kNoNode; child = links_[child].next_sibling) {
      hold(is_live(child) && links_[child].parent == node &&
               links_[child].previous_sibling == before,
           "node ", child, " is wrongly among the children of ", node);
      hold(Child(node, tokens(child).data(), extra_[child]) == child, "node ", child,
           " is not the one that is found by its content");
      before = child;
    }
  }
  for (std::int64_t bucket = 0; bucket <= bucket_mask_; ++bucket) {
    for (NodeId node = buckets_[bucket] - 1; node != kNoNode; node = links_[node].next_in_bucket) {
      hold(++num_in_buckets <= num_not_first, "a bucket is a ring or lists a first child");
    }
  }
  hold(num_in_buckets == num_not_first, "a node is missing in the buckets");
  std::int64_t num_unused = 0;
  for (NodeId node = first_unused_; node != kNoNode; node = links_[node].next_sibling) {
    hold(++num_unused <= num_touched_ && !is_live(node), "the list of unused nodes is broken");
  }
  hold(num_live + num_unused == num_touched_, "a node is neither live nor unused");
}

}  // namespace ctx::kv
