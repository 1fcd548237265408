// Runs CUDA kernels on the CPU, from their unchanged source (compiled behind cuda_language.h).
// Purpose: kernels run in every test run, without a GPU, under AddressSanitizer,
// UndefinedBehaviorSanitizer and ThreadSanitizer.
//
// Two ways to run a thread block:
//   kFibers   one fibre per CUDA thread on the calling OS thread, in shuffled order and reshuffled
//   at
//             every barrier; deterministic for a seed. For results, ASan and UBSan.
//   kThreads  one OS thread per CUDA thread. For TSan, which sees the races that a lucky order
//   hides.
//
// __shared__ is static, hence one block at a time unless `overlap_blocks`. A barrier that not every
// live thread of the block reaches, or that they reach at different lines, throws DivergentBarrier.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "cuda_language.h"

namespace executor {

enum class Mode { kFibers, kThreads };

struct Options {
  Mode mode = Mode::kFibers;
  std::uint64_t seed = 0;
  /// kThreads: all blocks at once, as on a GPU. Only for kernels without __shared__.
  bool overlap_blocks = false;
};

class DivergentBarrier : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

inline std::vector<std::size_t> ShuffledRange(std::size_t size, std::mt19937_64& random) {
  std::vector<std::size_t> order(size);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::shuffle(order.begin(), order.end(), random);
  return order;
}

/// One block as fibres: each runs until it returns or waits; when all wait at the same line, on.
class FiberBlock : public Barrier {
 public:
  FiberBlock(Dim3 block_dim, const std::function<void()>& kernel)
      : block_dim_(block_dim), kernel_(kernel), fibers_(block_dim.Volume()) {
    for (Fiber& fiber : fibers_) fiber.stack = std::make_unique<char[]>(kStackBytes);
  }

  void Run(Dim3 block_idx, Dim3 grid_dim, std::mt19937_64& random) {
    current = {{}, block_idx, block_dim_, grid_dim, this};
    for (Fiber& fiber : fibers_) Prepare(fiber);
    for (std::size_t num_done = 0; num_done < fibers_.size();) {
      std::size_t num_waiting = 0;
      unsigned line = 0;
      for (const std::size_t index : ShuffledRange(fibers_.size(), random)) {
        Fiber& fiber = fibers_[index];
        if (fiber.done) continue;
        current.thread_idx = block_dim_.Unflatten(index);
        running_ = &fiber;
        swapcontext(&scheduler_, &fiber.context);
        if (fiber.done) {
          ++num_done;
        } else {
          if (num_waiting++ > 0 && fiber.line != line) {
            throw DivergentBarrier("threads of one block wait at line " + std::to_string(line) +
                                   " and at line " + std::to_string(fiber.line));
          }
          line = fiber.line;
        }
      }
      if (num_waiting > 0 && num_done > 0) {
        throw DivergentBarrier("the barrier of line " + std::to_string(line) + " is reached by " +
                               std::to_string(num_waiting) + " of " +
                               std::to_string(fibers_.size()) + " threads");
      }
    }
  }

  void Wait(unsigned line) override {
    running_->line = line;
    swapcontext(&running_->context, &scheduler_);
  }

 private:
  static constexpr std::size_t kStackBytes = 64 * 1024;
  struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    unsigned line = 0;
    bool done = false;
  };

  void Prepare(Fiber& fiber) {
    fiber.done = false;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStackBytes;
    fiber.context.uc_link = &scheduler_;
    makecontext(&fiber.context, &FiberBlock::Main, 0);
  }

  // makecontext passes no pointers, so the fibre finds its block through the thread's state.
  static void Main() {
    auto* const self = static_cast<FiberBlock*>(current.barrier);
    self->kernel_();
    self->running_->done = true;
  }

  Dim3 block_dim_;
  const std::function<void()>& kernel_;
  std::vector<Fiber> fibers_;
  Fiber* running_ = nullptr;
  ucontext_t scheduler_;
};

/// The barrier of one block of OS threads.
class ThreadBarrier : public Barrier {
 public:
  explicit ThreadBarrier(std::size_t num_threads) : num_threads_(num_threads) {}

  void Wait(unsigned line) override {
    std::unique_lock lock(mutex_);
    if (num_waiting_ > 0 && line != line_) diverged_ = true;
    line_ = line;
    ++num_waiting_;
    if (num_done_ > 0) diverged_ = true;
    if (num_waiting_ == num_threads_) {
      num_waiting_ = 0;
      ++generation_;
    }
    const std::uint64_t generation = generation_ - (num_waiting_ == 0 ? 1 : 0);
    changed_.notify_all();
    changed_.wait(lock, [&] { return diverged_ || generation_ != generation; });
    if (diverged_)
      throw DivergentBarrier("the barrier of line " + std::to_string(line) +
                             " is not reached by all threads of the block");
  }

  void Finish() {
    const std::lock_guard lock(mutex_);
    ++num_done_;
    if (num_waiting_ > 0) diverged_ = true;
    changed_.notify_all();
  }

 private:
  const std::size_t num_threads_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t num_waiting_ = 0;
  std::size_t num_done_ = 0;
  std::uint64_t generation_ = 0;
  unsigned line_ = 0;
  bool diverged_ = false;
};

/// Runs the blocks of `indices` on OS threads, all at once.
inline void RunOnThreads(Dim3 grid, Dim3 block, const std::vector<std::size_t>& indices,
                         const std::function<void()>& kernel, std::mt19937_64& random) {
  std::vector<std::unique_ptr<ThreadBarrier>> barriers;
  std::vector<std::thread> threads;
  std::mutex mutex;
  std::exception_ptr failure;
  for (const std::size_t index : indices) {
    barriers.push_back(std::make_unique<ThreadBarrier>(block.Volume()));
    ThreadBarrier* const barrier = barriers.back().get();
    for (const std::size_t thread : ShuffledRange(block.Volume(), random)) {
      threads.emplace_back([&, index, thread, barrier] {
        current = {block.Unflatten(thread), grid.Unflatten(index), block, grid, barrier};
        try {
          kernel();
        } catch (...) {
          const std::lock_guard lock(mutex);
          failure = std::current_exception();
        }
        barrier->Finish();
      });
    }
  }
  for (std::thread& thread : threads) thread.join();
  if (failure) std::rethrow_exception(failure);
}

/// Runs `kernel`, a call of a __global__ function, once per thread of the grid; blocks in shuffled
/// order. Returns when all have run.
inline void Launch(Dim3 grid, Dim3 block, const Options& options,
                   const std::function<void()>& kernel) {
  std::mt19937_64 random(options.seed);
  const std::vector<std::size_t> order = ShuffledRange(grid.Volume(), random);
  if (options.mode == Mode::kFibers) {
    FiberBlock fibers(block, kernel);
    for (const std::size_t index : order) fibers.Run(grid.Unflatten(index), grid, random);
  } else if (options.overlap_blocks) {
    RunOnThreads(grid, block, order, kernel, random);
  } else {
    for (const std::size_t index : order) RunOnThreads(grid, block, {index}, kernel, random);
  }
}

}  // namespace executor
