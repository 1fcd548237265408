// The messages that vLLM hashes: (parent digest, token ids, extra keys or None) in the bytes of
// pickle or of canonical CBOR.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "common/ids.h"
#include "prefix/cbor.h"
#include "prefix/identity.h"
#include "prefix/pickle.h"

namespace ctx::prefix {

enum class Serialization : std::uint8_t { kPickle, kCbor };

/// The bytes of a seed text alone: what NONE_HASH is the hash of.
std::vector<std::uint8_t> SerializedSeed(Serialization serialization, std::string_view seed);

/// Writes the messages of blocks one after the other, with zeros where the parent digest belongs.
/// Not thread-safe. O(bytes written); allocates when a message is the longest so far.
class VllmMessageWriter {
 public:
  struct Message {
    std::uint8_t* data;
    std::size_t size;
  };

  /// `identity` must outlive the writer; `room` bytes behind each message may be overwritten.
  VllmMessageWriter(Serialization serialization, std::size_t parent_size, const Identity& identity,
                    std::size_t block_size, std::size_t room);

  /// Where the parent digest belongs.
  std::size_t parent_offset() const noexcept { return parent_offset_; }

  /// The message of the block of `token_ids`, all below 2^31, that begins at token `begin`. Blocks
  /// must come in ascending order. The message stands until the next call but one.
  Message Write(std::span<const TokenId> token_ids, std::int64_t begin, bool first_of_prefix);

 private:
  std::span<const std::uint8_t> ExtraKeys(std::int64_t begin, bool first_of_prefix,
                                          MediaRange media);
  Message WriteInFrames(std::span<const TokenId> token_ids, std::int64_t begin,
                        bool first_of_prefix, MediaRange media);

  Serialization serialization_;
  const Identity& identity_;
  std::int64_t block_size_;
  std::size_t parent_size_;
  std::size_t parent_offset_;
  std::size_t room_;
  std::vector<std::uint8_t> head_;    // up to the first token, zeros for the parent
  std::vector<std::uint8_t> middle_;  // between the tokens and the extra keys
  std::vector<std::uint8_t> buffers_[2];
  int turn_ = 0;
  MediaRange media_{0, 0};
  CborWriter cbor_;
  PickleWriter pickle_;
};

}  // namespace ctx::prefix
