// Reading UTF-8 that is known to be valid, and writing it.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace ctx::tokenize {

/// Whether the byte is the first of a character, not one that continues it.
inline bool BeginsCharacter(char byte) noexcept {
  return (static_cast<unsigned char>(byte) & 0xC0) != 0x80;
}

/// Whether a character begins at byte `at`, or the text ends there.
inline bool BeginsCharacter(std::string_view text, std::size_t at) noexcept {
  return at >= text.size() || BeginsCharacter(text[at]);
}
/// The border of characters at `at`, or the next one before or behind it.
inline std::size_t FloorCharacter(std::string_view text, std::size_t at) noexcept {
  while (!BeginsCharacter(text, at)) --at;
  return at;
}
inline std::size_t CeilCharacter(std::string_view text, std::size_t at) noexcept {
  while (!BeginsCharacter(text, at)) ++at;
  return at < text.size() ? at : text.size();
}

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

/// Where ASCII ends, at or after `at`. O(bytes skipped).
inline std::size_t SkipAscii(std::string_view text, std::size_t at) noexcept {
  for (; text.size() - at >= 8; at += 8) {
    std::uint64_t word;
    std::memcpy(&word, text.data() + at, sizeof word);
    word &= 0x8080808080808080;
    if (word == 0) continue;
    if constexpr (std::endian::native != std::endian::little) break;
    return at + static_cast<std::size_t>(std::countr_zero(word)) / 8;
  }
  while (at < text.size() && static_cast<unsigned char>(text[at]) < 0x80) ++at;
  return at;
}

/// Writes the code point, which is no surrogate, to `to`, which has room for 4 bytes. Returns the
/// number of bytes.
inline std::size_t EncodeUtf8(char32_t c, char* to) noexcept {
  const auto tail = [c](int shift) { return static_cast<char>(0x80 | (c >> shift & 0x3F)); };
  if (c < 0x80) {
    to[0] = static_cast<char>(c);
    return 1;
  }
  if (c < 0x800) {
    to[0] = static_cast<char>(0xC0 | c >> 6);
    to[1] = tail(0);
    return 2;
  }
  if (c < 0x10000) {
    to[0] = static_cast<char>(0xE0 | c >> 12);
    to[1] = tail(6);
    to[2] = tail(0);
    return 3;
  }
  to[0] = static_cast<char>(0xF0 | c >> 18);
  to[1] = tail(12);
  to[2] = tail(6);
  to[3] = tail(0);
  return 4;
}

}  // namespace ctx::tokenize
