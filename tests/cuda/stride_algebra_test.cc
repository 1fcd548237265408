// Merge() moves the same bytes as the loops that it is given; Divisor divides.
#include "cuda/stride_algebra.h"

#include <algorithm>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "doctest/doctest.h"

namespace ctx::cuda {
namespace {

using Pairs = std::vector<std::pair<Int64, Int64>>;  // (source, target) of every byte

void Walk(const std::vector<Dimension>& dimensions, std::size_t depth, Int64 source, Int64 target,
          Int64 run_bytes, Pairs& pairs) {
  if (depth == dimensions.size()) {
    for (Int64 i = 0; i < run_bytes; ++i) pairs.emplace_back(source + i, target + i);
    return;
  }
  for (Int64 i = 0; i < dimensions[depth].extent; ++i) {
    Walk(dimensions, depth + 1, source + i * dimensions[depth].source_stride,
         target + i * dimensions[depth].target_stride, run_bytes, pairs);
  }
}

Pairs BytesOf(const std::vector<Dimension>& dimensions, Int64 run_bytes) {
  Pairs pairs;
  Walk(dimensions, 0, 0, 0, run_bytes, pairs);
  std::sort(pairs.begin(), pairs.end());
  return pairs;
}

TEST_CASE("a merged movement moves the same bytes, in the fewest dimensions") {
  std::mt19937_64 random(1);
  const auto pick = [&](Int64 low, Int64 high) {
    return std::uniform_int_distribution<Int64>(low, high)(random);
  };
  int num_merged = 0;
  for (int round = 0; round < 3000; ++round) {
    // Two layouts of one box: each side in its own order of dimensions, with its own gaps.
    const auto count = static_cast<std::size_t>(pick(0, 4));
    const Int64 run = pick(1, 8);
    std::vector<Dimension> dimensions(count);
    for (Dimension& dimension : dimensions) dimension.extent = pick(1, 4);
    const bool same_order = pick(0, 1) == 0;
    std::vector<std::size_t> order(count);
    for (std::size_t i = 0; i < count; ++i) order[i] = i;
    std::shuffle(order.begin(), order.end(), random);
    for (const bool source : {true, false}) {
      if (!source && !same_order) std::shuffle(order.begin(), order.end(), random);
      Int64 stride = run;
      for (const std::size_t d : order) {
        if (pick(0, 3) == 0) stride += pick(1, 5);
        (source ? dimensions[d].source_stride : dimensions[d].target_stride) = stride;
        stride *= dimensions[d].extent;
      }
    }
    const Movement merged = Merge(dimensions.data(), static_cast<Int32>(count), run,
                                  static_cast<Uint64>(pick(0, 1)) * 4);
    const std::vector<Dimension> kept(merged.dimensions, merged.dimensions + merged.num_dimensions);
    REQUIRE(BytesOf(kept, merged.run_bytes) == BytesOf(dimensions, run));
    num_merged += kept.size() < count ? 1 : 0;
    // No pair of dimensions, and none with the run, could be one.
    for (std::size_t a = 0; a < kept.size(); ++a) {
      CHECK(kept[a].extent > 1);
      CHECK_FALSE(
          (kept[a].source_stride == merged.run_bytes && kept[a].target_stride == merged.run_bytes));
      CHECK(merged.run_bytes % merged.vector_bytes == 0);
      CHECK(kept[a].source_stride % merged.vector_bytes == 0);
      CHECK(kept[a].target_stride % merged.vector_bytes == 0);
      for (std::size_t b = 0; b < kept.size(); ++b) {
        CHECK_FALSE((a != b && kept[a].source_stride == kept[b].source_stride * kept[b].extent &&
                     kept[a].target_stride == kept[b].target_stride * kept[b].extent));
      }
    }
  }
  CHECK(num_merged > 500);
}

TEST_CASE("named layouts merge to what they are") {
  // NHD to NHD, K and V of 32 layers with gaps between them: tokens, heads and bytes are one run.
  const Dimension same[] = {
      {8, 256, 256}, {16, 2048, 2048}, {2, 1 << 20, 32768}, {32, 1 << 21, 65536}};
  Movement merged = Merge(same, 4, 256, 0);
  CHECK(merged.run_bytes == 32768);
  CHECK(merged.num_dimensions == 1);  // (layer, kv) is one on both sides
  CHECK(merged.dimensions[0].extent == 64);
  CHECK(merged.vector_bytes == 16);
  // NHD to HND: heads and tokens change places, nothing merges.
  const Dimension swapped[] = {{8, 256, 4096}, {16, 2048, 256}};
  merged = Merge(swapped, 2, 256, 0);
  CHECK(merged.num_dimensions == 2);
  CHECK(merged.run_bytes == 256);
}

TEST_CASE("the vector is the widest that everything allows") {
  const Dimension dimension = {3, 80, 160};
  CHECK(Merge(&dimension, 1, 80, 0).vector_bytes == 16);
  CHECK(Merge(&dimension, 1, 40, 0).vector_bytes == 8);
  CHECK(Merge(&dimension, 1, 80, 0x7f008).vector_bytes == 8);
  CHECK(Merge(&dimension, 1, 80, 4).vector_bytes == 4);
  CHECK(Merge(&dimension, 1, 80, 2).vector_bytes == 1);
  CHECK(Merge(&dimension, 1, 2, 0).vector_bytes == 1);
}

TEST_CASE("division by a multiplication is exact") {
  std::mt19937_64 random(2);
  const Uint32 limit = (Uint32{1} << 31) - 1;
  std::vector<Uint32> divisors = {1, 2, 3, 5, 7, 64, 80, 641, limit, limit - 1, 1u << 30};
  for (int i = 0; i < 2000; ++i) {
    divisors.push_back(static_cast<Uint32>(random() >> (33 + random() % 31)) | 1);
  }
  for (const Uint32 divisor : divisors) {
    const Divisor by = Divisor::Of(divisor);
    for (int i = 0; i < 50; ++i) {
      // A multiple and its neighbours are where a quotient steps.
      const Uint32 quotient = static_cast<Uint32>(random() % (limit / divisor + 1));
      for (const Int64 n : {Int64{quotient} * divisor - 1, Int64{quotient} * divisor,
                            Int64{quotient} * divisor + 1, Int64{limit}}) {
        if (n < 0 || n > limit) continue;
        REQUIRE(by.Quotient(static_cast<Uint32>(n)) == static_cast<Uint32>(n) / divisor);
      }
    }
  }
}

}  // namespace
}  // namespace ctx::cuda
