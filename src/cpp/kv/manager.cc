// The block table, one row per sequence (block_size 4; row 2 holds 10 tokens, 3 more are reserved):
//
//            column 0      1      2      3      4 ...
//   row 2:        17      18      5     30     -1 ...
//             ├ published ┤     ├ private ┤
//   tokens    0 . . 3 4 . . 7 8 9           num_tokens    = 10  ids known
//   KV        0 . . 3 4 . . 7 8 9           num_computed  = 10  ids with KV
//   slots     0 . . 3 4 . . 7 8 9 + + +     num_reserved  = 13  handed out
//
// Invariants of a live row (Check() in inspect.cc tests them all):
//  - num_computed <= num_tokens, num_computed <= num_reserved; the columns cover exactly
//    max(num_tokens, num_reserved) tokens.
//  - A column is published if and only if all its tokens are computed. One exception: a row cut
//    inside a published block keeps that block as its last column until it writes there again.
//  - num_reserved - num_computed is the sum of the unsettled reservations.
//  - Slots that are handed out lie in blocks which no other row holds and which are not published.
//  - The ids of tokens lie in the pool, beside the block they belong to; a row stores none.
#include "kv/manager.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <utility>

#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::kv {
namespace {

void CheckRange(const char* name, std::int64_t value, std::int64_t low, std::int64_t high) {
  if (value < low || value > high) {
    throw ArgumentError(StrCat(name, " is ", value, "; it must be in ", low, "..", high));
  }
}

Options Checked(const Options& options) {
  CheckRange("num_blocks", options.num_blocks, 1, std::numeric_limits<BlockId>::max());
  CheckRange("block_size", options.block_size, 1, KVCacheManager::kMaxPoolTokens);
  CheckRange("max_rows", options.max_rows, 1, KVCacheManager::kMaxRows);
  CheckRange("max_row_tokens", options.max_row_tokens, 0, std::numeric_limits<std::int64_t>::max());
  CheckRange("hash_bits", options.hash_bits, 1, 128);
  if (options.block_size > KVCacheManager::kMaxPoolTokens / options.num_blocks) {
    throw ArgumentError(StrCat("num_blocks ", options.num_blocks, " times block_size ",
                               options.block_size, " is more than ", KVCacheManager::kMaxPoolTokens,
                               " tokens"));
  }
  return options;
}

std::int64_t NumColumns(const Options& options) {
  std::int64_t columns = options.num_blocks;
  if (options.max_row_tokens > 0) {
    const std::int64_t needed = (options.max_row_tokens - 1) / options.block_size + 1;
    columns = std::min(columns, needed);
  }
  const std::int64_t max_columns = KVCacheManager::kMaxTableBytes /
                                   static_cast<std::int64_t>(sizeof(BlockId)) / options.max_rows;
  if (columns > max_columns) {
    throw ArgumentError(
        StrCat("a block table of max_rows ", options.max_rows, " by ", columns,
               " blocks takes more than ", KVCacheManager::kMaxTableBytes,
               " bytes; lower max_rows or set max_row_tokens to the longest sequence (",
               max_columns * options.block_size, " tokens would do)"));
  }
  return columns;
}

}  // namespace

// What Acquire() prepares before it takes the mutex.
struct KVCacheManager::Prompt {
  std::shared_ptr<const prefix::Identity> identity;
  std::vector<Extra> extras;               // per block; empty when there is no identity
  std::vector<prefix::Digest128> digests;  // of the full blocks
  std::vector<BlockId> hits;               // room for them
  std::int64_t num_idle_hits = 0;          // of the hits, those that no row holds

  Extra extra(std::size_t column) const { return extras.empty() ? nullptr : extras[column]; }
};

KVCacheManager::KVCacheManager(const Options& options)
    : pool_(Checked(options).num_blocks, options.block_size, options.hash_bits),
      max_rows_(options.max_rows),
      num_columns_(NumColumns(options)) {
  const auto size = static_cast<std::size_t>(max_rows_ * num_columns_);
  table_ = std::make_unique_for_overwrite<BlockId[]>(size);
  std::fill_n(table_.get(), size, kNoBlock);
}

void KVCacheManager::CheckRowFits(std::int64_t num_tokens, const char* what) const {
  const std::int64_t needed = BlocksFor(num_tokens);
  if (needed > num_columns_) {
    throw CapacityError(
        StrCat(what, " of ", num_tokens, " tokens needs ", needed, " blocks; a row can have ",
               num_columns_, " of the ", num_blocks(), " in the pool"),
        needed, num_columns_);
  }
}

