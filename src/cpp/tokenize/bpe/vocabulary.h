// The ordinary tokens of an encoding: bytes <-> id. An id is also the token's merge rank.
//
// Immutable after construction (copies share the table); safe to call from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/ids.h"
#include "tokenize/bpe/byte_table.h"

namespace ctx::tokenize {

class Vocabulary {
 public:
  /// Ids must be below this: tables are indexed by id.
  static constexpr TokenId kMaxTokens = TokenId{1} << 24;

  /// Memory-maps packed tables; rows of a later file follow or override nothing: an id may be given
  /// once. Format of a file, all integers little-endian:
  ///
  ///     "CTXVOC01"  u32 num_rows  u32 first_rank  { u8 length, bytes }...   length 0: no such
  ///     token
  ///
  /// Throws LoadError, with file and row, for a file that is unreadable, has another magic, is
  /// truncated or has bytes left over, gives a token or an id twice, or if one of the 256
  /// single-byte tokens is missing.
  static Vocabulary FromPackedFiles(std::span<const std::string> paths);

  /// Copies (bytes, id) pairs. Throws LoadError as above, and for an empty token, a token longer
  /// than 65535 bytes or an id of kMaxTokens or more.
  static Vocabulary FromRanks(std::span<const std::pair<std::string_view, TokenId>> ranks);

  /// The id of these bytes or kNoToken. O(length).
  TokenId Find(std::string_view bytes) const noexcept {
    return table_->byte_table.Find(bytes.data(), bytes.size(), bytes.data() + bytes.size());
  }

  /// As Find, for bytes in the middle of a larger readable buffer, which makes loads cheaper.
  TokenId Find(const char* bytes, std::size_t length, const char* readable_end) const noexcept {
    return table_->byte_table.Find(bytes, length, readable_end);
  }

  /// As Find, faster for bytes that are no token, as most pairs in merging are.
  TokenId FindUnlikely(const char* bytes, std::size_t length,
                       const char* readable_end) const noexcept {
    return table_->byte_table.FindUnlikely(bytes, length, readable_end);
  }

  /// The id of the two bytes or kNoToken: one array load.
  TokenId FindPair(unsigned char first, unsigned char second) const noexcept {
    return table_->byte_pairs[std::size_t{first} * 256 + second];
  }

  TokenId ByteToken(unsigned char byte) const noexcept { return table_->single_bytes[byte]; }

  /// The token's bytes; empty when there is no such token.
  std::string_view Bytes(TokenId id) const noexcept {
    return id < table_->bytes_of.size() ? table_->bytes_of[id] : std::string_view();
  }

  /// One more than the largest id.
  std::size_t size() const noexcept { return table_->bytes_of.size(); }
  std::size_t num_tokens() const noexcept { return table_->num_tokens; }
  std::size_t max_token_bytes() const noexcept { return table_->max_token_bytes; }

 private:
  class Builder;
  struct Table {
    std::vector<std::shared_ptr<const void>> backing;  // mapped files or the copied bytes
    std::vector<std::string_view> bytes_of;            // by id; empty where there is no token
    ByteTable byte_table;
    std::vector<TokenId> byte_pairs;    // [first * 256 + second]
    std::vector<TokenId> single_bytes;  // [byte]
    std::size_t num_tokens = 0;
    std::size_t max_token_bytes = 0;
  };

  explicit Vocabulary(std::shared_ptr<const Table> table) : table_(std::move(table)) {}

  std::shared_ptr<const Table> table_;
};

}  // namespace ctx::tokenize
