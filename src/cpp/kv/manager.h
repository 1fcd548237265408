// KVCacheManager: which KV blocks belong to which sequence, on the host.
//
// A sequence is a row of the block tables. Acquire() finds the longest published prefix of a
// prompt, pins it and allocates the rest in one step; Reserve() hands out slots before a forward
// pass; Settle() says after it what was kept, and is the only place where full blocks become
// findable. A shortfall (no block or no row free now) is a result and changes nothing; what could
// never be served throws CapacityError at once; anything else out of place throws ArgumentError. A
// call that throws, for want of memory too, has changed nothing.
//
// Layers that keep the same part of a sequence form a group (group.h). Each group has its own block
// table; all take their blocks from one pool. A full group gets the blocks of a prompt at once, the
// others as slots are reserved, and let go what they no longer need when more is reserved.
//
// Any number of threads: each call is one step under one mutex, in which nothing calls back. Block
// ids depend on the calls and their order alone, never on hashes.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/ids.h"
#include "kv/block_pool.h"
#include "kv/extra_table.h"
#include "kv/prefix_tree.h"
#include "kv/row.h"
#include "kv/types.h"
#include "prefix/identity.h"

namespace ctx::kv {

class KVCacheManager {
 public:
  static constexpr std::int64_t kMaxRows = std::int64_t{1} << 20;
  static constexpr std::int64_t kMaxTableBytes = std::int64_t{1} << 30;
  static constexpr std::int64_t kMaxPoolTokens = std::int64_t{1} << 36;

  /// Throws ArgumentError, saying which number and why.
  explicit KVCacheManager(const Options& options);

  std::int64_t num_blocks() const noexcept { return pool_.num_blocks(); }
  std::int64_t block_size() const noexcept { return block_size_; }
  std::int64_t max_rows() const noexcept { return max_rows_; }
  std::int64_t max_row_blocks() const noexcept { return num_columns_; }
  std::span<const Group> groups() const noexcept { return groups_; }

  /// Puts a prompt into a row; nullopt when blocks or rows are short. At least one token is left to
  /// compute, so that there are logits to sample from. With `resume` the prompt is what was matched
  /// there and `token_ids` behind it; media count from the start of the prompt all the same. Throws
  /// StaleMatchError when the matched prefix is gone. O(tokens + blocks of the row).
  std::optional<Acquired> Acquire(std::span<const TokenId> token_ids,
                                  const prefix::Identity& identity, const Match* resume = nullptr);
  /// The prefix that Acquire would find cached now; changes nothing, not even the order of
  /// eviction. O(tokens).
  Match Lookup(std::span<const TokenId> token_ids, const prefix::Identity& identity,
               const Match* resume = nullptr) const;
  /// Whether a prompt without any cached prefix would be admitted now. O(1).
  bool CanAdmit(std::int64_t num_tokens) const;

  /// Slots for the next num_new[i] tokens of rows[i], all rows or none. A block that is published
  /// or shared is never written: it is replaced by a private copy. May run again before the step is
  /// settled. Without `want_slots` the step has none, for devices that derive them from the tables.
  /// O(rows + slots).
  Step Reserve(std::span<const std::int64_t> rows, std::span<const std::int64_t> num_new,
               bool want_slots = true);
  /// Completes the oldest unsettled reservation of each row. Its first num_accepted[i] tokens are
  /// computed now; the others are given up, which needs that no younger reservation is out.
  /// `token_ids` has the accepted ids that the row does not know from its prompt, row after row,
  /// cut by `indptr` (n + 1 offsets) when that is not empty. O(rows + tokens).
  void Settle(std::span<const std::int64_t> rows, std::span<const std::int64_t> num_accepted,
              std::span<const TokenId> token_ids, std::span<const std::int64_t> indptr);
  /// The same before the ids are known. Tell(), or the next Settle() of the row, brings them, and
  /// only then are the blocks published.
  void SettleLate(std::span<const std::int64_t> rows, std::span<const std::int64_t> num_accepted);
  /// The next ids of tokens that were settled late, row after row, cut by `indptr`; all that are
  /// missing when that is empty.
  void Tell(std::span<const std::int64_t> rows, std::span<const TokenId> token_ids,
            std::span<const std::int64_t> indptr);

  /// Like Reserve(), for prompt tokens whose KV comes from elsewhere. Until FinishLoad() or
  /// FailLoad() the row can only be freed, and nobody else finds its blocks.
  Step BeginLoad(std::int64_t row, std::int64_t num_tokens);
  void FinishLoad(std::int64_t row);
  /// Only the first num_loaded tokens came; the others are to be computed.
  void FailLoad(std::int64_t row, std::int64_t num_loaded);

  /// A second row over the same blocks; nullopt when no row is free. O(blocks of the row).
  std::optional<RowId> Fork(std::int64_t row);
  /// Cuts a row to its first num_tokens tokens. O(blocks let go).
  void Truncate(std::int64_t row, std::int64_t num_tokens);
  /// Lets rows go, tail first. With a `fence`, their blocks are reused only after AdvanceFence()
  /// has reached it; until then they count as coming. O(blocks of the rows).
  void Free(std::span<const std::int64_t> rows, std::optional<std::int64_t> fence = {});
  /// The device has passed `fence`. Throws ArgumentError when it had passed a later one.
  void AdvanceFence(std::int64_t fence);
  /// Rows to free, youngest first, so that num_blocks become available with what is or is coming;
  /// all rows when that is not enough. O(blocks of the rows).
  std::vector<RowId> PreemptCandidates(std::int64_t num_blocks) const;
  /// Evicts up to num_blocks idle blocks, oldest first, and returns them.
  std::vector<BlockId> Evict(std::int64_t num_blocks);

