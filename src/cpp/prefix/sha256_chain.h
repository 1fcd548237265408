// Runs of SHA-256 chains over messages that a writer makes block by block. Internal to the layer.
//
// While the rounds of one message run, which wait for each other, the processor finds the time to
// write the next one; so a message is written before the one in front of it is hashed.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "common/sha256.h"
#include "prefix/block_hasher.h"
#include "prefix/vllm_message.h"

namespace ctx::prefix {

/// The messages of SGLang: parent digest, ids as little-endian words. Calls as VllmMessageWriter.
class SglangMessageWriter {
 public:
  SglangMessageWriter(std::size_t block_size, std::size_t room)
      : size_(kParentSize + block_size * sizeof(TokenId)),
        buffers_{std::vector<std::uint8_t>(size_ + room), std::vector<std::uint8_t>(size_ + room)} {
  }
  std::size_t parent_offset() const noexcept { return 0; }
  VllmMessageWriter::Message Write(std::span<const TokenId> token_ids, std::int64_t, bool) {
    turn_ ^= 1;
    std::uint8_t* const data = buffers_[turn_].data();
    std::memcpy(data + kParentSize, token_ids.data(), token_ids.size_bytes());
    return {data, size_};
  }

 private:
  static constexpr std::size_t kParentSize = sizeof(Sha256Digest);
  std::size_t size_;
  std::vector<std::uint8_t> buffers_[2];
  int turn_ = 0;
};

template <typename Writer>
class Sha256Chain {
 public:
  /// The digests of the blocks of `run` from `first_block` on, written at `digests`; `parent` is
  /// the digest before the first of them.
  Sha256Chain(Writer writer, const Run& run, std::int64_t block_size, std::size_t first_block,
              const Sha256Words& parent, std::uint8_t* digests)
      : writer_(std::move(writer)),
        left_(run.token_ids.subspan(first_block * static_cast<std::size_t>(block_size))),
        block_size_(static_cast<std::size_t>(block_size)),
        position_(run.start + static_cast<std::int64_t>(first_block) * block_size),
        first_of_prefix_(first_block == 0 && !run.parent),
        num_left_(left_.size() / block_size_),
        chain_(parent),
        digests_(digests) {
    if (num_left_ > 0) Prepare();
  }

  /// Hashes the rest. `visit(digest)` is called for each block, when the next one has begun.
  template <typename Visit>
  void Finish(Visit visit) {
    const std::uint8_t* before = nullptr;
    while (num_left_ > 0) {
      const Sha256Link link = TakeLink();
      Sha256Append(link, &chain_);
      if (before != nullptr) visit(before);
      before = digests_;
      Store();
    }
    if (before != nullptr) visit(before);
  }
  void Finish() {
    Finish([](const std::uint8_t*) {});
  }

  /// Hashes the blocks that both chains have.
  static void AdvanceTwo(Sha256Chain& a, Sha256Chain& b) {
    Sha256Words chains[2] = {a.chain_, b.chain_};
    for (std::size_t left = std::min(a.num_left_, b.num_left_); left > 0; --left) {
      const Sha256Link links[2] = {a.TakeLink(), b.TakeLink()};
      Sha256AppendTwo(links, chains);
      a.chain_ = chains[0], b.chain_ = chains[1];
      a.Store(), b.Store();
    }
  }

 private:
  /// Writes the message of the next block.
  void Prepare() {
    const auto message = writer_.Write(left_.first(block_size_), position_, first_of_prefix_);
    left_ = left_.subspan(block_size_);
    position_ += static_cast<std::int64_t>(block_size_);
    first_of_prefix_ = false;
    prepared_ = {message.data, Sha256Pad(message.data, message.size), writer_.parent_offset()};
  }

  /// The message to be hashed now; the one behind it is written.
  Sha256Link TakeLink() {
    const Sha256Link link = prepared_;
    if (num_left_ > 1) Prepare();
    return link;
  }

  void Store() {
    StoreDigest(chain_, digests_);
    digests_ += sizeof(Sha256Digest);
    --num_left_;
  }

  Writer writer_;
  std::span<const TokenId> left_;
  std::size_t block_size_;
  std::int64_t position_;
  bool first_of_prefix_;
  std::size_t num_left_;
  Sha256Link prepared_{};
  Sha256Words chain_;
  std::uint8_t* digests_;
};

}  // namespace ctx::prefix
