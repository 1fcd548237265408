// Reserve and settle: the two calls around each forward pass.
//
// Most rows of a decode step write into a block that is theirs already. For them quick_end and
// slides_at say so without a look at blocks or tables; the others are counted first, so that a
// shortfall changes nothing.
#include <algorithm>
#include <limits>
#include <utility>

#include "common/error.h"
#include "common/str_cat.h"
#include "kv/manager.h"

namespace ctx::kv {
namespace {

void CheckSameLength(const char* a, std::size_t size_a, const char* b, std::size_t size_b) {
  if (size_a != size_b) {
    throw ArgumentError(StrCat(a, " has ", size_a, " entries, ", b, " has ", size_b));
  }
}

bool IsQuick(const Row& row, std::int64_t end) {
  return end <= row.quick_end && row.num_computed < row.slides_at;
}

}  // namespace

/// The block into which tokens [begin, end) would be written though it is published or shared.
BlockId KVCacheManager::BlockToCopy(std::int64_t group, RowId row, std::int64_t begin,
                                    std::int64_t end) const noexcept {
  const RowGroup& at = At(group, row);
  const std::int64_t column = begin / block_size_;
  if (column < at.begin || column >= at.end) return kNoBlock;
  const BlockId id = Columns(group, row)[column];
  if (id == kNoBlock) return kNoBlock;
  // A state moves on to the block where the pass ends.
  if (groups_[static_cast<std::size_t>(group)].kind == GroupKind::kLinearState &&
      (end - 1) / block_size_ != column) {
    return kNoBlock;
  }
  const Block& block = pool_[id];
  return block.published() || block.ref_count > 1 ? id : kNoBlock;
}

/// The first column to allocate so that the row has blocks for slots up to `end`.
std::int64_t KVCacheManager::FirstNew(std::int64_t group, RowId row,
                                      std::int64_t end) const noexcept {
  const std::int64_t first = At(group, row).end;
  return groups_[static_cast<std::size_t>(group)].kind == GroupKind::kLinearState
             ? std::max(first, (end - 1) / block_size_)
             : first;
}

/// Adds what ReserveRow() will need, less what it lets go, to `num_needed`. The references that it
/// would take off blocks are taken off and noted in `dropped`, so that the next row's count sees
/// them.
void KVCacheManager::CountRow(RowId row_id, std::int64_t end, std::vector<BlockId>* dropped,
                              std::int64_t* num_needed) noexcept {
  const Row& row = rows_[static_cast<std::size_t>(row_id)];
  const auto drop = [&](BlockId block) {
    dropped->push_back(block);
    pool_.DropRef(block);
  };
  for (std::int64_t group = 0; group < num_groups(); ++group) {
    const RowGroup& at = At(group, row_id);
    const BlockId* columns = Columns(group, row_id);
    const std::int64_t first = std::min<std::int64_t>(FirstNeeded(group, row.num_computed), at.end);
    for (std::int64_t column = at.begin; column < first; ++column) {
      if (columns[column] == kNoBlock) continue;
      drop(columns[column]);
      *num_needed -= pool_[columns[column]].ref_count == 0;
    }
  }
  for (std::int64_t group = 0; group < num_groups(); ++group) {
    const BlockId source = BlockToCopy(group, row_id, row.num_reserved, end);
    if (source != kNoBlock) {
      drop(source);
      ++*num_needed;
    }
    *num_needed += std::max<std::int64_t>(BlocksFor(end) - FirstNew(group, row_id, end), 0);
  }
}

Step KVCacheManager::Reserve(std::span<const std::int64_t> rows,
                             std::span<const std::int64_t> num_new, bool want_slots) {
  CheckSameLength("rows", rows.size(), "num_new", num_new.size());
  const std::lock_guard lock(mutex_);
  return ReserveLocked(rows, num_new, want_slots);
}

Step KVCacheManager::ReserveLocked(std::span<const std::int64_t> rows,
                                   std::span<const std::int64_t> num_new, bool want_slots) {
  ++mark_;
  std::size_t num_slots = 0, max_patch = 0, max_dropped = 0;
  std::vector<std::size_t> slow;
  slow.reserve(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    Row& row = NextRow(rows[i], mark_);
    if (num_new[i] < 1 || num_new[i] > kMaxPoolTokens) {
      throw ArgumentError(
          StrCat("num_new[", i, "] is ", num_new[i], "; it must be in 1..", kMaxPoolTokens));
    }
    if (row.is_loading) throw ArgumentError(StrCat("row ", rows[i], " is loading"));
    const std::int64_t end = row.num_reserved + num_new[i];
    num_slots += static_cast<std::size_t>(num_new[i]);
    if (row.reservations.size() == row.reservations.capacity()) {
      row.reservations.reserve(2 * row.reservations.size() + 2);
    }
    if (IsQuick(row, end)) continue;
    CheckRowFits(end, "a row");
    slow.push_back(i);
    for (std::int64_t group = 0; group < num_groups(); ++group) {
      const RowGroup& at = At(group, static_cast<RowId>(rows[i]));
      max_dropped += static_cast<std::size_t>(at.end - at.begin + 1);
      max_patch += static_cast<std::size_t>(std::max<std::int64_t>(BlocksFor(end), at.end) -
                                            at.num_patched + 1);
    }
  }

  Step step;
  std::vector<BlockId> dropped;
  dropped.reserve(max_dropped);
  std::int64_t num_needed = 0;
  for (const std::size_t i : slow) {
    const auto row_id = static_cast<RowId>(rows[i]);
    CountRow(row_id, rows_[static_cast<std::size_t>(row_id)].num_reserved + num_new[i], &dropped,
             &num_needed);
    if (num_needed > pool_.num_available()) {
      step.oom_row = row_id;
      break;
    }
  }
  for (const BlockId block : dropped) pool_.RestoreRef(block);
  if (step.oom_row != kNoRow) return step;

  // Everything that can fail comes before the first change.
  if (want_slots) {
    step.num_slots = num_slots * groups_.size();
    step.slots = std::make_unique_for_overwrite<Slot[]>(step.num_slots);
  }
  step.table_patch.reserve(max_patch);
  step.copies.reserve(slow.size() * groups_.size());
  std::size_t next_slot = 0, next_slow = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto row_id = static_cast<RowId>(rows[i]);
    Row& row = rows_[static_cast<std::size_t>(row_id)];
    const std::int64_t begin = row.num_reserved;
    row.num_reserved += num_new[i];
    row.reservations.push_back(num_new[i]);
    Slot* slots = step.slots.get() + next_slot;
    if (want_slots) next_slot += static_cast<std::size_t>(num_new[i]);
    if (next_slow < slow.size() && slow[next_slow] == i) {
      ++next_slow;
      ReserveRow(row_id, begin, &step);
      for (std::int64_t group = 0; want_slots && group < num_groups();
           ++group, slots += num_slots) {
        WriteSlots(group, row_id, begin, slots);
      }
      continue;
    }
    for (std::int64_t group = 0; want_slots && group < num_groups(); ++group, slots += num_slots) {
      const Slot base = At(group, row_id).slot_base + begin;
      for (std::int64_t j = 0; j < num_new[i]; ++j) slots[j] = base + j;
    }
  }
  // Only now may a copied block be reused: within one step no copy's source is another's target.
  for (const BlockCopy& copy : step.copies) pool_.Place(copy.source);
  num_copied_ += static_cast<std::int64_t>(step.copies.size());
  return step;
}

