// Reserve and settle: the two calls around each forward pass.
#include <algorithm>
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

}  // namespace

/// Whether the block at `position` exists and may not be written.
bool KVCacheManager::NeedsCopy(RowId row, std::int64_t position) const noexcept {
  const std::int64_t column = position / block_size();
  if (column >= rows_[static_cast<std::size_t>(row)].num_columns) return false;
  const Block& block = pool_[Columns(row)[column]];
  return block.published() || block.ref_count > 1;
}

Step KVCacheManager::Reserve(std::span<const std::int64_t> rows,
                             std::span<const std::int64_t> num_new) {
  CheckSameLength("rows", rows.size(), "num_new", num_new.size());
  const std::lock_guard lock(mutex_);
  ++mark_;
  std::size_t num_slots = 0, max_patch = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const Row& row = NextRow(rows[i], mark_);
    if (num_new[i] < 1 || num_new[i] > kMaxPoolTokens) {
      throw ArgumentError(
          StrCat("num_new[", i, "] is ", num_new[i], "; it must be in 1..", kMaxPoolTokens));
    }
    CheckRowFits(row.num_reserved + num_new[i], "a row");
    const std::int64_t num_columns =
        BlocksFor(std::max(row.num_tokens, row.num_reserved + num_new[i]));
    num_slots += static_cast<std::size_t>(num_new[i]);
    max_patch += static_cast<std::size_t>(num_columns - row.num_patched + 1);
  }

  // Count what the rows need, in order: a copy takes its reference off the old block, so the last
  // row that shares a private block may keep it.
  Step step;
  std::int64_t num_needed = 0;
  std::size_t num_copies = 0, num_counted = 0;
  std::vector<BlockId> dropped;
  dropped.reserve(rows.size());
  for (; num_counted < rows.size() && step.oom_row == kNoRow; ++num_counted) {
    const auto row_id = static_cast<RowId>(rows[num_counted]);
    const Row& row = rows_[static_cast<std::size_t>(row_id)];
    const std::int64_t end = row.num_reserved + num_new[num_counted];
    num_needed += std::max<std::int64_t>(BlocksFor(end) - row.num_columns, 0);
    if (NeedsCopy(row_id, row.num_reserved)) {
      dropped.push_back(Columns(row_id)[row.num_reserved / block_size()]);
      pool_.DropRef(dropped.back());
      ++num_needed;
    }
    if (num_needed > pool_.num_available()) step.oom_row = row_id;
  }
  num_copies = dropped.size();
  for (const BlockId block : dropped) pool_.RestoreRef(block);
  if (step.oom_row != kNoRow) return step;

  // Everything that can fail comes before the first change.
  step.slots.reserve(num_slots);
  step.table_patch.reserve(max_patch);
  step.copies.reserve(num_copies);
  std::vector<Extra> extras(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    Row& row = rows_[static_cast<std::size_t>(rows[i])];
    row.reservations.reserve(row.reservations.size() + 1);
    extras[i] = ExtraOf(row.identity.get(), row.num_reserved / block_size());
  }
  for (std::size_t i = 0; i < rows.size(); ++i) {
    ReserveRow(static_cast<RowId>(rows[i]), num_new[i], std::move(extras[i]), &step);
  }
  // Only now may a copied block be reused: within one step no copy's source is another's target.
  for (const BlockCopy& copy : step.copies) pool_.Place(copy.source);
  num_copied_ += static_cast<std::int64_t>(num_copies);
  return step;
}