  /// slots[i] = slot of token positions[i] of rows[i] in a group; kNoSlot where either is negative,
  /// or the group has let go of the token.
  void SlotMapping(std::span<const std::int64_t> rows, std::span<const std::int64_t> positions,
                   std::int64_t group, std::span<Slot> slots) const;

  /// int32[groups, max_rows, max_row_blocks], row-major, kNoBlock where nothing is. It changes in
  /// place; read it while no other thread calls.
  const BlockId* block_tables() const noexcept { return table_.get(); }

  Stats GetStats() const;
  /// The whole state, comparable with ==. O(state).
  Snapshot GetSnapshot() const;
  /// Throws Error naming the first invariant that does not hold. O(state).
  void Check() const;

 private:
  struct Prompt;

  std::int64_t num_groups() const noexcept { return static_cast<std::int64_t>(groups_.size()); }
  BlockId* Columns(std::int64_t group, RowId row) const noexcept {
    return table_.get() + (group * max_rows_ + row) * num_columns_;
  }
  RowGroup& At(std::int64_t group, RowId row) noexcept {
    return row_groups_[static_cast<std::size_t>(row * num_groups() + group)];
  }
  const RowGroup& At(std::int64_t group, RowId row) const noexcept {
    return row_groups_[static_cast<std::size_t>(row * num_groups() + group)];
  }
  std::int64_t BlocksFor(std::int64_t num_tokens) const noexcept {
    return num_tokens / block_size_ + (num_tokens % block_size_ != 0);
  }
  void CheckRowFits(std::int64_t num_tokens, const char* what) const;
  /// Blocks that all groups need for the last `num_columns` columns of a prompt; of a window, as
  /// many as it has at most when the prompt is computed in chunks of a block.
  std::int64_t NumNeeded(std::int64_t num_columns) const noexcept;

  // acquire.cc
  std::vector<std::string> FramedOf(const prefix::Identity& identity) const;
  Prompt Prepare(std::span<const TokenId> token_ids, const prefix::Identity& identity,
                 const Match* resume) const;
  std::int64_t Watermark() const noexcept;
  NodeId PartialHit(const Prompt& prompt, std::int64_t num_cached,
                    std::int64_t* length) const noexcept;
  std::int64_t FindHits(const Prompt& prompt, bool whole_path) const;
  void CheckResume(const Prompt& prompt, bool all) const;

  // manager.cc
  Row& LiveRow(std::int64_t row);
  /// As LiveRow(), and refuses one that is loading.
  Row& ReadyRow(std::int64_t row);
  /// As LiveRow(), and refuses a row that the same call has named before.
  Row& NextRow(std::int64_t row, std::uint64_t mark);
  bool EnsureFreeRow();
  RowId TakeRow() noexcept;
  void SetTip(Row& row, NodeId tip) noexcept;
  void ReleaseAll(std::span<const BlockId> blocks) noexcept;
  std::map<BlockId, std::int32_t> NumDeferred() const;
  std::int64_t NumComing() const;
  void ReleaseColumns(std::int64_t group, RowId row, std::int64_t begin, std::int64_t end) noexcept;
  void ShrinkTo(std::int64_t group, RowId row, std::int64_t num_columns) noexcept;
  void ShrinkToFit(RowId row) noexcept;

  // step.cc
  std::int64_t FirstNeeded(std::int64_t group, std::int64_t num_computed) const noexcept {
    return NumSkippedTokens(groups_[static_cast<std::size_t>(group)], num_computed) / block_size_;
  }
  BlockId BlockToCopy(std::int64_t group, RowId row, std::int64_t begin,
                      std::int64_t end) const noexcept;
  std::int64_t FirstNew(std::int64_t group, RowId row, std::int64_t end) const noexcept;
  void CountRow(RowId row, std::int64_t end, std::vector<BlockId>* dropped,
                std::int64_t* num_needed) noexcept;
  void ReserveRow(RowId row, std::int64_t begin, Step* step) noexcept;
  void WriteSlots(std::int64_t group, RowId row, std::int64_t begin, Slot* slots) const noexcept;
  Step ReserveLocked(std::span<const std::int64_t> rows, std::span<const std::int64_t> num_new,
                     bool want_slots);
  std::int64_t CheckSettle(std::int64_t row, std::int64_t num_accepted);
  void SettleRow(RowId row, std::int64_t num_accepted) noexcept;
  void PullStates(RowId row) noexcept;
  void PublishFull(RowId row) noexcept;

  // inspect.cc
  void CheckRow(RowId row) const;

  mutable std::mutex mutex_;
  const std::int64_t block_size_;
  const std::vector<Group> groups_;
  const std::int64_t max_rows_;
  const std::int64_t num_columns_;
  const std::int64_t watermark_blocks_;
  const bool partial_hits_;
  ExtraTable extras_;
  PrefixTree tree_;
  BlockPool pool_;
  std::unique_ptr<BlockId[]> table_;
  mutable std::unique_ptr<NodeId[]> path_;  // scratch of one call
  std::vector<Row> rows_;                   // grows to the most rows ever live at once
  std::vector<RowGroup> row_groups_;        // by row and group
  std::vector<RowId> free_rows_;            // a heap, lowest first; its capacity covers rows_
  struct Deferred {
    std::int64_t fence;
    std::vector<BlockId> blocks;  // of one row and group, by column
  };
  std::vector<Deferred> deferred_;  // in the order of freeing
  std::int64_t passed_fence_ = -1;
  std::uint64_t last_age_ = 0;
  std::uint64_t mark_ = 0;
  std::int64_t num_queried_tokens_ = 0;
  std::int64_t num_hit_tokens_ = 0;
  std::int64_t num_copied_ = 0;
};

}  // namespace ctx::kv
