// A digest of what a prompt's block holds, for telling whether two requests begin alike. 64 bits,
// the same in every process, at memory speed; it is no protection against someone who looks for two
// texts with one digest: what he gets is a wrong prediction of what his own call costs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace ctx::budget {

namespace digest_detail {

inline constexpr std::uint64_t kOdd[4] = {0x9e3779b97f4a7c15, 0xd1b54a32d192ed03,
                                          0x8cb92ba72f3d8dd7, 0xaaf5a1e3c0ffee2d};

inline std::uint64_t Load(const char* from) {
  std::uint64_t word = 0;
  std::memcpy(&word, from, sizeof word);
  return word;
}

/// Both halves of the 128-bit product.
inline std::uint64_t Fold(std::uint64_t a, std::uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

}  // namespace digest_detail

/// Joins two digests; the order matters.
inline std::uint64_t JoinDigests(std::uint64_t first, std::uint64_t second) {
  using namespace digest_detail;
  return Fold(first ^ kOdd[0], second ^ kOdd[1]) + second;
}

/// The digest of bytes; `kind` tells apart what has equal bytes and is not equal.
inline std::uint64_t DigestOf(std::string_view bytes, std::uint64_t kind) {
  using namespace digest_detail;
  const char* at = bytes.data();
  std::size_t left = bytes.size();
  std::uint64_t one = kind ^ kOdd[2];
  std::uint64_t two = bytes.size() ^ kOdd[3];
  // Chains beside each other, so that one multiplication does not wait for the other.
  if (left >= 64) {
    std::uint64_t three = kOdd[0];
    std::uint64_t four = kOdd[1];
    for (; left >= 64; left -= 64, at += 64) {
      one = Fold(one ^ Load(at), kOdd[0] ^ Load(at + 8));
      two = Fold(two ^ Load(at + 16), kOdd[1] ^ Load(at + 24));
      three = Fold(three ^ Load(at + 32), kOdd[2] ^ Load(at + 40));
      four = Fold(four ^ Load(at + 48), kOdd[3] ^ Load(at + 56));
    }
    one = JoinDigests(one, three);
    two = JoinDigests(two, four);
  }
  for (; left >= 32; left -= 32, at += 32) {
    one = Fold(one ^ Load(at), kOdd[0] ^ Load(at + 8));
    two = Fold(two ^ Load(at + 16), kOdd[1] ^ Load(at + 24));
  }
  if (left >= 16) {
    one = Fold(one ^ Load(at), kOdd[0] ^ Load(at + 8));
    left -= 16;
    at += 16;
  }
  if (left >= 8) {
    two = Fold(two ^ Load(at), kOdd[2]);
    left -= 8;
    at += 8;
  }
  std::uint64_t rest = 0;
  if (left > 0) std::memcpy(&rest, at, left);
  one = Fold(one ^ rest, kOdd[3]);
  return JoinDigests(one, two);
}

}  // namespace ctx::budget
