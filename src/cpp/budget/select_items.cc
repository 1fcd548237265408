#include "budget/select_items.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>
#include <numeric>
#include <unordered_map>
#include <utility>

#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::budget {
namespace {

// Nodes of the search. An easy instance ends after some hundreds; a hard one stops here.
constexpr std::int64_t kMaxNodes = 5'000;

constexpr std::int64_t kUnlimited = std::numeric_limits<std::int64_t>::max();

struct Group {
  std::int64_t tokens = 0;
  double utility = 0;
  std::size_t last_item = 0;
};

struct Groups {
  std::vector<Group> groups;  // in order of their first item
  std::vector<std::size_t> of_item;
  std::int64_t tokens = 0;
};

Groups Gather(std::span<const ItemCost> items) {
  Groups gathered;
  gathered.groups.reserve(items.size());
  gathered.of_item.reserve(items.size());
  std::unordered_map<std::int64_t, std::size_t> index_of;
  std::int64_t total = 0;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const ItemCost& item = items[i];
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
    gathered.groups[index].last_item = i;
    gathered.of_item.push_back(index);
  }
  gathered.tokens = total;
  return gathered;
}

// A group that is worth taking and fits alone.
struct Candidate {
  double density;
  double utility;
  std::int64_t tokens;
  std::size_t group;
};

// The search over candidates in falling order of density: a node is a choice among the first
// `position` of them. Going down takes every candidate that fits; going up gives back the last one
// taken and goes on behind it.
class Search {
 public:
  Search(std::span<const Candidate> candidates, std::int64_t capacity)
      : candidates_(candidates), left_(capacity) {
    const std::size_t n = candidates.size();
    tokens_before_.reserve(n + 1);
    utility_before_.reserve(n + 1);
    least_from_.resize(n + 1, kUnlimited);
    std::int64_t tokens = 0;
    double utility = 0;
    for (const Candidate& candidate : candidates) {
      tokens_before_.push_back(tokens);
      utility_before_.push_back(utility);
      tokens += candidate.tokens;
      utility += candidate.utility;
    }
    tokens_before_.push_back(tokens);
    utility_before_.push_back(utility);
    for (std::size_t i = n; i-- > 0;) {
      least_from_[i] = std::min(least_from_[i + 1], candidates[i].tokens);
    }
  }

  // Indices of the best choice found, given one that is worth `known` already; empty when there is
  // none better.
  std::vector<std::size_t> Run(double known) {
    best_utility_ = known;
    if (Bound(0) <= known) return {};
    std::size_t position = 0;
    for (std::int64_t nodes = 0; nodes < kMaxNodes; ++nodes) {
      position = Descend(position);
      if (utility_ > best_utility_) {
        best_utility_ = utility_;
        best_ = path_;
      }
      // Up to the next branch that may be worth more.
      do {
        if (path_.empty()) return std::move(best_);
        const std::size_t last = path_.back();
        path_.pop_back();
        left_ += candidates_[last].tokens;
        utility_ -= candidates_[last].utility;
        position = last + 1;
      } while (Bound(position) <= best_utility_);
    }
    return std::move(best_);
  }

 private:
  std::size_t Descend(std::size_t position) {
    while (position < candidates_.size() && least_from_[position] <= left_) {
      const Candidate& candidate = candidates_[position];
      if (candidate.tokens <= left_) {
        path_.push_back(position);
        left_ -= candidate.tokens;
        utility_ += candidate.utility;
      } else if (Bound(position + 1) <= best_utility_) {
        break;
      }
      ++position;
    }
    return position;
  }

  // The utility when what is left is filled from `position` on and the first candidate that does
  // not fit is taken in part.
  double Bound(std::size_t position) const {
    const std::int64_t end = tokens_before_[position] > kUnlimited - left_
                                 ? kUnlimited
                                 : tokens_before_[position] + left_;
    const auto begin = tokens_before_.begin();
    const std::size_t broken = static_cast<std::size_t>(
        std::upper_bound(begin + static_cast<std::ptrdiff_t>(position), tokens_before_.end(), end) -
        begin - 1);
    double bound = utility_ + (utility_before_[broken] - utility_before_[position]);
    if (broken < candidates_.size()) {
      bound += static_cast<double>(end - tokens_before_[broken]) * candidates_[broken].density;
    }
    return bound;
  }

