// What merging begins with.
#pragma once

#include <cstddef>
#include <string_view>

namespace ctx::tokenize::internal {

inline bool BeginsCharacter(std::string_view text, std::size_t at) noexcept {
  return (static_cast<unsigned char>(text[at]) & 0xC0) != 0x80;
}

}  // namespace ctx::tokenize::internal
