// The numeric core of a plan: from token numbers, utilities and bounds to what is kept. It knows
// nothing of text; whoever calls it renders the result and counts again.
//
// Pure function; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "budget/history_cut.h"
#include "budget/select_items.h"
#include "budget/water_fill.h"

namespace ctx::budget {

struct HistoryRequest {
  History history;
  SectionBounds bounds;  ///< read for a tight cut only, and `demand` not even then
};

struct ItemsRequest {
  std::span<const ItemCost> items;
  SectionBounds bounds;              ///< `demand` is not read
  std::int64_t overhead_tokens = 0;  ///< taken as soon as one item is, within the bounds
  ItemRule rule = ItemRule::kBest;
};

struct Decision {
  HistoryCut history{};
  std::vector<Selection> items;  ///< one per ItemsRequest; `tokens` with the overhead
};

/// A history under kGrid or kKeepLast comes first: items give way to it. Under kTight it is one
/// section among the others. What there is for several sections is shared by WaterFill; each fills
/// its share, and what is left over is offered to them again, by priority, then in order. The kept
/// tokens are at most `room` together, unless the newest group alone takes more. O(n log n) and
/// the bounded search of SelectItems. Throws ArgumentError as its parts do.
Decision Decide(std::int64_t room, const HistoryRequest& history,
                std::span<const ItemsRequest> item_sections);

}  // namespace ctx::budget
