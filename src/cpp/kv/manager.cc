// The block table of one group, one row per sequence (block_size 4; row 2 holds 10 tokens, 3 more
// are reserved):
//
//            column 0      1      2      3      4 ...
//   row 2:        17      18      5     30     -1 ...
//             ├ published ┤     ├ private ┤
//   tokens    0 . . 3 4 . . 7 8 9           num_tokens    = 10  ids known
//   KV        0 . . 3 4 . . 7 8 9           num_computed  = 10  ids with KV
//   slots     0 . . 3 4 . . 7 8 9 + + +     num_reserved  = 13  handed out
//
// Invariants of a live row (Check() in inspect.cc tests them all):
//  - num_computed <= num_tokens, num_computed <= num_reserved; the columns of a full group cover
//    exactly max(num_tokens, num_reserved) tokens, those of others end with num_reserved.
//  - `tip` is the content of all whole blocks with KV; `tail` has the ids behind it. The column of
//    a whole block is published at its node, that of no other block is. Two exceptions: a row cut
//    inside a published block keeps that block as its last column until it writes there again, and
//    a linear state that did not end with its block is not published.
//  - num_reserved - num_computed is the sum of the unsettled reservations.
//  - Slots that are handed out lie in blocks which no other row holds and which are not published.
#include "kv/manager.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <limits>
#include <utility>

#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::kv {
namespace {

constexpr std::int64_t kMaxBlocks = std::int64_t{1} << 29;

void CheckRange(const char* name, std::int64_t value, std::int64_t low, std::int64_t high) {
  if (value < low || value > high) {
    throw ArgumentError(StrCat(name, " is ", value, "; it must be in ", low, "..", high));
  }
}

std::int64_t NumFull(const Options& options) {
  return std::ranges::count(options.groups, GroupKind::kFull, &Group::kind);
}

const Options& Checked(const Options& options) {
  CheckRange("num_blocks", options.num_blocks, 1, kMaxBlocks);
  CheckRange("block_size", options.block_size, 1, KVCacheManager::kMaxPoolTokens);
  CheckRange("max_rows", options.max_rows, 1, KVCacheManager::kMaxRows);
  CheckRange("max_row_tokens", options.max_row_tokens, 0, KVCacheManager::kMaxPoolTokens);
  CheckRange("hash_bits", options.hash_bits, 1, 128);
  CheckRange("the number of groups", static_cast<std::int64_t>(options.groups.size()), 1,
             kMaxGroups);
  for (const Group& group : options.groups) {
    const bool has_window =
        group.kind == GroupKind::kSlidingWindow || group.kind == GroupKind::kChunkedLocal;
    CheckRange("the window of a group", group.window, has_window ? 1 : 0,
               has_window ? KVCacheManager::kMaxPoolTokens : 0);
  }
  CheckRange("watermark_blocks", options.watermark_blocks, 0, options.num_blocks);
  if (options.partial_hits && NumFull(options) < static_cast<std::int64_t>(options.groups.size())) {
    throw ArgumentError("partial_hits needs that all groups are full");
  }
  if (options.block_size > KVCacheManager::kMaxPoolTokens / options.num_blocks) {
    throw ArgumentError(StrCat("num_blocks ", options.num_blocks, " times block_size ",
                               options.block_size, " is more than ", KVCacheManager::kMaxPoolTokens,
                               " tokens"));
  }
  return options;
}

std::int64_t NumColumns(const Options& options) {
  std::int64_t columns =
      std::max<std::int64_t>(options.num_blocks / std::max<std::int64_t>(NumFull(options), 1), 1);
  if (options.max_row_tokens > 0) {
    const std::int64_t needed = (options.max_row_tokens - 1) / options.block_size + 1;
    columns = NumFull(options) > 0 ? std::min(columns, needed) : needed;
  }
  const std::int64_t max_columns = KVCacheManager::kMaxTableBytes /
                                   static_cast<std::int64_t>(sizeof(BlockId)) / options.max_rows /
                                   static_cast<std::int64_t>(options.groups.size());
  if (columns > max_columns) {
    throw ArgumentError(
        StrCat("a block table of max_rows ", options.max_rows, " by ", columns,
               " blocks takes more than ", KVCacheManager::kMaxTableBytes,
               " bytes; lower max_rows or set max_row_tokens to the longest sequence (",
               max_columns * options.block_size, " tokens would do)"));
  }
  return columns;
}

/// Enough that evicting all idle blocks always makes room for another node: what rows hold has a
/// block of its own in a full group, else a node for each column. Without windows there are no
/// nodes but those with blocks; for what windows leave behind there is room for as many again.
std::int64_t MaxNodes(const Options& options, std::int64_t num_columns) {
  const auto num_groups = static_cast<std::int64_t>(options.groups.size());
  std::int64_t nodes = 1 + options.num_blocks;
  if (NumFull(options) < num_groups) nodes += options.num_blocks;
  if (NumFull(options) == 0) nodes += options.max_rows * num_columns;
  return nodes;
}

}  // namespace

