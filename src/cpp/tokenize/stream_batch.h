// Streams for many sequences at once, by row: a serving step hands in one id for each of them.
// Every member function may be called from any thread; a mutex makes them one after the other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokenize/decode_stream.h"

namespace ctx::tokenize {

class StreamBatch {
 public:
  /// Takes the text that came out for the i-th of the rows that were handed in. It may throw; it
  /// must not call the batch.
  using OnText = std::function<void(std::size_t i, std::string_view utf8)>;

  /// A row: what it decodes with, and where it is.
  struct Row {
    std::shared_ptr<const StreamDecoder> decoder;
    StreamState state;
  };

  /// Every row begins as `row` says.
  StreamBatch(std::size_t num_rows, const Row& row);
  StreamBatch(const StreamBatch& other);
  StreamBatch& operator=(const StreamBatch&) = delete;

  /// Feeds ids[i] to the row rows[i], in order; a row may be there more than once. O(bytes of the
  /// tokens). Throws ArgumentError for a row that is none or is finished and for spans of different
  /// length, UnknownTokenError, and what `on_text` throws; all rows are then as they were.
  void Feed(std::span<const std::int64_t> rows, std::span<const TokenId> ids,
            const OnText& on_text);

  /// As StreamDecoder::Finish, with the guarantee of Feed.
  void Finish(std::span<const std::int64_t> rows, const OnText& on_text);

  /// Begins the rows anew, each as `row` says. Throws ArgumentError for a row that is none, and
  /// then changes nothing.
  void Reset(std::span<const std::int64_t> rows, const Row& row);

  /// Throws ArgumentError for a row that is none.
  Row At(std::int64_t row) const;

  /// Calls `use` for each row, in order, under the lock.
  void ForEach(const std::function<void(std::size_t, const Row&)>& use) const;

  std::size_t num_rows() const noexcept { return rows_.size(); }

 private:
  template <typename Step>
  void Apply(std::span<const std::int64_t> rows, const OnText& on_text, Step step);
  void CheckRows(std::span<const std::int64_t> rows) const;

  mutable std::mutex mutex_;
  std::vector<Row> rows_;
};

}  // namespace ctx::tokenize