Extra KVCacheManager::ExtraOf(const prefix::Identity* identity, std::int64_t column) const {
  if (identity == nullptr) return nullptr;
  const std::int64_t begin = column * block_size();
  std::string framed;
  prefix::AppendFramed(*identity, begin, block_size(), column == 0,
                       prefix::MediaIn(*identity, begin, begin + block_size(), 0), &framed);
  return framed.empty() ? nullptr : std::make_shared<const std::string>(std::move(framed));
}

KVCacheManager::Prompt KVCacheManager::Prepare(std::span<const TokenId> token_ids,
                                               const prefix::Identity& identity) const {
  const auto num_tokens = static_cast<std::int64_t>(token_ids.size());
  if (num_tokens == 0) throw ArgumentError("token_ids is empty; a prompt has at least one token");
  if (!identity.media.empty() &&
      (identity.media.front().offset < 0 ||
       identity.media.back().offset + identity.media.back().length > num_tokens)) {
    throw ArgumentError(StrCat("media must lie within the ", num_tokens, " tokens of the prompt"));
  }
  Prompt prompt;
  const auto num_columns = static_cast<std::size_t>(BlocksFor(num_tokens));
  if (!identity.empty()) {
    prompt.identity = std::make_shared<const prefix::Identity>(identity);
    prompt.extras.reserve(num_columns);
    prefix::MediaRange media{0, 0};
    std::string framed;
    for (std::size_t column = 0; column < num_columns; ++column) {
      const std::int64_t begin = static_cast<std::int64_t>(column) * block_size();
      media = prefix::MediaIn(identity, begin, begin + block_size(), media.first);
      framed.clear();
      prefix::AppendFramed(identity, begin, block_size(), column == 0, media, &framed);
      prompt.extras.push_back(framed.empty() ? nullptr
                                             : std::make_shared<const std::string>(framed));
    }
  }
  const auto size = static_cast<std::size_t>(block_size());
  prompt.digests.resize(token_ids.size() / size);
  prefix::Digest128 digest;
  for (std::size_t column = 0; column < prompt.digests.size(); ++column) {
    digest = pool_.Hash(digest, token_ids.subspan(column * size, size), prompt.extra(column));
    prompt.digests[column] = digest;
  }
  prompt.hits.reserve(prompt.digests.size());
  return prompt;
}

void KVCacheManager::FindHits(std::span<const TokenId> token_ids, Prompt* prompt) const noexcept {
  const auto size = static_cast<std::size_t>(block_size());
  ChainId chain = kNoChain;
  // The block of the last token is always computed anew: it gives the first logits.
  const std::size_t max_hits = (token_ids.size() - 1) / size;
  for (std::size_t column = 0; column < max_hits; ++column) {
    const BlockId block = pool_.Find(prompt->digests[column], chain,
                                     token_ids.subspan(column * size, size), prompt->extra(column));
    if (block == kNoBlock) break;
    prompt->hits.push_back(block);
    chain = pool_[block].chain;
    prompt->num_idle_hits += pool_[block].state == BlockState::kIdle;
  }
}

std::int64_t KVCacheManager::Lookup(std::span<const TokenId> token_ids,
                                    const prefix::Identity& identity) const {
  Prompt prompt = Prepare(token_ids, identity);
  const std::lock_guard lock(mutex_);
  FindHits(token_ids, &prompt);
  return static_cast<std::int64_t>(prompt.hits.size()) * block_size();
}

