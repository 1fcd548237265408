#include "prefix/cbor.h"

#include "prefix/token_runs.h"

namespace ctx::prefix {
namespace {

/// Writes the shortest head for `argument` < 2^32 at `out`; returns the byte after it.
std::uint8_t* PutHead32(std::uint8_t major_bits, std::uint32_t argument, std::uint8_t* out) {
  if (argument < 24) {
    *out++ = static_cast<std::uint8_t>(major_bits | argument);
  } else if (argument <= 0xFF) {
    *out++ = major_bits | 24;
    *out++ = static_cast<std::uint8_t>(argument);
  } else if (argument <= 0xFFFF) {
    *out++ = major_bits | 25;
    *out++ = static_cast<std::uint8_t>(argument >> 8);
    *out++ = static_cast<std::uint8_t>(argument);
  } else {
    *out++ = major_bits | 26;
    for (int shift = 24; shift >= 0; shift -= 8) {
      *out++ = static_cast<std::uint8_t>(argument >> shift);
    }
  }
  return out;
}

}  // namespace

void CborWriter::Head(std::uint8_t major_type, std::uint64_t argument) {
  const auto major_bits = static_cast<std::uint8_t>(major_type << 5);
  std::uint8_t head[9];
  std::uint8_t* end = head;
  if (argument <= 0xFFFFFFFF) {
    end = PutHead32(major_bits, static_cast<std::uint32_t>(argument), head);
  } else {
    *end++ = major_bits | 27;
    for (int shift = 56; shift >= 0; shift -= 8) {
      *end++ = static_cast<std::uint8_t>(argument >> shift);
    }
  }
  bytes_.insert(bytes_.end(), head, end);
}

void CborWriter::Int(std::int64_t value) {
  // CBOR encodes a negative n as the unsigned -1 - n, which is ~n in two's complement.
  if (value >= 0) {
    Head(kUnsigned, static_cast<std::uint64_t>(value));
  } else {
    Head(kNegative, ~static_cast<std::uint64_t>(value));
  }
}

void CborWriter::Bytes(std::span<const std::uint8_t> value) {
  Head(kBytes, value.size());
  bytes_.insert(bytes_.end(), value.begin(), value.end());
}

void CborWriter::Text(std::string_view value) {
  Head(kText, value.size());
  bytes_.insert(bytes_.end(), value.begin(), value.end());
}

void CborWriter::TokenArray(std::span<const TokenId> token_ids) {
  Array(token_ids.size());
  const std::size_t start = bytes_.size();
  bytes_.resize(start + kMaxTokenBytes * token_ids.size() + kTokenSlack);
  const std::uint8_t* const end = PutCborTokens(token_ids, bytes_.data() + start);
  bytes_.resize(static_cast<std::size_t>(end - bytes_.data()));
}

}  // namespace ctx::prefix
