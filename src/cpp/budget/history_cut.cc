#include "budget/history_cut.h"

#include <string_view>

#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::budget {
namespace {

std::int64_t CheckedTotal(std::span<const std::int64_t> numbers, std::string_view name) {
  std::int64_t total = 0;
  for (const std::int64_t tokens : numbers) {
    if (tokens < 0) throw ArgumentError(StrCat(name, " must not be negative: ", tokens));
    if (__builtin_add_overflow(total, tokens, &total)) {
      throw ArgumentError(StrCat(name, ": their sum is beyond 2^63 - 1"));
    }
  }
  return total;
}

}  // namespace

HistoryCut CutHistory(const History& history, std::int64_t room) {
  const std::size_t num_groups = history.measure.size();
  if (history.tokens.size() != num_groups || history.carried.size() != num_groups) {
    throw ArgumentError("history: its lists differ in length");
  }
  if (history.cap < 0)
    throw ArgumentError(StrCat("history cap must not be negative: ", history.cap));
  if (room < 0) throw ArgumentError(StrCat("room must not be negative: ", room));
  if (history.rule == CutRule::kGrid && history.step < 1) {
    throw ArgumentError(StrCat("grid step must be at least 1: ", history.step));
  }
  // What is measured, and what is kept, from group i on.
  std::int64_t measured = CheckedTotal(history.measure, "measured tokens");
  std::int64_t kept = CheckedTotal(history.tokens, "group tokens");
  const std::int64_t carried = CheckedTotal(history.carried, "carried tokens");
  std::int64_t sum = 0;
  if (__builtin_add_overflow(kept, carried, &sum)) {
    throw ArgumentError("group and carried tokens: their sum is beyond 2^63 - 1");
  }
  if (num_groups == 0) return {0, 0, 0};

  const std::size_t newest = num_groups - 1;
  std::size_t first_kept_alone = newest;
  std::int64_t start = 0;
  std::int64_t start_before = -1;
  for (std::size_t i = 0;; ++i) {
    const bool is_place =
        history.rule == CutRule::kTight ||
        (history.rule == CutRule::kGrid &&
         (start == 0 ? i == 0 : start / history.step > start_before / history.step)) ||
        (history.rule == CutRule::kKeepLast && i >= history.keep_from);
    if (i == newest || (is_place && measured <= history.cap)) {
      if (first_kept_alone > i) first_kept_alone = i;
      const std::int64_t tokens = kept + history.carried[i];
      if (i == newest || tokens <= room) return {i, tokens, first_kept_alone};
    }
    start_before = start;
    start += history.measure[i];
    measured -= history.measure[i];
    kept -= history.tokens[i];
  }
}

}  // namespace ctx::budget
