#include "limits/limiter.h"

#include <algorithm>
#include <chrono>

#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::limits {
namespace {

constexpr std::size_t kMinSweep = 1024;

Micros SteadyNow() {
  const auto since_start = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(since_start).count();
}

// Called with the limiter's mutex held.
Micros Now(std::optional<Micros> given) { return given ? *given : SteadyNow(); }

void CheckTime(std::optional<Micros> now) {
  if (now && (*now < 0 || *now > kMaxMicros / 2)) {
    throw ArgumentError(StrCat("a time of ", *now, " us is not in 0 .. 2^52 - 1"));
  }
}

}  // namespace

Limiter::Limiter(std::vector<Limit> limits) : limits_(std::move(limits)), sweep_at_(kMinSweep) {
  if (limits_.empty()) throw ArgumentError("a limiter needs at least one limit");
  for (const Limit& limit : limits_) {
    Validate(limit);
    bursts_.push_back(Cost(limit, limit.burst_tokens));
  }
}

std::shared_ptr<Limiter> Limiter::Make(std::vector<Limit> limits) {
  return std::shared_ptr<Limiter>(new Limiter(std::move(limits)));
}

Key Limiter::Resolve(std::span<const std::string> descriptors, std::optional<Micros> now) {
  CheckTime(now);
  if (descriptors.size() != limits_.size()) {
    throw ArgumentError(StrCat("a key needs one descriptor for each of ", limits_.size(),
                               " limits, not ", descriptors.size()));
  }
  std::vector<std::shared_ptr<State>> states;
  states.reserve(limits_.size());
  const std::lock_guard lock(mutex_);
  if (states_.size() >= sweep_at_) ForgetIdle(Now(now));
  for (std::size_t i = 0; i < descriptors.size(); ++i) {
    const auto [at, inserted] = states_.try_emplace({i, descriptors[i]});
    if (inserted) {
      try {
        at->second = std::make_shared<State>();
      } catch (...) {
        states_.erase(at);
        throw;
      }
    }
    states.push_back(at->second);
  }
  return {shared_from_this(), std::move(states)};
}

// The table alone holds an unused state, and under the mutex nobody can take it up again.
void Limiter::ForgetIdle(Micros now) {
  std::erase_if(states_, [now](const auto& entry) {
    return entry.second.use_count() == 1 && entry.second->tat <= now;
  });
  sweep_at_ = std::max(kMinSweep, 2 * states_.size());
}

std::size_t Limiter::num_states() const {
  const std::lock_guard lock(mutex_);
  return states_.size();
}

std::variant<Ticket, RetryAfter> Key::Reserve(std::int64_t num_tokens,
                                              std::optional<Micros> now) const {
  CheckTime(now);
  if (num_tokens < 1) {
    throw ArgumentError(StrCat("a reservation needs at least 1 token, not ", num_tokens));
  }
  std::vector<Ticket::Part> parts;
  parts.reserve(states_.size());
  for (std::size_t i = 0; i < states_.size(); ++i) {
    const Limit& limit = limiter_->limits_[i];
    if (num_tokens > limit.burst_tokens) {
      throw CapacityError(StrCat(num_tokens, " tokens can never pass limit ", i,
                                 ", whose burst is ", limit.burst_tokens, " tokens"),
                          num_tokens, limit.burst_tokens);
    }
    parts.push_back({states_[i], Cost(limit, num_tokens), {}});
  }

  const std::lock_guard lock(limiter_->mutex_);
  const Micros at = Now(now);
  RetryAfter longest{0, 0};
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const Micros wait = Wait(*parts[i].state, parts[i].cost, limiter_->bursts_[i], at);
    if (wait > longest.wait_us) longest = {wait, i};
  }
  if (longest.wait_us > 0) return longest;
  for (Ticket::Part& part : parts) part.charge = Add(*part.state, part.cost, at);
  return Ticket(limiter_, std::move(parts), num_tokens);
}

bool Ticket::SettleOnce(std::int64_t used_tokens, std::optional<Micros> now) {
  CheckTime(now);
  std::vector<Micros> used;
  used.reserve(parts_.size());
  for (const Limit& limit : limiter_->limits()) used.push_back(Cost(limit, used_tokens));

  const std::lock_guard lock(limiter_->mutex_);
  if (settled_) return false;
  settled_ = true;
  const Micros at = Now(now);
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    const Part& part = parts_[i];
    if (used[i] > part.cost) Add(*part.state, used[i] - part.cost, at);
    if (used[i] < part.cost) Refund(*part.state, part.charge, part.cost - used[i], at);
  }
  return true;
}

void Ticket::Settle(std::int64_t used_tokens, std::optional<Micros> now) {
  if (!SettleOnce(used_tokens, now)) throw Error("the ticket is settled or released already");
}

void Ticket::Release(std::optional<Micros> now) { SettleOnce(0, now); }

}  // namespace ctx::limits
