// Spellings of special tokens that a text must not hold.
#pragma once

#include <string_view>

#include "tokenize/special_tokens.h"

namespace ctx::bindings {

/// Throws SpecialTokenError, in tiktoken's words, when the text holds one of them. Needs the GIL.
void RefuseSpecialTokens(const tokenize::SpecialTokens& disallowed, std::string_view text);

}  // namespace ctx::bindings