/// Gives the row what its slots from `begin` up to num_reserved need.
void KVCacheManager::ReserveRow(RowId row_id, std::int64_t begin, Step* step) noexcept {
  Row& row = rows_[static_cast<std::size_t>(row_id)];
  const std::int64_t end = row.num_reserved;
  for (std::int64_t group = 0; group < num_groups(); ++group) {
    RowGroup& at = At(group, row_id);
    const std::int64_t first = std::min<std::int64_t>(FirstNeeded(group, row.num_computed), at.end);
    if (first <= at.begin) continue;
    ReleaseColumns(group, row_id, at.begin, first);
    at.begin = static_cast<std::int32_t>(first);
  }
  const std::int64_t last_column = (end - 1) / block_size_;
  row.quick_end = (last_column + 1) * block_size_;
  row.slides_at = std::numeric_limits<std::int64_t>::max();
  for (std::int64_t group = 0; group < num_groups(); ++group) {
    RowGroup& at = At(group, row_id);
    BlockId* columns = Columns(group, row_id);
    const BlockId source = BlockToCopy(group, row_id, begin, end);
    if (source != kNoBlock) {
      const auto column = static_cast<std::int32_t>(begin / block_size_);
      pool_.DropRef(source);
      columns[column] = pool_.Allocate();
      step->copies.push_back({source, columns[column]});
      if (column < at.num_patched) {
        step->table_patch.push_back(
            {row_id, column, columns[column], static_cast<std::int32_t>(group)});
      }
    }
    for (std::int64_t column = FirstNew(group, row_id, end); column <= last_column; ++column) {
      columns[column] = pool_.Allocate();
    }
    at.end = std::max(at.end, static_cast<std::int32_t>(last_column + 1));
    for (std::int32_t column = std::max(at.num_patched, at.begin); column < at.end; ++column) {
      if (columns[column] == kNoBlock) continue;
      step->table_patch.push_back(
          {row_id, column, columns[column], static_cast<std::int32_t>(group)});
    }
    at.num_patched = at.end;
    at.slot_base = (Slot{columns[last_column]} - last_column) * block_size_;
    row.slides_at =
        std::min(row.slides_at, SkippedFrom(groups_[static_cast<std::size_t>(group)],
                                            (at.begin + std::int64_t{1}) * block_size_));
  }
}

