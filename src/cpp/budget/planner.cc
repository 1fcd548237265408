#include "budget/planner.h"

#include <algorithm>
#include <functional>
#include <numeric>

namespace ctx::budget {
namespace {

HistoryCut Cut(const HistoryRequest& history, std::int64_t limit) {
  limit = std::min(limit, history.bounds.max_tokens);
  return history.grid_step > 0 ? GridCut(history.turn_tokens, limit, history.grid_step)
                               : TightCut(history.turn_tokens, limit);
}

}  // namespace

Decision Decide(std::int64_t room, const HistoryRequest& history,
                std::span<const ItemsRequest> item_sections) {
  // Section 0 is the history, section i + 1 is item_sections[i].
  std::vector<SectionBounds> sections{history.bounds};
  ValidateBounds(history.bounds);
  sections[0].demand = Cut(history, history.bounds.max_tokens).kept_tokens;
  for (const ItemsRequest& request : item_sections) {
    sections.push_back(request.bounds);
    ValidateBounds(request.bounds);
    sections.back().demand = SelectItems(request.items, request.bounds.max_tokens).tokens;
  }
  const std::vector<std::int64_t> granted = WaterFill(room, sections);

  Decision decision;
  std::int64_t left = room;
  decision.history = Cut(history, granted[0]);
  left -= decision.history.kept_tokens;
  for (std::size_t i = 0; i < item_sections.size(); ++i) {
    decision.items.push_back(SelectItems(item_sections[i].items, granted[i + 1]));
    left -= decision.items.back().tokens;
  }

  std::vector<std::size_t> order(sections.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, std::greater<>{},
                           [&](std::size_t i) { return sections[i].priority; });
  for (const std::size_t i : order) {
    if (i == 0) {
      const HistoryCut wider = Cut(history, decision.history.kept_tokens + left);
      left -= wider.kept_tokens - decision.history.kept_tokens;
      decision.history = wider;
      continue;
    }
    const ItemsRequest& request = item_sections[i - 1];
    Selection& current = decision.items[i - 1];
    Selection wider =
        SelectItems(request.items, std::min(request.bounds.max_tokens, current.tokens + left));
    if (wider.utility <= current.utility) continue;
    left -= wider.tokens - current.tokens;
    current = std::move(wider);
  }
  return decision;
}

}  // namespace ctx::budget
