// A keyed 64-bit hash of byte strings for tables: 128-bit products of keyed words, folded. Four
// words in flight make it as fast as memory. It is for tables that compare contents on a hit: it
// spreads keys, and who does not know the key cannot aim at collisions, but it proves nothing.
// Pure. O(bytes).
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace ctx::chat {

using FoldKey = std::array<std::uint64_t, 4>;

/// The halves of a 128-bit product, exclusive-ored.
inline std::uint64_t Fold(std::uint64_t a, std::uint64_t b) noexcept {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

/// The hash of what was hashed to `state`, followed by `bytes` and their number.
inline std::uint64_t FoldHash(const FoldKey& key, std::uint64_t state,
                              std::string_view bytes) noexcept {
  static_assert(std::endian::native == std::endian::little);
  const auto word = [](const char* from, std::size_t size) {
    std::uint64_t value = 0;
    std::memcpy(&value, from, size);
    return value;
  };
  const char* at = bytes.data();
  std::size_t left = bytes.size();
  state = Fold(state ^ key[0], bytes.size() ^ key[1]);
  if (left >= 64) {
    FoldKey lanes = {state ^ key[3], state ^ key[2], state ^ key[1], state ^ key[0]};
    for (; left >= 64; left -= 64, at += 64) {
      for (std::size_t i = 0; i < 4; ++i) {
        lanes[i] = Fold(word(at + 16 * i, 8) ^ key[i], word(at + 16 * i + 8, 8) ^ lanes[i]);
      }
    }
    state = Fold(lanes[0] ^ key[2], lanes[1] ^ key[3]);
    state = Fold(state ^ lanes[2], lanes[3] ^ key[0]);
  }
  for (; left >= 16; left -= 16, at += 16) {
    state = Fold(word(at, 8) ^ key[2], word(at + 8, 8) ^ state);
  }
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  if (left >= 8) {
    low = word(at, 8);
    high = word(at + left - 8, 8);
  } else if (left >= 4) {
    low = word(at, 4);
    high = word(at + left - 4, 4);
  } else if (left > 0) {
    low = static_cast<unsigned char>(at[0]);
    high = static_cast<std::uint64_t>(static_cast<unsigned char>(at[left / 2])) << 8 |
           static_cast<unsigned char>(at[left - 1]);
  }
  return Fold(low ^ key[3], high ^ state);
}

}  // namespace ctx::chat
