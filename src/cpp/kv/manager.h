// KVCacheManager: which KV blocks belong to which sequence, on the host.
//
// A sequence is a row of one block table. acquire() finds the longest published prefix of a prompt,
// pins it and allocates the rest in one step; reserve() hands out slots before a forward pass;
// settle() says after it what was kept, and is the only place where full blocks become findable. A
// shortfall (no block or no row free now) is a result and changes nothing; what could never be
// served throws CapacityError at once; anything else out of place throws ArgumentError. A call that
// throws, for want of memory too, has changed nothing.
//
// Any number of threads: each call is one step under one mutex, in which nothing calls back.
// Prompts are hashed before the mutex is taken. Block ids depend on the calls and their order
// alone, never on hashes.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/ids.h"
#include "kv/block_pool.h"
#include "prefix/identity.h"

namespace ctx::kv {

using RowId = std::int32_t;
inline constexpr RowId kNoRow = -1;

struct Options {
  std::int64_t num_blocks = 0;
  std::int64_t block_size = 0;  // tokens
  std::int64_t max_rows = 256;
  std::int64_t max_row_tokens = 0;  // longest sequence; 0: as many as the pool holds
  int hash_bits = 128;              // below 128 for tests only, see BlockPool
};

struct Acquired {
  RowId row = kNoRow;
  std::int64_t num_cached_tokens = 0;  // leading tokens whose KV is there already
};

/// block_tables[row, column] = block.
struct TableEntry {
  RowId row;
  std::int32_t column;
  BlockId block;
};

/// The KV of block `source` must be copied to block `target`.
struct BlockCopy {
  BlockId source;
  BlockId target;
};

/// What the device has to do for one forward pass: table_patch, then all copies, then the pass.
struct Step {
  std::vector<Slot> slots;  // of the reserved tokens, row after row
  std::vector<TableEntry> table_patch;
  std::vector<BlockCopy> copies;
  RowId oom_row = kNoRow;  // first row that found no block; then all else is empty
};

struct Stats {
  std::int64_t num_blocks, num_free, num_idle, num_referenced, num_rows;
  std::int64_t num_queried_tokens, num_hit_tokens;  // of all prompts acquired
  std::int64_t num_evicted, num_copied, num_duplicates;
};

struct Snapshot;

class KVCacheManager {
 public:
  static constexpr std::int64_t kMaxRows = std::int64_t{1} << 20;
  static constexpr std::int64_t kMaxTableBytes = std::int64_t{1} << 30;
  static constexpr std::int64_t kMaxPoolTokens = std::int64_t{1} << 36;

  /// Throws ArgumentError, saying which number and why.
  explicit KVCacheManager(const Options& options);

  std::int64_t num_blocks() const noexcept { return pool_.num_blocks(); }
  std::int64_t block_size() const noexcept { return pool_.block_size(); }
  std::int64_t max_rows() const noexcept { return max_rows_; }
  std::int64_t max_row_blocks() const noexcept { return num_columns_; }

  /// Puts a prompt into a row; nullopt when blocks or rows are short. At least one token is left to
  /// compute, so that there are logits to sample from. Expected O(tokens).
  std::optional<Acquired> Acquire(std::span<const TokenId> token_ids,
                                  const prefix::Identity& identity);
  /// Leading tokens that Acquire would find cached now; changes nothing, not even the order of
  /// eviction. Expected O(tokens).
  std::int64_t Lookup(std::span<const TokenId> token_ids, const prefix::Identity& identity) const;
  /// Whether a prompt without any cached prefix would be admitted now. O(1).
  bool CanAdmit(std::int64_t num_tokens) const;

  /// Slots for the next num_new[i] tokens of rows[i], all rows or none. A block that is published
  /// or shared is never written: it is replaced by a private copy. May run again before the step is
  /// settled. O(rows + slots).
  Step Reserve(std::span<const std::int64_t> rows, std::span<const std::int64_t> num_new);
  /// Completes the oldest unsettled reservation of each row. Its first num_accepted[i] tokens are
  /// computed now; the others are given up, which needs that no younger reservation is out.
  /// `token_ids` has the accepted ids that the row does not know from its prompt, row after row,
  /// cut by `indptr` (n + 1 offsets) when that is not empty. O(rows + tokens).
  void Settle(std::span<const std::int64_t> rows, std::span<const std::int64_t> num_accepted,
              std::span<const TokenId> token_ids, std::span<const std::int64_t> indptr);

  /// A second row over the same blocks; nullopt when no row is free. O(blocks of the row).
  std::optional<RowId> Fork(std::int64_t row);
  /// Cuts a row to its first num_tokens tokens. O(blocks let go).
  void Truncate(std::int64_t row, std::int64_t num_tokens);
  /// Lets rows go, tail first. O(blocks of the rows).
  void Free(std::span<const std::int64_t> rows);
  /// Evicts up to num_blocks idle blocks, oldest first, and returns them.
  std::vector<BlockId> Evict(std::int64_t num_blocks);

