// Where to cut the history of a conversation.
//
// A history is a list of groups of messages, oldest first; a group (a user's message, or a tool
// call with its results) is kept or cut whole, and the newest one is always kept. Pure functions,
// O(groups), any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace ctx::budget {

enum class CutRule : std::uint8_t {
  kTight,     ///< as many of the newest groups as fit
  kGrid,      ///< only at multiples of `step`
  kKeepLast,  ///< not before the group `keep_from`
};

/// All numbers >= 0, the three lists of equal length.
struct History {
  /// Tokens of each group as all later prompts will show it: the ruler of the cap and the grid.
  std::span<const std::int64_t> measure;
  /// Tokens that each group takes in this prompt; 0 for one that is kept in any case.
  std::span<const std::int64_t> tokens;
  /// Tokens of older text that a cut before each group keeps beside it.
  std::span<const std::int64_t> carried;
  std::int64_t cap = 0;  ///< by `measure`, for everything from the cut on
  CutRule rule = CutRule::kTight;
  std::int64_t step = 0;      ///< kGrid: >= 1
  std::size_t keep_from = 0;  ///< kKeepLast
};

struct HistoryCut {
  std::size_t first_kept;        ///< groups before it are cut
  std::int64_t kept_tokens;      ///< by `tokens` and `carried`
  std::size_t first_kept_alone;  ///< where the rule and the cap alone would cut, <= first_kept
};

/// The first place that the rule allows, where what is kept fits the cap and `room`; the newest
/// group when there is none, whatever it takes. Two steps, because they promise different things:
///
/// `first_kept_alone` depends on `measure`, the cap and the rule only. Under kGrid a place is a
/// group that is the first to begin at or after a multiple of the step, counted from the
/// conversation's beginning. As groups are appended, a place stays a place and what follows it only
/// grows: a place that does not fit never fits again, so the cut never moves back. Each place has
/// multiples of the step of its own, so a conversation of T tokens has moved its cut at most
/// T / step times, and once more for each newest group that is larger than the cap less a step: the
/// last place may be too far before it, and the cut then stands at that group for one prompt.
///
/// `first_kept` moves on from there, to places of the same rule, while what is kept takes more than
/// `room`; where the room is at least what the cap leaves, they are the same.
///
/// Throws ArgumentError for numbers outside their domain and for sums beyond 2^63 - 1.
HistoryCut CutHistory(const History& history, std::int64_t room);

}  // namespace ctx::budget