/// The slots of positions [begin, num_reserved) of a row.
void KVCacheManager::WriteSlots(std::int64_t group, RowId row_id, std::int64_t begin,
                                Slot* slots) const noexcept {
  const BlockId* columns = Columns(group, row_id);
  const std::int64_t end = rows_[static_cast<std::size_t>(row_id)].num_reserved;
  std::int64_t column = begin / block_size_;
  for (std::int64_t position = begin; position < end; ++column) {
    const std::int64_t column_end = std::min((column + 1) * block_size_, end);
    const Slot base = (Slot{columns[column]} - column) * block_size_;
    for (; position < column_end; ++position) {
      *slots++ = columns[column] == kNoBlock ? kNoSlot : base + position;
    }
  }
}

/// Throws unless the row's oldest reservation can be settled so; returns how many ids are missing
/// then.
std::int64_t KVCacheManager::CheckSettle(std::int64_t row_id, std::int64_t num_accepted) {
  const Row& row = NextRow(row_id, mark_);
  if (row.is_loading) throw ArgumentError(StrCat("row ", row_id, " is loading"));
  if (row.reservations.empty()) {
    throw ArgumentError(StrCat("row ", row_id, " has nothing reserved to settle"));
  }
  const std::int64_t num_reserved = row.reservations.front();
  if (num_accepted < 0 || num_accepted > num_reserved) {
    throw ArgumentError(StrCat("num_accepted is ", num_accepted, " for row ", row_id,
                               ", which reserved ", num_reserved));
  }
  if (num_accepted < num_reserved && row.reservations.size() > 1) {
    throw ArgumentError(StrCat("row ", row_id, " cannot give up tokens while ",
                               row.reservations.size() - 1, " younger reservations are out"));
  }
  return std::max<std::int64_t>(row.num_computed + num_accepted - row.num_tokens, 0);
}

