#include "tokenize/load/messages.h"

#include <algorithm>

#include "tokenize/unicode/utf8_validation.h"

namespace ctx::tokenize::load {

std::string Shown(std::string_view text) {
  constexpr std::size_t kMaxShownBytes = 64;
  std::string shown;
  std::size_t at = 0;
  while (at < text.size() && at < kMaxShownBytes) {
    const auto byte = static_cast<unsigned char>(text[at]);
    std::size_t size = 1;
    if (byte >= 0xC0) {  // the whole character, or nothing of it
      size = std::min<std::size_t>(byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2, text.size() - at);
    }
    if (byte < 0x20 || byte == 0x7F || ValidUtf8Prefix(text.substr(at, size)) != size) {
      constexpr char kHex[] = "0123456789ABCDEF";
      shown += "\\x";
      shown += kHex[byte >> 4];
      shown += kHex[byte & 15];
      size = 1;
    } else {
      shown += text.substr(at, size);
    }
    at += size;
  }
  if (at < text.size()) shown += "...";
  return shown;
}

std::size_t LineOf(std::string_view text, std::size_t offset) noexcept {
  const std::string_view before = text.substr(0, offset);
  return 1 + static_cast<std::size_t>(std::count(before.begin(), before.end(), '\n'));
}

std::string StemOf(std::string_view path) {
  path.remove_prefix(path.rfind('/') + 1);  // npos + 1 == 0
  const std::size_t dot = path.rfind('.');
  return std::string(dot == path.npos || dot == 0 ? path : path.substr(0, dot));
}

}  // namespace ctx::tokenize::load
