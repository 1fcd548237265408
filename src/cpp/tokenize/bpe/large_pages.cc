#include "tokenize/bpe/large_pages.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <new>

namespace ctx::tokenize {
namespace {

constexpr std::size_t kLargePage = std::size_t{1} << 21;

std::size_t RoundedUp(std::size_t size, std::size_t unit) noexcept {
  return (size + unit - 1) / unit * unit;
}

}  // namespace

LargePages::~LargePages() {
  for (const Range& range : ranges_) ::munmap(range.begin, range.size);
}

LargePages& LargePages::operator=(LargePages&& other) noexcept {
  std::swap(expected_bytes_, other.expected_bytes_);
  std::swap(ranges_, other.ranges_);
  std::swap(num_taken_, other.num_taken_);
  return *this;
}

void* LargePages::TakeBytes(std::size_t num_bytes) {
  if (ranges_.empty() || num_bytes > ranges_.back().size - num_taken_) {
    ranges_.reserve(ranges_.size() + 1);  // so that nothing can fail once there is a mapping
    ranges_.push_back(Map(std::max(num_bytes, ranges_.empty() ? expected_bytes_ : 0)));
    num_taken_ = 0;
  }
  char* const taken = ranges_.back().begin + num_taken_;
  // The end of a range is the end of a cache line too.
  num_taken_ += RoundedUp(num_bytes, kCacheLine);
  return taken;
}

LargePages::Range LargePages::Map(std::size_t num_bytes) {
  const std::size_t size = RoundedUp(std::max<std::size_t>(num_bytes, 1), kLargePage);
  void* const memory = size >= num_bytes
                           ? ::mmap(nullptr, size + kLargePage, PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
                           : MAP_FAILED;
  if (memory == MAP_FAILED) throw std::bad_alloc();
  // What lies before the first border between large pages, and behind the last, goes back.
  char* const begin = static_cast<char*>(memory);
  const std::size_t before = -reinterpret_cast<std::uintptr_t>(begin) % kLargePage;
  if (before > 0) ::munmap(begin, before);
  ::munmap(begin + before + size, kLargePage - before);
#ifdef MADV_HUGEPAGE
  if (num_bytes >= kLargePage) ::madvise(begin + before, size, MADV_HUGEPAGE);  // a wish
#endif
  return {begin + before, size};
}

}  // namespace ctx::tokenize
