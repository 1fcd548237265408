#include "chat/count_table.h"

#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "chat/sip_hash.h"
#include "doctest/doctest.h"
#include "support/alloc_failure.h"

namespace ctx::chat {
namespace {

TEST_CASE("SipHash-1-3 agrees with CPython's hash of bytes under PYTHONHASHSEED=0") {
  // Python 3.11 and later hash bytes with SipHash-1-3; seed 0 means an all-zero key:
  // PYTHONHASHSEED=0 python -c "print(hash(b'...') & 2**64-1)" gave these numbers.
  const SipKey zero{0, 0};
  CHECK(SipHash13(zero, "a") == 4644417185603328019u);
  CHECK(SipHash13(zero, "abcdefgh") == 4574395652268504554u);
  CHECK(SipHash13(zero, "the quick brown fox jumps") == 56729954816557122u);
}

TEST_CASE("a count is found again, and only under its own key") {
  CountTable table(1 << 20);
  CHECK_FALSE(table.Find("a").has_value());
  table.Insert("a", 7);
  table.Insert(std::string("a\0", 2), 8);
  CHECK(table.Find("a") == 7);
  CHECK(table.Find(std::string("a\0", 2)) == 8);
  table.Insert("a", 7);
  CHECK(table.stats().num_entries == 2);
  CHECK(table.stats().hits == 2);
  CHECK(table.stats().misses == 1);
  table.Clear();
  CHECK_FALSE(table.Find("a").has_value());
  CHECK(table.stats().size_bytes == 0);
}

TEST_CASE("the least recently used entries go first, and the bound holds") {
  CountTable table(1000);
  std::int64_t inserted = 0;
  table.Insert("kept", 1);
  for (int i = 0; i < 100; ++i) {
    table.Insert("entry " + std::to_string(i), i);
    ++inserted;
    CHECK(table.Find("kept") == 1);
    CHECK(table.stats().size_bytes <= 1000);
  }
  CHECK(table.stats().num_entries + table.stats().evictions == inserted + 1);
  CHECK(table.Find("entry 99") == 99);
  CHECK_FALSE(table.Find("entry 0").has_value());
}

TEST_CASE("what is larger than the table is not stored") {
  CountTable table(200);
  table.Insert(std::string(200, 'x'), 1);
  CHECK(table.stats().num_entries == 0);
  CountTable none(0);
  none.Insert("a", 1);
  CHECK_FALSE(none.Find("a").has_value());
}

TEST_CASE("a failing allocation leaves the table as it was") {
  CountTable table(1 << 20);
  table.Insert("there", 5);
  const std::string key(100, 'k');
  const std::int64_t failures =
      testing::FailEveryAllocation([&] { table.Insert(key, 6); },
                                   [&] {
                                     CHECK(table.stats().num_entries == 1);
                                     CHECK(table.Find("there") == 5);
                                     CHECK_FALSE(table.Find(key).has_value());
                                   });
  CHECK(failures > 0);
  CHECK(table.Find(key) == 6);
}

TEST_CASE("many threads find what any of them stored") {
  CountTable table(20'000);  // small, so that threads evict each other's entries
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&table, &wrong, t] {
      for (int i = 0; i < 5000; ++i) {
        const int number = (i * 7 + t * 13) % 300;
        const std::string key = "key " + std::to_string(number);
        const auto found = table.Find(key);
        if (found && *found != number) ++wrong[static_cast<std::size_t>(t)];
        if (!found) table.Insert(key, number);
        if (i % 1000 == 999) table.Clear();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == std::vector<int>(4));
  CHECK(table.stats().size_bytes <= 20'000);
}

}  // namespace
}  // namespace ctx::chat
