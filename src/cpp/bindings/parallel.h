// A loop over independent items on a few threads, for batch calls.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace ctx::bindings {

/// Calls work(i) for every i < num_items, on this thread and up to num_threads - 1 more; each
/// thread takes the next item when it is done with one. When calls throw, the first exception to be
/// caught is thrown again at the end, and items not yet begun are left out. Call without the GIL.
template <typename Work>
void ParallelFor(std::size_t num_items, std::size_t num_threads, Work work) {
  std::atomic<std::size_t> next_item = 0;
  std::exception_ptr failure;
  std::mutex failure_mutex;
  const auto run = [&] {
    try {
      for (std::size_t i; (i = next_item.fetch_add(1)) < num_items;) work(i);
    } catch (...) {
      next_item = num_items;
      const std::lock_guard<std::mutex> lock(failure_mutex);
      if (!failure) failure = std::current_exception();
    }
  };
  std::vector<std::thread> helpers;
  try {
    for (std::size_t i = 1; i < std::min(num_threads, num_items); ++i) helpers.emplace_back(run);
  } catch (const std::exception&) {
    // No more threads to be had, or no memory for them: this one does what is left.
  }
  run();
  for (std::thread& helper : helpers) helper.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace ctx::bindings
