#include "tokenize/id_output.h"

#include <new>

namespace ctx::tokenize {

void IdMemory::Grow(std::size_t capacity) {
  capacity = std::max(capacity, 2 * capacity_);
  const bool is_first = data_ == few_.data();
  void* const more = std::realloc(is_first ? nullptr : data_, capacity * sizeof(TokenId));
  if (more == nullptr) throw std::bad_alloc();
  if (is_first) std::copy_n(few_.begin(), size_, static_cast<TokenId*>(more));
  data_ = static_cast<TokenId*>(more);
  capacity_ = capacity;
}

void IdVectorEnd::Grow(std::size_t capacity) {
  // What is filled with zeros here is in proportion to what is appended, not to what was there.
  constexpr std::size_t kFew = 64;
  vector_.resize(std::max(capacity, size_ + std::max(size_ - first_, kFew)));
  data_ = vector_.data();
  capacity_ = vector_.size();
}

}  // namespace ctx::tokenize
