// The generic cell rate algorithm (ITU-T I.371), weighted: a bucket that refills steadily is kept
// as one number, the theoretical arrival time (TAT), the moment when everything charged so far will
// have been refilled. Pure arithmetic in integer microseconds; no clock, no locks.
//
//     now                       tat          now + burst
//      |--------- backlog -------|-- room -------|
//
// Microseconds, and every value below 2^53, because the same arithmetic runs as a Lua script (whose
// numbers are doubles) in python/ctxengine/limits.py; both must decide alike.
#pragma once

#include <cstdint>

namespace ctx::limits {

using Micros = std::int64_t;

inline constexpr Micros kMaxMicros = (std::int64_t{1} << 53) - 1;
inline constexpr Micros kMaxCost = std::int64_t{1} << 50;  ///< of one charge, and of a whole burst

/// `tokens` for every `period_us`, up to `burst_tokens` at once: in any d microseconds at most
/// burst_tokens + tokens * (d + 1) / period_us tokens pass.
struct Limit {
  std::int64_t tokens;
  Micros period_us;
  std::int64_t burst_tokens;
};

/// Throws ArgumentError unless all three are positive and the burst refills within kMaxCost.
void Validate(const Limit& limit);

/// The time in which `limit` refills `num_tokens`, rounded up. Throws ArgumentError when num_tokens
/// is negative or the time exceeds kMaxCost.
Micros Cost(const Limit& limit, std::int64_t num_tokens);

/// What is kept for one descriptor. A state whose `tat` has passed equals one that was never used:
/// it can be forgotten.
struct State {
  Micros tat = 0;
  Micros busy_since = 0;  ///< when the backlog last began to be positive
  Micros refunded = 0;    ///< since then
};

/// What a charge leaves with its owner, to be able to give some of it back.
struct Charge {
  Micros ahead;  ///< the backlog just before the charge
  Micros tat;    ///< the state's, right after the charge
  Micros busy_since;
  Micros refunded;
};

/// Microseconds until a charge of `cost` would pass; 0: now.
Micros Wait(const State& state, Micros cost, Micros burst, Micros now) noexcept;

/// Charges `cost`, whether it passes or not.
Charge Add(State& state, Micros cost, Micros now) noexcept;

/// Gives back up to `amount` of `charge`: what of it is surely still in the backlog. The part that
/// has been refilled meanwhile must not come back, or a bucket that is full again would be filled
/// twice and a later burst pass twice. Refunds since the charge are taken, as far as they can, to
/// have been of what stood ahead of it, so that it was refilled sooner. With this rule the backlog
/// is never below what it would be, had each charge been its reduced amount from the start.
void Refund(State& state, const Charge& charge, Micros amount, Micros now) noexcept;

}  // namespace ctx::limits
