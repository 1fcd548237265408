// Looking at a manager without changing it: counters, the comparable snapshot, the invariants.
#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>
#include <utility>

#include "common/error.h"
#include "common/str_cat.h"
#include "kv/manager.h"

namespace ctx::kv {
namespace {

template <typename... Args>
void Hold(bool condition, const Args&... message) {
  if (!condition) throw Error(StrCat("kv invariant broken: ", message...));
}

std::vector<BlockId> FreeStack(const BlockPool& pool) {
  std::vector<BlockId> blocks;
  for (BlockId b = pool.free_top(); b != kNoBlock; b = pool[b].next) {
    Hold(static_cast<std::int64_t>(blocks.size()) < pool.num_blocks(), "the free stack is a ring");
    blocks.push_back(b);
  }
  return blocks;
}

std::vector<BlockId> IdleList(const BlockPool& pool) {
  std::vector<BlockId> blocks;
  for (BlockId b = pool.oldest_idle(); b != kNoBlock; b = pool[b].next) {
    Hold(static_cast<std::int64_t>(blocks.size()) < pool.num_blocks(), "the idle list is a ring");
    Hold(pool[b].previous == (blocks.empty() ? kNoBlock : blocks.back()), "idle block ", b,
         " has a wrong back link");
    blocks.push_back(b);
  }
  Hold(pool.youngest_idle() == (blocks.empty() ? kNoBlock : blocks.back()),
       "the idle list does not end at its youngest block");
  return blocks;
}

/// Free, idle and referenced blocks are what their lists and `ref_counts` say, and all there are.
void CheckPlaces(const BlockPool& pool, const std::vector<BlockId>& idle,
                 const std::vector<std::int32_t>& ref_counts) {
  std::vector<int> num_lists(ref_counts.size(), 0);
  const std::vector<BlockId> free_stack = FreeStack(pool);
  for (const BlockId b : free_stack) {
    ++num_lists[static_cast<std::size_t>(b)];
    Hold(pool[b].state == BlockState::kFree, "block ", b, " on the free stack is not free");
    Hold(!pool[b].published(), "free block ", b, " is published");
  }
  for (const BlockId b : idle) {
    ++num_lists[static_cast<std::size_t>(b)];
    Hold(pool[b].state == BlockState::kIdle, "block ", b, " on the idle list is not idle");
    Hold(pool[b].published(), "idle block ", b, " is not published");
  }
  for (std::size_t i = 0; i < ref_counts.size(); ++i) {
    const auto b = static_cast<BlockId>(i);
    Hold(pool[b].ref_count == ref_counts[i], "block ", b, " counts ", pool[b].ref_count,
         " references, the tables have ", ref_counts[i]);
    Hold(num_lists[i] == (ref_counts[i] == 0), "block ", b, " with ", ref_counts[i],
         " references is in ", num_lists[i], " lists");
    Hold((pool[b].state == BlockState::kReferenced) == (ref_counts[i] > 0), "block ", b,
         " is in a wrong state");
  }
  Hold(static_cast<std::int64_t>(idle.size()) == pool.num_idle(), "num_idle is wrong");
  Hold(static_cast<std::int64_t>(free_stack.size()) + pool.num_blocks() - pool.num_touched() ==
           pool.num_free(),
       "num_free is wrong");
}

/// Every published block is among the copies of its node, and what a node counts as references is
/// what holds it.
void CheckPublished(const BlockPool& pool, const PrefixTree& tree, std::int64_t num_groups,
                    std::vector<std::int32_t> num_refs) {
  ++num_refs[kRoot];
  std::vector<std::int64_t> num_copies(static_cast<std::size_t>(tree.num_touched() * num_groups));
  const auto at = [&](NodeId node, std::int64_t group) {
    return static_cast<std::size_t>(node * num_groups + group);
  };
  for (std::int64_t i = 0; i < pool.num_touched(); ++i) {
    const Block& block = pool[static_cast<BlockId>(i)];
    if (!block.published()) continue;
    Hold(tree.is_live(block.node) && block.node != kRoot, "block ", i, " is published nowhere");
    ++num_refs[static_cast<std::size_t>(block.node)];
    ++num_copies[at(block.node, block.group)];
  }
  std::map<std::tuple<NodeId, std::vector<TokenId>, ExtraId>, NodeId> node_of;
  for (NodeId node = 0; node < tree.num_touched(); ++node) {
    for (std::int64_t group = 0; group < num_groups; ++group) {
      const BlockId first = pool.Find(node, group);
      BlockId last = first;
      for (BlockId b = first; b != kNoBlock; b = pool[b].next_copy) {
        Hold(pool[b].node == node && pool[b].group == group, "block ", b,
             " is among the copies of another content");
        Hold(num_copies[at(node, group)]-- > 0, "the copies of node ", node, " are a ring");
        Hold(b == first || pool[b].previous_copy == last, "block ", b, " has a wrong back link");
        last = b;
      }
      Hold(first == kNoBlock || pool[first].previous_copy == last, "the last copy of node ", node,
           " is not known");
      Hold(num_copies[at(node, group)] == 0, "a block of node ", node, " cannot be found");
    }
    if (!tree.is_live(node) || node == kRoot) continue;
    ++num_refs[static_cast<std::size_t>(tree.parent(node))];
    const auto tokens = tree.tokens(node);
    Hold(node_of
             .try_emplace({tree.parent(node), {tokens.begin(), tokens.end()}, tree.extra(node)},
                          node)
             .second,
         "node ", node, " has the content of another");
  }
  for (NodeId node = 0; node < tree.num_touched(); ++node) {
    Hold(!tree.is_live(node) || tree.num_refs(node) == num_refs[static_cast<std::size_t>(node)],
         "node ", node, " counts ", tree.num_refs(node), " references and has ",
         num_refs[static_cast<std::size_t>(node)]);
  }
}

/// In a full group every published block outlives its children: by a reference, or by being younger
/// on the idle list.
void CheckLeavesFirst(const BlockPool& pool, const PrefixTree& tree, std::int64_t group,
                      const std::vector<BlockId>& idle) {
  constexpr std::size_t kReferenced = SIZE_MAX;
  std::map<NodeId, std::size_t> lifetime;  // longest of the copies: place on the idle list, from 1
  for (std::size_t place = 0; place < idle.size(); ++place) {
    if (pool[idle[place]].group == group) lifetime[pool[idle[place]].node] = place + 1;
  }
  for (std::int64_t i = 0; i < pool.num_touched(); ++i) {
    const Block& block = pool[static_cast<BlockId>(i)];
    if (block.published() && block.group == group && block.ref_count > 0) {
      lifetime[block.node] = kReferenced;
    }
  }
  for (const auto& [node, own] : lifetime) {
    const NodeId parent = tree.parent(node);
    if (parent == kRoot) continue;
    const auto found = lifetime.find(parent);
    Hold(found != lifetime.end() && (found->second > own || found->second == kReferenced), "node ",
         node, " would outlive its parent in group ", group);
  }
}

}  // namespace

Stats KVCacheManager::GetStats() const {
  const std::lock_guard lock(mutex_);
  return {.num_blocks = num_blocks(),
          .num_free = pool_.num_free(),
          .num_idle = pool_.num_idle(),
          .num_referenced = num_blocks() - pool_.num_available(),
          .num_rows = static_cast<std::int64_t>(rows_.size() - free_rows_.size()),
          .num_queried_tokens = num_queried_tokens_,
          .num_hit_tokens = num_hit_tokens_,
          .num_evicted = pool_.num_evicted(),
          .num_copied = num_copied_,
          .num_duplicates = pool_.num_duplicates(),
          .num_coming = NumComing()};
}

Snapshot KVCacheManager::GetSnapshot() const {
  const std::lock_guard lock(mutex_);
  const auto chain_of = [&](NodeId node) { return node == kRoot ? 0 : tree_.chain(node); };
  Snapshot snapshot;
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    const Row& row = rows_[i];
    if (!row.live) continue;
    Snapshot::RowState state{.row = static_cast<RowId>(i),
                             .num_tokens = row.num_tokens,
                             .num_computed = row.num_computed,
                             .num_reserved = row.num_reserved,
                             .is_loading = row.is_loading,
                             .reservations = row.reservations,
                             .groups = {},
                             .token_ids = {}};
    for (std::int64_t group = 0; group < num_groups(); ++group) {
      const RowGroup& at = At(group, state.row);
      const BlockId* columns = Columns(group, state.row);
      state.groups.push_back(
          {at.begin, at.end, at.num_patched, {columns + at.begin, columns + at.end}});
    }
    state.token_ids.resize(static_cast<std::size_t>(tree_.depth(row.tip) * block_size_));
    for (NodeId node = row.tip; node != kRoot; node = tree_.parent(node)) {
      std::ranges::copy(tree_.tokens(node),
                        state.token_ids.begin() + (tree_.depth(node) - 1) * block_size_);
    }
    const std::span<const TokenId> tail = row.tail.all();
    state.token_ids.insert(state.token_ids.end(), tail.begin(), tail.end());
    snapshot.rows.push_back(std::move(state));
  }
  for (const Deferred& entry : deferred_) snapshot.deferred.push_back(entry.blocks);
  snapshot.free_stack = FreeStack(pool_);
  snapshot.num_touched = pool_.num_touched();
  snapshot.idle = IdleList(pool_);
  for (std::int64_t i = 0; i < pool_.num_touched(); ++i) {
    const auto b = static_cast<BlockId>(i);
    const Block& block = pool_[b];
    snapshot.ref_counts.push_back(block.ref_count);
    if (!block.published()) continue;
    const auto tokens = tree_.tokens(block.node);
    snapshot.published.push_back({b,
                                  chain_of(block.node),
                                  chain_of(tree_.parent(block.node)),
                                  block.group,
                                  {tokens.begin(), tokens.end()}});
  }
  return snapshot;
}

