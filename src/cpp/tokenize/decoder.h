// Token ids back to bytes. Pure functions of an immutable encoding: callable from any thread.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokenize/encoding.h"

namespace ctx::tokenize {

/// The bytes of one token, ordinary or special; they live as long as the encoding. Throws
/// UnknownTokenError for an id that the encoding does not have.
std::string_view TokenBytes(const Encoding& encoding, TokenId id);

/// Appends the bytes of all tokens; O(ids + bytes). Throws UnknownTokenError, naming the position,
/// and then leaves `bytes` as it was.
void DecodeBytes(const Encoding& encoding, std::span<const TokenId> ids, std::string& bytes);

/// Bytes of every ordinary token, sorted bytewise.
std::vector<std::string_view> SortedTokenBytes(const Encoding& encoding);

}  // namespace ctx::tokenize
