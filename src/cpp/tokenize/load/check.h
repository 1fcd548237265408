// Whether a definition is one that can be compiled: the rules that every loader's result and every
// definition from elsewhere (pickles, Python) must keep.
#pragma once

#include <cstddef>
#include <string>

#include "tokenize/definition.h"

namespace ctx::tokenize::load {

inline constexpr std::size_t kMaxTokenBytes = 64 * 1024;  ///< of one token
inline constexpr TokenId kMaxTokenId = 0x7FFFFFFF;

/// Throws LoadError "WHERE: ..." (`where` names the file or the encoding) unless
///  - ordinary tokens are not empty, at most kMaxTokenBytes long, and no bytes and no id come
///  twice;
///    ids are at most kMaxTokenId; ranks, if given, ascend and are as many as the tokens;
///  - every byte can be encoded: 256 single-byte tokens, or 256 byte ids apart from the tokens;
///  - both parts of a merge and what they give are tokens, and no pair comes twice;
///  - special tokens have distinct spellings of valid UTF-8; their ids are no ordinary tokens' but
///    as SpecialTokenDefinition allows;
///  - the ids that the post-processor adds exist; steps have the strings that they need, in UTF-8.
/// O(n log n). Callable from any thread.
void CheckDefinition(const EncodingDefinition& definition, const std::string& where);

}  // namespace ctx::tokenize::load
