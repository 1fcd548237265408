#include "tokenize/id_output.h"

#include <cstdint>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace ctx::tokenize {
namespace {

/// Asks for large pages where there is much memory, as numpy does: else it faults every 4 kB when
/// it is touched first.
void PreferLargePages([[maybe_unused]] void* memory,
                      [[maybe_unused]] std::size_t size_bytes) noexcept {
#if defined(MADV_HUGEPAGE)
  constexpr std::size_t kMuch = std::size_t{1} << 22;
  constexpr std::uintptr_t kPage = 4096;
  if (size_bytes < kMuch) return;
  const auto begin = reinterpret_cast<std::uintptr_t>(memory);
  const std::uintptr_t first_page = (begin + kPage - 1) / kPage * kPage;
  // A wish: what becomes of it makes no difference to what is in the memory.
  (void)madvise(reinterpret_cast<void*>(first_page), begin + size_bytes - first_page,
                MADV_HUGEPAGE);
#endif
}

}  // namespace

void IdMemory::Grow(std::size_t capacity) {
  capacity = std::max(capacity, 2 * capacity_);
  const bool is_first = data_ == few_.data();
  void* const more = std::realloc(is_first ? nullptr : data_, capacity * sizeof(TokenId));
  if (more == nullptr) throw std::bad_alloc();
  if (is_first) std::copy_n(few_.begin(), size_, static_cast<TokenId*>(more));
  data_ = static_cast<TokenId*>(more);
  capacity_ = capacity;
  PreferLargePages(data_, capacity * sizeof(TokenId));
}

void IdVectorEnd::Grow(std::size_t capacity) {
  // What is filled with zeros here is in proportion to what is appended, not to what was there.
  constexpr std::size_t kFew = 64;
  vector_.resize(std::max(capacity, size_ + std::max(size_ - first_, kFew)));
  data_ = vector_.data();
  capacity_ = vector_.size();
}

}  // namespace ctx::tokenize