std::optional<Acquired> KVCacheManager::Acquire(std::span<const TokenId> token_ids,
                                                const prefix::Identity& identity) {
  CheckRowFits(static_cast<std::int64_t>(token_ids.size()), "a prompt");
  Prompt prompt = Prepare(token_ids, identity);
  const auto num_tokens = static_cast<std::int64_t>(token_ids.size());
  const auto size = static_cast<std::size_t>(block_size());
  const std::lock_guard lock(mutex_);
  if (!EnsureFreeRow()) return std::nullopt;

  FindHits(token_ids, &prompt);
  const auto num_hits = static_cast<std::int64_t>(prompt.hits.size());
  const std::int64_t num_columns = BlocksFor(num_tokens);
  // Hits that are idle now stop being available once they are pinned.
  if (num_columns - num_hits > pool_.num_available() - prompt.num_idle_hits) return std::nullopt;

  const RowId row_id = TakeRow();
  Row& row = rows_[static_cast<std::size_t>(row_id)];
  BlockId* columns = Columns(row_id);
  for (std::int64_t column = 0; column < num_hits; ++column) {
    columns[column] = prompt.hits[static_cast<std::size_t>(column)];
    pool_.AddRef(columns[column]);
  }
  for (std::int64_t column = num_hits; column < num_columns; ++column) {
    const auto index = static_cast<std::size_t>(column);
    const BlockId block = columns[column] = pool_.Allocate();
    pool_.SetExtra(block, prompt.extra(index));
    pool_.WriteTokens(
        block, 0,
        token_ids.subspan(index * size).first(std::min(size, token_ids.size() - index * size)));
    if (index < prompt.digests.size()) pool_.SetDigest(block, prompt.digests[index]);
  }
  row.num_columns = static_cast<std::int32_t>(num_columns);
  row.num_tokens = num_tokens;
  row.num_computed = row.num_reserved = num_hits * block_size();
  row.identity = std::move(prompt.identity);
  num_queried_tokens_ += num_tokens;
  num_hit_tokens_ += row.num_computed;
  return Acquired{row_id, row.num_computed};
}

bool KVCacheManager::CanAdmit(std::int64_t num_tokens) const {
  CheckRange("num_tokens", num_tokens, 1, std::numeric_limits<std::int64_t>::max());
  CheckRowFits(num_tokens, "a prompt");
  const std::lock_guard lock(mutex_);
  const bool row_free = !free_rows_.empty() || static_cast<std::int64_t>(rows_.size()) < max_rows_;
  return row_free && BlocksFor(num_tokens) <= pool_.num_available();
}

std::optional<RowId> KVCacheManager::Fork(std::int64_t parent) {
  const std::lock_guard lock(mutex_);
  LiveRow(parent);
  if (!EnsureFreeRow()) return std::nullopt;  // may move rows_
  const Row& source = rows_[static_cast<std::size_t>(parent)];
  if (!source.reservations.empty() || source.num_computed != source.num_tokens) {
    throw ArgumentError(
        StrCat("row ", parent, " cannot be forked before all its tokens are settled"));
  }
  const RowId row_id = TakeRow();
  Row& row = rows_[static_cast<std::size_t>(row_id)];
  row.num_columns = source.num_columns;
  row.num_tokens = source.num_tokens;
  row.num_computed = source.num_computed;
  row.num_reserved = source.num_reserved;
  row.identity = source.identity;
  const BlockId* from = Columns(static_cast<RowId>(parent));
  std::copy_n(from, source.num_columns, Columns(row_id));
  for (std::int32_t column = 0; column < source.num_columns; ++column) pool_.AddRef(from[column]);
  return row_id;
}

void KVCacheManager::Truncate(std::int64_t row_id, std::int64_t num_tokens) {
  const std::lock_guard lock(mutex_);
  Row& row = LiveRow(row_id);
  CheckRange("num_tokens", num_tokens, 0, row.num_tokens);
  if (!row.reservations.empty()) {
    throw ArgumentError(StrCat("row ", row_id, " has ", row.num_reserved - row.num_computed,
                               " reserved tokens; settle them before truncating"));
  }
  // Media behind the cut are gone; one across it ends there. The block of the cut is told so when
  // it may still be written here, else when it is copied.
  std::shared_ptr<const prefix::Identity> identity = row.identity;
  Extra extra;
  if (identity != nullptr && !identity->media.empty()) {
    prefix::Identity cut = *identity;
    std::erase_if(cut.media, [&](const auto& media) { return media.offset >= num_tokens; });
    if (!cut.media.empty()) {
      prefix::Media& last = cut.media.back();
      last.length = std::min(last.length, num_tokens - last.offset);
    }
    identity = std::make_shared<const prefix::Identity>(std::move(cut));
    extra = ExtraOf(identity.get(), num_tokens / block_size());
  }

  const auto id = static_cast<RowId>(row_id);
  ShrinkTo(id, BlocksFor(num_tokens));
  row.num_tokens = num_tokens;
  row.num_computed = row.num_reserved = std::min(row.num_computed, num_tokens);
  if (identity != row.identity) {
    row.identity = std::move(identity);
    if (num_tokens % block_size() != 0 && !NeedsCopy(id, num_tokens)) {
      pool_.SetExtra(Columns(id)[num_tokens / block_size()], std::move(extra));
    }
  }
}

