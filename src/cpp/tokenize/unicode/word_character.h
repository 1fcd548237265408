// Which characters make up words: \w of Unicode 16.0.
#pragma once

namespace ctx::tokenize {

/// O(log of the table's 1,500 entries). Callable from any thread.
bool IsWordCharacter(char32_t code_point) noexcept;

}  // namespace ctx::tokenize