KVCacheManager::KVCacheManager(const Options& options)
    : block_size_(Checked(options).block_size),
      groups_(options.groups),
      max_rows_(options.max_rows),
      num_columns_(NumColumns(options)),
      watermark_blocks_(options.watermark_blocks),
      partial_hits_(options.partial_hits),
      tree_(MaxNodes(options, num_columns_), block_size_, options.hash_bits, extras_),
      pool_(options.num_blocks, static_cast<std::int64_t>(groups_.size()), tree_),
      path_(std::make_unique_for_overwrite<NodeId[]>(static_cast<std::size_t>(num_columns_))) {
  const auto size = static_cast<std::size_t>(num_groups() * max_rows_ * num_columns_);
  table_ = std::make_unique_for_overwrite<BlockId[]>(size);
  std::fill_n(table_.get(), size, kNoBlock);
}

std::int64_t KVCacheManager::NumNeeded(std::int64_t num_columns) const noexcept {
  std::int64_t needed = 0;
  for (const Group& group : groups_) needed += NumHeld(group, num_columns, block_size_);
  return needed;
}

void KVCacheManager::CheckRowFits(std::int64_t num_tokens, const char* what) const {
  const std::int64_t num_columns = BlocksFor(num_tokens);
  if (num_columns > num_columns_) {
    throw CapacityError(
        StrCat(what, " of ", num_tokens, " tokens needs ", num_columns, " blocks; a row can have ",
               num_columns_, " of the ", num_blocks(), " in the pool"),
        num_columns, num_columns_);
  }
  const std::int64_t needed = NumNeeded(num_columns);
  if (needed > num_blocks()) {
    throw CapacityError(StrCat(what, " of ", num_tokens, " tokens needs ", needed, " blocks in ",
                               num_groups(), " groups; the pool has ", num_blocks()),
                        needed, num_blocks());
  }
}

std::optional<RowId> KVCacheManager::Fork(std::int64_t parent) {
  const std::lock_guard lock(mutex_);
  ReadyRow(parent);
  if (!EnsureFreeRow()) return std::nullopt;  // may move rows_
  Row& source = rows_[static_cast<std::size_t>(parent)];
  if (!source.reservations.empty() || source.num_computed != source.num_tokens) {
    throw ArgumentError(
        StrCat("row ", parent, " cannot be forked before all its tokens are settled"));
  }
  TokenQueue tail;
  tail.Append(source.tail.all());
  std::vector<ExtraId> extras = source.extras;

  const RowId row_id = TakeRow();
  Row& row = rows_[static_cast<std::size_t>(row_id)];
  row.num_tokens = source.num_tokens;
  row.num_computed = source.num_computed;
  row.num_reserved = source.num_reserved;
  row.exact_at = source.exact_at;
  row.tail = std::move(tail);
  row.identity = source.identity;
  row.extras = std::move(extras);
  for (const ExtraId extra : row.extras) extras_.AddRef(extra);
  SetTip(row, source.tip);
  source.quick_end = 0;  // its last block is shared now
  for (std::int64_t group = 0; group < num_groups(); ++group) {
    const RowGroup& from = At(group, static_cast<RowId>(parent));
    RowGroup& to = At(group, row_id);
    to.begin = from.begin;
    to.end = from.end;
    const BlockId* blocks = Columns(group, static_cast<RowId>(parent));
    std::copy(blocks + to.begin, blocks + to.end, Columns(group, row_id) + to.begin);
    for (std::int32_t column = to.begin; column < to.end; ++column) {
      if (blocks[column] != kNoBlock) pool_.AddRef(blocks[column]);
    }
  }
  return row_id;
}

