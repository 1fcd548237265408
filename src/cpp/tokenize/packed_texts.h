// Short texts one behind the other, so that the pre-tokens of all of them are looked up together.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "tokenize/bpe/encode_pre_tokens.h"
#include "tokenize/pretokenize/block_scan.h"

namespace ctx::tokenize {

/// What follows a copied text, so that its end needs no special care.
inline constexpr std::size_t kReadableBytes = 16;

class PackedTexts {
 public:
  /// Longer texts are as well off by themselves.
  static constexpr std::size_t kMaxTextBytes = 1024;

  explicit PackedTexts(BlockScanner scan) : scan_(scan) { ends_[0] = 0; }

  std::size_t num_texts() const noexcept { return num_texts_; }
  bool HasRoomFor(std::string_view text) const noexcept {
    return num_texts_ < kMaxTexts && text.size() <= kMaxBytes - size_;
  }
  /// False, and nothing changed, for a text that the scanner can't cut. There must be room.
  bool Add(std::string_view text) noexcept {
    if (!text.empty()) {
      std::memcpy(bytes_.data() + size_, text.data(), text.size());
      std::uint16_t* const ends = &ends_[1 + num_ends_];
      const BlockScan found = scan_(text.data(), text.size(), ends);
      if (found.count == 0 || ends[found.count - 1] != text.size()) return false;
      for (std::size_t i = 0; i < found.count; ++i) {
        ends[i] = static_cast<std::uint16_t>(ends[i] + size_);
      }
      num_ends_ += found.count;
      has_wide_ |= found.has_wide;
      size_ += text.size();
    }
    borders_[num_texts_++] = static_cast<std::uint16_t>(num_ends_);
    return true;
  }
  PreTokens pre_tokens() noexcept {
    std::memset(bytes_.data() + size_, 0, kReadableBytes);
    return {bytes_.data(), &ends_[1], num_ends_, bytes_.data() + size_ + kReadableBytes, has_wide_};
  }
  std::span<const std::uint16_t> borders() const noexcept {
    return std::span(borders_).first(num_texts_);
  }
  void Clear() noexcept {
    size_ = num_ends_ = num_texts_ = 0;
    has_wide_ = false;
  }

 private:
  static constexpr std::size_t kMaxBytes = 4096;
  static_assert(kMaxBytes <= kMaxPreTokens && kMaxTextBytes <= kMaxBytes);

  BlockScanner scan_;
  std::size_t size_ = 0;
  std::size_t num_ends_ = 0;
  std::size_t num_texts_ = 0;
  bool has_wide_ = false;
  std::array<char, kMaxBytes + kReadableBytes> bytes_;
  std::array<std::uint16_t, 1 + kMaxBytes + kMaxBlockScanEnds + 8> ends_;
  std::array<std::uint16_t, kMaxTexts> borders_;
};

}  // namespace ctx::tokenize
