// The encodings whose rank tables are package data: which tables, pattern and special tokens make
// each. Callable from any thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tokenize/encoding.h"

namespace ctx::tokenize {

std::vector<std::string> ShippedEncodingNames();

/// Makes a shipped encoding from the packed tables in `directory`. Throws ArgumentError for a name
/// that is not shipped and LoadError for a table that is not what it must be. Takes milliseconds,
/// so callers keep the result.
std::shared_ptr<const Encoding> LoadShippedEncoding(std::string_view name,
                                                    const std::string& directory);

}  // namespace ctx::tokenize
