// An array for large tables that are filled bit by bit and read at random: memory that nobody has
// touched takes none, and from 2 MB on it is on large pages where the system has them.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <type_traits>
#include <utility>

namespace ctx::tokenize {

/// `size` elements whose bytes are all 0, which must be a value of T.
template <typename T>
class ZeroedArray {
 public:
  static_assert(std::is_trivially_destructible_v<T>);

  ZeroedArray() = default;

  /// Throws std::bad_alloc.
  explicit ZeroedArray(std::size_t size) : size_(size) {
    if (size == 0) return;
    data_ = static_cast<T*>(is_mapped() ? Map(mapped_bytes()) : Allocate(size * sizeof(T)));
    if (data_ == nullptr) throw std::bad_alloc();
  }
  ~ZeroedArray() {
    if (is_mapped()) {
      ::munmap(data_, mapped_bytes());
    } else {
      std::free(data_);
    }
  }
  ZeroedArray(ZeroedArray&& other) noexcept { *this = std::move(other); }
  ZeroedArray& operator=(ZeroedArray&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }

  T* data() noexcept { return data_; }
  const T* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  T& operator[](std::size_t i) noexcept { return data_[i]; }
  const T& operator[](std::size_t i) const noexcept { return data_[i]; }
  T* begin() noexcept { return data_; }
  T* end() noexcept { return data_ + size_; }
  const T* begin() const noexcept { return data_; }
  const T* end() const noexcept { return data_ + size_; }

 private:
  static constexpr std::size_t kLargePage = std::size_t{1} << 21;
  static constexpr std::size_t kMappedBytes = std::size_t{1} << 16;

  bool is_mapped() const noexcept { return size_ >= kMappedBytes / sizeof(T); }
  std::size_t mapped_bytes() const noexcept {
    const std::size_t size_bytes = size_ * sizeof(T);
    return size_bytes < kLargePage ? size_bytes
                                   : (size_bytes + kLargePage - 1) / kLargePage * kLargePage;
  }

  /// Null when there is no memory.
  static void* Allocate(std::size_t num_bytes) noexcept {
    constexpr std::size_t kAlignment = std::max(alignof(T), sizeof(void*));
    const std::size_t rounded = (num_bytes + kAlignment - 1) / kAlignment * kAlignment;
    void* const memory = std::aligned_alloc(kAlignment, rounded);
    if (memory != nullptr) std::memset(memory, 0, rounded);
    return memory;
  }

  /// Null when there is no memory.
  static void* Map(std::size_t size_bytes) noexcept {
    const bool is_large = size_bytes >= kLargePage;
    void* const memory = ::mmap(nullptr, size_bytes + (is_large ? kLargePage : 0),
                                PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return nullptr;
    if (!is_large) return memory;
    // What lies before the first border between large pages, and behind the last, goes back.
    char* const begin = static_cast<char*>(memory);
    const std::size_t before = -reinterpret_cast<std::uintptr_t>(begin) % kLargePage;
    if (before > 0) ::munmap(begin, before);
    ::munmap(begin + before + size_bytes, kLargePage - before);
#ifdef MADV_HUGEPAGE
    ::madvise(begin + before, size_bytes, MADV_HUGEPAGE);  // a wish
#endif
    return begin + before;
  }

  T* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace ctx::tokenize
