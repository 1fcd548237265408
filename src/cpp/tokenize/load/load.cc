#include "tokenize/load/load.h"

#include <filesystem>
#include <fstream>
#include <ios>
#include <system_error>

#include "tokenize/load/directory.h"
#include "tokenize/load/json.h"
#include "tokenize/load/messages.h"

namespace ctx::tokenize::load {
namespace {

/// JSON begins with a brace, after white space at most.
bool LooksLikeJson(std::string_view bytes) {
  const std::size_t first = bytes.find_first_not_of(" \t\r\n");
  return first != bytes.npos && bytes[first] == '{';
}

/// A SentencePiece model begins with the tag of its first piece, which is a line feed; no rank file
/// begins with an empty line.
bool LooksLikeSentencePiece(std::string_view bytes) { return bytes.starts_with('\n'); }

}  // namespace

std::string ReadFile(const std::string& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) Fail(path, "there is no such file");
  if (!std::filesystem::is_regular_file(status)) Fail(path, "is no regular file");
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  std::ifstream file(path, std::ios::binary);
  if (error || !file) Fail(path, "cannot be opened");
  std::string bytes(static_cast<std::size_t>(size), '\0');
  file.read(bytes.data(), static_cast<std::streamsize>(size));
  if (!file || file.peek() != std::ifstream::traits_type::eof()) {
    Fail(path, "cannot be read whole");
  }
  return bytes;
}

bool LooksLikeRankFile(std::string_view bytes) {
  return !LooksLikeJson(bytes) && !LooksLikeSentencePiece(bytes);
}

EncodingDefinition LoadFile(const std::string& path, const RankFileOptions& options) {
  const std::string bytes = ReadFile(path);
  if (LooksLikeRankFile(bytes)) return LoadRankFile(bytes, path, options);
  if (options.pattern || options.special_tokens) {
    Fail(path,
         "brings its own pattern and special tokens: pattern= and special_tokens= are for rank "
         "files");
  }
  if (!LooksLikeJson(bytes)) return LoadSentencePiece(bytes, path);
  const bool is_tekken = [&] {
    const JsonDocument document(bytes, path);
    return document.root().Find("config") && document.root().Find("vocab");
  }();
  return is_tekken ? LoadTekken(bytes, path) : LoadTokenizerJson(bytes, path);
}

LoadedFiles Load(const std::string& path, const RankFileOptions& options) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return LoadDirectory(path, options);
  return {.definition = LoadFile(path, options)};
}

}  // namespace ctx::tokenize::load
