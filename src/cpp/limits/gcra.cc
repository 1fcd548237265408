#include "limits/gcra.h"

#include <algorithm>

#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::limits {

void Validate(const Limit& limit) {
  if (limit.tokens < 1 || limit.period_us < 1 || limit.burst_tokens < 1) {
    throw ArgumentError(StrCat("a limit needs positive numbers, not ", limit.tokens, " tokens per ",
                               limit.period_us, " us, burst ", limit.burst_tokens));
  }
  Cost(limit, limit.burst_tokens);
}

Micros Cost(const Limit& limit, std::int64_t num_tokens) {
  if (num_tokens < 0) throw ArgumentError(StrCat("a number of tokens is negative: ", num_tokens));
  __extension__ using Wide = unsigned __int128;
  const Wide tokens = static_cast<Wide>(limit.tokens);
  const Wide cost =
      (static_cast<Wide>(num_tokens) * static_cast<Wide>(limit.period_us) + tokens - 1) / tokens;
  if (cost > static_cast<Wide>(kMaxCost)) {
    throw ArgumentError(StrCat(num_tokens, " tokens at ", limit.tokens, " per ", limit.period_us,
                               " us take longer than ", kMaxCost, " us"));
  }
  return static_cast<Micros>(cost);
}

Micros Wait(const State& state, Micros cost, Micros burst, Micros now) noexcept {
  return std::max<Micros>(0, std::max(state.tat, now) + cost - now - burst);
}

Charge Add(State& state, Micros cost, Micros now) noexcept {
  if (state.tat <= now) state = {now, now, 0};
  const Micros ahead = state.tat - now;
  state.tat = std::min(state.tat + cost, kMaxMicros);
  return {ahead, state.tat, state.busy_since, state.refunded};
}

void Refund(State& state, const Charge& charge, Micros amount, Micros now) noexcept {
  if (state.busy_since != charge.busy_since) return;
  const Micros refunded_ahead = std::min(state.refunded - charge.refunded, charge.ahead);
  const Micros still_there = charge.tat - refunded_ahead - now;
  const Micros refund = std::max<Micros>(0, std::min(amount, still_there));
  state.tat -= refund;
  state.refunded += refund;
}

}  // namespace ctx::limits
