// The slot mapping kernel, run from its own source by the executor, against an oracle that shares
// nothing with it: it walks each sequence token by token and counts.
#include "cuda/slot_mapping.h"

#include <cstdint>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "common/error.h"
#include "cuda/host_backend.h"
#include "doctest/doctest.h"
#include "executor.h"
#include "kernel_list.h"
#include "sparse_memory.h"

namespace ctx::cuda {
namespace {

using executor::Launch;
using executor::Mode;
using executor::Options;

constexpr Int64 kPoison = 0x5a5a5a5a5a5a5a5a;

/// A batch with its memory; strides larger than one leave poisoned gaps that must stay untouched.
struct Batch {
  Int64 num_rows, num_columns, block_size, num_tokens, num_slots;
  Int64 row_stride, token_stride, slot_stride;
  std::vector<Int32> tables, rows;
  std::vector<Int64> positions, slots;

  Batch(Int64 rows_, Int64 columns, Int64 size, Int64 tokens, Int64 extra_slots, Int64 gap)
      : num_rows(rows_),
        num_columns(columns),
        block_size(size),
        num_tokens(tokens),
        num_slots(tokens + extra_slots),
        row_stride(columns + gap),
        token_stride(1 + gap),
        slot_stride(1 + gap),
        tables(static_cast<std::size_t>(num_rows * row_stride), -7),
        rows(static_cast<std::size_t>(num_tokens * token_stride), 1 << 30),
        positions(static_cast<std::size_t>(num_tokens * token_stride), kPoison),
        slots(static_cast<std::size_t>(num_slots * slot_stride), kPoison) {}

  Int32& Block(Int64 row, Int64 column) {
    return tables[static_cast<std::size_t>(row * row_stride + column)];
  }
  Int32& Row(Int64 i) { return rows[static_cast<std::size_t>(i * token_stride)]; }
  Int64& Position(Int64 i) { return positions[static_cast<std::size_t>(i * token_stride)]; }

