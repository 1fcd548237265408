// SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", INDOCRYPT 2012, with the
// reduced rounds that hash tables use): a keyed 64-bit hash whose collisions cannot be aimed at
// without the key. Pure. O(bytes).
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace ctx::chat {

struct SipKey {
  std::uint64_t k0;
  std::uint64_t k1;
};

inline std::uint64_t SipHash13(SipKey key, std::string_view bytes) noexcept {
  static_assert(std::endian::native == std::endian::little);
  std::uint64_t v0 = key.k0 ^ 0x736f6d6570736575;
  std::uint64_t v1 = key.k1 ^ 0x646f72616e646f6d;
  std::uint64_t v2 = key.k0 ^ 0x6c7967656e657261;
  std::uint64_t v3 = key.k1 ^ 0x7465646279746573;
  const auto round = [&] {
    v0 += v1;
    v1 = std::rotl(v1, 13) ^ v0;
    v0 = std::rotl(v0, 32);
    v2 += v3;
    v3 = std::rotl(v3, 16) ^ v2;
    v0 += v3;
    v3 = std::rotl(v3, 21) ^ v0;
    v2 += v1;
    v1 = std::rotl(v1, 17) ^ v2;
    v2 = std::rotl(v2, 32);
  };
  const char* at = bytes.data();
  const char* const last = at + bytes.size() / 8 * 8;
  std::uint64_t word = 0;
  for (; at != last; at += 8) {
    std::memcpy(&word, at, 8);
    v3 ^= word;
    round();
    v0 ^= word;
  }
  word = 0;
  if (bytes.size() % 8 != 0) std::memcpy(&word, at, bytes.size() % 8);
  word |= static_cast<std::uint64_t>(bytes.size()) << 56;
  v3 ^= word;
  round();
  v0 ^= word;
  v2 ^= 0xff;
  for (int i = 0; i < 3; ++i) round();
  return v0 ^ v1 ^ v2 ^ v3;
}

}  // namespace ctx::chat
