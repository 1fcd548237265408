#include "limits/limiter.h"

#include <atomic>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "common/error.h"
#include "doctest/doctest.h"
#include "support/alloc_failure.h"

namespace ctx::limits {
namespace {

using Descriptors = std::vector<std::string>;

bool Passes(const std::variant<Ticket, RetryAfter>& result) {
  return std::holds_alternative<Ticket>(result);
}

TEST_CASE("a reservation passes all limits or charges none") {
  // 100 tokens a second in both; the second descriptor has the smaller burst.
  const auto limiter = Limiter::Make({{100, 1'000'000, 100}, {100, 1'000'000, 30}});
  const Key ann = limiter->Resolve(Descriptors{"acme", "ann"}, 0);
  const Key bob = limiter->Resolve(Descriptors{"acme", "bob"}, 0);
  CHECK(Passes(ann.Reserve(30, 0)));
  const auto refused = ann.Reserve(20, 0);
  REQUIRE_FALSE(Passes(refused));
  CHECK(std::get<RetryAfter>(refused).wait_us == 200'000);
  CHECK(std::get<RetryAfter>(refused).limit_index == 1);
  // acme has 70 left, to the token: the refused 20 were not charged.
  CHECK(Passes(bob.Reserve(30, 0)));
  const Key cid = limiter->Resolve(Descriptors{"acme", "cid"}, 0);
  CHECK(Passes(cid.Reserve(30, 0)));
  const Key dan = limiter->Resolve(Descriptors{"acme", "dan"}, 0);
  const auto full = dan.Reserve(11, 0);
  REQUIRE_FALSE(Passes(full));
  CHECK(std::get<RetryAfter>(full).wait_us == 10'000);
  CHECK(std::get<RetryAfter>(full).limit_index == 0);
  CHECK(Passes(dan.Reserve(10, 0)));
}

TEST_CASE("the same name under another limit is another state") {
  const auto limiter = Limiter::Make({{1, 1'000'000, 5}, {1, 1'000'000, 5}});
  CHECK(Passes(limiter->Resolve(Descriptors{"x", "y"}, 0).Reserve(5, 0)));
  CHECK(Passes(limiter->Resolve(Descriptors{"y", "x"}, 0).Reserve(5, 0)));
  CHECK_FALSE(Passes(limiter->Resolve(Descriptors{"x", "z"}, 0).Reserve(1, 0)));
}

TEST_CASE("settling charges what was used, once") {
  const auto limiter = Limiter::Make({{10, 1'000'000, 100}});
  const Key key = limiter->Resolve(Descriptors{"k"}, 0);
  auto less = std::get<Ticket>(key.Reserve(80, 0));
  CHECK(less.num_tokens() == 80);
  less.Settle(30, 0);
  CHECK_THROWS_AS(less.Settle(30, 0), Error);
  less.Release(0);
  CHECK_FALSE(Passes(key.Reserve(71, 0)));
  auto more = std::get<Ticket>(key.Reserve(70, 0));
  CHECK_THROWS_AS(more.Settle(-1, 0), ArgumentError);
  more.Settle(90, 0);  // 20 tokens of debt: 2 seconds until the bucket has 0
  const auto refused = key.Reserve(1, 0);
  REQUIRE_FALSE(Passes(refused));
  CHECK(std::get<RetryAfter>(refused).wait_us == 2'100'000);
}

TEST_CASE("requests that can never pass, and other mistakes") {
  const auto limiter = Limiter::Make({{100, 1'000'000, 100}, {100, 1'000'000, 30}});
  const Key key = limiter->Resolve(Descriptors{"a", "b"}, 0);
  try {
    key.Reserve(31, 0);
    FAIL("expected CapacityError");
  } catch (const CapacityError& error) {
    CHECK(error.needed() == 31);
    CHECK(error.capacity() == 30);
    CHECK(std::string(error.what()) ==
          "31 tokens can never pass limit 1, whose burst is 30 tokens");
  }
  CHECK_THROWS_AS(key.Reserve(0, 0), ArgumentError);
  CHECK_THROWS_AS(key.Reserve(1, -1), ArgumentError);
  CHECK_THROWS_AS(key.Reserve(1, kMaxMicros), ArgumentError);
  CHECK_THROWS_AS(limiter->Resolve(Descriptors{"a"}), ArgumentError);
  CHECK_THROWS_AS(Limiter::Make({}), ArgumentError);
  CHECK_THROWS_AS(Limiter::Make({{0, 1, 1}}), ArgumentError);
}

TEST_CASE("idle states are forgotten, charged and referenced ones are not") {
  const auto limiter = Limiter::Make({{1, 1'000, 5}});
  const Key held = limiter->Resolve(Descriptors{"held"}, 0);
  CHECK(Passes(limiter->Resolve(Descriptors{"busy"}, 0).Reserve(5, 0)));
  for (int i = 0; i < 5000; ++i) limiter->Resolve(Descriptors{std::to_string(i)}, 10);
  CHECK(limiter->num_states() <= 1024);
  CHECK_FALSE(Passes(limiter->Resolve(Descriptors{"busy"}, 10).Reserve(1, 10)));
  CHECK(Passes(held.Reserve(5, 10)));
  CHECK_FALSE(Passes(limiter->Resolve(Descriptors{"held"}, 10).Reserve(5, 10)));
}

TEST_CASE("a failed allocation changes nothing") {
  const auto limiter = Limiter::Make({{1, 1'000'000, 100}, {1, 1'000'000, 100}});
  const Key key = limiter->Resolve(Descriptors{"a", "b"}, 0);
  const auto check_left = [&](std::int64_t num_tokens) {
    // All that is left passes, no more, and is given back at once.
    CHECK(std::holds_alternative<RetryAfter>(key.Reserve(num_tokens + 1, 0)));
    auto all = key.Reserve(num_tokens, 0);
    REQUIRE(Passes(all));
    std::get<Ticket>(all).Release(0);
  };
  // One token is taken, so that asking for all of the burst is asking for too much.
  CHECK(Passes(key.Reserve(1, 0)));
  bool passed = false;
  CHECK(testing::FailEveryAllocation([&] { passed = Passes(key.Reserve(10, 0)); },
                                     [&] { check_left(99); }) > 0);
  CHECK(passed);
  check_left(89);
  auto ticket = std::get<Ticket>(key.Reserve(20, 0));
  CHECK(testing::FailEveryAllocation([&] { ticket.Settle(5, 0); }, [&] { check_left(69); }) > 0);
  check_left(84);

  const Descriptors names = {"a name longer than the small string", "another name of that length"};
  const std::size_t before = limiter->num_states();
  CHECK(testing::FailEveryAllocation([&] { limiter->Resolve(names, 0); },
                                     [&] { CHECK(limiter->num_states() <= before + 1); }) > 0);
  CHECK(limiter->num_states() == before + 2);
}

TEST_CASE("eight threads never pass more than the burst, and pass all of it") {
  // Frozen clock: nothing refills. 3 does not divide the burst, single tokens fill the rest.
  constexpr std::int64_t kBurst = 10'000;
  const auto limiter = Limiter::Make({{kBurst, 60'000'000, kBurst}, {1, 1'000, 1'000'000}});
  std::atomic<std::int64_t> passed = 0;
  std::atomic<std::int64_t> settled = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      const Key key = limiter->Resolve(Descriptors{"shared", std::to_string(t)}, 5);
      for (std::int64_t num_tokens : {3, 1}) {
        for (int failures = 0; failures < 100;) {
          auto result = key.Reserve(num_tokens, 5);
          if (!Passes(result)) {
            ++failures;
            continue;
          }
          passed += num_tokens;
          // Every other ticket uses one token less and gives it back.
          if (num_tokens == 3 && passed % 2 == 0) {
            std::get<Ticket>(result).Settle(2, 5);
            ++settled;
          }
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(passed - settled == kBurst);
}

TEST_CASE("one ticket settled by many threads is settled once") {
  const auto limiter = Limiter::Make({{1, 1'000, 100}});
  const Key key = limiter->Resolve(Descriptors{"k"}, 0);
  auto ticket = std::get<Ticket>(key.Reserve(100, 0));
  std::atomic<int> num_settled = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      try {
        ticket.Settle(60, 0);
        ++num_settled;
      } catch (const Error&) {
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(num_settled == 1);
  CHECK(Passes(key.Reserve(40, 0)));
  CHECK_FALSE(Passes(key.Reserve(1, 0)));
}

TEST_CASE("the steady clock refills") {
  const auto limiter = Limiter::Make({{1'000'000, 1'000, 1}});  // one token a nanosecond
  const Key key = limiter->Resolve(Descriptors{"k"});
  for (int i = 0; i < 3; ++i) {
    while (!Passes(key.Reserve(1))) std::this_thread::yield();
  }
}

}  // namespace
}  // namespace ctx::limits
