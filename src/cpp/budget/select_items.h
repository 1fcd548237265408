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

struct Selection {
  std::vector<bool> taken;
  std::int64_t tokens = 0;
  double utility = 0;
};

/// Groups in falling order of utility per token, each taken when it still fits; ties go to the
/// earlier one. When the best single group is worth more than all of that, it is taken instead,
/// which makes the result worth at least half the optimum (Dantzig, "Discrete-variable extremum
/// problems", 1957; the bound: Kellerer, Pferschy, Pisinger, "Knapsack Problems", 2004, 2.1).
/// Groups without utility are taken last, while they fit. O(n log n). Throws ArgumentError for
/// numbers outside their domain and for sums beyond 2^63 - 1.
Selection SelectItems(std::span<const ItemCost> items, std::int64_t capacity);

}  // namespace ctx::budget
