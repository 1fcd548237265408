// Where to cut the history so that its newest turns fit a limit.
//
// Turns are given oldest first as their token numbers, all >= 0. Pure functions, O(turns), any
// thread. They throw ArgumentError for negative numbers and for sums beyond 2^63 - 1.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace ctx::budget {

struct HistoryCut {
  std::size_t first_kept;    ///< turns before it are cut; equal to their number when all are
  std::int64_t kept_tokens;  ///< <= limit
};

/// Keeps as many of the newest turns as fit. The cut moves with every new turn.
HistoryCut TightCut(std::span<const std::int64_t> turn_tokens, std::int64_t limit);

/// Cuts at a multiple of `step` (>= 1) tokens from the conversation's beginning, moved up to the
/// next turn boundary: at the first multiple where what is left fits `limit`. While the history
/// stays within `limit` nothing is cut. For fixed limit and step the cut is a function of the turns
/// alone, appending turns never moves it backwards, and it moves at most once for every `step`
/// tokens that come, so that the prefix before them stays in the caches. A cut stays where it is
/// when the limit is lowered to what it keeps.
HistoryCut GridCut(std::span<const std::int64_t> turn_tokens, std::int64_t limit,
                   std::int64_t step);

}  // namespace ctx::budget
