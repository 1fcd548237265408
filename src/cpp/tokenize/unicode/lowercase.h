// Lowercase as Hugging Face's tokenizers 0.23 compute it: each character by itself (Rust's
// char::to_lowercase), so that a final sigma is like any other.
#pragma once

#include "tokenize/unicode/text_edit.h"

namespace ctx::tokenize {

/// The first character of the lowercase of `code_point`. Only that of U+0130 has a second one,
/// U+0307. O(log(runs of letters)).
char32_t FirstOfLowercase(char32_t code_point) noexcept;

/// Edits the text, which is valid UTF-8, to be lowercase. O(bytes).
void Lowercase(TextEdit& edit);

}  // namespace ctx::tokenize