void KVCacheManager::Truncate(std::int64_t row_id, std::int64_t num_tokens) {
  const std::lock_guard lock(mutex_);
  Row& row = ReadyRow(row_id);
  const auto id = static_cast<RowId>(row_id);
  CheckRange("num_tokens", num_tokens, 0, row.num_tokens);
  if (!row.reservations.empty()) {
    throw ArgumentError(StrCat("row ", row_id, " has ", row.num_reserved - row.num_computed,
                               " reserved tokens; settle them before truncating"));
  }
  const std::int64_t num_computed = std::min(row.num_computed, num_tokens);
  for (std::int64_t group = 0; group < num_groups() && num_computed > 0; ++group) {
    const bool is_state = groups_[static_cast<std::size_t>(group)].kind == GroupKind::kLinearState;
    if (is_state ? num_computed != row.num_computed
                 : FirstNeeded(group, num_computed) < At(group, id).begin) {
      throw ArgumentError(StrCat("row ", row_id, " cannot be cut to ", num_tokens,
                                 " tokens: group ", group, " no longer has what comes before"));
    }
  }
  // Media behind the cut are gone; one across it ends there.
  std::shared_ptr<const prefix::Identity> identity = row.identity;
  std::vector<std::string> framed;
  if (identity != nullptr && !identity->media.empty()) {
    prefix::Identity cut = *identity;
    std::erase_if(cut.media, [&](const auto& media) { return media.offset >= num_tokens; });
    if (!cut.media.empty()) {
      prefix::Media& last = cut.media.back();
      last.length = std::min(last.length, num_tokens - last.offset);
    }
    framed = FramedOf(cut);
    identity = std::make_shared<const prefix::Identity>(std::move(cut));
  }
  const std::int64_t depth = tree_.depth(row.tip);
  const std::int64_t new_depth = std::min(depth, num_tokens / block_size_);
  NodeId tip = row.tip;
  TokenQueue tail;
  if (num_tokens < depth * block_size_) {
    NodeId cut = tip;  // the node that the cut goes through, or lies before
    while (tree_.depth(cut) > new_depth + 1) cut = tree_.parent(cut);
    tip = tree_.parent(cut);
    tail.Append(tree_.tokens(cut).first(static_cast<std::size_t>(num_tokens % block_size_)));
  }
  std::vector<ExtraId> extras = extras_.AddAll(framed);

  if (num_tokens < depth * block_size_) {
    row.tail = std::move(tail);
  } else {
    row.tail.PopBack(row.num_tokens - num_tokens);
  }
  if (identity != row.identity) {
    row.identity = std::move(identity);
    std::swap(row.extras, extras);
    for (const ExtraId extra : extras) extras_.Release(extra);
  }
  row.num_tokens = num_tokens;
  row.num_computed = row.num_reserved = num_computed;
  row.exact_at = std::min(row.exact_at, num_computed);
  SetTip(row, tip);
  ShrinkToFit(id);
}

void KVCacheManager::Free(std::span<const std::int64_t> rows, std::optional<std::int64_t> fence) {
  const std::lock_guard lock(mutex_);
  ++mark_;
  for (const std::int64_t row_id : rows) NextRow(row_id, mark_);
  std::vector<Deferred> deferred;
  if (fence && *fence > passed_fence_) {
    deferred.reserve(rows.size() * groups_.size());
    for (const std::int64_t row_id : rows) {
      for (std::int64_t group = 0; group < num_groups(); ++group) {
        const RowGroup& at = At(group, static_cast<RowId>(row_id));
        const BlockId* columns = Columns(group, static_cast<RowId>(row_id));
        deferred.push_back({*fence, {}});
        std::ranges::copy_if(std::span(columns + at.begin, columns + at.end),
                             std::back_inserter(deferred.back().blocks),
                             [](BlockId block) { return block != kNoBlock; });
      }
    }
    deferred_.reserve(deferred_.size() + deferred.size());
    for (const Deferred& entry : deferred) {  // they keep the references of the rows
      for (const BlockId block : entry.blocks) pool_.AddRef(block);
    }
  }
  for (Deferred& entry : deferred) deferred_.push_back(std::move(entry));
  for (const std::int64_t row_id : rows) {
    const auto id = static_cast<RowId>(row_id);
    Row& row = rows_[static_cast<std::size_t>(row_id)];
    for (std::int64_t group = 0; group < num_groups(); ++group) {
      ShrinkTo(group, id, 0);
      At(group, id) = {};
    }
    row.live = row.is_loading = false;
    row.num_tokens = row.num_computed = row.num_reserved = row.exact_at = 0;
    row.reservations.clear();
    row.tail.Clear();
    row.identity.reset();
    for (const ExtraId extra : row.extras) extras_.Release(extra);
    row.extras.clear();
    tree_.Release(std::exchange(row.tip, kRoot));
    free_rows_.push_back(id);
    std::push_heap(free_rows_.begin(), free_rows_.end(), std::greater<>());
  }
}

