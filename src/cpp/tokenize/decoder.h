// Token ids back to bytes. Pure functions of an immutable encoding: callable from any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokenize/encoding.h"

namespace ctx::tokenize {

/// The bytes of one token, ordinary or special; they live as long as the encoding. Throws
/// UnknownTokenError for an id that the encoding does not have.
std::string_view TokenBytes(const Encoding& encoding, TokenId id);

/// What ids[i] adds to a text: its bytes, or nothing for a control token when those are skipped.
/// `is_first`: no token before it that is not skipped. Throws UnknownTokenError with the position.
std::string_view TextOfToken(const Encoding& encoding, std::span<const TokenId> ids, std::size_t i,
                             bool is_first, bool skip_special_tokens);

/// The fast way from many ids to bytes. Immutable after construction, which takes O(vocabulary)
/// time and 17 bytes of memory for each id; the encoding must outlive it.
class Decoder {
 public:
  explicit Decoder(const Encoding& encoding);

  /// What the text of some ids takes.
  struct Size {
    std::size_t num_bytes;
    bool is_ascii;
  };

  /// Throws UnknownTokenError, naming the position. O(ids).
  Size SizeOf(std::span<const TokenId> ids, bool skip_special_tokens) const;

  /// Writes the `num_bytes` bytes that SizeOf found. O(ids + bytes).
  void Write(std::span<const TokenId> ids, bool skip_special_tokens, char* to,
             std::size_t num_bytes) const;

  /// What Write writes.
  std::string Decode(std::span<const TokenId> ids, bool skip_special_tokens = false) const;

 private:
  static constexpr std::size_t kSlotBytes = 16;
  static constexpr std::uint8_t kNotAscii = 0x80;  // in short_, beside the length

  std::string_view SlowText(std::span<const TokenId> ids, std::size_t i, bool skip) const;
  std::size_t FirstWithText(std::span<const TokenId> ids, bool skip) const;

  const Encoding& encoding_;
  // By id. An ordinary token of up to kSlotBytes bytes has its length in short_, all others 0.
  std::vector<std::uint8_t> short_;
  std::vector<std::array<char, kSlotBytes>> slots_;
};

/// Bytes of every ordinary token, sorted bytewise.
std::vector<std::string_view> SortedTokenBytes(const Encoding& encoding);

}  // namespace ctx::tokenize
