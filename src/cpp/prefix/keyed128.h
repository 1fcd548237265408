// keyed128: the hash of the tables inside one process. A universal hash, fast and safe against
// collisions as long as its key stays secret; so the default key is random and never leaves the
// process, and hits in the tables are confirmed by comparing contents all the same.
//
// Definition (docs/formats.md has it in Python integers). p = 2^127 - 1, r and k are the key.
//
//   NH_j(m) = sum over i of ((m[2i] + k_j[2i]) mod 2^32) * ((m[2i+1] + k_j[2i+1]) mod 2^32) mod
//   2^64 step(h, c) = (h + c) * r mod p record(h, kind, n, words):   h = step(h, kind * 2^64 + n)
//                                for each chunk m of at most 256 words, padded with 0 to even
//                                length: h = step(h, NH_1(m) * 2^64 + NH_0(m))
//   block(parent, tokens, extra): h = parent, 0 for none
//                                if extra: h = record(h, 2, bytes in extra, extra as u32 LE words)
//                                digest = record(h, 1, number of tokens, tokens)
//
// NH (Black, Halevi, Krawczyk, Krovetz, Rogaway: UMAC, CRYPTO 1999) maps two different chunks of
// equal length to equal lanes with probability 2^-32 each, 2^-64 together; the polynomial over p in
// the secret r then separates chains of up to L records up to L / 2^126.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "common/ids.h"

namespace ctx::prefix {

/// A value below 2^127 - 1; its bytes are big-endian, `high` first.
struct Digest128 {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  friend bool operator==(const Digest128&, const Digest128&) = default;
};

/// One key. Immutable: any number of threads. About 2 kB.
class Keyed128 {
 public:
  static constexpr std::size_t kSeedSize = 32;

  /// Expands `seed` with SHA-256 in counter mode.
  explicit Keyed128(std::span<const std::uint8_t, kSeedSize> seed) noexcept;

  /// The key of this process: drawn from the operating system at the first call.
  static const Keyed128& Process();

  /// The digest of a block behind `parent` (zero for none); `extra` is the framed identity of
  /// AppendFramed(), usually empty. O(tokens + extra), no allocation.
  Digest128 Block(Digest128 parent, std::span<const TokenId> token_ids,
                  std::string_view extra) const noexcept;

 private:
  static constexpr std::size_t kChunkWords = 256;
  using Wide = unsigned __int128;

  Wide Record(Wide h, std::uint64_t kind, std::uint64_t length,
              std::span<const std::uint32_t> words) const noexcept;
  Wide ExtraRecord(Wide h, std::string_view extra) const noexcept;
  Wide Nh(std::span<const std::uint32_t> words) const noexcept;

  std::array<std::uint32_t, kChunkWords> nh_key0_;
  std::array<std::uint32_t, kChunkWords> nh_key1_;
  Wide r_ = 0;
};

/// Whether the 16 bytes of `digest` can come from keyed128 at all.
bool IsCanonical(Digest128 digest) noexcept;

}  // namespace ctx::prefix
