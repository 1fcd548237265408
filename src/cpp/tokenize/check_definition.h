// The rules that every definition must keep, wherever it comes from: a file, a pickle, tables in
// memory. Whatever is compiled has passed them, so that the parts need not look again.
#pragma once

#include "tokenize/definition.h"

namespace ctx::tokenize {

/// Returns the definition. Throws LoadError unless
///  - tokens are not empty, at most kMaxTokenBytes long, UTF-8 in models over characters, and no
///    bytes and no id come twice, whatever the group of the token;
///  - ranks, if given, ascend and are as many as the tokens;
///  - every byte can be encoded: 256 single-byte tokens, or 256 byte ids apart from the tokens;
///  - both parts of a merge and what they give are tokens, and no pair comes twice;
///  - special tokens have distinct spellings of valid UTF-8; their ids are at most kMaxTokenId and
///    no ordinary tokens' but as SpecialTokenDefinition allows;
///  - the ids that the post-processor adds exist; steps have the strings that they need, in UTF-8.
/// How large the ids of ordinary tokens may be, Vocabulary says; which patterns can be run,
/// PreTokenizer does. O(n log n). Callable from any thread.
const EncodingDefinition& CheckDefinition(const EncodingDefinition& definition);

}  // namespace ctx::tokenize