void KVCacheManager::ReserveRow(RowId row_id, std::int64_t num_new, Extra extra,
                                Step* step) noexcept {
  Row& row = rows_[static_cast<std::size_t>(row_id)];
  BlockId* columns = Columns(row_id);
  const std::int64_t begin = row.num_reserved;
  const std::int64_t end = begin + num_new;
  const auto column = static_cast<std::int32_t>(begin / block_size());
  if (NeedsCopy(row_id, begin)) {
    const BlockId source = columns[column];
    pool_.DropRef(source);
    const BlockId target = columns[column] = pool_.Allocate();
    pool_.WriteTokens(target, 0,
                      pool_.tokens(source).first(static_cast<std::size_t>(begin % block_size())));
    step->copies.push_back({source, target});
    if (column < row.num_patched) step->table_patch.push_back({row_id, column, target});
  }
  const std::int64_t num_columns = BlocksFor(end);
  while (row.num_columns < num_columns) columns[row.num_columns++] = pool_.Allocate();
  pool_.SetExtra(columns[column], std::move(extra));

  for (; row.num_patched < row.num_columns; ++row.num_patched) {
    step->table_patch.push_back({row_id, row.num_patched, columns[row.num_patched]});
  }
  for (std::int64_t position = begin; position < end; ++position) {
    step->slots.push_back(SlotOf(row_id, position));
  }
  row.num_reserved = end;
  row.reservations.push_back(num_new);
}

void KVCacheManager::Settle(std::span<const std::int64_t> rows,
                            std::span<const std::int64_t> num_accepted,
                            std::span<const TokenId> token_ids,
                            std::span<const std::int64_t> indptr) {
  CheckSameLength("rows", rows.size(), "num_accepted", num_accepted.size());
  if (!indptr.empty()) CheckSameLength("rows plus one", rows.size() + 1, "indptr", indptr.size());
  const std::lock_guard lock(mutex_);
  ++mark_;
  const auto num_unknown = [&](std::size_t i) {
    const Row& row = rows_[static_cast<std::size_t>(rows[i])];
    return std::max<std::int64_t>(row.num_computed + num_accepted[i] - row.num_tokens, 0);
  };
  std::int64_t total = 0;
  if (!indptr.empty() && indptr[0] != 0) throw ArgumentError("indptr must begin with 0");
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const Row& row = NextRow(rows[i], mark_);
    if (row.reservations.empty()) {
      throw ArgumentError(StrCat("row ", rows[i], " has nothing reserved to settle"));
    }
    const std::int64_t num_reserved = row.reservations.front();
    if (num_accepted[i] < 0 || num_accepted[i] > num_reserved) {
      throw ArgumentError(StrCat("num_accepted[", i, "] is ", num_accepted[i], "; row ", rows[i],
                                 " reserved ", num_reserved));
    }
    if (num_accepted[i] < num_reserved && row.reservations.size() > 1) {
      throw ArgumentError(StrCat("row ", rows[i], " cannot give up tokens while ",
                                 row.reservations.size() - 1, " younger reservations are out"));
    }
    total += num_unknown(i);
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
    const auto count = static_cast<std::size_t>(num_unknown(i));
    SettleRow(static_cast<RowId>(rows[i]), num_accepted[i], token_ids.first(count));
    token_ids = token_ids.subspan(count);
  }
}

void KVCacheManager::SettleRow(RowId row_id, std::int64_t num_accepted,
                               std::span<const TokenId> token_ids) noexcept {
  Row& row = rows_[static_cast<std::size_t>(row_id)];
  WriteTokens(row_id, row.num_tokens, token_ids);
  row.num_tokens += static_cast<std::int64_t>(token_ids.size());

  const std::int64_t first_full = row.num_computed / block_size();
  row.num_computed += num_accepted;
  const BlockId* columns = Columns(row_id);
  for (std::int64_t column = first_full; column < row.num_computed / block_size(); ++column) {
    pool_.Publish(columns[column], column == 0 ? kNoBlock : columns[column - 1]);
  }

  if (num_accepted < row.reservations.front()) row.num_reserved = row.num_computed;
  row.reservations.erase(row.reservations.begin());
  ShrinkTo(row_id, BlocksFor(std::max(row.num_tokens, row.num_reserved)));
}

void KVCacheManager::WriteTokens(RowId row, std::int64_t position,
                                 std::span<const TokenId> token_ids) noexcept {
  while (!token_ids.empty()) {
    const std::int64_t offset = position % block_size();
    const auto room = static_cast<std::size_t>(block_size() - offset);
    const auto part = token_ids.first(std::min(room, token_ids.size()));
    pool_.WriteTokens(Columns(row)[position / block_size()], offset, part);
    token_ids = token_ids.subspan(part.size());
    position += static_cast<std::int64_t>(part.size());
  }
}

}  // namespace ctx::kv
