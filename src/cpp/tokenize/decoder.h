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

/// Memory that a text is written into, and that grows while the text does.
class TextMemory {
 public:
  virtual ~TextMemory() = default;

  /// Room for `size_bytes` bytes, more than before, or for more; what is written already comes
  /// along.
  virtual std::span<char> Grow(std::size_t size_bytes) = 0;
};

/// The fast way from many ids to bytes. Immutable after construction, which takes O(vocabulary)
/// time and 16 bytes of memory for each id; the encoding must outlive it.
class Decoder {
 public:
  explicit Decoder(const Encoding& encoding);

  /// What was written.
  struct Text {
    std::size_t num_bytes;
    bool is_ascii;
  };

  /// Writes the text of the ids, each of which is read once: whatever others make of them
  /// meanwhile, nothing is written beyond the memory. Throws UnknownTokenError, naming the
  /// position, and what the memory throws. O(ids + bytes).
  Text Write(std::span<const TokenId> ids, bool skip_special_tokens, TextMemory& memory) const;

  /// What Write writes.
  std::string Decode(std::span<const TokenId> ids, bool skip_special_tokens = false) const;

 private:
  /// An ordinary token: its text when that is short, else where it is.
  struct alignas(16) Slot {
    static constexpr std::size_t kMaxShort = 15;
    static constexpr std::uint8_t kNotAscii = 0x80;
    static constexpr std::uint8_t kLong = 0x40;
    static constexpr std::uint8_t kLength = 0x1F;

    void Set(std::string_view text) noexcept;
    std::string_view LongText() const noexcept;

    std::array<char, kMaxShort> bytes;
    std::uint8_t kind;  // length and flags; 0: no such token, or a special one
  };

  std::string_view Find(std::span<const TokenId> ids, std::size_t i, bool skip,
                        bool& is_ascii) const;
  std::size_t FirstWithText(std::span<const TokenId> ids, bool skip) const;
  std::size_t Estimate(std::span<const TokenId> ids) const noexcept;

  const Encoding& encoding_;
  std::vector<Slot> slots_;  // by id
};

/// Bytes of every ordinary token, sorted bytewise.
std::vector<std::string_view> SortedTokenBytes(const Encoding& encoding);

}  // namespace ctx::tokenize
