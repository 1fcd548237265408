// Behaviour that the Python tests do not reach: failing allocations, threads, many calls.
#include "kv/manager.h"

#include <atomic>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <random>
#include <thread>

#include "common/error.h"
#include "doctest/doctest.h"
#include "support/alloc_failure.h"

namespace ctx::kv {
namespace {

using Ints = std::vector<std::int64_t>;
using Tokens = std::vector<TokenId>;

const prefix::Identity kNobody;

RowId Prefilled(KVCacheManager& manager, const Tokens& tokens,
                const prefix::Identity& identity = kNobody) {
  const Acquired acquired = manager.Acquire(tokens, identity).value();
  const std::int64_t rest = static_cast<std::int64_t>(tokens.size()) - acquired.num_cached_tokens;
  CHECK(manager.Reserve(Ints{acquired.row}, Ints{rest}).oom_row == kNoRow);
  manager.Settle(Ints{acquired.row}, Ints{rest}, {}, {});
  return acquired.row;
}

Tokens Iota(std::size_t count, TokenId first = 0) {
  Tokens tokens(count);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

// A manager in the middle of things: shared and copied blocks, idle blocks, open reservations,
// media.
struct Scene {
  explicit Scene(std::vector<Group> groups = {Group{}})
      : manager({.num_blocks = 48, .block_size = 4, .max_rows = 8, .groups = std::move(groups)}) {
    manager.Free(Ints{gone});
    manager.Free(Ints{fenced}, 5);
    manager.Reserve(Ints{b}, Ints{3});
    manager.Reserve(Ints{late}, Ints{2});
    manager.SettleLate(Ints{late}, Ints{2});
    manager.BeginLoad(loading, 6);
  }
  KVCacheManager manager;
  prefix::Identity identity{.cache_salt = "tenant",
                            .lora = prefix::Lora{"adapter", "a/path/too/long/to/be/stored/inline"},
                            .media = {{"image", 2, 5}}};
  RowId a = Prefilled(manager, Iota(10));
  RowId b = Prefilled(manager, Iota(13), identity);
  RowId c = manager.Fork(a).value();
  RowId gone = Prefilled(manager, Iota(9, 100));
  RowId fenced = Prefilled(manager, Iota(7, 200));
  RowId late = Prefilled(manager, Iota(3, 300));
  RowId loading = manager.Acquire(Iota(9, 400), kNobody).value().row;
};

// Runs a call that must be refused, for whichever reason comes first; a lack of memory passes on.
template <typename Call>
void Refused(Call call) {
  try {
    call();
  } catch (const Error&) {
    return;
  }
  FAIL("not refused");
}

TEST_CASE("every call survives every failing allocation unchanged") {
  const std::vector<std::pair<const char*, std::function<void(Scene&)>>> calls = {
      {"acquire", [](Scene& s) { s.manager.Acquire(Iota(11), s.identity); }},
      {"acquire plain", [](Scene& s) { s.manager.Acquire(Iota(14), kNobody); }},
      {"acquire short", [](Scene& s) { s.manager.Acquire(Iota(150, 9), s.identity); }},
      {"acquire on",
       [](Scene& s) {
         const Match match = s.manager.Lookup(Iota(10), kNobody);
         s.manager.Acquire(Iota(5, 50), kNobody, &match);
       }},
      {"lookup", [](Scene& s) { s.manager.Lookup(Iota(11), s.identity); }},
      {"settle late", [](Scene& s) { s.manager.SettleLate(Ints{s.b}, Ints{3}); }},
      {"tell", [](Scene& s) { s.manager.Tell(Ints{s.late}, Tokens{1, 2}, {}); }},
      {"begin load", [](Scene& s) { Refused([&] { s.manager.BeginLoad(s.loading, 1); }); }},
      {"finish load", [](Scene& s) { s.manager.FinishLoad(s.loading); }},
      {"fail load", [](Scene& s) { s.manager.FailLoad(s.loading, 5); }},
      {"free behind a fence", [](Scene& s) { s.manager.Free(Ints{s.a, s.b}, 9); }},
      {"advance fence", [](Scene& s) { s.manager.AdvanceFence(5); }},
      {"preempt", [](Scene& s) { s.manager.PreemptCandidates(40); }},
      {"stats", [](Scene& s) { s.manager.GetStats(); }},
      {"reserve", [](Scene& s) { s.manager.Reserve(Ints{s.a, s.b, s.c}, Ints{7, 2, 1}); }},
      {"reserve short", [](Scene& s) { s.manager.Reserve(Ints{s.a, s.c}, Ints{1, 160}); }},
      {"settle", [](Scene& s) { s.manager.Settle(Ints{s.b}, Ints{2}, Tokens{1, 2}, Ints{0, 2}); }},
      {"fork", [](Scene& s) { s.manager.Fork(s.a); }},
      {"truncate",
       [](Scene& s) {
         try {
           s.manager.Truncate(s.c, 9);
         } catch (const ArgumentError&) {  // with a linear state
         }
       }},
      {"free", [](Scene& s) { s.manager.Free(Ints{s.a, s.b}); }},
      {"evict", [](Scene& s) { s.manager.Evict(1); }},
      {"can_admit", [](Scene& s) { s.manager.CanAdmit(5); }},
      {"snapshot", [](Scene& s) { s.manager.GetSnapshot(); }},
      {"check", [](Scene& s) { s.manager.Check(); }},
      {"double free", [](Scene& s) { Refused([&] { s.manager.Free(Ints{s.a, s.a}); }); }},
      {"too long", [](Scene& s) { Refused([&] { s.manager.Acquire(Iota(193), kNobody); }); }},
  };
  const std::vector<std::vector<Group>> groups = {
      {Group{}}, {Group{}, {GroupKind::kSlidingWindow, 5}, {GroupKind::kLinearState, 0}}};
  for (std::size_t i = 0; i < calls.size() * groups.size(); ++i) {
    const auto& [name, call] = calls[i / groups.size()];
    CAPTURE(name);
    Scene scene(groups[i % groups.size()]);
    const Snapshot before = scene.manager.GetSnapshot();
    const Stats stats = scene.manager.GetStats();
    testing::FailEveryAllocation([&] { call(scene); },
                                 [&] {
                                   CHECK(scene.manager.GetSnapshot() == before);
                                   CHECK(scene.manager.GetStats().num_rows == stats.num_rows);
                                   scene.manager.Check();
                                 });
    scene.manager.Check();
  }
}

TEST_CASE("truncating a row with media survives every failing allocation") {
  KVCacheManager manager({.num_blocks = 8, .block_size = 4, .max_rows = 2});
  const prefix::Identity identity{.cache_salt = "a salt too long to be stored inline ...........",
                                  .lora = {},
                                  .media = {{"image", 5, 5}}};
  const RowId row = manager.Acquire(Iota(12), identity).value().row;
  const Snapshot before = manager.GetSnapshot();
  const auto failed = testing::FailEveryAllocation([&] { manager.Truncate(row, 7); },
                                                   [&] { CHECK(manager.GetSnapshot() == before); });
  CHECK(failed > 2);
  manager.Check();
}

TEST_CASE("constructing survives every failing allocation") {
  testing::FailEveryAllocation(
      [] { KVCacheManager({.num_blocks = 100, .block_size = 4, .max_rows = 8}); }, [] {});
}

TEST_CASE("sizes that cannot be are refused by name") {
  const auto refused = [](const Options& options, const char* what) {
    try {
      KVCacheManager manager(options);
    } catch (const ArgumentError& error) {
      return std::string(error.what()).find(what) != std::string::npos;
    }
    return false;
  };
  CHECK(refused({.num_blocks = 0, .block_size = 4}, "num_blocks is 0"));
  CHECK(refused({.num_blocks = -1, .block_size = 4}, "num_blocks is -1"));
  CHECK(
      refused({.num_blocks = std::int64_t{1} << 31, .block_size = 1}, "num_blocks is 2147483648"));
  CHECK(refused({.num_blocks = 4, .block_size = 0}, "block_size is 0"));
  CHECK(refused({.num_blocks = 4, .block_size = INT64_MAX}, "block_size is"));
  CHECK(refused({.num_blocks = 1 << 20, .block_size = 1 << 20}, "times block_size"));
  CHECK(refused({.num_blocks = 4, .block_size = 4, .max_rows = 0}, "max_rows is 0"));
  CHECK(refused({.num_blocks = 4, .block_size = 4, .max_rows = 1 << 21}, "max_rows is 2097152"));
  CHECK(refused({.num_blocks = 1 << 20, .block_size = 16, .max_rows = 1 << 20}, "a block table"));
}

TEST_CASE("memory is touched as it is used") {
  // 2^31 token slots and 2^27 blocks: many gigabytes, were they touched at once.
  KVCacheManager manager({.num_blocks = std::int64_t{1} << 27,
                          .block_size = 16,
                          .max_rows = 4,
                          .max_row_tokens = 1024});
  CHECK(manager.Acquire(Iota(1024), kNobody)->row == 0);
}

// One thread's random calls. Rows that it owns, with what it knows of them.
class Client {
 public:
  Client(KVCacheManager& manager, unsigned seed, TokenId alphabet)
      : manager_(manager), random_(seed), alphabet_(alphabet) {}

  void Call() {
    switch (Pick(12)) {
      case 0:
      case 1:
        Acquire();
        break;
      case 2:
        if (rows_.size() > 4) Free();
        break;
      case 3:
        if (!rows_.empty() && rows_.front().num_uncomputed == 0 && rows_.front().num_late == 0) {
          if (const auto child = manager_.Fork(rows_.front().row)) rows_.push_back({*child, 0, 0});
        }
        break;
      case 4:
        manager_.Evict(Pick(2));
        break;
      case 5:
        Load();
        break;
      case 6:
        Tell();
        break;
      case 7:
        for (const RowId row : manager_.PreemptCandidates(Pick(20))) CHECK(row >= 0);
        break;
      default:
        Decode();
    }
  }

  void Finish() {
    while (!rows_.empty()) Free();
  }

 private:
  struct Owned {
    std::int64_t row;
    std::int64_t num_uncomputed;  // prompt tokens still to compute
    std::int64_t num_late;        // computed tokens whose ids are still to be told
  };

  unsigned Pick(unsigned bound) { return static_cast<unsigned>(random_() % bound); }

  void Acquire() {
    Tokens tokens(1 + Pick(40));
    for (TokenId& token : tokens) token = Pick(10) == 0 ? Pick(alphabet_) : 0;
    prefix::Identity identity;
    if (Pick(3) == 0) identity.cache_salt = Pick(2) == 0 ? "a" : "b";
    const auto num_tokens = static_cast<std::int64_t>(tokens.size());
    try {
      if (const auto acquired = manager_.Acquire(tokens, identity)) {
        rows_.push_back({acquired->row, num_tokens - acquired->num_cached_tokens, 0});
      }
    } catch (const CapacityError&) {
    }
  }

  void Free() {
    const std::size_t i = Pick(static_cast<unsigned>(rows_.size()));
    manager_.Free(Ints{rows_[i].row});
    rows_.erase(rows_.begin() + static_cast<std::ptrdiff_t>(i));
  }

  void Load() {
    for (Owned& owned : rows_) {
      if (owned.num_uncomputed < 2) continue;
      const std::int64_t count = owned.num_uncomputed - 1;
      if (manager_.BeginLoad(owned.row, count).oom_row != kNoRow) return;
      const std::int64_t num_loaded = Pick(2) == 0 ? count : Pick(static_cast<unsigned>(count) + 1);
      if (num_loaded == count) {
        manager_.FinishLoad(owned.row);
      } else {
        manager_.FailLoad(owned.row, num_loaded);
      }
      owned.num_uncomputed -= num_loaded;
      return;
    }
  }

  void Tell() {
    for (Owned& owned : rows_) {
      if (owned.num_late == 0) continue;
      manager_.Tell(Ints{owned.row}, Tokens(static_cast<std::size_t>(owned.num_late), 1), {});
      owned.num_late = 0;
    }
  }

  void Decode() {
    Ints rows, counts, accepted;
    std::size_t num_ids = 0;
    const bool late = Pick(4) == 0;
    for (Owned& owned : rows_) {
      const bool is_prompt = owned.num_uncomputed > 0;
      rows.push_back(owned.row);
      counts.push_back(is_prompt ? owned.num_uncomputed : 1 + Pick(3));
      accepted.push_back(is_prompt ? owned.num_uncomputed : Pick(2));
      num_ids += static_cast<std::size_t>(is_prompt ? 0 : accepted.back() + owned.num_late);
    }
    bool reserved = false;
    try {
      reserved = manager_.Reserve(rows, counts).oom_row == kNoRow;
    } catch (const CapacityError&) {  // a row has filled its line of the table
    }
    if (!reserved) {
      if (!rows_.empty()) Free();
      return;
    }
    if (late) {
      manager_.SettleLate(rows, accepted);
    } else {
      manager_.Settle(rows, accepted, Tokens(num_ids, 0), {});
    }
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      Owned& owned = rows_[i];
      owned.num_late = owned.num_uncomputed > 0 || !late ? 0 : owned.num_late + accepted[i];
      owned.num_uncomputed = 0;
    }
  }

  KVCacheManager& manager_;
  std::mt19937 random_;
  TokenId alphabet_;
  std::vector<Owned> rows_;
};

// A million calls; CTXENGINE_KV_CALLS sets another number for a long run.
TEST_CASE("a million random calls keep every invariant") {
  const char* given = std::getenv("CTXENGINE_KV_CALLS");
  const std::int64_t num_calls = given == nullptr ? 1'000'000 : std::atoll(given);
  const std::vector<std::vector<Group>> groups = {
      {Group{}},
      {Group{}, {GroupKind::kSlidingWindow, 7}},
      {{GroupKind::kChunkedLocal, 10}, Group{}, {GroupKind::kLinearState, 0}},
      {{GroupKind::kSlidingWindow, 6}},  // nothing holds the beginning of a row
  };
  for (std::size_t i = 0; i < 2 * groups.size(); ++i) {
    CAPTURE(i);
    KVCacheManager manager({.num_blocks = 60,
                            .block_size = 4,
                            .max_rows = 12,
                            .max_row_tokens = 120,
                            .hash_bits = i % 2 == 0 ? 128 : 8,
                            .groups = groups[i / 2]});
    Client client(manager, static_cast<unsigned>(i), 3);
    const auto share = num_calls / static_cast<std::int64_t>(2 * groups.size());
    for (std::int64_t call = 0; call < share; ++call) {
      client.Call();
      if (call % 50 == 0) manager.Check();
    }
    client.Finish();
    manager.Check();
    const Stats stats = manager.GetStats();
    CHECK(stats.num_free + stats.num_idle == 60);
    CHECK(stats.num_hit_tokens > 1000);
    CHECK(stats.num_evicted > 1000);
    CHECK(stats.num_copied > 100);
  }
}

TEST_CASE("equal calls give equal states, whatever the hash") {
  std::vector<Snapshot> snapshots;
  for (const int hash_bits : {128, 8, 1}) {
    KVCacheManager manager(
        {.num_blocks = 40, .block_size = 2, .max_rows = 8, .hash_bits = hash_bits});
    Client client(manager, 7, 2);
    for (int i = 0; i < 3000; ++i) client.Call();
    snapshots.push_back(manager.GetSnapshot());
  }
  CHECK(snapshots[0] == snapshots[1]);
  CHECK(snapshots[0] == snapshots[2]);
}

TEST_CASE("threads share one manager") {
  KVCacheManager manager({.num_blocks = 80, .block_size = 4, .max_rows = 32});
  std::atomic<int> num_running = 8;
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 8; ++t) {
    threads.emplace_back([&manager, &num_running, t] {
      Client client(manager, t, 3);
      for (int i = 0; i < 4000; ++i) client.Call();
      client.Finish();
      --num_running;
    });
  }
  while (num_running > 0) {
    manager.Check();
    const Stats stats = manager.GetStats();
    CHECK(stats.num_free + stats.num_idle + stats.num_referenced == 80);
  }
  for (std::thread& thread : threads) thread.join();
  manager.Check();
  const Stats stats = manager.GetStats();
  CHECK(stats.num_free + stats.num_idle == 80);
  CHECK(stats.num_rows == 0);
}

TEST_CASE("threads racing for the last block: one wins") {
  for (int round = 0; round < 200; ++round) {
    KVCacheManager manager({.num_blocks = 3, .block_size = 4, .max_rows = 8});
    manager.Free(Ints{Prefilled(manager, Iota(8))});  // two idle blocks, one never used
    std::atomic<int> num_served = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < 2; ++t) {
      threads.emplace_back([&] { num_served += manager.Acquire(Iota(9), kNobody).has_value(); });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(num_served == 1);  // both hit the two idle blocks; the third block goes to one
    manager.Check();
  }
}

}  // namespace
}  // namespace ctx::kv
