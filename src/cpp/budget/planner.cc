#include "budget/planner.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <utility>

#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::budget {
namespace {

constexpr std::int64_t kUnlimited = std::numeric_limits<std::int64_t>::max();

Selection Fill(const ItemsRequest& request, std::int64_t tokens) {
  const std::int64_t capacity = std::min(tokens, request.bounds.max_tokens);
  if (capacity < request.overhead_tokens) {
    return {.taken = std::vector<bool>(request.items.size())};
  }
  Selection selection =
      SelectItems(request.items, capacity - request.overhead_tokens, request.rule);
  if (std::ranges::find(selection.taken, true) != selection.taken.end()) {
    selection.tokens += request.overhead_tokens;
  }
  return selection;
}

void Validate(const ItemsRequest& request) {
  ValidateBounds(request.bounds);
  std::int64_t total = 0;
  for (const ItemCost& item : request.items) {
    if (__builtin_add_overflow(total, std::max<std::int64_t>(0, item.tokens), &total)) {
      throw ArgumentError("item tokens: their sum is beyond 2^63 - 1");
    }
  }
  if (request.overhead_tokens < 0 || request.overhead_tokens > kUnlimited - total) {
    throw ArgumentError(StrCat("overhead tokens: out of range: ", request.overhead_tokens));
  }
}

}  // namespace

Decision Decide(std::int64_t room, const HistoryRequest& history,
                std::span<const ItemsRequest> item_sections) {
  if (room < 0) throw ArgumentError(StrCat("room must not be negative: ", room));
  // A history that comes first is a section that wants nothing.
  const bool shares = history.history.rule == CutRule::kTight;
  std::vector<SectionBounds> sections{history.bounds};
  ValidateBounds(history.bounds);
  sections[0].demand = shares ? CutHistory(history.history, kUnlimited).kept_tokens : 0;
  for (const ItemsRequest& request : item_sections) {
    Validate(request);
    sections.push_back(request.bounds);
    sections.back().demand = Fill(request, request.bounds.max_tokens).tokens;
  }

  Decision decision;
  std::int64_t left = room;
  if (!shares) {
    decision.history = CutHistory(history.history, room);
    left = std::max<std::int64_t>(0, left - decision.history.kept_tokens);
  }
  const std::vector<std::int64_t> granted = WaterFill(left, sections);
  if (shares) {
    decision.history = CutHistory(history.history, granted[0]);
    left = std::max<std::int64_t>(0, left - decision.history.kept_tokens);
  }
  for (std::size_t i = 0; i < item_sections.size(); ++i) {
    decision.items.push_back(Fill(item_sections[i], granted[i + 1]));
    left -= decision.items.back().tokens;
  }

  std::vector<std::size_t> order(sections.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, std::greater<>{},
                           [&](std::size_t i) { return sections[i].priority; });
  for (const std::size_t i : order) {
    if (left <= 0) break;
    if (i == 0) {
      if (!shares) continue;
      const HistoryCut wider = CutHistory(history.history, decision.history.kept_tokens + left);
      left -= wider.kept_tokens - decision.history.kept_tokens;
      decision.history = wider;
      continue;
    }
    Selection& current = decision.items[i - 1];
    if (current.tokens == sections[i].demand) continue;
    Selection wider = Fill(item_sections[i - 1], current.tokens + left);
    if (std::pair(wider.utility, wider.tokens) <= std::pair(current.utility, current.tokens))
      continue;
    left -= wider.tokens - current.tokens;
    current = std::move(wider);
  }
  return decision;
}

}  // namespace ctx::budget