void KVCacheManager::Settle(std::span<const std::int64_t> rows,
                            std::span<const std::int64_t> num_accepted,
                            std::span<const TokenId> token_ids,
                            std::span<const std::int64_t> indptr) {
  CheckSameLength("rows", rows.size(), "num_accepted", num_accepted.size());
  if (!indptr.empty()) CheckSameLength("rows plus one", rows.size() + 1, "indptr", indptr.size());
  if (!indptr.empty() && indptr[0] != 0) throw ArgumentError("indptr must begin with 0");
  const std::lock_guard lock(mutex_);
  ++mark_;
  std::int64_t total = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::int64_t count = CheckSettle(rows[i], num_accepted[i]);
    rows_[static_cast<std::size_t>(rows[i])].tail.Reserve(count);
    total += count;
    if (!indptr.empty() && indptr[i + 1] != total) {
      throw ArgumentError(StrCat("indptr[", i + 1, "] is ", indptr[i + 1], "; the rows up to ",
                                 rows[i], " have ", total, " ids that no prompt told"));
    }
  }
  if (static_cast<std::int64_t>(token_ids.size()) != total) {
    throw ArgumentError(StrCat("token_ids has ", token_ids.size(),
                               " ids; the accepted tokens include ", total,
                               " that no prompt told"));
  }
  for (std::size_t i = 0; i < rows.size(); ++i) {
    Row& row = rows_[static_cast<std::size_t>(rows[i])];
    const std::int64_t count =
        std::max<std::int64_t>(row.num_computed + num_accepted[i] - row.num_tokens, 0);
    row.tail.Append(token_ids.first(static_cast<std::size_t>(count)));
    token_ids = token_ids.subspan(static_cast<std::size_t>(count));
    row.num_tokens += count;
    SettleRow(static_cast<RowId>(rows[i]), num_accepted[i]);
  }
}

void KVCacheManager::SettleLate(std::span<const std::int64_t> rows,
                                std::span<const std::int64_t> num_accepted) {
  CheckSameLength("rows", rows.size(), "num_accepted", num_accepted.size());
  const std::lock_guard lock(mutex_);
  ++mark_;
  for (std::size_t i = 0; i < rows.size(); ++i) CheckSettle(rows[i], num_accepted[i]);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    SettleRow(static_cast<RowId>(rows[i]), num_accepted[i]);
  }
}

void KVCacheManager::Tell(std::span<const std::int64_t> rows, std::span<const TokenId> token_ids,
                          std::span<const std::int64_t> indptr) {
  if (!indptr.empty()) CheckSameLength("rows plus one", rows.size() + 1, "indptr", indptr.size());
  if (!indptr.empty() && indptr[0] != 0) throw ArgumentError("indptr must begin with 0");
  const std::lock_guard lock(mutex_);
  ++mark_;
  std::vector<std::size_t> counts(rows.size());
  std::size_t total = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    Row& row = NextRow(rows[i], mark_);
    const std::int64_t num_missing = std::max<std::int64_t>(row.num_computed - row.num_tokens, 0);
    const std::int64_t count = indptr.empty() ? num_missing : indptr[i + 1] - indptr[i];
    if (count < 0 || count > num_missing) {
      throw ArgumentError(
          StrCat("row ", rows[i], " is told ", count, " ids and misses ", num_missing));
    }
    row.tail.Reserve(count);
    counts[i] = static_cast<std::size_t>(count);
    total += counts[i];
  }
  if (token_ids.size() != total) {
    throw ArgumentError(StrCat("token_ids has ", token_ids.size(), " ids, not ", total));
  }
  for (std::size_t i = 0; i < rows.size(); ++i) {
    Row& row = rows_[static_cast<std::size_t>(rows[i])];
    row.tail.Append(token_ids.first(counts[i]));
    token_ids = token_ids.subspan(counts[i]);
    row.num_tokens += static_cast<std::int64_t>(counts[i]);
    PublishFull(static_cast<RowId>(rows[i]));
  }
}

Step KVCacheManager::BeginLoad(std::int64_t row_id, std::int64_t num_tokens) {
  const std::lock_guard lock(mutex_);
  Row& row = ReadyRow(row_id);
  if (!row.reservations.empty()) {
    throw ArgumentError(StrCat("row ", row_id, " has reserved tokens; settle them before loading"));
  }
  const std::int64_t max_tokens = row.num_tokens - row.num_computed - 1;
  if (num_tokens < 1 || num_tokens > max_tokens) {
    throw ArgumentError(StrCat("num_tokens is ", num_tokens, "; row ", row_id, " can load ",
                               std::max<std::int64_t>(max_tokens, 0),
                               " (the last token of a prompt is computed)"));
  }
  Step step = ReserveLocked(std::span(&row_id, 1), std::span(&num_tokens, 1), true);
  row.is_loading = step.oom_row == kNoRow;
  return step;
}