  SlotMappingArgs Args() {
    return {tables.data(), num_rows,     num_columns,      row_stride,   1,
            rows.data(),   token_stride, positions.data(), token_stride, num_tokens,
            block_size,    slots.data(), slot_stride,      num_slots};
  }
};

/// The slots that the definition gives, by enumeration: the slot after a slot is the next one, and
/// each block starts at its id times the block size, added up in 128 bits.
std::vector<Int64> Oracle(Batch& batch) {
  std::map<std::pair<Int64, Int64>, Int64> slot_of;
  for (Int64 row = 0; row < batch.num_rows; ++row) {
    Int64 position = 0;
    for (Int64 column = 0; column < batch.num_columns; ++column) {
      const Int32 block = batch.Block(row, column);
      __extension__ const __int128 start = static_cast<__int128>(block) * batch.block_size;
      for (Int64 offset = 0; offset < batch.block_size; ++offset, ++position) {
        slot_of[{row, position}] = block < 0 ? kInvalidSlot : static_cast<Int64>(start + offset);
      }
    }
  }
  std::vector<Int64> expected(batch.slots.size(), kPoison);
  for (Int64 i = 0; i < batch.num_slots; ++i) {
    Int64& slot = expected[static_cast<std::size_t>(i * batch.slot_stride)];
    slot = kPaddingSlot;
    if (i >= batch.num_tokens || batch.Row(i) < 0 || batch.Position(i) < 0) continue;
    const auto found = slot_of.find({batch.Row(i), batch.Position(i)});
    slot = found == slot_of.end() ? kInvalidSlot : found->second;
  }
  return expected;
}

Batch RandomBatch(std::mt19937_64& random, bool with_mistakes) {
  const auto pick = [&](Int64 low, Int64 high) {
    return std::uniform_int_distribution<Int64>(low, high)(random);
  };
  Batch batch(pick(1, 9), pick(1, 12), pick(1, 33), pick(0, 300), pick(0, 40), pick(0, 3));
  for (Int64 row = 0; row < batch.num_rows; ++row) {
    for (Int64 column = 0; column < batch.num_columns; ++column) {
      const bool none = with_mistakes && pick(0, 9) == 0;
      batch.Block(row, column) =
          none ? -1 : static_cast<Int32>(pick(0, std::numeric_limits<Int32>::max()));
    }
  }
  const Int64 end = batch.num_columns * batch.block_size;
  for (Int64 i = 0; i < batch.num_tokens; ++i) {
    const bool padding = pick(0, 9) == 0;
    batch.Row(i) = static_cast<Int32>(padding && pick(0, 1) == 0
                                          ? pick(std::numeric_limits<Int32>::min(), -1)
                                          : pick(0, batch.num_rows - 1 + (with_mistakes ? 2 : 0)));
    batch.Position(i) = padding ? -pick(1, 5) : pick(0, end - 1 + (with_mistakes ? 2 : 0));
    if (with_mistakes && pick(0, 40) == 0) {
      batch.Position(i) = std::numeric_limits<Int64>::max();
    }
  }
  return batch;
}

void RunKernel(Batch& batch, unsigned num_blocks, unsigned num_threads, const Options& options) {
  const SlotMappingArgs args = batch.Args();
  Launch({num_blocks}, {num_threads}, options, [&] { ctxengine_slot_mapping(args); });
}

#ifndef __SANITIZE_THREAD__  // TSan does not follow fibres
TEST_CASE("the kernel equals the oracle on random batches, any grid, any order") {
  std::mt19937_64 random(20240229);
  for (int round = 0; round < 200; ++round) {
    Batch batch = RandomBatch(random, round % 2 == 1);
    const std::vector<Int64> expected = Oracle(batch);
    // One thread; a tail block; more threads than slots.
    const std::pair<unsigned, unsigned> grids[] = {{1, 1}, {3, 32}, {2, 256}};
    const auto [num_blocks, num_threads] = grids[round % 3];
    RunKernel(batch, num_blocks, num_threads, {.seed = random()});
    REQUIRE(batch.slots == expected);
  }
}
#endif

TEST_CASE("the kernel is free of races with all its threads running at once") {
  std::mt19937_64 random(7);
  for (int round = 0; round < 5; ++round) {
    Batch batch = RandomBatch(random, true);
    const std::vector<Int64> expected = Oracle(batch);
    RunKernel(batch, 4, 16, {.mode = Mode::kThreads, .seed = random(), .overlap_blocks = true});
    REQUIRE(batch.slots == expected);
  }
}

TEST_CASE("the CPU backend equals the oracle where it does not throw") {
  std::mt19937_64 random(11);
  int num_errors = 0;
  for (int round = 0; round < 400; ++round) {
    Batch batch = RandomBatch(random, round % 2 == 1);
    const std::vector<Int64> expected = Oracle(batch);
    const bool mistaken = std::count(expected.begin(), expected.end(), kInvalidSlot) > 0;
    const std::vector<Int64> before = batch.slots;
    if (mistaken) {
      CHECK_THROWS_AS(SlotMappingOnHost(batch.Args()), ArgumentError);
      REQUIRE(batch.slots == before);
      ++num_errors;
    } else {
      SlotMappingOnHost(batch.Args());
      REQUIRE(batch.slots == expected);
    }
  }
  CHECK(num_errors > 50);
  CHECK(num_errors < 200);
}

TEST_CASE("the CPU backend says which token is wrong, and why") {
  Batch batch(2, 3, 16, 2, 0, 0);
  for (Int64 row = 0; row < 2; ++row) {
    for (Int64 column = 0; column < 3; ++column) batch.Block(row, column) = 5;
  }
  batch.Row(0) = 0;
  batch.Position(0) = 0;
  batch.Row(1) = 2;
  batch.Position(1) = 40;
  CHECK_THROWS_WITH(SlotMappingOnHost(batch.Args()),
                    "rows[1] = 2, but the block tables have 2 rows");
  batch.Row(1) = 1;
  batch.Position(1) = 48;
  CHECK_THROWS_WITH(
      SlotMappingOnHost(batch.Args()),
      "positions[1] = 48 lies in block 3 of its sequence, but the block tables have 3 "
      "columns");
  batch.Position(1) = 47;
  batch.Block(1, 2) = -1;
  CHECK_THROWS_WITH(SlotMappingOnHost(batch.Args()),
                    "positions[1] = 47: row 1 has no block in column 2");
}

TEST_CASE("slots and offsets far beyond 2^31 and 2^32") {
  // A table of 3 rows, 2^31 + 5 columns apart: element offsets up to 2^32 + 10, 16 GiB of
  // addresses.
  const Int64 row_stride = (Int64{1} << 31) + 5;
  const executor::SparseMemory memory(static_cast<std::size_t>(2 * row_stride + 8) * sizeof(Int32));
  Int32* const tables = memory.As<Int32>();
  const Int32 last = std::numeric_limits<Int32>::max();
  tables[row_stride + 1] = last;       // row 1
  tables[2 * row_stride + 2] = 70000;  // row 2
  const std::vector<Int32> rows = {1, 2, 1};
  const Int64 block_size = 65536;
  const std::vector<Int64> positions = {65536 + 9, 2 * 65536 + 65535, 2 * 65536 - 1};
  std::vector<Int64> slots(3, kPoison);
  const SlotMappingArgs args = {
      tables,       3, 4, row_stride, 1, rows.data(), 1, positions.data(), 1, 3, block_size,
      slots.data(), 1, 3};
  // By hand: (2^31 - 1) * 65536 + 9; 70000 * 65536 + 65535 (above 2^32); the last slot of block
  // `last`.
  const std::vector<Int64> expected = {140737488289792 + 9, 4587520000 + 65535, 140737488355327};
  Launch({1}, {3}, {.mode = Mode::kThreads}, [&] { ctxengine_slot_mapping(args); });
  CHECK(slots == expected);
  std::fill(slots.begin(), slots.end(), kPoison);
  SlotMappingOnHost(args);
  CHECK(slots == expected);
}

TEST_CASE("the largest block size and block id do not overflow") {
  const Int32 last = std::numeric_limits<Int32>::max();
  const std::vector<Int32> tables = {last};
  const std::vector<Int32> rows = {0};
  const std::vector<Int64> positions = {Int64{last} - 1};
  Int64 slot = kPoison;
  SlotMappingOnHost(
      {tables.data(), 1, 1, 1, 1, rows.data(), 1, positions.data(), 1, 1, last, &slot, 1, 1});
  // (2^31 - 1)^2 + 2^31 - 2 = 2^62 - 2^31 - 1
  CHECK(slot == 4611686016279904255);
}

}  // namespace
}  // namespace ctx::cuda
