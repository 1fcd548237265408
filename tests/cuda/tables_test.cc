// Device block tables: the kernels, run from their own source, against the CPU backend and against
// a model that plays each step with one queue of blocks and one vector of blocks a row.
#include "cuda/tables.h"

#include <algorithm>
#include <cstdint>
#include <deque>
#include <numeric>
#include <random>
#include <vector>

#include "common/error.h"
#include "cuda/host_backend.h"
#include "cuda/kernels.h"
#include "doctest/doctest.h"
#include "executor.h"
#include "kernel_list.h"

namespace ctx::cuda {
namespace {

using executor::Mode;

/// One set of tables with its memory.
struct State {
  Int64 num_groups, max_rows, num_columns, block_size;
  std::vector<Int32> tables, lengths, ring;
  std::vector<Int64> counters = {0, 0};

  State(Int64 groups, Int64 rows, Int64 columns, Int64 size, Int64 ring_size)
      : num_groups(groups),
        max_rows(rows),
        num_columns(columns),
        block_size(size),
        tables(static_cast<std::size_t>(groups * rows * columns), -1),
        lengths(static_cast<std::size_t>(rows), 0),
        ring(static_cast<std::size_t>(ring_size), -9) {}

  BlockTables View() {
    return {tables.data(), lengths.data(), ring.data(), counters.data(),
            num_groups,    max_rows,       num_columns, static_cast<Int64>(ring.size()),
            block_size};
  }
  friend bool operator==(const State&, const State&) = default;
};

template <typename Args>
void Run(const Kernel<Args>& kernel, Args args, unsigned num_blocks, unsigned threads,
         const executor::Options& options) {
  void* parameters[] = {&args};
  executor::Launch({num_blocks}, {threads}, options, AllKernels().at(kernel.name)(parameters));
}

struct Batch {
  std::vector<Int32> rows;
  std::vector<Int64> slots;
  Int32 oom_row = -5;

