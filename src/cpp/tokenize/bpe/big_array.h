// Memory for large tables that are read at random: on large pages where the system has them, since
// with small ones every second look-up would also miss the address translation cache.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace ctx::tokenize {

/// `size` elements, all bytes 0. The memory is only there once it is written to.
template <typename T>
class BigArray {
 public:
  BigArray() = default;

  /// Throws std::bad_alloc.
  explicit BigArray(std::size_t size) : size_(size) {
    static_assert(std::is_trivially_destructible_v<T>);
    void* const memory =
        ::mmap(nullptr, mapped_bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    mapping_ = static_cast<char*>(memory);
    const auto address = reinterpret_cast<std::uintptr_t>(mapping_);
    data_ = reinterpret_cast<T*>((address + kLargePage - 1) / kLargePage * kLargePage);
    ::madvise(data_, size_ * sizeof(T), MADV_HUGEPAGE);  // a wish
  }
  ~BigArray() {
    if (mapping_ != nullptr) ::munmap(mapping_, mapped_bytes());
  }
  BigArray(BigArray&& other) noexcept { *this = std::move(other); }
  BigArray& operator=(BigArray&& other) noexcept {
    std::swap(mapping_, other.mapping_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }

  T* data() const noexcept { return data_; }
  T& operator[](std::size_t i) const noexcept { return data_[i]; }
  std::size_t size() const noexcept { return size_; }

 private:
  static constexpr std::size_t kLargePage = std::size_t{1} << 21;

  std::size_t mapped_bytes() const noexcept { return size_ * sizeof(T) + kLargePage; }

  char* mapping_ = nullptr;
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace ctx::tokenize
