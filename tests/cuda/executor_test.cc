// The executor itself, on small kernels whose results follow from their text.
#include "executor.h"

#include <cstdint>
#include <numeric>
#include <set>
#include <vector>

#include "doctest/doctest.h"

namespace {

using executor::Dim3;
using executor::DivergentBarrier;
using executor::Launch;
using executor::Mode;
using executor::Options;

constexpr int kThreads = 32;

__global__ void BlockSum(const int* values, int* sums) {
  __shared__ int partial[kThreads];
  const int thread = static_cast<int>(threadIdx.x);
  partial[thread] = values[blockIdx.x * blockDim.x + threadIdx.x];
  __syncthreads();
  for (int width = kThreads / 2; width > 0; width /= 2) {
    if (thread < width) partial[thread] += partial[thread + width];
    __syncthreads();
  }
  if (thread == 0) sums[blockIdx.x] = partial[0];
}

__global__ void CountAndMark(int* count, int* seen, Dim3 grid, Dim3 block) {
  const std::size_t block_index =
      blockIdx.x + grid.x * (blockIdx.y + std::size_t{grid.y} * blockIdx.z);
  const std::size_t thread_index =
      threadIdx.x + block.x * (threadIdx.y + std::size_t{block.y} * threadIdx.z);
  atomicAdd(count, 1);
  atomicAdd(&seen[block_index * block.Volume() + thread_index], 1);
}

__global__ void OneThreadSkipsTheBarrier() {
  if (threadIdx.x != 3) __syncthreads();
}

__global__ void TwoBarriers() {
  if (threadIdx.x % 2 == 0) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}

__global__ void PushFront(int* head, int* next) {
  const int thread = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  for (int seen = atomicAdd(head, 0);;) {
    atomicExch(&next[thread], seen);
    const int found = atomicCAS(head, seen, thread);
    if (found == seen) return;
    seen = found;
  }
}

// TSan does not follow fibres; it gets the OS threads.
std::vector<Options> AllOptions() {
  std::vector<Options> all;
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
#ifndef __SANITIZE_THREAD__
    all.push_back({.mode = Mode::kFibers, .seed = seed});
#endif
    all.push_back({.mode = Mode::kThreads, .seed = seed});
  }
  return all;
}

TEST_CASE("shared memory and barriers: a tree sum per block") {
  for (const Options& options : AllOptions()) {
    std::vector<int> values(kThreads * 5);
    std::iota(values.begin(), values.end(), 1);
    std::vector<int> sums(5, -1);
    Launch({5}, {kThreads}, options, [&] { BlockSum(values.data(), sums.data()); });
    for (int block = 0; block < 5; ++block) {
      // Arithmetic series of 32 terms from 32 * block + 1.
      CHECK(sums[static_cast<std::size_t>(block)] == 32 * (32 * block + 1) + 32 * 31 / 2);
    }
  }
}

TEST_CASE("every thread of a 3-D grid of 3-D blocks runs once") {
  const Dim3 grid{2, 3, 2};
  const Dim3 block{2, 2, 3};
  for (Options options : AllOptions()) {
    for (const bool overlap : {false, true}) {
      options.overlap_blocks = overlap;
      int count = 0;
      std::vector<int> seen(grid.Volume() * block.Volume(), 0);
      Launch(grid, block, options, [&] { CountAndMark(&count, seen.data(), grid, block); });
      CHECK(count == 144);
      CHECK(seen == std::vector<int>(144, 1));
    }
  }
}

TEST_CASE("compare-and-swap builds a list that holds every thread once") {
  for (Options options : AllOptions()) {
    options.overlap_blocks = true;
    int head = -1;
    std::vector<int> next(64, -2);
    Launch({4}, {16}, options, [&] { PushFront(&head, next.data()); });
    std::set<int> members;
    for (int at = head; at != -1; at = next[static_cast<std::size_t>(at)]) members.insert(at);
    CHECK(members.size() == 64);
  }
}

TEST_CASE("divergent barriers are found") {
  for (const Options& options : AllOptions()) {
    CHECK_THROWS_AS(Launch({1}, {8}, options, [] { OneThreadSkipsTheBarrier(); }),
                    DivergentBarrier);
    CHECK_THROWS_AS(Launch({1}, {8}, options, [] { TwoBarriers(); }), DivergentBarrier);
  }
}

TEST_CASE("different seeds give different orders") {
#ifndef __SANITIZE_THREAD__
  std::set<std::vector<unsigned>> orders;
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    std::vector<unsigned> order;
    Launch({1}, {16}, {.seed = seed}, [&] { order.push_back(threadIdx.x); });
    orders.insert(order);
  }
  CHECK(orders.size() == 5);
#endif
}

}  // namespace
