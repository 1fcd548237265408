// Where bytes stop being valid UTF-8 (RFC 3629: no overlong forms, no surrogates, none above
// U+10FFFF).
#pragma once

#include <cstddef>
#include <string_view>

namespace ctx::tokenize {

/// Length of the longest prefix that is valid UTF-8, whole code points only; bytes.size() when all
/// is valid. O(size). Callable from any thread.
std::size_t ValidUtf8Prefix(std::string_view bytes) noexcept;

}  // namespace ctx::tokenize
