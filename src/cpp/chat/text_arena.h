// Text that stays where it is for as long as the arena lives, whatever is added after it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

namespace ctx::chat {

class TextArena {
 public:
  /// Room for so many bytes, of which Shrink may give the last ones back.
  char* Allocate(std::size_t size) {
    if (size > room_) AddBlock(size);
    char* const text = next_;
    next_ += size;
    room_ -= size;
    used_bytes_ += size;
    return text;
  }

  /// Gives back the last bytes of what was allocated last.
  void Shrink(std::size_t size) noexcept {
    next_ -= size;
    room_ += size;
    used_bytes_ -= size;
  }

  std::string_view Add(std::string_view text) {
    if (text.empty()) return {};
    char* const copy = Allocate(text.size());
    std::memcpy(copy, text.data(), text.size());
    return {copy, text.size()};
  }

  std::size_t used_bytes() const noexcept { return used_bytes_; }
  std::size_t size_bytes() const noexcept { return size_bytes_; }

 private:
  static constexpr std::size_t kMinBlock = 4096;

  void AddBlock(std::size_t size) {
    const std::size_t block_size = std::max({size, kMinBlock, size_bytes_ / 2});
    blocks_.push_back(std::make_unique_for_overwrite<char[]>(block_size));
    next_ = blocks_.back().get();
    room_ = block_size;
    size_bytes_ += block_size;
  }

  std::vector<std::unique_ptr<char[]>> blocks_;
  char* next_ = nullptr;
  std::size_t room_ = 0;
  std::size_t used_bytes_ = 0;
  std::size_t size_bytes_ = 0;
};

}  // namespace ctx::chat
