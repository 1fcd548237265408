// Chained hashes of the full blocks of a token sequence, under named schemes: the digest of a block
// stands for all tokens up to its end, so a block of KV can be found by it.
//
// A BlockHasher is immutable: any number of threads.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/ids.h"
#include "prefix/identity.h"
#include "prefix/keyed128.h"

namespace ctx::prefix {

enum class Scheme : std::uint8_t {
  /// vLLM 0.33's `--prefix-caching-hash-algo sha256_cbor`, bit for bit: SHA-256 of the canonical
  /// CBOR
  /// of [parent digest, token ids, extra keys or null]. 32 bytes.
  kVllmSha256Cbor,
  /// Keyed128 (keyed128.h). 16 bytes, for tables inside one process.
  kKeyed128,
};

/// "vllm_sha256_cbor" or "keyed128"; throws ArgumentError otherwise.
Scheme ParseScheme(std::string_view name);

/// Where a chain starts: vLLM's NONE_HASH itself or the seed string that it is made of
/// (PYTHONHASHSEED), or for keyed128 the 32 bytes that its key is expanded from.
using Root = std::variant<std::monostate, std::string, std::vector<std::uint8_t>>;

class BlockHasher {
 public:
  static constexpr std::int64_t kMaxBlockSize = std::int64_t{1} << 20;

  /// Throws ArgumentError for a block size outside 1..kMaxBlockSize, an invalid identity, or a root
  /// of the wrong kind or size for the scheme. The default root is vLLM's fixed seed, for keyed128
  /// the key of this process.
  BlockHasher(std::int64_t block_size, Scheme scheme, Identity identity, const Root& root);

  std::size_t digest_size() const noexcept { return scheme_ == Scheme::kKeyed128 ? 16 : 32; }
  std::int64_t block_size() const noexcept { return block_size_; }

  /// The digests of the full blocks of `token_ids`, one after the other; a partial last block has
  /// none. `parent` is the digest of the block before them; without it they begin a prefix, and the
  /// cache salt enters. Throws ArgumentError when `parent` has the wrong size. O(tokens).
  std::vector<std::uint8_t> Hash(std::span<const TokenId> token_ids,
                                 std::optional<std::span<const std::uint8_t>> parent) const;

 private:
  void HashVllm(std::span<const TokenId> token_ids,
                std::optional<std::span<const std::uint8_t>> parent, std::uint8_t* digests) const;
  void HashKeyed128(std::span<const TokenId> token_ids,
                    std::optional<std::span<const std::uint8_t>> parent,
                    std::uint8_t* digests) const;

  std::int64_t block_size_;
  Scheme scheme_;
  Identity identity_;
  std::vector<std::uint8_t> none_hash_;  // vLLM: the parent of a first block
  std::optional<Keyed128> key_;          // keyed128 with an explicit key
};

/// The low 64 bits of a digest, as vLLM publishes block hashes in KV events by default.
std::uint64_t LowBits(std::span<const std::uint8_t> digest) noexcept;

}  // namespace ctx::prefix