  Batch(const std::vector<Int32>& batch, Int64 num_groups)
      : rows(batch), slots(batch.size() * static_cast<std::size_t>(num_groups), 77) {}
  DecodeAppendArgs Args(State& state) {
    const auto count = static_cast<Int64>(rows.size());
    return {state.View(), rows.data(), 1, count, slots.data(), count, 1, &oom_row};
  }
};

executor::Options AnyOrder(std::mt19937_64& random) {
#ifdef __SANITIZE_THREAD__  // TSan does not follow fibres
  return {.mode = Mode::kThreads, .seed = random()};
#else
  return {.mode = Mode::kFibers, .seed = random()};
#endif
}

#ifdef __SANITIZE_THREAD__
constexpr int kSteps = 60;
#else
constexpr int kSteps = 10000;
#endif

TEST_CASE("decode steps on device, host and by the model are the same, bit for bit") {
  std::mt19937_64 random(20240303);
  const auto pick = [&](Int64 low, Int64 high) {
    return std::uniform_int_distribution<Int64>(low, high)(random);
  };
  int num_out = 0;
  int num_wraps = 0;
  for (int step = 0; step < kSteps;) {
    const Int64 groups = pick(1, 3);
    const Int64 rows = pick(1, 20);
    const Int64 columns = pick(1, 6);
    const Int64 size = pick(1, 5);
    State device(groups, rows, columns, size, groups * rows * columns / 2 + 3);
    State host = device;
    std::deque<Int32> queue;
    std::vector<std::vector<std::vector<Int32>>> blocks(
        static_cast<std::size_t>(groups),
        std::vector<std::vector<Int32>>(static_cast<std::size_t>(rows)));
    std::vector<Int64> lengths(static_cast<std::size_t>(rows), 0);
    Int32 next_block = static_cast<Int32>(pick(0, 2000000000));
    for (int i = 0; i < 40; ++i, ++step) {
      // The host hands out blocks, now and then too few.
      std::vector<Int32> given(static_cast<std::size_t>(
          std::min(pick(0, 2 * groups * rows / size + 2),
                   static_cast<Int64>(device.ring.size() - queue.size()))));
      for (Int32& block : given) block = next_block++;
      queue.insert(queue.end(), given.begin(), given.end());
      const auto push = [&](State& state) {
        return RingPushArgs{state.View(), given.data(), 1, static_cast<Int64>(given.size()),
                            nullptr};
      };
      Run(kRingPush, push(device), 1, 8, AnyOrder(random));
      RingPushOnHost(push(host));
      REQUIRE(device == host);

      std::vector<Int32> all(static_cast<std::size_t>(rows));
      std::iota(all.begin(), all.end(), 0);
      std::shuffle(all.begin(), all.end(), random);
      all.resize(static_cast<std::size_t>(pick(0, rows)));
      for (Int32& row : all) {
        if (pick(0, 7) == 0 || lengths[static_cast<std::size_t>(row)] == columns * size) row = -1;
      }
      Batch batch(all, groups);
      Batch mirror = batch;
      Run(kDecodeAppend, batch.Args(device), 1, static_cast<unsigned>(pick(1, 40)),
          AnyOrder(random));
      DecodeAppendOnHost(mirror.Args(host));
      REQUIRE(device == host);
      REQUIRE(batch.slots == mirror.slots);
      REQUIRE(batch.oom_row == mirror.oom_row);

      // The model: a row in turn takes from the queue, and all is undone when it runs dry.
      std::vector<Int64> expected(batch.slots.size(), kPaddingSlot);
      auto left = queue;
      auto tables = blocks;
      auto tokens = lengths;
      Int32 oom_row = -1;
      for (std::size_t at = 0; at < all.size() && oom_row < 0; ++at) {
        if (all[at] < 0) continue;
        const auto row = static_cast<std::size_t>(all[at]);
        if (tokens[row] % size == 0 && static_cast<Int64>(left.size()) < groups) {
          oom_row = all[at];
          break;
        }
        for (std::size_t g = 0; g < static_cast<std::size_t>(groups); ++g) {
          if (tokens[row] % size == 0) {
            tables[g][row].push_back(left.front());
            left.pop_front();
          }
          expected[g * all.size() + at] = Int64{tables[g][row].back()} * size + tokens[row] % size;
        }
        ++tokens[row];
      }
      REQUIRE(batch.oom_row == oom_row);
      if (oom_row >= 0) {
        ++num_out;
        REQUIRE(batch.slots == std::vector<Int64>(batch.slots.size(), kPaddingSlot));
        continue;
      }
      REQUIRE(batch.slots == expected);
      queue = left;
      blocks = tables;
      lengths = tokens;
      num_wraps += device.counters[0] > static_cast<Int64>(device.ring.size()) ? 1 : 0;
    }
  }
  CHECK(num_out > 0);
  CHECK((num_wraps > 0 || kSteps < 1000));
}

TEST_CASE("8,192 sequences in one launch") {
  State device(2, 8192, 2, 16, 40000);
  std::vector<Int32> given(40000);
  std::iota(given.begin(), given.end(), 5);
  RingPushOnHost({device.View(), given.data(), 1, 40000, nullptr});
  for (std::size_t row = 0; row < 8192; row += 3) device.lengths[row] = 3;
  for (Int32& block : device.tables) block = 1;
  State host = device;
  std::vector<Int32> rows(8192);
  std::iota(rows.begin(), rows.end(), 0);
  Batch batch(rows, 2);
  Batch mirror = batch;
  Run(kDecodeAppend, batch.Args(device), 1, 32, {.mode = Mode::kThreads});
  DecodeAppendOnHost(mirror.Args(host));
  CHECK(batch.slots == mirror.slots);
  CHECK(device == host);
  CHECK(device.counters[0] == 2 * 5461);  // every row but each third starts a block
}

TEST_CASE("mistakes: the device marks the row and leaves it alone, the host says which") {
  State device(1, 3, 2, 4, 8);
  device.lengths = {8, 2, 0};  // full; without its block; fine
  std::vector<Int32> given = {70, 71};
  RingPushOnHost({device.View(), given.data(), 1, 2, nullptr});
  State host = device;
  Batch batch({3, 0, 1, 2, -4}, 1);
  Run(kDecodeAppend, batch.Args(device), 1, 4, {.mode = Mode::kThreads});
  CHECK(batch.slots == std::vector<Int64>{-2, -2, -2, 280, -1});
  CHECK(device.lengths == std::vector<Int32>{8, 2, 1});
  const auto message = [&](std::vector<Int32> rows, const char* expected) {
    Batch one(rows, 1);
    const State before = host;
    CHECK_THROWS_WITH_AS(DecodeAppendOnHost(one.Args(host)), expected, ArgumentError);
    CHECK(host == before);
  };
  message({2, 3}, "rows[1] = 3, but the block tables have 3 rows");
  message({0}, "rows[0] = 0 has 8 tokens; the tables hold 8");
  message({1}, "rows[0] = 1 has 2 tokens, but no block in column 0");
  message({2, 2}, "row 2 comes twice in rows");

  std::vector<Int32> many(7, 1);
  CHECK_THROWS_AS(RingPushOnHost({host.View(), many.data(), 1, 7, nullptr}), CapacityError);
  Int32 skipped = 0;
  const State before = device;
  Run(kRingPush, {device.View(), many.data(), 1, 8, &skipped}, 1, 4, {.mode = Mode::kThreads});
  CHECK(skipped == 8);
  CHECK(device == before);
}

TEST_CASE("a patch writes the cells of all groups, and none outside") {
  std::mt19937_64 random(4);
  for (int round = 0; round < 100; ++round) {
    State device(3, 5, 4, 16, 1);
    State expected = device;
    std::vector<Int32> cells(60);
    std::iota(cells.begin(), cells.end(), 0);
    std::shuffle(cells.begin(), cells.end(), random);
    std::vector<Int32> entries;
    Int32 wrong = 0;
    for (std::size_t i = 0; i < random() % 60; ++i) {
      Int32 entry[] = {cells[i] % 5, cells[i] / 5 % 4, static_cast<Int32>(random() >> 33),
                       cells[i] / 20};
      if (random() % 10 == 0) {
        entry[0] = -1;
      } else if (random() % 10 == 0) {
        const Int32 outside[] = {5, 4, 0, 3};
        const int field = std::vector<int>{0, 1, 3}[random() % 3];
        entry[field] = random() % 2 == 0 ? outside[field] : std::numeric_limits<Int32>::max();
        ++wrong;
      } else {
        expected.tables[static_cast<std::size_t>((entry[3] * 5 + entry[0]) * 4 + entry[1])] =
            entry[2];
      }
      entries.insert(entries.end(), entry, entry + 4);
    }
    const auto count = static_cast<Int64>(entries.size() / 4);
    State host = device;
    Int32 skipped = 0;
    Run(kTablePatch, {device.View(), entries.data(), count, &skipped}, 2, 8,
        {.mode = Mode::kThreads, .seed = random(), .overlap_blocks = true});
    CHECK(device == expected);
    CHECK(skipped == wrong);
    if (wrong > 0) {
      const State before = host;
      CHECK_THROWS_AS(TablePatchOnHost({host.View(), entries.data(), count, nullptr}),
                      ArgumentError);
      CHECK(host == before);
    } else {
      TablePatchOnHost({host.View(), entries.data(), count, nullptr});
      CHECK(host == expected);
    }
  }
}

}  // namespace
}  // namespace ctx::cuda
