// The characters at which Hugging Face's Digits and Punctuation split. Made once; any thread may
// call.
#pragma once

#include "tokenize/unicode/code_point_set.h"

namespace ctx::tokenize {

/// Rust's char::is_numeric: \p{N} of Unicode 17.
const CodePointSet& DigitCharacters();

/// ASCII punctuation and symbols, and \p{P} of Unicode 8.
const CodePointSet& PunctuationCharacters();

}  // namespace ctx::tokenize