void KVCacheManager::CheckRow(RowId row_id) const {
  const Row& row = rows_[static_cast<std::size_t>(row_id)];
  const std::int64_t depth = tree_.depth(row.tip);
  Hold(row.num_computed <= row.num_reserved && (!row.is_loading || row.reservations.size() == 1) &&
           row.num_reserved - row.num_computed ==
               std::accumulate(row.reservations.begin(), row.reservations.end(), std::int64_t{0}),
       "row ", row_id, " has ", row.num_tokens, " tokens, ", row.num_computed, " computed, ",
       row.num_reserved, " reserved");
  Hold(depth == std::min(row.num_computed, row.num_tokens) / block_size_ &&
           row.full_at == (depth + 1) * block_size_ &&
           depth * block_size_ + row.tail.size() == row.num_tokens,
       "row ", row_id, " ends at a wrong node, or has lost tokens");
  for (std::int64_t group = 0; group < num_groups(); ++group) {
    const Group& rules = groups_[static_cast<std::size_t>(group)];
    const bool is_full = rules.kind == GroupKind::kFull;
    const RowGroup& at = At(group, row_id);
    const BlockId* columns = Columns(group, row_id);
    Hold(at.end == BlocksFor(is_full ? std::max(row.num_tokens, row.num_reserved)
                                     : row.num_reserved) &&
             at.num_patched <= at.end && at.begin <= at.end && (!is_full || at.begin == 0),
         "row ", row_id, " has columns ", at.begin, " to ", at.end, " in group ", group);
    Hold(FirstNeeded(group, row.num_computed) >= at.begin || at.begin == at.end, "row ", row_id,
         " has let go of columns that group ", group, " needs");
    NodeId node = row.tip;  // of `column`, while there is one
    for (std::int64_t column = at.end; column-- > at.begin;) {
      while (tree_.depth(node) > column + 1) node = tree_.parent(node);
      const bool is_whole = column < depth;
      const BlockId b = columns[column];
      if (b == kNoBlock) {
        Hold(rules.kind == GroupKind::kLinearState && column + 1 < at.end, "row ", row_id,
             " has no block in column ", column, " of group ", group);
        continue;
      }
      const Block& block = pool_[b];
      if (is_whole) {
        Hold(block.published() || rules.kind == GroupKind::kLinearState, "row ", row_id, " column ",
             column, " is computed but not published");
        Hold(!block.published() || (block.node == node && block.group == group), "row ", row_id,
             " column ", column, " is published as something else");
        continue;
      }
      // A state moves on from a block without writing there again.
      if (rules.kind == GroupKind::kLinearState && column + 1 < at.end) continue;
      // A row cut inside a published block keeps that block until it writes there again.
      const bool cut_here = column == depth && row.reservations.empty();
      Hold(!block.published() || cut_here, "row ", row_id, " column ", column,
           " is published before it is computed");
      Hold(
          row.reservations.empty() || block.ref_count == 1 || column >= BlocksFor(row.num_reserved),
          "row ", row_id, " may write column ", column, ", which is shared");
    }
    if (row.num_reserved < row.quick_end) {
      const std::int64_t column = row.quick_end / block_size_ - 1;
      const BlockId b = columns[column];
      Hold(row.num_reserved >= column * block_size_ && column < at.end && b != kNoBlock &&
               !pool_[b].published() && pool_[b].ref_count == 1 && at.num_patched == at.end &&
               at.slot_base == (Slot{b} - column) * block_size_,
           "row ", row_id, " has a wrong quick_end");
    }
  }
}