  std::span<const Candidate> candidates_;
  std::vector<std::int64_t> tokens_before_;  // of the candidates before this one
  std::vector<double> utility_before_;
  std::vector<std::int64_t> least_from_;  // the smallest candidate from here on
  std::vector<std::size_t> path_;
  std::vector<std::size_t> best_;
  std::int64_t left_;
  double utility_ = 0;
  double best_utility_ = 0;
};

std::vector<bool> TakeBest(std::span<const Group> groups, std::int64_t capacity) {
  std::vector<Candidate> candidates;
  candidates.reserve(groups.size());
  for (std::size_t i = 0; i < groups.size(); ++i) {
    const auto& [tokens, utility, last_item] = groups[i];
    if (utility == 0 || tokens > capacity) continue;
    const double density = tokens == 0 ? std::numeric_limits<double>::infinity()
                                       : utility / static_cast<double>(tokens);
    candidates.push_back({density, utility, tokens, i});
  }
  std::ranges::sort(candidates, [](const Candidate& a, const Candidate& b) {
    return a.density != b.density ? a.density > b.density : a.group < b.group;
  });

  std::vector<bool> taken(groups.size());
  std::int64_t left = capacity;
  double utility = 0;
  const Candidate* best = nullptr;
  for (const Candidate& candidate : candidates) {
    if (best == nullptr || candidate.utility > best->utility) best = &candidate;
    if (candidate.tokens > left) continue;
    taken[candidate.group] = true;
    left -= candidate.tokens;
    utility += candidate.utility;
  }
  if (best != nullptr && best->utility > utility) {
    taken.assign(groups.size(), false);
    taken[best->group] = true;
    utility = best->utility;
  }
  const std::vector<std::size_t> better = Search(candidates, capacity).Run(utility);
  if (!better.empty()) {
    taken.assign(groups.size(), false);
    for (const std::size_t i : better) taken[candidates[i].group] = true;
  }

  left = capacity;
  for (std::size_t i = 0; i < groups.size(); ++i) left -= taken[i] ? groups[i].tokens : 0;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    if (groups[i].utility > 0 || groups[i].tokens > left) continue;
    taken[i] = true;
    left -= groups[i].tokens;
  }
  return taken;
}

std::vector<bool> TakeNewest(std::span<const Group> groups, std::int64_t capacity) {
  std::vector<std::size_t> order(groups.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, std::greater<>{}, [&](std::size_t i) { return groups[i].last_item; });
  std::vector<bool> taken(groups.size());
  for (const std::size_t i : order) {
    if (groups[i].tokens > capacity) break;
    taken[i] = true;
    capacity -= groups[i].tokens;
  }
  return taken;
}

}  // namespace

Selection SelectItems(std::span<const ItemCost> items, std::int64_t capacity, ItemRule rule) {
  if (capacity < 0) throw ArgumentError(StrCat("capacity must not be negative: ", capacity));
  const Groups gathered = Gather(items);
  std::vector<bool> groups;
  if (gathered.tokens <= capacity) {
    groups.assign(gathered.groups.size(), true);
  } else {
    groups = rule == ItemRule::kNewest ? TakeNewest(gathered.groups, capacity)
                                       : TakeBest(gathered.groups, capacity);
  }
  Selection result;
  result.taken.reserve(items.size());
  for (const std::size_t group : gathered.of_item) result.taken.push_back(groups[group]);
  for (std::size_t i = 0; i < groups.size(); ++i) {
    if (!groups[i]) continue;
    result.tokens += gathered.groups[i].tokens;
    result.utility += gathered.groups[i].utility;
  }
  return result;
}

}  // namespace ctx::budget