void KVCacheManager::FinishLoad(std::int64_t row_id) {
  const std::lock_guard lock(mutex_);
  Row& row = LiveRow(row_id);
  if (!row.is_loading) throw ArgumentError(StrCat("row ", row_id, " is not loading"));
  row.is_loading = false;
  SettleRow(static_cast<RowId>(row_id), row.reservations.front());
}

void KVCacheManager::FailLoad(std::int64_t row_id, std::int64_t num_loaded) {
  const std::lock_guard lock(mutex_);
  Row& row = LiveRow(row_id);
  if (!row.is_loading) throw ArgumentError(StrCat("row ", row_id, " is not loading"));
  if (num_loaded < 0 || num_loaded > row.reservations.front()) {
    throw ArgumentError(StrCat("num_loaded is ", num_loaded, "; row ", row_id, " was loading ",
                               row.reservations.front()));
  }
  row.is_loading = false;
  SettleRow(static_cast<RowId>(row_id), num_loaded);
}

void KVCacheManager::SettleRow(RowId row_id, std::int64_t num_accepted) noexcept {
  Row& row = rows_[static_cast<std::size_t>(row_id)];
  const bool all = num_accepted == row.reservations.front();
  row.reservations.erase(row.reservations.begin());
  row.num_computed += num_accepted;
  if (!all && num_accepted > 0) PullStates(row_id);  // before they are published
  if (row.num_computed >= row.full_at) {
    if (row.num_computed % block_size_ == 0) row.exact_at = row.num_computed;
    PublishFull(row_id);
  }
  if (!all) {
    row.num_reserved = row.num_computed;
    row.quick_end = 0;
    ShrinkToFit(row_id);
  }
}

/// A linear state is where its last pass left it, though that pass went further than was accepted:
/// the block moves to the column in which the accepted tokens end.
void KVCacheManager::PullStates(RowId row_id) noexcept {
  const auto column = static_cast<std::int32_t>(
      BlocksFor(rows_[static_cast<std::size_t>(row_id)].num_computed) - 1);
  for (std::int64_t group = 0; group < num_groups(); ++group) {
    RowGroup& at = At(group, row_id);
    if (groups_[static_cast<std::size_t>(group)].kind != GroupKind::kLinearState ||
        column >= at.end - 1) {
      continue;
    }
    BlockId* columns = Columns(group, row_id);
    ReleaseColumns(group, row_id, column, column + 1);
    std::swap(columns[column], columns[at.end - 1]);
    at.num_patched = std::min(at.num_patched, column);
  }
}

/// Makes the whole blocks behind the tip findable whose ids are known.
void KVCacheManager::PublishFull(RowId row_id) noexcept {
  Row& row = rows_[static_cast<std::size_t>(row_id)];
  const std::int64_t end = std::min(row.num_computed, row.num_tokens) / block_size_;
  std::int64_t column = tree_.depth(row.tip);
  if (column == end) return;
  // Blocks behind the whole ones are written as before.
  const std::int64_t quick_end = row.quick_end;
  const auto size = static_cast<std::size_t>(block_size_);
  std::span<const TokenId> token_ids = row.tail.all();
  NodeId node = row.tip;
  const std::int64_t first = column;
  for (; column < end; ++column, token_ids = token_ids.subspan(size)) {
    if (!tree_.has_room()) {
      SetTip(row, node);  // so that it stays while others go
      while (!tree_.has_room()) pool_.EvictOldest();
    }
    const auto index = static_cast<std::size_t>(column);
    node = tree_.FindOrAdd(node, token_ids.first(size),
                           index < row.extras.size() ? row.extras[index] : kNoExtra);
    for (std::int64_t group = 0; group < num_groups(); ++group) {
      const RowGroup& at = At(group, row_id);
      if (column < at.begin || column >= at.end) continue;
      const BlockId block = Columns(group, row_id)[column];
      if (block == kNoBlock) continue;
      // A state stands for the whole block only if a pass ended there.
      if (groups_[static_cast<std::size_t>(group)].kind == GroupKind::kLinearState &&
          row.exact_at != (column + 1) * block_size_) {
        continue;
      }
      pool_.Publish(block, node, group);
    }
  }
  SetTip(row, node);
  row.tail.PopFront((end - first) * block_size_);
  row.quick_end = quick_end;
}

}  // namespace ctx::kv
