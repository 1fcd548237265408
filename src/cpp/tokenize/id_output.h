// Where ids go: memory that grows at its end, written to directly, without zeros before and without
// a copy behind.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "common/ids.h"

namespace ctx::tokenize {

class IdOutput {
 public:
  IdOutput(const IdOutput&) = delete;
  IdOutput& operator=(const IdOutput&) = delete;

  std::span<const TokenId> view() const noexcept { return {data_, size_}; }
  std::size_t size() const noexcept { return size_; }

  /// Room for `count` more ids, at their end. Throws std::bad_alloc.
  TokenId* Room(std::size_t count) {
    if (capacity_ - size_ < count) [[unlikely]]
      Grow(size_ + count);
    return data_ + size_;
  }
  /// So many have been written to the room.
  void Add(std::size_t count) noexcept { size_ += count; }

  void Push(TokenId id) {
    *Room(1) = id;
    ++size_;
  }
  void Append(std::span<const TokenId> ids) {
    std::copy(ids.begin(), ids.end(), Room(ids.size()));
    size_ += ids.size();
  }
  void Truncate(std::size_t size) noexcept { size_ = size; }

 protected:
  IdOutput() = default;
  ~IdOutput() = default;
  /// Makes it so many, or more.
  virtual void Grow(std::size_t capacity) = 0;

  TokenId* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

/// Ids of its own: few of them lie in the object, many in memory of malloc's, which moves pages
/// rather than ids when it grows.
class IdMemory final : public IdOutput {
 public:
  IdMemory() noexcept {
    data_ = few_.data();
    capacity_ = few_.size();
  }
  ~IdMemory() {
    if (data_ != few_.data()) std::free(data_);
  }

  /// Frees what malloc gave.
  struct Free {
    void operator()(TokenId* ids) const noexcept { std::free(ids); }
  };
  /// The ids' memory, cut to their size; this is empty then. Null when they lie in the object.
  std::unique_ptr<TokenId[], Free> Take() noexcept {
    if (data_ == few_.data()) return nullptr;
    void* const cut = std::realloc(data_, std::max<std::size_t>(size_, 1) * sizeof(TokenId));
    auto* const taken = cut == nullptr ? data_ : static_cast<TokenId*>(cut);
    data_ = few_.data();
    capacity_ = few_.size();
    size_ = 0;
    return std::unique_ptr<TokenId[], Free>(taken);
  }

 private:
  void Grow(std::size_t capacity) override;

  std::array<TokenId, 128> few_;
};

/// Appends to a vector, which has its size when this ends.
class IdVectorEnd final : public IdOutput {
 public:
  explicit IdVectorEnd(std::vector<TokenId>& ids) noexcept : vector_(ids), first_(ids.size()) {
    data_ = ids.data();
    size_ = capacity_ = ids.size();
  }
  ~IdVectorEnd() { vector_.resize(size_); }

 private:
  void Grow(std::size_t capacity) override;

  std::vector<TokenId>& vector_;
  std::size_t first_;
};

}  // namespace ctx::tokenize