void KVCacheManager::AdvanceFence(std::int64_t fence) {
  const std::lock_guard lock(mutex_);
  CheckRange("fence", fence, std::max<std::int64_t>(passed_fence_, 0),
             std::numeric_limits<std::int64_t>::max());
  passed_fence_ = fence;
  std::erase_if(deferred_, [&](const Deferred& entry) {
    if (entry.fence > fence) return false;
    ReleaseAll(entry.blocks);
    return true;
  });
}

/// How many references each block has that waits for a fence.
std::map<BlockId, std::int32_t> KVCacheManager::NumDeferred() const {
  std::map<BlockId, std::int32_t> num_deferred;
  for (const Deferred& entry : deferred_) {
    for (const BlockId block : entry.blocks) ++num_deferred[block];
  }
  return num_deferred;
}

/// Blocks that no row holds, only fences.
std::int64_t KVCacheManager::NumComing() const {
  return std::ranges::count_if(NumDeferred(), [&](const auto& entry) {
    return pool_[entry.first].ref_count == entry.second;
  });
}

std::vector<RowId> KVCacheManager::PreemptCandidates(std::int64_t num_blocks) const {
  CheckRange("num_blocks", num_blocks, 0, std::numeric_limits<std::int64_t>::max());
  const std::lock_guard lock(mutex_);
  std::int64_t num_found = pool_.num_available() + NumComing();
  std::vector<RowId> rows;
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    if (rows_[i].live) rows.push_back(static_cast<RowId>(i));
  }
  const auto age = [&](RowId row) { return rows_[static_cast<std::size_t>(row)].age; };
  std::ranges::sort(rows, std::ranges::greater(), age);
  std::map<BlockId, std::int32_t> num_taken = NumDeferred();
  std::size_t num_rows = 0;
  for (; num_rows < rows.size() && num_found < num_blocks; ++num_rows) {
    for (std::int64_t group = 0; group < num_groups(); ++group) {
      const RowGroup& at = At(group, rows[num_rows]);
      const BlockId* columns = Columns(group, rows[num_rows]);
      for (std::int32_t column = at.begin; column < at.end; ++column) {
        const BlockId block = columns[column];
        if (block != kNoBlock) num_found += ++num_taken[block] == pool_[block].ref_count;
      }
    }
  }
  rows.resize(num_rows);
  return rows;
}

std::vector<BlockId> KVCacheManager::Evict(std::int64_t num_blocks) {
  CheckRange("num_blocks", num_blocks, 0, std::numeric_limits<std::int64_t>::max());
  const std::lock_guard lock(mutex_);
  std::vector<BlockId> evicted(static_cast<std::size_t>(std::min(num_blocks, pool_.num_idle())));
  for (BlockId& block : evicted) block = pool_.EvictOldest();
  return evicted;
}

void KVCacheManager::SlotMapping(std::span<const std::int64_t> rows,
                                 std::span<const std::int64_t> positions, std::int64_t group,
                                 std::span<Slot> slots) const {
  CheckRange("group", group, 0, num_groups() - 1);
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] < 0 || positions[i] < 0) continue;
    const bool live = rows[i] < static_cast<std::int64_t>(rows_.size()) &&
                      rows_[static_cast<std::size_t>(rows[i])].live;
    if (!live) throw ArgumentError(StrCat("entry ", i, ": row ", rows[i], " is not in use"));
    const Row& row = rows_[static_cast<std::size_t>(rows[i])];
    const bool is_full = groups_[static_cast<std::size_t>(group)].kind == GroupKind::kFull;
    const std::int64_t num_positions =
        is_full ? std::max(row.num_tokens, row.num_reserved) : row.num_reserved;
    if (positions[i] >= num_positions) {
      throw ArgumentError(StrCat("entry ", i, ": position ", positions[i], " of row ", rows[i],
                                 ", which has ", num_positions));
    }
  }
  for (std::size_t i = 0; i < rows.size(); ++i) {
    slots[i] = kNoSlot;
    if (rows[i] < 0 || positions[i] < 0) continue;
    const BlockId block = Columns(group, static_cast<RowId>(rows[i]))[positions[i] / block_size_];
    if (block != kNoBlock) slots[i] = Slot{block} * block_size_ + positions[i] % block_size_;
  }
}

