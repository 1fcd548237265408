// Hashes of the full blocks of a token sequence, under named schemes: the digest of a block stands
// for all tokens up to its end (scheme `dynamo`: for its own), so a block of KV can be found by it.
//
// A BlockHasher is immutable: any number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "common/ids.h"
#include "prefix/identity.h"
#include "prefix/keyed128.h"
#include "prefix/scheme.h"

namespace ctx::prefix {

/// Where a chain starts: what stands for the digest before the first block, or the seed text that
/// vLLM makes it of (PYTHONHASHSEED); for keyed128 the 32 bytes that its key is expanded from.
using Root = std::variant<std::monostate, std::string, std::vector<std::uint8_t>>;

/// Token ids to hash, all below 2^31, and where they stand.
struct Run {
  std::span<const TokenId> token_ids;
  /// The digest of the block before them; without it they begin a prefix, and the cache salt
  /// enters.
  std::optional<std::span<const std::uint8_t>> parent;
  /// The position of the first of them in the request, a multiple of the block size: what the
  /// offsets of media and embeddings count from. Without a parent it is 0.
  std::int64_t start = 0;
};

class SglangMessageWriter;
class VllmMessageWriter;
template <typename Writer>
class Sha256Chain;

class BlockHasher {
 public:
  static constexpr std::int64_t kMaxBlockSize = std::int64_t{1} << 20;

  /// Throws ArgumentError for a block size outside 1..kMaxBlockSize, an identity that is invalid or
  /// that the scheme has no place for, or a root of the wrong kind or size for the scheme. The
  /// default root is the engine's own; XXH3 in vLLM and keyed128 have random ones, so the first
  /// must be given, and the second is the key of this process.
  BlockHasher(std::int64_t block_size, Scheme scheme, Identity identity, const Root& root);

  Scheme scheme() const noexcept { return scheme_; }
  std::size_t digest_size() const noexcept { return FactsOf(scheme_).digest_size; }
  std::int64_t block_size() const noexcept { return block_size_; }
  /// A partial last block has no digest.
  std::size_t NumBlocks(const Run& run) const noexcept {
    return run.token_ids.size() / static_cast<std::size_t>(block_size_);
  }

  /// Throws ArgumentError for a parent of the wrong size, or one that the scheme does not chain to,
  /// and for a start that is no place for a block.
  void Check(const Run& run) const;

  /// Writes the digests of the full blocks, one after the other. The run must have passed Check(),
  /// and `digests` must have NumBlocks() * digest_size() bytes. O(tokens).
  void Hash(const Run& run, std::uint8_t* digests) const;

  /// The same, and calls `visit(context, digest)` for each block in order, so that what is done
  /// with one digest takes the time in which the next waits for itself. What `visit` throws passes.
  using Visit = void (*)(void* context, const std::uint8_t* digest);
  void HashEach(const Run& run, std::uint8_t* digests, Visit visit, void* context) const;

  /// Hash() for two runs at once, in less time than one after the other when the scheme is made
  /// of SHA-256.
  void HashTwo(const Run (&runs)[2], std::uint8_t* const (&digests)[2]) const;

  /// Writes the integer form of each digest: 64 bits of it, as the engine publishes them.
  void HashInt64(const Run& run, std::uint64_t* integers) const;

 private:
  void CheckIdentity() const;
  void SetRoot(const Root& root);
  Sha256Chain<VllmMessageWriter> VllmChain(const Run& run, std::uint8_t* digests) const;
  Sha256Chain<SglangMessageWriter> SglangChain(const Run& run, std::uint8_t* digests) const;
  void HashXxhash(const Run& run, std::uint8_t* digests) const;
  void HashDynamo(const Run& run, std::uint8_t* digests) const;
  void HashDynamo(const Run& run, std::span<std::uint64_t> integers) const;
  void HashDynamoMedia(const Run& run, std::span<std::uint64_t> integers) const;
  void HashLmcache(const Run& run, std::uint8_t* digests) const;
  void HashKeyed128(const Run& run, std::uint8_t* digests) const;

  std::int64_t block_size_;
  Scheme scheme_;
  Identity identity_;
  std::vector<std::uint8_t> root_;  // the parent of a first block; none in SGLang without a seed
  std::uint64_t dynamo_seed_ = 0;
  std::vector<std::uint64_t> dynamo_media_;  // the hash of each media item
  std::optional<Keyed128> key_;              // keyed128 with an explicit key
};

}  // namespace ctx::prefix
