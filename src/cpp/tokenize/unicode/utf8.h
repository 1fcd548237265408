// Reading UTF-8 that is known to be valid.
#pragma once

#include <cstddef>

namespace ctx::tokenize {

/// One code point and the number of bytes that spell it.
struct CodePoint {
  char32_t value;
  std::size_t size_bytes;
};

/// Decodes the code point at `at`, which must be the first byte of a whole, valid sequence.
inline CodePoint DecodeUtf8(const unsigned char* at) noexcept {
  const char32_t lead = at[0];
  const auto tail = [at](int i) { return static_cast<char32_t>(at[i] & 0x3F); };
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xE0) return {(lead & 0x1F) << 6 | tail(1), 2};
  if (lead < 0xF0) return {(lead & 0x0F) << 12 | tail(1) << 6 | tail(2), 3};
  return {(lead & 0x07) << 18 | tail(1) << 12 | tail(2) << 6 | tail(3), 4};
}

}  // namespace ctx::tokenize
