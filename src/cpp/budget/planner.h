// The numeric core of a plan: from token numbers, utilities and bounds to what is kept. It knows
// nothing of text; whoever calls it renders the result and counts again.
//
// Pure function; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "budget/history_cut.h"
#include "budget/select_items.h"
#include "budget/water_fill.h"

namespace ctx::budget {

struct HistoryRequest {
  std::span<const std::int64_t> turn_tokens;  ///< oldest first
  SectionBounds bounds;                       ///< `demand` is not read; max_tokens is the cap
  /// Step of the grid in tokens, >= 1; 0 cuts tightly.
  std::int64_t grid_step = 0;
};

struct ItemsRequest {
  std::span<const ItemCost> items;
  SectionBounds bounds;  ///< `demand` is not read
};

struct Decision {
  HistoryCut history{};
  std::vector<Selection> items;  ///< one per ItemsRequest
};

/// Shares `room` by WaterFill with the history as the first section (its demand under a grid is
/// what the cut at its cap keeps, so a grid cut that fits is not moved by the other sections),
/// fills each section, and offers what is left over to the sections again, by priority, then in
/// order. The kept tokens are at most `room` together. O(n log n). Throws ArgumentError as its
/// parts do.
Decision Decide(std::int64_t room, const HistoryRequest& history,
                std::span<const ItemsRequest> item_sections);

}  // namespace ctx::budget