void KVCacheManager::Free(std::span<const std::int64_t> rows) {
  const std::lock_guard lock(mutex_);
  ++mark_;
  for (const std::int64_t row_id : rows) NextRow(row_id, mark_);
  for (const std::int64_t row_id : rows) {
    const auto id = static_cast<RowId>(row_id);
    Row& row = rows_[static_cast<std::size_t>(row_id)];
    ShrinkTo(id, 0);
    row.live = false;
    row.num_tokens = row.num_computed = row.num_reserved = 0;
    row.reservations.clear();
    row.identity.reset();
    free_rows_.push_back(id);
    std::push_heap(free_rows_.begin(), free_rows_.end(), std::greater<>());
  }
}

std::vector<BlockId> KVCacheManager::Evict(std::int64_t num_blocks) {
  CheckRange("num_blocks", num_blocks, 0, std::numeric_limits<std::int64_t>::max());
  const std::lock_guard lock(mutex_);
  std::vector<BlockId> evicted(static_cast<std::size_t>(std::min(num_blocks, pool_.num_idle())));
  for (BlockId& block : evicted) block = pool_.EvictOldest();
  return evicted;
}

void KVCacheManager::SlotMapping(std::span<const std::int64_t> rows,
                                 std::span<const std::int64_t> positions,
                                 std::span<Slot> slots) const {
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] < 0 || positions[i] < 0) continue;
    const bool live = rows[i] < static_cast<std::int64_t>(rows_.size()) &&
                      rows_[static_cast<std::size_t>(rows[i])].live;
    if (!live) throw ArgumentError(StrCat("entry ", i, ": row ", rows[i], " is not in use"));
    const Row& row = rows_[static_cast<std::size_t>(rows[i])];
    const std::int64_t num_positions = std::max(row.num_tokens, row.num_reserved);
    if (positions[i] >= num_positions) {
      throw ArgumentError(StrCat("entry ", i, ": position ", positions[i], " of row ", rows[i],
                                 ", which has ", num_positions));
    }
  }
  for (std::size_t i = 0; i < rows.size(); ++i) {
    slots[i] = rows[i] < 0 || positions[i] < 0 ? kNoSlot
                                               : SlotOf(static_cast<RowId>(rows[i]), positions[i]);
  }
}

KVCacheManager::Row& KVCacheManager::LiveRow(std::int64_t row) {
  if (row < 0 || row >= static_cast<std::int64_t>(rows_.size()) ||
      !rows_[static_cast<std::size_t>(row)].live) {
    throw ArgumentError(StrCat("row ", row, " is not in use"));
  }
  return rows_[static_cast<std::size_t>(row)];
}

KVCacheManager::Row& KVCacheManager::NextRow(std::int64_t row_id, std::uint64_t mark) {
  Row& row = LiveRow(row_id);
  if (std::exchange(row.mark, mark) == mark) {
    throw ArgumentError(StrCat("row ", row_id, " is named twice"));
  }
  return row;
}

/// Makes sure that TakeRow() can succeed; false when all rows are live. No visible change.
bool KVCacheManager::EnsureFreeRow() {
  if (!free_rows_.empty()) return true;
  if (static_cast<std::int64_t>(rows_.size()) == max_rows_) return false;
  if (free_rows_.capacity() <= rows_.size()) free_rows_.reserve(2 * rows_.size() + 1);
  rows_.emplace_back();
  free_rows_.push_back(static_cast<RowId>(rows_.size() - 1));
  return true;
}

RowId KVCacheManager::TakeRow() noexcept {
  std::pop_heap(free_rows_.begin(), free_rows_.end(), std::greater<>());
  const RowId row = free_rows_.back();
  free_rows_.pop_back();
  rows_[static_cast<std::size_t>(row)].live = true;
  return row;
}

/// Releases the columns from num_columns on, tail first.
void KVCacheManager::ShrinkTo(RowId row_id, std::int64_t num_columns) noexcept {
  Row& row = rows_[static_cast<std::size_t>(row_id)];
  BlockId* columns = Columns(row_id);
  while (row.num_columns > num_columns) {
    pool_.Release(std::exchange(columns[--row.num_columns], kNoBlock));
  }
  row.num_patched = std::min(row.num_patched, row.num_columns);
}

}  // namespace ctx::kv
