#include "tokenize/unicode/utf8_validation.h"

#include <cstdint>
#include <cstring>

namespace ctx::tokenize {
namespace {

/// Size of the valid code point that begins at `at`, or 0.
std::size_t CodePointSize(const unsigned char* at, std::size_t available) noexcept {
  const unsigned lead = at[0];
  if (lead < 0x80) return 1;
  // The second byte is where overlong forms, surrogates and too large values show (RFC 3629, 4).
  std::size_t size = 0;
  unsigned low = 0x80;
  unsigned high = 0xBF;
  if (lead >= 0xC2 && lead <= 0xDF) {
    size = 2;
  } else if ((lead & 0xF0) == 0xE0) {
    size = 3;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    size = 4;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  }
  if (size == 0 || available < size || at[1] < low || at[1] > high) return 0;
  for (std::size_t i = 2; i < size; ++i) {
    if ((at[i] & 0xC0) != 0x80) return 0;
  }
  return size;
}

}  // namespace

std::size_t ValidUtf8Prefix(std::string_view bytes) noexcept {
  const auto* const data = reinterpret_cast<const unsigned char*>(bytes.data());
  std::size_t at = 0;
  while (at < bytes.size()) {
    if (bytes.size() - at >= 8) {
      std::uint64_t word;
      std::memcpy(&word, data + at, sizeof word);
      if ((word & 0x8080808080808080) == 0) {
        at += 8;
        continue;
      }
    }
    const std::size_t size = CodePointSize(data + at, bytes.size() - at);
    if (size == 0) break;
    at += size;
  }
  return at;
}

}  // namespace ctx::tokenize
