// The bytes of tokens, by rank.
//
// All stand in one buffer in the order of their ranks, each with one byte before it that is no part
// of it (a packed file has its length there):
//
//     begins   1    4  6 7                 one more than there are ranks
//     bytes    .the .a . ...               rank 2 has no token
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokenize/bpe/large_pages.h"

namespace ctx::tokenize {

using Rank = std::uint32_t;

class TokenList {
 public:
  /// Ids and ranks must be below this: tables are indexed by them.
  static constexpr Rank kMaxTokens = Rank{1} << 24;
  /// So many bytes may be read behind each token.
  static constexpr std::size_t kReadableBytes = 16;

  TokenList() = default;
  TokenList(TokenList&&) = default;
  TokenList& operator=(TokenList&&) = default;

  /// Room for ranks below `num_ranks`, whose tokens have `num_bytes` bytes in all. Throws LoadError
  /// when they are too many for 32 bits.
  TokenList(std::size_t num_ranks, std::size_t num_bytes, LargePages& memory);

  /// What memory that takes.
  static std::size_t SizeBytes(std::size_t num_ranks, std::size_t num_bytes) noexcept;

  /// The token of the next rank; empty when there is none.
  void Append(std::string_view token) noexcept;

  /// One more than the largest rank.
  std::size_t size() const noexcept { return size_; }

  /// Ranks with a token.
  std::size_t num_tokens() const noexcept { return num_tokens_; }
  /// Of them, those of up to 8 bytes.
  std::size_t num_short() const noexcept { return num_tokens_ - num_long_; }
  /// Of the longest token.
  std::size_t max_size() const noexcept { return max_size_; }

  /// Empty when there is no such token.
  std::string_view operator[](std::size_t rank) const noexcept {
    if (rank >= size_) return {};
    const std::size_t begin = begins_[rank];
    return {bytes_.data() + begin, begins_[rank + 1] - begin - 1};
  }

  /// Calls visit(rank, bytes, length) for those of ranks [first, last) that have a token, and, so
  /// that there is no branch for it, for those that have none with length 0.
  template <typename Visit>
  void ForEach(std::size_t first, std::size_t last, Visit visit) const {
    std::uint32_t begin = begins_[first];
    for (std::size_t rank = first; rank < last; ++rank) {
      const std::uint32_t next = begins_[rank + 1];
      visit(static_cast<Rank>(rank), bytes_.data() + begin, next - begin - 1);
      begin = next;
    }
  }

 private:
  friend class PackedFiles;

  /// For the token of the next rank, whose bytes are in place.
  void Advance(std::uint32_t length) noexcept {
    num_tokens_ += length > 0;
    num_long_ += length > 8;
    max_size_ = std::max<std::size_t>(max_size_, length);
    const std::uint32_t begin = begins_[size_];
    begins_[++size_] = begin + length + 1;
  }

  std::span<char> bytes_;
  std::span<std::uint32_t> begins_;
  std::size_t size_ = 0;
  std::size_t num_tokens_ = 0;
  std::size_t num_long_ = 0;
  std::size_t max_size_ = 0;
};

/// Packed tables (tools/pack_vocabulary.py), a later one going on where the one before it ends. All
/// integers are little-endian:
///
///     "CTXVOC01"  u32 num_rows  u32 first_rank  { u8 length, bytes }...   length 0: no such token
///
/// Throws LoadError, with file and row, for a file that is unreadable, has another magic, does not
/// begin with the rank that is next, is truncated or has bytes left over.
class PackedFiles {
 public:
  /// Opens the files and reads what they begin with.
  explicit PackedFiles(std::span<const std::string> paths);
  ~PackedFiles();
  PackedFiles(const PackedFiles&) = delete;
  PackedFiles& operator=(const PackedFiles&) = delete;

  std::size_t num_ranks() const noexcept { return num_ranks_; }
  /// Of all tokens; or more.
  std::size_t num_bytes() const noexcept { return num_bytes_; }
  TokenList Read(LargePages& memory) const;

 private:
  struct File {
    std::string path;
    int descriptor;
    std::size_t num_rows;
    std::size_t num_bytes;  // of the rows
  };

  PackedFiles() = default;
  static void ReadRows(const File& file, TokenList& tokens);

  std::vector<File> files_;
  std::size_t num_ranks_ = 0;
  std::size_t num_bytes_ = 0;
};

}  // namespace ctx::tokenize
