// Model directories as transformers writes and reads them.
#pragma once

#include <string>

#include "tokenize/load/load.h"

namespace ctx::tokenize::load {

/// Load() for a directory.
LoadedFiles LoadDirectory(const std::string& directory, const RankFileOptions& options);

/// The definition in one file, of whichever format.
EncodingDefinition LoadFile(const std::string& path, const RankFileOptions& options);

/// All bytes of a file; throws LoadError when it cannot be read.
std::string ReadFile(const std::string& path);

/// Whether the bytes are those of a rank file: neither JSON nor a SentencePiece model.
bool LooksLikeRankFile(std::string_view bytes);

}  // namespace ctx::tokenize::load
