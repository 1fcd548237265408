// The named ways to hash the blocks of a prompt. docs/formats.md defines each; the bytes of all but
// keyed128 are those of the engine that the name says.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace ctx::prefix {

enum class Scheme : std::uint8_t {
  kVllmSha256,      ///< SHA-256 of a pickle; vLLM's default
  kVllmSha256Cbor,  ///< SHA-256 of canonical CBOR
  kVllmXxhash,      ///< XXH3-128 of a pickle
  kVllmXxhashCbor,  ///< XXH3-128 of canonical CBOR
  kSglang,          ///< SHA-256 of the digest before and the ids
  kDynamo,          ///< XXH3-64 of the ids alone: blocks are not chained
  kDynamoSequence,  ///< XXH3-64 of the hash before and kDynamo's
  kLmcache,         ///< BLAKE3 of the digest before and the ids
  kKeyed128,        ///< keyed128.h; for tables inside one process
};

/// How the 64 bits that an engine publishes are taken from a digest.
enum class IntegerForm : std::uint8_t { kFirst, kLast };

struct SchemeFacts {
  std::string_view name;
  std::size_t digest_size;
  IntegerForm integer_form;
  // What may distinguish equal token ids.
  bool takes_salt;
  bool takes_lora;
  bool takes_media;
  bool takes_embeds;
};

const SchemeFacts& FactsOf(Scheme scheme) noexcept;

/// Throws ArgumentError for an unknown name; the message lists those that are known.
Scheme ParseScheme(std::string_view name);

}  // namespace ctx::prefix
