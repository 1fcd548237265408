// Base64 (RFC 4648, section 4), canonical form only: the standard alphabet, padded, unused bits
// zero, nothing in between. Every byte string has exactly one such spelling.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace ctx::tokenize::load {

/// The bytes, or nothing when `text` is no canonical base64. O(size). Callable from any thread.
std::optional<std::string> DecodeBase64(std::string_view text);

}  // namespace ctx::tokenize::load
