// kv_write: the kernels, run from their own source, against the CPU backend (which the Python tests
// hold against numpy and ml_dtypes). The backend shares the arithmetic of one element with them,
// and nothing else.
#include "cuda/kv_write.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "common/error.h"
#include "cuda/kernels.h"
#include "cuda/kv_write_plan.h"
#include "doctest/doctest.h"
#include "executor.h"
#include "kernel_list.h"
#include "sparse_memory.h"

namespace ctx::cuda {
namespace {

using executor::Launch;
using executor::Mode;

/// A batch with all its memory. Everything is exactly as large as it must be.
struct Batch {
  KVLayout layout;
  KVFormat format;
  std::vector<std::vector<unsigned short>> inputs;
  std::vector<float> scales;
  std::vector<std::vector<float>> scales_out;
  std::vector<Int64> slots;
  std::vector<unsigned char> memory;
  std::vector<Int64> head_sizes;
  bool is_bfloat16 = true;
  std::size_t misalignment = 0;
  Int32 num_skipped = 0;

  Int64 num_tokens() const { return static_cast<Int64>(slots.size()); }
  KVWriteArgs Args() {
    const std::uintptr_t address = reinterpret_cast<std::uintptr_t>(memory.data()) + misalignment;
    const Pool pool(layout, {&address, 1});
    std::vector<KVInput> parts;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const Int64 size = head_sizes[i];
      KVInput input{reinterpret_cast<const unsigned char*>(inputs[i].data()),
                    2 * layout.num_heads * size,
                    2 * size,
                    layout.num_heads,
                    size,
                    nullptr,
                    0,
                    nullptr,
                    0,
                    0,
                    0};
      if (format == KVFormat::kE4m3) {
        input.scales = scales.data();
        input.scale_stride = scales.size() == 1 ? 0 : 1;
      }
      if (format == KVFormat::kInt8) {
        input.scales_out = reinterpret_cast<unsigned char*>(scales_out[i].data());
        input.scale_head_stride = 4;
        input.scale_token_stride = 4 * layout.num_heads;
        input.scale_block_stride = 4 * layout.num_heads * layout.block_size;
      }
      parts.push_back(input);
    }
    return PlanKVWrite({pool, layout.num_layers - 1, format, is_bfloat16, parts, slots.data(), 1,
                        num_tokens(), &num_skipped});
  }
};

Batch RandomBatch(std::mt19937_64& random, bool with_mistakes) {
  const auto pick = [&](Int64 low, Int64 high) {
    return std::uniform_int_distribution<Int64>(low, high)(random);
  };
  Batch batch;
  batch.format = static_cast<KVFormat>(pick(0, 3));
  const bool mla = batch.format == KVFormat::kTileE4m3 || pick(0, 3) == 0;
  if (batch.format == KVFormat::kInt8 && mla) batch.format = KVFormat::kE4m3;
  const Int64 head = mla ? 1 : pick(1, 3);
  const Int64 sizes[] = {1, 8, 20, 64, 80, 128, 136};
  batch.head_sizes = {sizes[pick(0, 6)], 0};
  batch.head_sizes[1] = mla ? sizes[pick(0, 6)] : batch.head_sizes[0];
  if (batch.format == KVFormat::kTileE4m3) {  // entries hold floats: a multiple of 4 bytes
    batch.head_sizes = {128 * pick(1, 4), 2 * sizes[pick(0, 6)]};
  }
  const Int64 first = batch.head_sizes[0];
  const Int64 second = mla ? batch.head_sizes[1] : 0;
  const Int64 entry = batch.format == KVFormat::kCopy       ? 2 * (first + second)
                      : batch.format == KVFormat::kTileE4m3 ? first + first / 32 + 2 * second
                                                            : first + second;
  const Int64 blocks = pick(1, 5);
  const Int64 tokens = pick(1, 6);
  const bool hnd = pick(0, 1) == 1;
  KVLayout layout{2, mla ? 1 : 2, blocks, tokens, head, entry, 0, 0, 0, 0, 0};
  layout.head_stride = hnd ? entry * tokens : entry;
  layout.token_stride = hnd ? entry : entry * head;
  layout.block_stride = entry * tokens * head;
  layout.kv_stride = layout.block_stride * blocks;
  layout.layer_stride = layout.kv_stride * layout.num_kv;
  batch.layout = layout;
  batch.misalignment = static_cast<std::size_t>(4 * pick(0, 1));
  batch.memory.assign(static_cast<std::size_t>(SpanBytes(layout)) + batch.misalignment, 0xaa);
  batch.is_bfloat16 = pick(0, 1) == 1;
  std::vector<Int64> all(static_cast<std::size_t>(blocks * tokens));
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<Int64>(i);
  std::shuffle(all.begin(), all.end(), random);
  all.resize(static_cast<std::size_t>(pick(0, static_cast<Int64>(all.size()))));
  for (Int64& slot : all) {
    if (pick(0, 5) == 0) slot = -pick(1, 2);
    if (with_mistakes && pick(0, 5) == 0) {
      slot = pick(0, 1) == 0 ? blocks * tokens : std::numeric_limits<Int64>::max();
    }
  }
  batch.slots = all;
  for (int i = 0; i < 2; ++i) {
    const auto size = static_cast<std::size_t>(batch.num_tokens() * head * batch.head_sizes[i]);
    std::vector<unsigned short> input(size);
    for (auto& element : input) {
      element = static_cast<unsigned short>(random());
      // int8 wants finite values: no exponent of all ones.
      if (batch.format == KVFormat::kInt8) element &= static_cast<unsigned short>(0xbbff);
    }
    batch.inputs.push_back(std::move(input));
    batch.scales_out.emplace_back(static_cast<std::size_t>(blocks * tokens * head), -7.0f);
  }
  batch.scales = pick(0, 1) == 0 ? std::vector<float>{0.25f} : std::vector<float>{0.3f, 2, 40};
  batch.scales.resize(batch.scales.size() == 1 ? 1 : static_cast<std::size_t>(head));
  return batch;
}

/// What the batch's memory must hold afterwards: the valid tokens by the CPU backend.
Batch Expected(const Batch& batch) {
  Batch expected = batch;
  const Int64 num_slots = batch.layout.num_blocks * batch.layout.block_size;
  for (Int64& slot : expected.slots) {
    if (slot >= num_slots) {
      slot = -1;
      ++expected.num_skipped;
    }
  }
  KVWriteOnHost(expected.Args());
  return expected;
}

void RunKernel(Batch& batch, Int32 num_elements, unsigned num_blocks, unsigned threads,
               const executor::Options& options) {
  KVWriteArgs args = batch.Args();
  if (num_elements == 8 && ElementsPerVector(args) != 8) num_elements = 1;
  void* parameters[] = {&args};
  const auto& kernel = num_elements == 8 ? kKVWrite8 : kKVWrite1;
  Launch({num_blocks}, {threads}, options, AllKernels().at(kernel.name)(parameters));
}

void CheckEqual(const Batch& batch, const Batch& expected) {
  REQUIRE(batch.memory == expected.memory);
  REQUIRE(batch.scales_out == expected.scales_out);
  REQUIRE(batch.num_skipped == expected.num_skipped);
}

#ifndef __SANITIZE_THREAD__  // TSan does not follow fibres
TEST_CASE("the kernels equal the CPU backend in every format, any grid, any order") {
  std::mt19937_64 random(20240302);
  int num_wide = 0;
  int num_skipped = 0;
  for (int round = 0; round < 300; ++round) {
    Batch batch = RandomBatch(random, round % 2 == 1);
    const Batch expected = Expected(batch);
    const std::pair<unsigned, unsigned> grids[] = {{1, 16}, {3, 32}, {2, 256}};
    const auto [num_blocks, num_threads] = grids[round % 3];
    num_wide += ElementsPerVector(batch.Args()) == 8 ? 1 : 0;
    RunKernel(batch, 8, num_blocks, num_threads, {.seed = random()});
    CheckEqual(batch, expected);
    num_skipped += expected.num_skipped;
  }
  CHECK(num_wide > 30);
  CHECK(num_skipped > 30);
}
#endif

TEST_CASE("the kernels are free of races with all threads of a block running at once") {
  std::mt19937_64 random(8);
  for (int round = 0; round < 12; ++round) {
    Batch batch = RandomBatch(random, true);
    const Batch expected = Expected(batch);
    RunKernel(batch, round % 2 == 0 ? 8 : 1, 2, 32, {.mode = Mode::kThreads, .seed = random()});
    CheckEqual(batch, expected);
  }
}

TEST_CASE("wide and narrow vectors write the same") {
  std::mt19937_64 random(9);
  int num_wide = 0;
  while (num_wide < 10) {
    Batch batch = RandomBatch(random, false);
    if (ElementsPerVector(batch.Args()) != 8) continue;
    ++num_wide;
    const Batch expected = Expected(batch);
    RunKernel(batch, 1, 2, 32, {.mode = Mode::kThreads});
    CheckEqual(batch, expected);
  }
}

TEST_CASE("a pool of 144 GB: slots whose bytes lie beyond 2^37") {
  KVLayout layout{1, 2, 2197265, 16, 8, 256, 0, 72000000000, 32768, 2048, 256};
  const executor::SparseMemory memory(144000000000);
  const auto address = reinterpret_cast<std::uintptr_t>(memory.As<unsigned char>());
  const Pool pool(layout, {&address, 1});
  std::vector<unsigned short> key(8 * 128, 0x1234);
  std::vector<unsigned short> value(8 * 128, 0x5678);
  const std::vector<Int64> slots = {2197265 * Int64{16} - 1};
  std::vector<KVInput> inputs;
  for (const auto* const array : {&key, &value}) {
    inputs.push_back({reinterpret_cast<const unsigned char*>(array->data()), 2048, 256, 8, 128,
                      nullptr, 0, nullptr, 0, 0, 0});
  }
  KVWriteArgs args =
      PlanKVWrite({pool, 0, KVFormat::kCopy, true, inputs, slots.data(), 1, 1, nullptr});
  CHECK(ElementsPerVector(args) == 8);
  void* parameters[] = {&args};
  Launch({1}, {256}, {.mode = Mode::kThreads}, AllKernels().at("ctxengine_kv_write_8")(parameters));
  const Int64 last = 2197264 * Int64{32768} + 15 * 2048;
  const auto* const keys =
      reinterpret_cast<const unsigned short*>(memory.As<unsigned char>() + last);
  const auto* const values =
      reinterpret_cast<const unsigned short*>(memory.As<unsigned char>() + 72000000000 + last);
  CHECK(std::vector<unsigned short>(keys, keys + 1024) == key);
  CHECK(std::vector<unsigned short>(values, values + 1024) == value);
  CHECK(keys[-1] == 0);
}

TEST_CASE("what an entry cannot hold is refused") {
  std::mt19937_64 random(10);
  Batch batch;
  do {
    batch = RandomBatch(random, false);
  } while (batch.format != KVFormat::kCopy || batch.layout.num_kv != 2);
  batch.layout.block_stride += 1;
  batch.layout.kv_stride = batch.layout.block_stride * batch.layout.num_blocks;
  batch.layout.layer_stride = batch.layout.kv_stride * 2;
  CHECK_THROWS_WITH_AS(batch.Args(), "the pool's entries are not aligned to 2 bytes",
                       ArgumentError);
}

}  // namespace
}  // namespace ctx::cuda
