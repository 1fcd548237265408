// The rank files that are published, told by their SHA-256, and what their publishers' code adds:
// pattern, normalizer, special tokens.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/sha256.h"
#include "tokenize/definition.h"

namespace ctx::tokenize::load {

struct PublishedRankFile {
  Sha256Digest sha256;
  const char* name;
  const char* pattern;  ///< in tiktoken's dialect
  bool normalize_nfc;
  std::vector<SpecialTokenDefinition> (*special_tokens)();
};

/// The entry for a file with these bytes, or nullptr. Callable from any thread.
const PublishedRankFile* FindPublished(std::string_view bytes);

}  // namespace ctx::tokenize::load
