#include "budget/select_items.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <unordered_map>

#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::budget {
namespace {

struct Group {
  std::int64_t tokens = 0;
  double utility = 0;
};

struct Groups {
  std::vector<Group> groups;  // in order of their first item
  std::vector<std::size_t> of_item;
};

Groups Gather(std::span<const ItemCost> items) {
  Groups gathered;
  std::unordered_map<std::int64_t, std::size_t> index_of;
  std::int64_t total = 0;
  for (const ItemCost& item : items) {
    if (item.tokens < 0) {
      throw ArgumentError(StrCat("item tokens must not be negative: ", item.tokens));
    }
    if (!std::isfinite(item.utility) || item.utility < 0) {
      throw ArgumentError(
          StrCat("item utility must be finite and not negative, not ", item.utility));
    }
    if (__builtin_add_overflow(total, item.tokens, &total)) {
      throw ArgumentError("item tokens: their sum is beyond 2^63 - 1");
    }
    std::size_t index = gathered.groups.size();
    if (item.group >= 0) index = index_of.try_emplace(item.group, index).first->second;
    if (index == gathered.groups.size()) gathered.groups.emplace_back();
    gathered.groups[index].tokens += item.tokens;
    gathered.groups[index].utility += item.utility;
    gathered.of_item.push_back(index);
  }
  return gathered;
}

double Density(const Group& group) {
  if (group.utility == 0) return 0;
  if (group.tokens == 0) return std::numeric_limits<double>::infinity();
  return group.utility / static_cast<double>(group.tokens);
}

}  // namespace

Selection SelectItems(std::span<const ItemCost> items, std::int64_t capacity) {
  if (capacity < 0) throw ArgumentError(StrCat("capacity must not be negative: ", capacity));
  const Groups gathered = Gather(items);
  const std::vector<Group>& groups = gathered.groups;

  std::vector<std::size_t> order(groups.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, std::greater<>{},
                           [&](std::size_t i) { return Density(groups[i]); });
  std::vector<bool> taken(groups.size());
  Selection result;
  std::size_t best = groups.size();
  for (const std::size_t i : order) {
    if (groups[i].tokens > capacity) continue;
    if (best == groups.size() || groups[i].utility > groups[best].utility) best = i;
    if (groups[i].tokens > capacity - result.tokens) continue;
    taken[i] = true;
    result.tokens += groups[i].tokens;
    result.utility += groups[i].utility;
  }
  if (best != groups.size() && groups[best].utility > result.utility) {
    taken.assign(groups.size(), false);
    taken[best] = true;
    result.tokens = groups[best].tokens;
    result.utility = groups[best].utility;
  }
  result.taken.reserve(items.size());
  for (const std::size_t group : gathered.of_item) result.taken.push_back(taken[group]);
  return result;
}

}  // namespace ctx::budget
