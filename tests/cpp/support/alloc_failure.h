// Allocation-failure injection, after BoringSSL's malloc test: run an operation again and again
// with its n-th allocation failing, n = 0, 1, 2, ..., until it passes. Every run but the last must
// end in std::bad_alloc and leave the state as it was.
#pragma once

#include <cstdint>
#include <new>

namespace ctx::testing {

/// While alive, the allocation with index `fail_at` (and it alone) on this thread throws
/// std::bad_alloc. Allocations of other threads are untouched.
class FailAllocation {
 public:
  explicit FailAllocation(std::int64_t fail_at) noexcept;
  ~FailAllocation();
  FailAllocation(const FailAllocation&) = delete;
  FailAllocation& operator=(const FailAllocation&) = delete;
};

/// Calls `operation` with allocation n failing, for n = 0, 1, ... until it completes; after each
/// failure calls `check_unchanged`. Returns how many allocations were made to fail.
template <typename Operation, typename Check>
std::int64_t FailEveryAllocation(Operation operation, Check check_unchanged) {
  for (std::int64_t fail_at = 0;; ++fail_at) {
    bool failed = false;
    {
      FailAllocation injector(fail_at);
      try {
        operation();
      } catch (const std::bad_alloc&) {
        failed = true;
      }
    }
    if (!failed) return fail_at;
    check_unchanged();
  }
}

}  // namespace ctx::testing
