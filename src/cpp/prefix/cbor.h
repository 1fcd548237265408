// The part of canonical CBOR (RFC 8949, section 4.2.1) that block hashing needs: integers, byte and
// text strings, arrays of known length, and null, each with its shortest head. The bytes equal
// Python's `cbor2.dumps(value, canonical=True)` for these types.
//
// Not thread-safe: one writer per thread. Amortised O(bytes written).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "common/ids.h"

namespace ctx::prefix {

class CborWriter {
 public:
  void Clear() noexcept { bytes_.clear(); }
  std::span<const std::uint8_t> bytes() const noexcept { return bytes_; }

  void Null() { bytes_.push_back(0xF6); }
  void Int(std::int64_t value);
  void Bytes(std::span<const std::uint8_t> value);
  /// `value` must be UTF-8.
  void Text(std::string_view value);
  /// The head of an array; its `num_items` items must follow.
  void Array(std::uint64_t num_items) { Head(kArray, num_items); }
  /// An array of token ids.
  void TokenArray(std::span<const TokenId> token_ids);

 private:
  static constexpr std::uint8_t kUnsigned = 0, kNegative = 1, kBytes = 2, kText = 3, kArray = 4;
  void Head(std::uint8_t major_type, std::uint64_t argument);

  std::vector<std::uint8_t> bytes_;
};

}  // namespace ctx::prefix