  /// slots[i] = slot of token positions[i] of rows[i]; kNoSlot where either is negative.
  void SlotMapping(std::span<const std::int64_t> rows, std::span<const std::int64_t> positions,
                   std::span<Slot> slots) const;

  /// int32[max_rows, max_row_blocks], row-major, kNoBlock where nothing is. It changes in place;
  /// read it while no other thread calls.
  const BlockId* block_tables() const noexcept { return table_.get(); }

  Stats GetStats() const;
  /// The whole state, comparable with ==. O(state).
  Snapshot GetSnapshot() const;
  /// Throws Error naming the first invariant that does not hold. O(state).
  void Check() const;

 private:
  struct Row {
    bool live = false;
    std::int32_t num_columns = 0;   // blocks in the table
    std::int32_t num_patched = 0;   // leading columns that the caller's patches already have
    std::int64_t num_tokens = 0;    // known ids
    std::int64_t num_computed = 0;  // of them, with KV
    std::int64_t num_reserved = 0;  // slots handed out, from 0 on; >= num_computed
    std::vector<std::int64_t> reservations;            // sizes of the unsettled ones, oldest first
    std::shared_ptr<const prefix::Identity> identity;  // null: nothing to say
    std::uint64_t mark = 0;                            // of the last call that named the row
  };
  struct Prompt;

  BlockId* Columns(RowId row) noexcept { return table_.get() + row * num_columns_; }
  const BlockId* Columns(RowId row) const noexcept { return table_.get() + row * num_columns_; }
  std::int64_t BlocksFor(std::int64_t num_tokens) const noexcept {
    return num_tokens / block_size() + (num_tokens % block_size() != 0);
  }
  Slot SlotOf(RowId row, std::int64_t position) const noexcept {
    return Slot{Columns(row)[position / block_size()]} * block_size() + position % block_size();
  }
  void CheckRowFits(std::int64_t num_tokens, const char* what) const;
  Prompt Prepare(std::span<const TokenId> token_ids, const prefix::Identity& identity) const;
  /// Fills `prompt->hits` with the longest published prefix.
  void FindHits(std::span<const TokenId> token_ids, Prompt* prompt) const noexcept;
  Extra ExtraOf(const prefix::Identity* identity, std::int64_t column) const;
  Row& LiveRow(std::int64_t row);
  /// As LiveRow(), and refuses a row that the same call has named before.
  Row& NextRow(std::int64_t row, std::uint64_t mark);
  bool EnsureFreeRow();
  RowId TakeRow() noexcept;
  bool NeedsCopy(RowId row, std::int64_t position) const noexcept;
  void ReserveRow(RowId row, std::int64_t num_new, Extra extra, Step* step) noexcept;
  void SettleRow(RowId row, std::int64_t num_accepted, std::span<const TokenId> token_ids) noexcept;
  void WriteTokens(RowId row, std::int64_t position, std::span<const TokenId> token_ids) noexcept;
  void ShrinkTo(RowId row, std::int64_t num_columns) noexcept;

  mutable std::mutex mutex_;
  BlockPool pool_;
  const std::int64_t max_rows_;
  const std::int64_t num_columns_;
  std::unique_ptr<BlockId[]> table_;
  std::vector<Row> rows_;         // grows to the most rows ever live at once
  std::vector<RowId> free_rows_;  // a heap, lowest first; its capacity covers rows_
  std::uint64_t mark_ = 0;
  std::int64_t num_queried_tokens_ = 0;
  std::int64_t num_hit_tokens_ = 0;
  std::int64_t num_copied_ = 0;
};

/// The comparable state of a manager. Two managers that were called alike have equal snapshots.
struct Snapshot {
  struct RowState {
    RowId row;
    std::int64_t num_tokens, num_computed, num_reserved;
    std::vector<std::int64_t> reservations;
    std::int32_t num_patched;
    std::vector<BlockId> blocks;
    std::vector<TokenId> token_ids;
    friend bool operator==(const RowState&, const RowState&) = default;
  };
  struct PublishedBlock {
    BlockId block;
    ChainId chain, parent_chain;
    std::vector<TokenId> token_ids;
    friend bool operator==(const PublishedBlock&, const PublishedBlock&) = default;
  };
  std::vector<RowState> rows;             // ascending
  std::vector<BlockId> free_stack;        // top first
  std::int64_t num_touched = 0;           // blocks from here on were never used
  std::vector<BlockId> idle;              // oldest first
  std::vector<PublishedBlock> published;  // ascending
  std::vector<std::int32_t> ref_counts;   // of blocks [0, num_touched)
  friend bool operator==(const Snapshot&, const Snapshot&) = default;
};

}  // namespace ctx::kv
