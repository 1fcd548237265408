// Block copies, run from the kernels' own source and by the CPU backend, against an oracle that
// visits every entry by its five indices and adds up nothing but index times stride.
#include "cuda/block_copy.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "common/error.h"
#include "cuda/block_copy_plan.h"
#include "cuda/kernels.h"
#include "cuda/runtime.h"
#include "doctest/doctest.h"
#include "executor.h"
#include "kernel_list.h"
#include "sparse_memory.h"

namespace ctx::cuda {
namespace {

using executor::Launch;
using executor::Mode;

constexpr unsigned char kPoison = 0xa5;

/// A dense layout with its dimensions in `order`, from the outermost: l, k(v), b, t, h; `gap` bytes
/// are left behind each of the outermost.
KVLayout Layout(const char* order, Int64 layers, Int64 kv, Int64 blocks, Int64 tokens, Int64 heads,
                Int64 entry_bytes, Int64 gap = 0) {
  KVLayout layout{layers, kv, blocks, tokens, heads, entry_bytes, 0, 0, 0, 0, 0};
  Int64 stride = entry_bytes;
  for (const char* at = order + std::strlen(order); at-- != order;) {
    if (at == order) stride += gap;
    const std::pair<Int64*, Int64> dimension =
        *at == 'l'   ? std::pair(&layout.layer_stride, layers)
        : *at == 'k' ? std::pair(&layout.kv_stride, kv)
        : *at == 'b' ? std::pair(&layout.block_stride, blocks)
        : *at == 't' ? std::pair(&layout.token_stride, tokens)
                     : std::pair(&layout.head_stride, heads);
    *dimension.first = stride;
    stride *= dimension.second;
  }
  return layout;
}

// NHD, HND, K and V in one block, fused in the last dimension, page-first, page-head.
constexpr std::array<const char*, 6> kOrders = {"lkbth", "lkbht", "lbkth",
                                                "lbthk", "blkth", "bhtlk"};

/// A pool and its memory: one tensor, or one for each layer, or for each layer's K and V.
struct Memory {
  std::vector<std::vector<unsigned char>> tensors;
  std::vector<std::uintptr_t> addresses;
  Pool pool;

  Memory(const KVLayout& layout, int num_split, std::size_t misalignment)
      : tensors(num_split == 0   ? 1
                : num_split == 1 ? static_cast<std::size_t>(layout.num_layers)
                                 : static_cast<std::size_t>(layout.num_layers * layout.num_kv)),
        addresses(Allocate(layout, misalignment)),
        pool(layout, addresses) {}

  void Fill(std::mt19937_64& random) {
    for (auto& tensor : tensors) {
      for (unsigned char& byte : tensor) byte = static_cast<unsigned char>(random());
    }
  }
  unsigned char* Entry(Int64 l, Int64 k, Int64 b, Int64 t, Int64 h) {
    const KVLayout& x = pool.layout();
    Int64 offset = b * x.block_stride + t * x.token_stride + h * x.head_stride;
    std::size_t tensor = 0;
    if (tensors.size() == 1) {
      offset += l * x.layer_stride + k * x.kv_stride;
    } else if (tensors.size() == static_cast<std::size_t>(x.num_layers)) {
      offset += k * x.kv_stride;
      tensor = static_cast<std::size_t>(l);
    } else {
      tensor = static_cast<std::size_t>(l * x.num_kv + k);
    }
    return reinterpret_cast<unsigned char*>(addresses[tensor]) + offset;
  }

