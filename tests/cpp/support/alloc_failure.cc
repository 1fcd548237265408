#include "support/alloc_failure.h"

#include <cstddef>
#include <cstdlib>

namespace {

// Negative: no injection. Otherwise the number of allocations that still succeed.
thread_local std::int64_t allocations_left = -1;

void* Allocate(std::size_t size_bytes, std::size_t alignment) {
  if (allocations_left >= 0 && allocations_left-- == 0) throw std::bad_alloc();
  if (size_bytes == 0) size_bytes = 1;
  void* memory =
      alignment <= alignof(std::max_align_t)
          ? std::malloc(size_bytes)
          : std::aligned_alloc(alignment, (size_bytes + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t size) { return Allocate(size, 0); }
void* operator new[](std::size_t size) { return Allocate(size, 0); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return Allocate(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return Allocate(size, static_cast<std::size_t>(alignment));
}
// What std::stable_sort asks for its buffer; it goes on without one, so failing it would prove
// nothing.
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return std::malloc(size == 0 ? 1 : size);
}
// What simdjson asks for its buffers.
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  try {
    return Allocate(size, 0);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace ctx::testing {

FailAllocation::FailAllocation(std::int64_t fail_at) noexcept { allocations_left = fail_at; }
FailAllocation::~FailAllocation() { allocations_left = -1; }

}  // namespace ctx::testing
