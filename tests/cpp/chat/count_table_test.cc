#include "chat/count_table.h"

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "chat/fold_hash.h"
#include "doctest/doctest.h"
#include "support/alloc_failure.h"
#include "tokenize/encoding.h"

namespace ctx::chat {
namespace {

// A table that is asked for plain texts.
class TextTable {
 public:
  explicit TextTable(std::size_t capacity_bytes) : table_(capacity_bytes) {}

  std::optional<std::int64_t> Find(std::string_view text) {
    const tokenize::Segment segment{text, false};
    return table_.Find(table_.MakeKey(kFingerprint, {&segment, 1}));
  }
  void Insert(std::string_view text, std::int64_t num_tokens) {
    const tokenize::Segment segment{text, false};
    table_.Insert(table_.MakeKey(kFingerprint, {&segment, 1}), num_tokens);
  }
  void Clear() { table_.Clear(); }
  CountTable::Stats stats() const { return table_.stats(); }

 private:
  static constexpr std::string_view kFingerprint = "0123456789abcdef0123456789abcdef";
  CountTable table_;
};

TEST_CASE("the hash depends on every byte, their order, their number and the key") {
  const FoldKey key{0x0123456789abcdef, 0x3c6ef372fe94f82b, 0x0f1e2d3c4b5a6978, 0x8796a5b4c3d2e1f0};
  const FoldKey other{0x0123456789abcdef, 0x3c6ef372fe94f82b, 0x0f1e2d3c4b5a6978, 1};
  std::set<std::uint64_t> seen;
  std::size_t num_hashed = 0;
  const auto add = [&](std::uint64_t hash) {
    seen.insert(hash);
    ++num_hashed;
  };
  for (const std::size_t size : {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 63, 64, 65, 129, 200}) {
    std::string text(size, 'x');
    add(FoldHash(key, 1, text));
    add(FoldHash(key, 2, text));
    if (size != 0) add(FoldHash(other, 1, text));
    for (std::size_t i = 0; i < size; ++i) {
      for (const int bit : {0, 3, 7}) {
        text[i] = static_cast<char>('x' ^ (1 << bit));
        add(FoldHash(key, 1, text));
      }
      text[i] = 'x';
    }
    if (size >= 2) {
      text[0] = 'a';
      text[size - 1] = 'b';
      add(FoldHash(key, 1, text));
      std::swap(text[0], text[size - 1]);
      add(FoldHash(key, 1, text));
    }
  }
  CHECK(seen.size() == num_hashed);
}

TEST_CASE("hashes of numbered keys spread over few low bits") {
  const FoldKey key{0x0123456789abcdef, 0x3c6ef372fe94f82b, 0x0f1e2d3c4b5a6978, 0x8796a5b4c3d2e1f0};
  std::vector<int> in_bucket(256);
  for (int i = 0; i < 25'600; ++i) {
    ++in_bucket[FoldHash(key, 0, "message " + std::to_string(i)) & 255];
  }
  // 100 are expected in each, with a deviation of 10.
  for (const int num : in_bucket) CHECK((num > 45 && num < 160));
}

TEST_CASE("a count is found again, and only under its own key") {
  TextTable table(1 << 20);
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
  TextTable table(1000);
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
  TextTable table(200);
  table.Insert(std::string(200, 'x'), 1);
  CHECK(table.stats().num_entries == 0);
  TextTable none(0);
  none.Insert("a", 1);
  CHECK_FALSE(none.Find("a").has_value());
}

TEST_CASE("a failing allocation leaves the table as it was") {
  TextTable table(1 << 20);
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

TEST_CASE("equal bytes in other segments, other trust or another encoding are other keys") {
  using Segments = std::vector<tokenize::Segment>;
  CountTable table(1 << 20);
  const std::vector<Segments> all = {{{"ab", false}},
                                     {{"ab", true}},
                                     {{"a", false}, {"b", false}},
                                     {{"a", true}, {"b", false}},
                                     {{"", false}, {"ab", false}},
                                     {}};
  for (std::size_t i = 0; i < all.size(); ++i) {
    table.Insert(table.MakeKey("f", all[i]), static_cast<std::int64_t>(i));
  }
  for (std::size_t i = 0; i < all.size(); ++i) {
    CHECK(table.Find(table.MakeKey("f", all[i])) == static_cast<std::int64_t>(i));
    CHECK_FALSE(table.Find(table.MakeKey("g", all[i])).has_value());
  }
}

TEST_CASE("ids are stored, added to a count that is there, and appended") {
  const std::vector<tokenize::Segment> segments = {{"three", true}};
  CountTable table(1 << 20);
  const CountTable::Key key = table.MakeKey("f", segments);
  const std::vector<TokenId> stored = {TokenId{5}, TokenId{6}, TokenId{7}};
  std::vector<TokenId> ids = {TokenId{1}};
  table.Insert(key, 3);
  CHECK_FALSE(table.FindIds(key, ids));
  table.Insert(key, stored);
  CHECK(table.Find(key) == 3);
  CHECK(table.FindIds(key, ids));
  CHECK(ids == std::vector<TokenId>{TokenId{1}, TokenId{5}, TokenId{6}, TokenId{7}});
  table.Insert(key, 3);
  CHECK(table.FindIds(key, ids));
  CHECK(ids.size() == 7);
  CHECK(table.stats().num_entries == 1);
  table.Insert(table.MakeKey("g", segments), std::vector<TokenId>());
  CHECK(table.FindIds(table.MakeKey("g", segments), ids));
  CHECK(ids.size() == 7);
}

TEST_CASE("a failing allocation leaves a count without ids as it was") {
  const std::vector<tokenize::Segment> segments = {{"three", true}};
  CountTable table(1 << 20);
  const CountTable::Key key = table.MakeKey("f", segments);
  const std::vector<TokenId> stored = {TokenId{5}, TokenId{6}, TokenId{7}};
  table.Insert(key, 3);
  const auto size_bytes = table.stats().size_bytes;
  std::vector<TokenId> ids;
  const std::int64_t failures = testing::FailEveryAllocation(
      [&] {
        table.Insert(key, stored);
        if (!table.FindIds(key, ids)) throw std::bad_alloc();
      },
      [&] {
        CHECK(ids.empty());
        CHECK(table.Find(key) == 3);
        CHECK(table.stats().size_bytes >= size_bytes);
      });
  CHECK(failures > 0);
  CHECK(ids == stored);
}

TEST_CASE("the bound of a table of several shards holds, and what was used last stays") {
  constexpr std::int64_t kCapacity = 8 << 20;
  TextTable table(kCapacity);
  const std::string text(10'000, 'x');
  for (int i = 0; i < 2000; ++i) {
    table.Insert(text + std::to_string(i), i);
    CHECK(table.Find(text + std::to_string(i)) == i);
  }
  const CountTable::Stats stats = table.stats();
  CHECK(stats.size_bytes <= kCapacity);
  CHECK(stats.size_bytes > kCapacity / 2);
  CHECK(stats.num_entries + stats.evictions == 2000);
}

TEST_CASE("many threads find what any of them stored") {
  TextTable table(20'000);  // small, so that threads evict each other's entries
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
