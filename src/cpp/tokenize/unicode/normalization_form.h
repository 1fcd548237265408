// Unicode normalization forms C and KC (UAX #15), as Hugging Face's tokenizers 0.23 compute them.
//
// A segment begins at each character that, whatever stands before it, neither moves nor composes
// with it; so segments are normalized one by one, and those that are seen to be normalized already
// (the quick check) not at all.
#pragma once

#include <cstdint>
#include <string_view>

#include "tokenize/unicode/text_edit.h"

namespace ctx::tokenize {

enum class NormalizationForm : std::uint8_t { kNfc, kNfkc };

/// Whether a segment begins at the character. O(1).
bool BeginsSegment(NormalizationForm form, char32_t code_point) noexcept;

/// Edits the text, which is valid UTF-8, to be in the form. O(bytes), whatever the text; besides
/// the output takes memory for the longest segment that is not normalized already, at most 10 bytes
/// per byte of it.
void Normalize(NormalizationForm form, TextEdit& edit);

}  // namespace ctx::tokenize
