#include "tokenize/stream_batch.h"

#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::tokenize {

StreamBatch::StreamBatch(std::size_t num_rows, const Row& row) : rows_(num_rows, row) {}

StreamBatch::StreamBatch(const StreamBatch& other) {
  const std::lock_guard lock(other.mutex_);
  rows_ = other.rows_;
}

void StreamBatch::Feed(std::span<const std::int64_t> rows, std::span<const TokenId> ids,
                       const OnText& on_text) {
  if (rows.size() != ids.size()) {
    throw ArgumentError(StrCat("there are ", rows.size(), " rows but ", ids.size(), " ids"));
  }
  Apply(rows, on_text, [&](std::size_t i, Row& row, std::string& out) {
    if (row.state.finished) throw ArgumentError(StrCat("row ", rows[i], " is finished"));
    row.decoder->Feed(row.state, ids, i, i + 1, out);
  });
}

void StreamBatch::Finish(std::span<const std::int64_t> rows, const OnText& on_text) {
  Apply(rows, on_text,
        [](std::size_t /*i*/, Row& row, std::string& out) { row.decoder->Finish(row.state, out); });
}

template <typename Step>
void StreamBatch::Apply(std::span<const std::int64_t> rows, const OnText& on_text, Step step) {
  const std::lock_guard lock(mutex_);
  CheckRows(rows);
  std::vector<StreamState> before;
  before.reserve(rows.size());
  std::string out;
  try {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      Row& row = rows_[static_cast<std::size_t>(rows[i])];
      before.push_back(row.state);
      out.clear();
      step(i, row, out);
      on_text(i, out);
    }
  } catch (...) {
    // Backwards, so that a row that is there more than once gets its first state.
    for (std::size_t i = before.size(); i-- > 0;) {
      rows_[static_cast<std::size_t>(rows[i])].state = before[i];
    }
    throw;
  }
}

void StreamBatch::Reset(std::span<const std::int64_t> rows, const Row& row) {
  const std::lock_guard lock(mutex_);
  CheckRows(rows);
  for (const std::int64_t index : rows) rows_[static_cast<std::size_t>(index)] = row;
}

StreamBatch::Row StreamBatch::At(std::int64_t row) const {
  const std::lock_guard lock(mutex_);
  CheckRows({&row, 1});
  return rows_[static_cast<std::size_t>(row)];
}

void StreamBatch::ForEach(const std::function<void(std::size_t, const Row&)>& use) const {
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < rows_.size(); ++i) use(i, rows_[i]);
}

void StreamBatch::CheckRows(std::span<const std::int64_t> rows) const {
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] < 0 || static_cast<std::uint64_t>(rows[i]) >= rows_.size()) {
      throw ArgumentError(
          StrCat("row ", rows[i], ", at index ", i, ", is outside [0, ", rows_.size(), ")"));
    }
  }
}

}  // namespace ctx::tokenize
