#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <new>

namespace executor {

/// Address space without memory behind it, except where it is touched.
class SparseMemory {
 public:
  explicit SparseMemory(std::size_t size_bytes)
      : size_bytes_(size_bytes),
        memory_(mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {
    if (memory_ == MAP_FAILED) throw std::bad_alloc();
  }
  ~SparseMemory() { munmap(memory_, size_bytes_); }
  SparseMemory(const SparseMemory&) = delete;
  SparseMemory& operator=(const SparseMemory&) = delete;
  template <typename T>
  T* As() const {
    return static_cast<T*>(memory_);
  }

 private:
  std::size_t size_bytes_;
  void* memory_;
};

}  // namespace executor
