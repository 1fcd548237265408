// Memory for tables that are made together, read at random and given back together: side by side on
// large pages where the system has them, so that they take few page faults to fill and few
// translation misses to read.
#pragma once

#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace ctx::tokenize {

class LargePages {
 public:
  /// Address space for about so many bytes; only what is taken becomes memory.
  explicit LargePages(std::size_t expected_bytes = 0) : expected_bytes_(expected_bytes) {}
  ~LargePages();
  LargePages(LargePages&& other) noexcept { *this = std::move(other); }
  LargePages& operator=(LargePages&& other) noexcept;

  /// `size` elements whose bytes are all 0, which must be a value of T, at a border between cache
  /// lines; they live as long as this. Throws std::bad_alloc.
  template <typename T>
  std::span<T> Take(std::size_t size) {
    static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T> &&
                  alignof(T) <= kCacheLine);
    return {static_cast<T*>(TakeBytes(size * sizeof(T))), size};
  }

 private:
  static constexpr std::size_t kCacheLine = 64;

  /// Address space from one border between large pages to another.
  struct Range {
    char* begin;
    std::size_t size;
  };

  void* TakeBytes(std::size_t num_bytes);
  static Range Map(std::size_t num_bytes);

  std::size_t expected_bytes_ = 0;
  std::vector<Range> ranges_;
  std::size_t num_taken_ = 0;  // of the last range
};

}  // namespace ctx::tokenize