Row& KVCacheManager::LiveRow(std::int64_t row) {
  if (row < 0 || row >= static_cast<std::int64_t>(rows_.size()) ||
      !rows_[static_cast<std::size_t>(row)].live) {
    throw ArgumentError(StrCat("row ", row, " is not in use"));
  }
  return rows_[static_cast<std::size_t>(row)];
}

Row& KVCacheManager::ReadyRow(std::int64_t row_id) {
  Row& row = LiveRow(row_id);
  if (row.is_loading) throw ArgumentError(StrCat("row ", row_id, " is loading"));
  return row;
}

Row& KVCacheManager::NextRow(std::int64_t row_id, std::uint64_t mark) {
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
  row_groups_.resize((rows_.size() + 1) * groups_.size());
  rows_.emplace_back();
  free_rows_.push_back(static_cast<RowId>(rows_.size() - 1));
  return true;
}

RowId KVCacheManager::TakeRow() noexcept {
  std::pop_heap(free_rows_.begin(), free_rows_.end(), std::greater<>());
  const RowId row = free_rows_.back();
  free_rows_.pop_back();
  rows_[static_cast<std::size_t>(row)].live = true;
  rows_[static_cast<std::size_t>(row)].age = ++last_age_;
  tree_.AddRef(kRoot);
  return row;
}

/// The row's whole blocks end at `tip` now; where it may write has to be looked at anew.
void KVCacheManager::SetTip(Row& row, NodeId tip) noexcept {
  tree_.AddRef(tip);
  tree_.Release(std::exchange(row.tip, tip));
  row.full_at = (tree_.depth(tip) + 1) * block_size_;
  row.quick_end = 0;
}

/// Releases blocks in the order of ReleaseColumns().
void KVCacheManager::ReleaseAll(std::span<const BlockId> blocks) noexcept {
  for (std::size_t i = blocks.size(); i-- > 0;) {
    pool_.DropRef(blocks[i]);
    if (pool_[blocks[i]].published()) pool_.Place(blocks[i]);
  }
  for (const BlockId block : blocks) {
    if (!pool_[block].published()) pool_.Place(block);
  }
}

/// Releases columns [begin, end), tail first. Of several unpublished blocks the last column's is
/// reused first.
void KVCacheManager::ReleaseColumns(std::int64_t group, RowId row, std::int64_t begin,
                                    std::int64_t end) noexcept {
  BlockId* columns = Columns(group, row);
  for (std::int64_t column = end; column-- > begin;) {
    if (columns[column] == kNoBlock) continue;
    pool_.DropRef(columns[column]);
    if (pool_[columns[column]].published()) {
      pool_.Place(std::exchange(columns[column], kNoBlock));
    }
  }
  for (std::int64_t column = begin; column < end; ++column) {
    if (columns[column] != kNoBlock) pool_.Place(std::exchange(columns[column], kNoBlock));
  }
}

/// Releases the columns from num_columns on.
void KVCacheManager::ShrinkTo(std::int64_t group, RowId row, std::int64_t num_columns) noexcept {
  RowGroup& at = At(group, row);
  if (num_columns >= at.end) return;
  ReleaseColumns(group, row, num_columns, at.end);
  at.end = static_cast<std::int32_t>(num_columns);
  at.begin = std::min(at.begin, at.end);
  at.num_patched = std::min(at.num_patched, at.end);
}

void KVCacheManager::ShrinkToFit(RowId row_id) noexcept {
  const Row& row = rows_[static_cast<std::size_t>(row_id)];
  for (std::int64_t group = 0; group < num_groups(); ++group) {
    const bool is_full = groups_[static_cast<std::size_t>(group)].kind == GroupKind::kFull;
    ShrinkTo(group, row_id,
             BlocksFor(is_full ? std::max(row.num_tokens, row.num_reserved) : row.num_reserved));
  }
}

}  // namespace ctx::kv
