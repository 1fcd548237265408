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

/// The buckets hold the published blocks, each once, and equal chains mean equal contents.
void CheckPublished(const BlockPool& pool) {
  using Content = std::tuple<ChainId, std::vector<TokenId>, std::string>;
  std::map<ChainId, Content> content_of;
  std::map<Content, ChainId> chain_of;
  std::map<ChainId, prefix::Digest128> digest_of = {{kNoChain, {}}};
  std::int64_t num_published = 0, num_listed = 0;
  for (std::int64_t i = 0; i < pool.num_touched(); ++i) {
    const Block& block = pool[static_cast<BlockId>(i)];
    if (!block.published()) continue;
    ++num_published;
    const auto tokens = pool.tokens(static_cast<BlockId>(i));
    const Content content{block.parent_chain,
                          {tokens.begin(), tokens.end()},
                          block.extra == nullptr ? "" : *block.extra};
    Hold(content_of.try_emplace(block.chain, content).first->second == content, "chain ",
         block.chain, " stands for two contents");
    Hold(chain_of.try_emplace(content, block.chain).first->second == block.chain, "block ", i,
         " has the content of another chain");
    digest_of.try_emplace(block.chain, block.digest);
  }
  for (std::int64_t bucket = 0; bucket < pool.num_buckets(); ++bucket) {
    BlockId before = kNoBlock;
    for (BlockId b = pool.bucket_head(bucket); b != kNoBlock; b = pool[b].next_in_bucket) {
      Hold(++num_listed <= num_published, "a bucket is a ring or lists an unpublished block");
      Hold(pool[b].published() && pool.BucketOf(pool[b].digest) == bucket &&
               pool[b].previous_in_bucket == before,
           "block ", b, " is wrongly in bucket ", bucket);
      before = b;
    }
  }
  Hold(num_listed == num_published, num_published - num_listed,
       " published blocks cannot be found");
  for (std::int64_t i = 0; i < pool.num_touched(); ++i) {
    const Block& block = pool[static_cast<BlockId>(i)];
    if (!block.published()) continue;
    const auto parent = digest_of.find(block.parent_chain);
    Hold(parent != digest_of.end(), "published block ", i, " has lost its parent");
    Hold(block.has_digest &&
             block.digest ==
                 pool.Hash(parent->second, pool.tokens(static_cast<BlockId>(i)), block.extra),
         "block ", i, " does not have the digest of its contents");
  }
}

/// Every published block outlives its children: by a reference, or by being younger on the idle
/// list.
void CheckLeavesFirst(const BlockPool& pool, const std::vector<BlockId>& idle) {
  constexpr std::size_t kReferenced = SIZE_MAX;
  std::map<ChainId, std::size_t> lifetime;  // longest of the copies: place on the idle list
  for (std::size_t place = 0; place < idle.size(); ++place)
    lifetime[pool[idle[place]].chain] = place;
  for (std::int64_t i = 0; i < pool.num_touched(); ++i) {
    const Block& block = pool[static_cast<BlockId>(i)];
    if (block.published() && block.ref_count > 0) lifetime[block.chain] = kReferenced;
  }
  for (std::int64_t i = 0; i < pool.num_touched(); ++i) {
    const Block& block = pool[static_cast<BlockId>(i)];
    if (!block.published() || block.parent_chain == kNoChain) continue;
    const std::size_t own = lifetime[block.chain];
    const std::size_t parent = lifetime[block.parent_chain];
    Hold(parent > own || parent == kReferenced, "block ", i, " would outlive its parent");
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
          .num_duplicates = pool_.num_duplicates()};
}

