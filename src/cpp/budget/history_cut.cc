#include "budget/history_cut.h"

#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::budget {
namespace {

std::int64_t CheckedTotal(std::span<const std::int64_t> turn_tokens, std::int64_t limit) {
  if (limit < 0) throw ArgumentError(StrCat("history limit must not be negative: ", limit));
  std::int64_t total = 0;
  for (const std::int64_t tokens : turn_tokens) {
    if (tokens < 0) throw ArgumentError(StrCat("turn tokens must not be negative: ", tokens));
    if (__builtin_add_overflow(total, tokens, &total)) {
      throw ArgumentError("turn tokens: their sum is beyond 2^63 - 1");
    }
  }
  return total;
}

// Cuts whole turns until at least `target` tokens are gone.
HistoryCut CutAtLeast(std::span<const std::int64_t> turn_tokens, std::int64_t total,
                      std::int64_t target) {
  std::size_t first_kept = 0;
  std::int64_t cut = 0;
  while (cut < target) cut += turn_tokens[first_kept++];
  return {first_kept, total - cut};
}

}  // namespace

HistoryCut TightCut(std::span<const std::int64_t> turn_tokens, std::int64_t limit) {
  const std::int64_t total = CheckedTotal(turn_tokens, limit);
  return CutAtLeast(turn_tokens, total, total > limit ? total - limit : 0);
}

HistoryCut GridCut(std::span<const std::int64_t> turn_tokens, std::int64_t limit,
                   std::int64_t step) {
  if (step < 1) throw ArgumentError(StrCat("grid step must be at least 1: ", step));
  const HistoryCut tight = TightCut(turn_tokens, limit);
  if (tight.first_kept == 0) return tight;
  // A multiple is moved up to the tight cut or beyond exactly when it lies after the boundary
  // before the tight cut; the first such multiple is the cut.
  const std::int64_t total = CheckedTotal(turn_tokens, limit);
  const std::int64_t before = total - tight.kept_tokens - turn_tokens[tight.first_kept - 1];
  std::int64_t target = before - before % step;
  if (__builtin_add_overflow(target, step, &target) || target > total) target = total;
  return CutAtLeast(turn_tokens, total, target);
}

}  // namespace ctx::budget
