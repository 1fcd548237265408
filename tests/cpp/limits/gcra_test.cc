#include "limits/gcra.h"

#include <limits>

#include "common/error.h"
#include "doctest/doctest.h"

namespace ctx::limits {
namespace {

TEST_CASE("the cost of tokens is their refill time, rounded up") {
  const Limit limit{7, 60'000'000, 7};
  CHECK(Cost(limit, 0) == 0);
  CHECK(Cost(limit, 1) == 8'571'429);   // 8571428.57
  CHECK(Cost(limit, 7) == 60'000'000);  // exact
  // A product far beyond 2^64: 2^40 tokens at 2^62 per 2^50 us take 2^28 us.
  CHECK(Cost({std::int64_t{1} << 62, std::int64_t{1} << 50, 1}, std::int64_t{1} << 40) ==
        std::int64_t{1} << 28);
  CHECK_THROWS_AS(Cost(limit, -1), ArgumentError);
  CHECK_THROWS_AS(Cost(limit, std::numeric_limits<std::int64_t>::max()), ArgumentError);
}

TEST_CASE("limits outside their domain are refused") {
  CHECK_NOTHROW(Validate({1, 1, 1}));
  CHECK_THROWS_AS(Validate({0, 1, 1}), ArgumentError);
  CHECK_THROWS_AS(Validate({1, 0, 1}), ArgumentError);
  CHECK_THROWS_AS(Validate({1, 1, 0}), ArgumentError);
  CHECK_NOTHROW(Validate({1, kMaxCost, 1}));
  CHECK_THROWS_AS(Validate({1, kMaxCost, 2}), ArgumentError);
}

TEST_CASE("a full bucket passes one burst, then refills steadily") {
  State state;
  CHECK(Wait(state, 100, 100, 1000) == 0);
  CHECK(Wait(state, 101, 100, 1000) == 1);
  Add(state, 100, 1000);
  CHECK(Wait(state, 1, 100, 1000) == 1);
  CHECK(Wait(state, 30, 100, 1029) == 1);
  CHECK(Wait(state, 30, 100, 1030) == 0);
  // Idle time beyond a full bucket is worth nothing.
  CHECK(Wait(state, 101, 100, 99999) == 1);
}

TEST_CASE("a refund at once undoes the charge") {
  State state;
  Add(state, 10, 1000);
  const Charge charge = Add(state, 50, 1000);
  Refund(state, charge, 50, 1000);
  CHECK(state.tat == 1010);
}

TEST_CASE("what has been refilled does not come back") {
  State state;
  const Charge whole = Add(state, 100, 1000);
  Add(state, 50, 1050);  // passes a burst of 100: half of the first is refilled
  Refund(state, whole, 100, 1050);
  CHECK(state.tat == 1100);  // the 50 of the second remain

  // After idle time nothing is left to give back.
  State idle;
  const Charge old = Add(idle, 100, 1000);
  Add(idle, 70, 5000);
  Refund(idle, old, 100, 5000);
  CHECK(idle.tat == 5070);
}

TEST_CASE("refunds in between count against a refund") {
  // Had only C been charged, the backlog at 5 would be 3. Without the correction it would end at 4
  // - 5.
  State state;
  const Charge a = Add(state, 5, 100);
  const Charge b = Add(state, 5, 100);
  Refund(state, a, 5, 101);
  CHECK(state.tat == 106);  // 1 of A is refilled already
  Add(state, 3, 105);
  Refund(state, b, 5, 105);
  CHECK(state.tat == 108);
}

TEST_CASE("refunds of later charges do not") {
  State state;
  const Charge a = Add(state, 5, 100);
  const Charge b = Add(state, 5, 100);
  Refund(state, b, 5, 101);
  Refund(state, a, 5, 101);
  CHECK(state.tat == 101);  // 1 of A is refilled already
}

TEST_CASE("debt saturates below 2^53") {
  State state;
  for (int i = 0; i < 20; ++i) Add(state, kMaxCost, 1000);
  CHECK(state.tat == kMaxMicros);
}

}  // namespace
}  // namespace ctx::limits