Snapshot KVCacheManager::GetSnapshot() const {
  const std::lock_guard lock(mutex_);
  Snapshot snapshot;
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    const Row& row = rows_[i];
    if (!row.live) continue;
    const BlockId* columns = Columns(static_cast<RowId>(i));
    Snapshot::RowState state{.row = static_cast<RowId>(i),
                             .num_tokens = row.num_tokens,
                             .num_computed = row.num_computed,
                             .num_reserved = row.num_reserved,
                             .reservations = row.reservations,
                             .num_patched = row.num_patched,
                             .blocks = {columns, columns + row.num_columns},
                             .token_ids = {}};
    for (std::int64_t position = 0; position < row.num_tokens; ++position) {
      state.token_ids.push_back(pool_.tokens(
          columns[position / block_size()])[static_cast<std::size_t>(position % block_size())]);
    }
    snapshot.rows.push_back(std::move(state));
  }
  snapshot.free_stack = FreeStack(pool_);
  snapshot.num_touched = pool_.num_touched();
  snapshot.idle = IdleList(pool_);
  for (std::int64_t i = 0; i < pool_.num_touched(); ++i) {
    const auto b = static_cast<BlockId>(i);
    snapshot.ref_counts.push_back(pool_[b].ref_count);
    if (pool_[b].published()) {
      const auto tokens = pool_.tokens(b);
      snapshot.published.push_back(
          {b, pool_[b].chain, pool_[b].parent_chain, {tokens.begin(), tokens.end()}});
    }
  }
  return snapshot;
}

void KVCacheManager::Check() const {
  const std::lock_guard lock(mutex_);
  const auto num_touched = static_cast<std::size_t>(pool_.num_touched());
  std::vector<std::int32_t> ref_counts(num_touched, 0);
  std::vector<RowId> seen_in(num_touched, kNoRow);
  for (std::int64_t i = 0; i < max_rows_; ++i) {
    const auto row_id = static_cast<RowId>(i);
    const BlockId* columns = Columns(row_id);
    const bool live =
        i < static_cast<std::int64_t>(rows_.size()) && rows_[static_cast<std::size_t>(i)].live;
    const std::int32_t num_columns = live ? rows_[static_cast<std::size_t>(i)].num_columns : 0;
    Hold(std::all_of(columns + num_columns, columns + num_columns_,
                     [](BlockId b) { return b == kNoBlock; }),
         "row ", i, " is not padded with -1");
    if (!live) continue;
    const Row& row = rows_[static_cast<std::size_t>(i)];
    Hold(row.num_computed <= row.num_tokens && row.num_computed <= row.num_reserved &&
             row.num_reserved - row.num_computed ==
                 std::accumulate(row.reservations.begin(), row.reservations.end(), std::int64_t{0}),
         "row ", i, " has ", row.num_tokens, " tokens, ", row.num_computed, " computed, ",
         row.num_reserved, " reserved");
    Hold(row.num_columns == BlocksFor(std::max(row.num_tokens, row.num_reserved)) &&
             row.num_patched <= row.num_columns,
         "row ", i, " has ", row.num_columns, " columns");
    ChainId parent = kNoChain;
    for (std::int64_t column = 0; column < row.num_columns; ++column) {
      Hold(columns[column] >= 0 && columns[column] < pool_.num_touched(), "row ", i,
           " holds a block that was never allocated");
      const Block& block = pool_[columns[column]];
      const auto index = static_cast<std::size_t>(columns[column]);
      Hold(std::exchange(seen_in[index], row_id) != row_id, "row ", i, " holds block ", index,
           " twice");
      ++ref_counts[index];
      const std::int64_t end = (column + 1) * block_size();
      // A row cut inside a published block keeps that block until it writes there again.
      const bool cut_here = column == row.num_computed / block_size() && row.reservations.empty();
      Hold(end > row.num_computed || block.published(), "row ", i, " column ", column,
           " is computed but not published");
      Hold(end <= row.num_computed || !block.published() || cut_here, "row ", i, " column ", column,
           " is published before it is computed");
      if (block.published()) {
        Hold(block.parent_chain == parent, "row ", i, " column ", column, " has another parent");
        parent = block.chain;
      }
      Hold(end <= row.num_computed || row.reservations.empty() || block.ref_count == 1, "row ", i,
           " may write column ", column, ", which is shared");
    }
  }
  const std::vector<BlockId> idle = IdleList(pool_);
  CheckPlaces(pool_, idle, ref_counts);
  CheckPublished(pool_);
  CheckLeavesFirst(pool_, idle);
}

}  // namespace ctx::kv
