// Which items to take into a limited number of tokens.
//
// Pure function; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace ctx::budget {

struct ItemCost {
  std::int64_t tokens = 0;  ///< >= 0
  double utility = 0;       ///< finite, >= 0
  std::int64_t group = -1;  ///< items with the same group >= 0 are taken together or not at all
};

enum class ItemRule : std::uint8_t {
  kBest,    ///< the most utility
  kNewest,  ///< from the last group backwards, up to the first that does not fit
};

struct Selection {
  std::vector<bool> taken;
  std::int64_t tokens = 0;
  double utility = 0;
};

/// kBest: groups in falling order of utility per token, each taken when it still fits, or the best
/// single group when that is worth more: at least half the optimum (Dantzig, "Discrete-variable
/// extremum problems", 1957; the bound: Kellerer, Pferschy, Pisinger, "Knapsack Problems", 2004,
/// 2.1). From there a depth-first branch and bound over the same order (Horowitz and Sahni, 1974),
/// pruned by the fractional relaxation, looks for better ones; it ends with the optimum or after a
/// fixed number of nodes with the best it has seen, so that equal inputs give equal choices
/// everywhere. Ties go to the choice found first. Groups without utility are taken last, while they
/// fit. O(n log n) and the nodes.
///
/// kNewest: a group stands where its last item stands. O(n).
///
/// Throws ArgumentError for numbers outside their domain and for sums beyond 2^63 - 1.
Selection SelectItems(std::span<const ItemCost> items, std::int64_t capacity,
                      ItemRule rule = ItemRule::kBest);

}  // namespace ctx::budget
