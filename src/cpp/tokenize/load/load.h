// Vocabulary files -> EncodingDefinition. Strict: a file is either read as its reference library
// reads it or refused with a LoadError that names file and line or field; a part whose meaning is
// not supported is refused by name, never passed over. What no single line or field shows (a token
// that comes twice, a byte without one) is left to the constructor of Encoding.
//
// Callable from any thread. Time and memory O(n log n) and O(n) in the size of the files.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenize/definition.h"

namespace ctx::tokenize::load {

/// What a rank file does not hold.
struct RankFileOptions {
  /// The pre-tokenizer's regular expression in tiktoken's dialect.
  std::optional<std::string> pattern;
  std::optional<std::vector<SpecialTokenDefinition>> special_tokens;
};

/// A rank file (.tiktoken): lines of base64, one space, rank. The id of a token is its rank. For
/// published files, told by their SHA-256, pattern and special tokens are known; for others the
/// pattern must be given, and no special tokens means none. A rank may be missing below the largest
/// one only if a special token has it.
EncodingDefinition LoadRankFile(std::string_view bytes, const std::string& file_name,
                                const RankFileOptions& options = {});

/// A tekken.json (mistral-common): the ids of special tokens come first, then the ranks.
EncodingDefinition LoadTekken(std::string_view bytes, const std::string& file_name);

/// A SentencePiece model: BPE with byte fallback and no normalization beyond the dummy prefix and
/// the escape of spaces.
EncodingDefinition LoadSentencePiece(std::string_view bytes, const std::string& file_name);

/// A tokenizer.json (Hugging Face tokenizers): BPE, byte-level or with byte fallback.
EncodingDefinition LoadTokenizerJson(std::string_view bytes, const std::string& file_name);

struct ChatTemplate {
  std::string name;  ///< "default" for the one that has no name
  std::string text;
};

/// What a file or a model directory holds. The fields after the first are empty for a single file.
struct LoadedFiles {
  EncodingDefinition definition;
  std::vector<ChatTemplate> chat_templates = {};
  std::string bos_token = {};  ///< spellings; "" where the directory names none
  std::string eos_token = {};
};

/// Loads the file at `path`, by what it holds and not by its name, or the model directory `path`:
/// of tokenizer.json, tekken.json, tokenizer.model and the only *.tiktoken the first that is there,
/// with what tokenizer_config.json, special_tokens_map.json, added_tokens.json, chat_template.jinja
/// and chat_template.json add. Two files that contradict each other are a LoadError that names
/// both. `options` are for rank files; giving them for another format is a LoadError.
LoadedFiles Load(const std::string& path, const RankFileOptions& options = {});

}  // namespace ctx::tokenize::load
