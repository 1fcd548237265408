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

/// What ids[i] adds to a text: its bytes, or nothing for a control token when those are skipped.
/// `is_first`: no token before it that is not skipped. Throws UnknownTokenError with the position.
std::string_view TextOfToken(const Encoding& encoding, std::span<const TokenId> ids, std::size_t i,
                             bool is_first, bool skip_special_tokens);

/// Appends what all tokens add; O(ids + bytes). Throws UnknownTokenError, naming the position, and
/// then leaves `bytes` as it was.
void DecodeBytes(const Encoding& encoding, std::span<const TokenId> ids, std::string& bytes,
                 bool skip_special_tokens = false);

/// Bytes of every ordinary token, sorted bytewise.
std::vector<std::string_view> SortedTokenBytes(const Encoding& encoding);

}  // namespace ctx::tokenize