void KVCacheManager::Check() const {
  const std::lock_guard lock(mutex_);
  const auto num_touched = static_cast<std::size_t>(pool_.num_touched());
  std::vector<std::int32_t> ref_counts(num_touched, 0);
  std::vector<std::int32_t> node_refs(static_cast<std::size_t>(tree_.num_touched()), 0);
  std::vector<std::int64_t> extra_refs(extras_.size(), 0);
  std::vector<RowId> seen_in(num_touched, kNoRow);
  for (std::int64_t i = 0; i < max_rows_; ++i) {
    const auto row_id = static_cast<RowId>(i);
    const bool live =
        i < static_cast<std::int64_t>(rows_.size()) && rows_[static_cast<std::size_t>(i)].live;
    for (std::int64_t group = 0; group < num_groups(); ++group) {
      const BlockId* columns = Columns(group, row_id);
      const RowGroup at = live ? At(group, row_id) : RowGroup{};
      const auto is_empty = [](BlockId b) { return b == kNoBlock; };
      Hold(std::all_of(columns, columns + at.begin, is_empty) &&
               std::all_of(columns + at.end, columns + num_columns_, is_empty),
           "row ", i, " is not padded with -1");
      for (std::int64_t column = at.begin; column < at.end; ++column) {
        const BlockId b = columns[column];
        if (b == kNoBlock) continue;
        Hold(b >= 0 && b < pool_.num_touched(), "row ", i,
             " holds a block that was never allocated");
        const auto index = static_cast<std::size_t>(b);
        Hold(std::exchange(seen_in[index], row_id) != row_id, "row ", i, " holds block ", b,
             " twice");
        ++ref_counts[index];
      }
    }
    if (!live) continue;
    const Row& row = rows_[static_cast<std::size_t>(i)];
    Hold(tree_.is_live(row.tip), "row ", i, " ends at a node that is gone");
    ++node_refs[static_cast<std::size_t>(row.tip)];
    for (const ExtraId extra : row.extras) ++extra_refs[static_cast<std::size_t>(extra)];
    CheckRow(row_id);
  }
  for (const Deferred& entry : deferred_) {
    Hold(entry.fence > passed_fence_, "a block still waits for fence ", entry.fence);
    for (const BlockId block : entry.blocks) ++ref_counts[static_cast<std::size_t>(block)];
  }
  const std::vector<BlockId> idle = IdleList(pool_);
  tree_.Check();
  for (NodeId node = 0; node < tree_.num_touched(); ++node) {
    if (tree_.is_live(node)) ++extra_refs[static_cast<std::size_t>(tree_.extra(node))];
  }
  for (std::size_t i = 1; i < extra_refs.size(); ++i) {
    Hold(extras_.num_refs(static_cast<ExtraId>(i)) == extra_refs[i], "identity ", i,
         " has a wrong count of references");
  }
  CheckPlaces(pool_, idle, ref_counts);
  CheckPublished(pool_, tree_, num_groups(), std::move(node_refs));
  for (std::int64_t group = 0; group < num_groups(); ++group) {
    if (groups_[static_cast<std::size_t>(group)].kind == GroupKind::kFull) {
      CheckLeavesFirst(pool_, tree_, group, idle);
    }
  }
}

}  // namespace ctx::kv
