// The limiter: one GCRA state per (limit, descriptor), and reservations that pass all their limits
// or none. A reservation charges an estimate before the work; settling it charges what was used
// instead.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "limits/gcra.h"

namespace ctx::limits {

class Key;
class Ticket;

/// A reservation that does not pass yet.
struct RetryAfter {
  Micros wait_us;           ///< until it passes, if nobody else charges meanwhile
  std::size_t limit_index;  ///< of the limit that takes longest
};

/// Every method of Limiter, Key and Ticket may be called from any thread: one mutex, held for
/// O(limits) and, in Resolve, amortised O(log keys). `now` replaces the steady clock, which is read
/// under that mutex, so that times never run backwards; a caller that gives its own must see to
/// that itself.
class Limiter : public std::enable_shared_from_this<Limiter> {
 public:
  /// Throws ArgumentError when there is no limit or one is not valid.
  static std::shared_ptr<Limiter> Make(std::vector<Limit> limits);

  /// The key of one descriptor for each limit. Throws ArgumentError when there are more or fewer.
  Key Resolve(std::span<const std::string> descriptors, std::optional<Micros> now = {});

  std::span<const Limit> limits() const noexcept { return limits_; }

  /// States in memory: those with a backlog or a Key or Ticket, plus at most as many again (or
  /// 1024) that wait to be swept.
  std::size_t num_states() const;

 private:
  friend class Key;
  friend class Ticket;
  explicit Limiter(std::vector<Limit> limits);
  void ForgetIdle(Micros now);

  const std::vector<Limit> limits_;
  std::vector<Micros> bursts_;
  mutable std::mutex mutex_;
  // An ordered map: names come from outside, and no choice of names makes it slow.
  std::map<std::pair<std::size_t, std::string>, std::shared_ptr<State>> states_;
  std::size_t sweep_at_;
};

/// Descriptors resolved once; cheap to copy.
class Key {
 public:
  /// Charges `num_tokens` to every limit if all let it pass, else changes nothing. Throws
  /// ArgumentError when num_tokens < 1, CapacityError when it exceeds a burst and so can never
  /// pass.
  std::variant<Ticket, RetryAfter> Reserve(std::int64_t num_tokens,
                                           std::optional<Micros> now = {}) const;

 private:
  friend class Limiter;
  Key(std::shared_ptr<Limiter> limiter, std::vector<std::shared_ptr<State>> states)
      : limiter_(std::move(limiter)), states_(std::move(states)) {}
  std::shared_ptr<Limiter> limiter_;
  std::vector<std::shared_ptr<State>> states_;
};

/// A charged reservation. One that is dropped without settling stays charged in full.
class Ticket {
 public:
  std::int64_t num_tokens() const noexcept { return num_tokens_; }

  /// Charges `used_tokens` in place of the reserved number: more is charged even beyond the burst,
  /// less is given back (see Refund). Throws ArgumentError when negative, Error when the ticket is
  /// settled or released already; then nothing has changed.
  void Settle(std::int64_t used_tokens, std::optional<Micros> now = {});

  /// Settle(0), or nothing when the ticket is settled already.
  void Release(std::optional<Micros> now = {});

 private:
  friend class Key;
  struct Part {
    std::shared_ptr<State> state;
    Micros cost;
    Charge charge;
  };
  Ticket(std::shared_ptr<Limiter> limiter, std::vector<Part> parts, std::int64_t num_tokens)
      : limiter_(std::move(limiter)), parts_(std::move(parts)), num_tokens_(num_tokens) {}
  bool SettleOnce(std::int64_t used_tokens, std::optional<Micros> now);

  std::shared_ptr<Limiter> limiter_;
  std::vector<Part> parts_;
  std::int64_t num_tokens_;
  bool settled_ = false;
};

}  // namespace ctx::limits
