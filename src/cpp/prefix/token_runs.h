// Token ids one after the other in the encodings that block hashes are made of: the integers of
// pickle and of CBOR have one to five bytes, so what one takes decides where the next begins. No
// branch depends on a value, and with AVX-512 eight ids go at a time.
//
// Any number of threads. O(ids), no allocation.
#pragma once

#include <cstdint>
#include <span>

#include "common/ids.h"

namespace ctx::prefix {

/// Bytes that one id takes at most.
inline constexpr std::size_t kMaxTokenBytes = 5;
/// Bytes behind the last id that may be overwritten.
inline constexpr std::size_t kTokenSlack = 64;

/// Writes the ids, all below 2^31, as pickle does (BININT1, BININT2, BININT); returns the end.
std::uint8_t* PutPickleTokens(std::span<const TokenId> token_ids, std::uint8_t* out) noexcept;

/// Writes the ids as canonical CBOR does; returns the end.
std::uint8_t* PutCborTokens(std::span<const TokenId> token_ids, std::uint8_t* out) noexcept;

}  // namespace ctx::prefix