 private:
  std::vector<std::uintptr_t> Allocate(const KVLayout& layout, std::size_t misalignment) {
    KVLayout inner = layout;  // of one tensor
    if (tensors.size() > 1) inner.num_layers = 1;
    if (tensors.size() > static_cast<std::size_t>(layout.num_layers)) inner.num_kv = 1;
    const auto bytes = static_cast<std::size_t>(SpanBytes(inner));
    std::vector<std::uintptr_t> starts;
    for (auto& tensor : tensors) {
      tensor.assign(bytes + misalignment, kPoison);  // ends where the memory ends, for ASan
      starts.push_back(reinterpret_cast<std::uintptr_t>(tensor.data()) + misalignment);
    }
    return starts;
  }
};

struct Case {
  Memory source;
  Memory target;
  std::vector<Int32> source_blocks, target_blocks;  // empty: item i is block i
  Int64 num_items;

  BlockCopyCall Call(Int32* skipped = nullptr) {
    return {source.pool, {source_blocks.empty() ? nullptr : source_blocks.data(), 1, "source", ""},
            target.pool, {target_blocks.empty() ? nullptr : target_blocks.data(), 1, "target", ""},
            num_items,   skipped};
  }
  /// What the target's memory must hold afterwards, and how many items are outside.
  std::pair<std::vector<std::vector<unsigned char>>, Int32> Expected() {
    const auto before = target.tensors;
    Int32 skipped = 0;
    const KVLayout& x = source.pool.layout();
    for (Int64 i = 0; i < num_items; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const Int64 from = source_blocks.empty() ? i : source_blocks[at];
      const Int64 to = target_blocks.empty() ? i : target_blocks[at];
      if (from < -1 || from >= x.num_blocks || to < -1 || to >= target.pool.layout().num_blocks) {
        ++skipped;
        continue;
      }
      if (from < 0 || to < 0) continue;
      for (Int64 l = 0; l < x.num_layers; ++l)
        for (Int64 k = 0; k < x.num_kv; ++k)
          for (Int64 t = 0; t < x.block_size; ++t)
            for (Int64 h = 0; h < x.num_heads; ++h)
              std::memcpy(target.Entry(l, k, to, t, h), source.Entry(l, k, from, t, h),
                          static_cast<std::size_t>(x.entry_bytes));
    }
    auto expected = target.tensors;
    target.tensors = before;
    // The vectors were copied, so the addresses have moved.
    for (std::size_t i = 0; i < before.size(); ++i) {
      std::memcpy(reinterpret_cast<void*>(target.tensors[i].data()), before[i].data(),
                  before[i].size());
    }
    return {expected, skipped};
  }
};

/// Runs the kernel as Runtime::Launch would, with `threads` a block.
void RunKernel(const BlockCopyCall& call, unsigned num_blocks, unsigned threads,
               const executor::Options& options) {
  BlockCopyArgs args = PlanBlockCopy(call, threads);
  const char* const name = CopyBlocksKernel(args.vector_bytes).name;
  void* parameters[] = {&args};
  Launch({num_blocks}, {threads}, options, AllKernels().at(name)(parameters));
}

Case RandomCase(std::mt19937_64& random, bool with_mistakes) {
  const auto pick = [&](Int64 low, Int64 high) {
    return std::uniform_int_distribution<Int64>(low, high)(random);
  };
  const Int64 entry_sizes[] = {2, 4, 8, 16, 24, 80, 128, 576, 656};
  const Int64 layers = pick(1, 3);
  const Int64 kv = pick(1, 2);
  const Int64 tokens = pick(1, 5);
  const Int64 heads = pick(1, 4);
  const Int64 entry = entry_sizes[pick(0, 8)];
  const auto layout = [&](Int64 blocks) {
    return Layout(kOrders[static_cast<std::size_t>(pick(0, 5))], layers, kv, blocks, tokens, heads,
                  entry, 16 * pick(0, 1) + 2 * pick(0, 1));
  };
  const auto split = [&](const KVLayout& x) {
    const bool layer_outermost = x.layer_stride > x.block_stride && x.layer_stride > x.kv_stride;
    const int limit = !layer_outermost ? 0 : x.kv_stride > x.block_stride && kv == 2 ? 2 : 1;
    return layers == 1 ? 0 : static_cast<int>(pick(0, limit));
  };
  const auto misalignment = [&] {
    const std::size_t values[] = {0, 0, 8, 4, 2};
    return values[pick(0, 4)];
  };
  const KVLayout from = layout(pick(1, 9));
  const KVLayout to = layout(pick(1, 9));
  Case result{
      Memory(from, split(from), misalignment()), Memory(to, split(to), misalignment()), {}, {}, 0};
  result.source.Fill(random);
  result.target.Fill(random);
  const Int64 least = std::min(from.num_blocks, to.num_blocks);
  result.num_items = pick(0, least);
  if (pick(0, 3) > 0) {
    for (Int64 i = 0; i < result.num_items; ++i) {
      result.source_blocks.push_back(static_cast<Int32>(pick(0, from.num_blocks - 1)));
    }
  }
  if (pick(0, 3) > 0) {
    std::vector<Int32> ids(static_cast<std::size_t>(to.num_blocks));
    std::iota(ids.begin(), ids.end(), 0);
    std::shuffle(ids.begin(), ids.end(), random);
    ids.resize(static_cast<std::size_t>(result.num_items));
    result.target_blocks = ids;
  }
  const Int32 wrong[] = {-2, std::numeric_limits<Int32>::min(), std::numeric_limits<Int32>::max()};
  for (auto* ids : {&result.source_blocks, &result.target_blocks}) {
    for (Int32& id : *ids) {
      if (pick(0, 9) == 0) id = -1;
      if (with_mistakes && pick(0, 5) == 0) id = wrong[pick(0, 2)];
      if (with_mistakes && pick(0, 9) == 0) id = 9;
    }
  }
  return result;
}

#ifndef __SANITIZE_THREAD__  // TSan does not follow fibres
TEST_CASE("the kernels equal the oracle for any two layouts, any grid, any order") {
  std::mt19937_64 random(20240301);
  int num_skipped = 0;
  for (int round = 0; round < 400; ++round) {
    Case it = RandomCase(random, round % 2 == 1);
    const auto [expected, skipped] = it.Expected();
    Int32 counted = 0;
    const std::pair<unsigned, unsigned> grids[] = {{1, 1}, {3, 32}, {2, 256}};
    const auto [num_blocks, num_threads] = grids[round % 3];
    RunKernel(it.Call(&counted), num_blocks, num_threads, {.seed = random()});
    REQUIRE(it.target.tensors == expected);
    REQUIRE(counted == skipped);
    num_skipped += skipped;
  }
  CHECK(num_skipped > 20);
}
#endif

TEST_CASE("the kernels are free of races with all threads running at once") {
  std::mt19937_64 random(3);
  for (int round = 0; round < 6; ++round) {
    Case it = RandomCase(random, true);
    const auto [expected, skipped] = it.Expected();
    Int32 counted = 0;
    RunKernel(it.Call(&counted), 4, 16,
              {.mode = Mode::kThreads, .seed = random(), .overlap_blocks = true});
    REQUIRE(it.target.tensors == expected);
    REQUIRE(counted == skipped);
  }
}

TEST_CASE("the CPU backend equals the oracle, or throws and has written nothing") {
  std::mt19937_64 random(4);
  int num_errors = 0;
  for (int round = 0; round < 400; ++round) {
    Case it = RandomCase(random, round % 2 == 1);
    const auto [expected, skipped] = it.Expected();
    const auto before = it.target.tensors;
    if (skipped > 0) {
      CHECK_THROWS_AS(CopyBlocksOnHost(it.Call()), ArgumentError);
      REQUIRE(it.target.tensors == before);
      ++num_errors;
      continue;
    }
    CopyBlocksOnHost(it.Call());
    REQUIRE(it.target.tensors == expected);
  }
  CHECK(num_errors > 20);
}

TEST_CASE("head sizes from 64 to 576 elements and runs from 2 to 4,096 bytes, both backends") {
  std::mt19937_64 random(5);
  for (const Int64 entry : {2, 6, 20, 64, 128, 160, 192, 256, 512, 576, 656, 1152, 4096}) {
    for (const char* const order : {"lkbth", "bhtlk"}) {
      Case it{Memory(Layout("lkbht", 2, 1, 3, 2, 2, entry), 0, 0),
              Memory(Layout(order, 2, 1, 3, 2, 2, entry), 0, 0),
              {2, 0},
              {0, 1},
              2};
      it.source.Fill(random);
      const auto [expected, skipped] = it.Expected();
      RunKernel(it.Call(), 2, 32, {.mode = Mode::kThreads, .seed = random()});
      CHECK(it.target.tensors == expected);
      std::fill(it.target.tensors[0].begin(), it.target.tensors[0].end(), kPoison);
      CopyBlocksOnHost(it.Call());
      CHECK(it.target.tensors == expected);
    }
  }
}

TEST_CASE("the plan uses the widest vector and one run where both sides are alike") {
  const Memory a(Layout("lkbth", 4, 2, 8, 16, 8, 256), 0, 0);
  const Memory b(Layout("blkth", 4, 2, 8, 16, 8, 256), 0, 0);
  const Memory c(Layout("lkbht", 4, 2, 8, 16, 8, 256), 0, 8);
  CHECK(MovementOf(a.pool, b.pool).movement.run_bytes == 16 * 8 * 256);
  CHECK(MovementOf(a.pool, b.pool).movement.num_dimensions == 1);
  CHECK(MovementOf(a.pool, b.pool).movement.vector_bytes == 16);
  CHECK(MovementOf(b.pool, b.pool).movement.run_bytes == 4 * 2 * 16 * 8 * 256);
  CHECK(MovementOf(a.pool, c.pool).movement.run_bytes == 256);
  CHECK(MovementOf(a.pool, c.pool).movement.vector_bytes == 8);
  const BlockCopyCall call{a.pool, {nullptr, 1, "", ""}, b.pool, {nullptr, 1, "", ""}, 8, nullptr};
  // 8 blocks of 262,144 bytes in tiles of 256 * 4 * 16 bytes
  CHECK(PlanBlockCopy(call).num_tiles == 8 * 16);
  CHECK(NumBlocks(kCopyBlocks16, PlanBlockCopy(call)) == 128);
}

TEST_CASE("a block of heads is moved by itself, as tensor parallelism needs it") {
  std::mt19937_64 random(6);
  Memory whole(Layout("lkbth", 2, 2, 3, 4, 6, 32), 1, 0);
  Memory part(Layout("lkbht", 2, 2, 3, 4, 2, 32), 0, 0);
  whole.Fill(random);
  const Pool slice = whole.pool.Heads(3, 5);
  CopyBlocksOnHost({slice, {nullptr, 1, "", ""}, part.pool, {nullptr, 1, "", ""}, 3, nullptr});
  for (Int64 l = 0; l < 2; ++l)
    for (Int64 k = 0; k < 2; ++k)
      for (Int64 b = 0; b < 3; ++b)
        for (Int64 t = 0; t < 4; ++t)
          for (Int64 h = 0; h < 2; ++h)
            CHECK(std::memcmp(part.Entry(l, k, b, t, h), whole.Entry(l, k, b, t, h + 3), 32) == 0);
}

TEST_CASE("mistakes are named") {
  Memory memory(Layout("lkbth", 1, 1, 4, 1, 1, 16), 0, 0);
  Memory other(Layout("lkbth", 1, 1, 4, 1, 1, 16), 0, 0);
  std::vector<Int32> pairs;
  const auto copy = [&](const Memory& to) {
    CopyBlocksOnHost({memory.pool,
                      {pairs.data(), 2, "pairs", ", 0"},
                      to.pool,
                      {pairs.data() + 1, 2, "pairs", ", 1"},
                      static_cast<Int64>(pairs.size() / 2),
                      nullptr});
  };
  pairs = {0, 1, 4, 2};
  CHECK_THROWS_WITH_AS(copy(memory), "pairs[1, 0] = 4, but the pool has 4 blocks", ArgumentError);
  pairs = {0, 1, 0, -2};
  CHECK_THROWS_WITH_AS(copy(memory), "pairs[1, 1] = -2, but the pool has 4 blocks", ArgumentError);
  pairs = {0, 1, 2, 3, 0, 1};
  CHECK_THROWS_WITH_AS(copy(memory), "block 1 is written twice: pairs[0, 1] and pairs[2, 1]",
                       ArgumentError);
  pairs = {0, 1, 2, 0};
  CHECK_THROWS_WITH_AS(copy(memory), "block 0 is read and written: pairs[0, 0] and pairs[1, 1]",
                       ArgumentError);
  copy(other);  // fine between two pools
  pairs = {0, 1, 0, 2, -1, 1, 3, -1};
  copy(memory);  // one source twice, and padding

  const Memory shape(Layout("lkbth", 1, 1, 4, 2, 1, 16), 0, 0);
  CHECK_THROWS_WITH_AS(copy(shape), "the source has block_size = 1, the target 2", ArgumentError);
  const std::vector<std::uintptr_t> inside = {memory.addresses[0] + 16};
  const Pool shifted(Layout("lkbth", 1, 1, 3, 1, 1, 16), inside);
  const BlockCopyCall call{memory.pool, {nullptr, 1, "", ""}, shifted, {nullptr, 1, "", ""}, 1,
                           nullptr};
  CHECK_THROWS_WITH_AS(CopyBlocksOnHost(call), "the memory of the source and of the target overlap",
                       ArgumentError);
  CHECK_THROWS_AS(PlanBlockCopy(call), ArgumentError);
}

TEST_CASE("layouts that cannot be are refused") {
  const auto span = [](auto change) {
    KVLayout layout = Layout("lkbth", 2, 2, 4, 16, 8, 256);
    change(layout);
    return SpanBytes(layout);
  };
  CHECK(span([](KVLayout&) {}) == 2 * 2 * 4 * 16 * 8 * 256);
  CHECK_THROWS_WITH_AS(span([](KVLayout& x) { x.num_heads = 0; }), "num_heads = 0 is not 1 or more",
                       ArgumentError);
  CHECK_THROWS_WITH_AS(span([](KVLayout& x) { x.token_stride = 2047; }),
                       "the token stride of 2047 bytes steps into the same memory again: what lies "
                       "inside takes 2048",
                       ArgumentError);
  CHECK_THROWS_AS(span([](KVLayout& x) { x.head_stride = 0; }), ArgumentError);
  CHECK_THROWS_AS(span([](KVLayout& x) { x.kv_stride = -1; }), ArgumentError);
  CHECK_THROWS_WITH_AS(span([](KVLayout& x) { x.layer_stride = Int64{1} << 62; }),
                       "the layout spans 2^62 bytes or more", ArgumentError);
  CHECK_THROWS_AS(span([](KVLayout& x) { x.layer_stride = std::numeric_limits<Int64>::max(); }),
                  ArgumentError);
  CHECK_THROWS_AS(span([](KVLayout& x) { x.num_blocks = (Int64{1} << 31) + 1; }), ArgumentError);
  const std::vector<std::uintptr_t> three = {16, 32, 48};
  CHECK_THROWS_AS(Pool(Layout("lkbth", 2, 2, 4, 16, 8, 256), three), ArgumentError);
  CHECK_THROWS_AS(Pool(Layout("lkbth", 2, 2, 4, 16, 8, 256), {}), ArgumentError);
}

TEST_CASE("a pool of 144 GB: offsets beyond 2^31 and 2^37 bytes") {
  // Page-first blocks of 2 MiB (Llama-3.1-8B: 32 layers, 8 heads of 128 in bf16, 16 tokens).
  const KVLayout layout = Layout("blkth", 32, 2, 68664, 16, 8, 256);
  CHECK(SpanBytes(layout) == 143998844928);
  const executor::SparseMemory memory(143998844928);
  const std::vector<std::uintptr_t> address = {
      reinterpret_cast<std::uintptr_t>(memory.As<unsigned char>())};
  const Pool pool(layout, address);
  const std::vector<Int32> pairs = {68663, 1030, 0, 68662};  // to 1030 * 2 MiB > 2^31
  unsigned char* const bytes = memory.As<unsigned char>();
  const auto at = [&](Int64 block) { return bytes + block * (Int64{2} << 20); };
  std::memset(at(68663), 17, 2 << 20);
  std::memset(at(0), 23, 2 << 20);
  const BlockCopyCall call{pool, {pairs.data(), 2, "pairs", ", 0"},
                           pool, {pairs.data() + 1, 2, "pairs", ", 1"},
                           2,    nullptr};
  const auto check = [&] {
    for (const auto& [block, value] : {std::pair<Int64, int>{1030, 17}, {68662, 23}}) {
      const unsigned char* const copy = at(block);
      CHECK(std::all_of(copy, copy + (2 << 20), [v = value](unsigned char b) { return b == v; }));
      std::memset(at(block), 0, 2 << 20);
    }
  };
  RunKernel(call, 2, 64, {.mode = Mode::kThreads});
  check();
  CopyBlocksOnHost(call);
  check();

  // NHD: the last layer's V starts at 142 GB; single entries of the last block.
  const KVLayout layers = Layout("lkbth", 32, 2, 68664, 16, 8, 256);
  const Pool nhd(layers, address);
  std::vector<unsigned char> staging(2 << 20);
  const std::vector<std::uintptr_t> staging_address = {
      reinterpret_cast<std::uintptr_t>(staging.data())};
  const Pool staged(StagingLayout(layers, 1), staging_address);
  const std::vector<Int32> last = {68663};
  std::memset(bytes + (143998844928 - 256), 99, 256);
  RunKernel({nhd, {last.data(), 1, "blocks", ""}, staged, {nullptr, 1, "", ""}, 1, nullptr}, 1, 64,
            {.mode = Mode::kThreads});
  CHECK(std::all_of(staging.end() - 256, staging.end(), [](unsigned char b) { return b == 99; }));
  CHECK(*(staging.end() - 257) == 17);
}

TEST_CASE("what is too large for one launch is refused, not wrapped") {
  const std::vector<std::uintptr_t> a = {std::uintptr_t{1} << 40};
  const std::vector<std::uintptr_t> b = {std::uintptr_t{1} << 50};
  // 2^31 one-byte vectors in a block: heads a byte apart too far to merge.
  const KVLayout huge{1, 1, 1, 1 << 16, 1 << 15, 1, 1, 1, 1, 1 << 20, 2};
  const KVLayout huge_too{1, 1, 1, 1 << 16, 1 << 15, 1, 1, 1, 1, 1 << 21, 3};
  const Pool from(huge, a);
  const Pool to(huge_too, b);
  CHECK_THROWS_WITH_AS(
      PlanBlockCopy({from, {nullptr, 1, "", ""}, to, {nullptr, 1, "", ""}, 1, nullptr}),
      "a block is 2^31 vectors of 1 bytes or more, too large for one launch", ArgumentError);
  const KVLayout small{1, 1, Int64{1} << 31, 1, 1, 16, 0, 0, 16, 0, 0};
  const Pool many(small, a);
  const Pool many_too(small, b);
  CHECK_THROWS_WITH_AS(
      PlanBlockCopy(
          {many, {nullptr, 1, "", ""}, many_too, {nullptr, 1, "", ""}, Int64{1} << 31, nullptr}),
      "2147483648 blocks are too much for one launch", ArgumentError);
}

}  // namespace
}  // namespace ctx::cuda
