// One sequence: a row of the block tables.
//
//   position   0 ........ depth * B ...... num_computed ...... num_reserved
//              ├─ `tip` ──┤                                                    in the prefix tree
//                         ├─ `tail` ──────────▶ num_tokens                     the other known ids
//              ├─ has KV ─────────────────────┤
//              ├─ slots handed out ──────────────────────────────────┤
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "common/ids.h"
#include "kv/extra_table.h"
#include "kv/prefix_tree.h"
#include "prefix/identity.h"

namespace ctx::kv {

/// The token ids of a row that are not in the tree yet; taken from the front, added at the back.
class TokenQueue {
 public:
  std::int64_t size() const noexcept { return static_cast<std::int64_t>(ids_.size() - begin_); }
  std::span<const TokenId> all() const noexcept { return std::span(ids_).subspan(begin_); }
  /// Makes sure that so many can be appended without allocating. Amortised O(num_more).
  void Reserve(std::int64_t num_more) {
    const auto more = static_cast<std::size_t>(num_more);
    if (ids_.size() + more <= ids_.capacity()) return;
    if (begin_ > ids_.size() / 2) {
      ids_.erase(ids_.begin(), ids_.begin() + static_cast<std::ptrdiff_t>(begin_));
      begin_ = 0;
    }
    if (ids_.size() + more > ids_.capacity()) {
      ids_.reserve(std::max(ids_.size() + more, 2 * ids_.size()));
    }
  }
  void Append(std::span<const TokenId> token_ids) {
    ids_.insert(ids_.end(), token_ids.begin(), token_ids.end());
  }
  void PopFront(std::int64_t count) noexcept {
    begin_ += static_cast<std::size_t>(count);
    if (begin_ == ids_.size()) Clear();
  }
  void PopBack(std::int64_t count) noexcept {
    ids_.resize(ids_.size() - static_cast<std::size_t>(count));
    if (begin_ == ids_.size()) Clear();
  }
  /// Keeps only what a few decode steps need.
  void Clear() noexcept {
    constexpr std::size_t kMaxKept = 256;
    begin_ = 0;
    if (ids_.capacity() > kMaxKept) {
      std::vector<TokenId>().swap(ids_);
    } else {
      ids_.clear();
    }
  }

 private:
  std::vector<TokenId> ids_;
  std::size_t begin_ = 0;
};

/// What a row has in one group: blocks in columns [begin, end) of the group's table. Those of a
/// full group are all there; a window leaves columns behind, a state skips some.
struct RowGroup {
  std::int32_t begin = 0;
  std::int32_t end = 0;
  std::int32_t num_patched = 0;  // leading columns that the caller's patches have dealt with
  Slot slot_base = 0;            // slot - position, for positions before Row::quick_end
};

struct Row {
  bool live = false;
  bool is_loading = false;  // its one reservation is filled from elsewhere
  std::uint64_t mark = 0;   // of the last call that named the row
  std::int64_t num_tokens = 0;
  std::int64_t num_computed = 0;
  std::int64_t num_reserved = 0;
  // Up to quick_end slots can be handed out without looking at blocks, as long as num_computed is
  // below slides_at.
  std::int64_t quick_end = 0;
  std::int64_t slides_at = 0;
  std::int64_t full_at = 0;   // (depth + 1) * block size
  std::uint64_t age = 0;      // order of acquisition; the youngest has the highest
  std::int64_t exact_at = 0;  // the last multiple of the block size at which a settled pass ended
  std::vector<std::int64_t> reservations;  // sizes of the unsettled ones, oldest first
  TokenQueue tail;
  NodeId tip = kRoot;
  std::shared_ptr<const prefix::Identity> identity;  // null: nothing to say
  std::vector<ExtraId> extras;                       // of the first columns; the others have none
};

}  // namespace ctx::kv
