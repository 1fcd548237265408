// The names that vocabularies with byte fallback give to single bytes.
#pragma once

#include <optional>
#include <string_view>

namespace ctx::tokenize::load {

/// The byte that "<0xHH>" stands for, in capitals; nothing for any other text.
inline std::optional<unsigned char> FallbackByteOf(std::string_view name) noexcept {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  if (name.size() != 6 || !name.starts_with("<0x") || !name.ends_with('>')) return std::nullopt;
  const std::size_t high = kHex.find(name[3]), low = kHex.find(name[4]);
  if (high == kHex.npos || low == kHex.npos) return std::nullopt;
  return static_cast<unsigned char>(high << 4 | low);
}

}  // namespace ctx::tokenize::load
