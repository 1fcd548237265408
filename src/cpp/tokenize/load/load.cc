#include "tokenize/load/load.h"

#include <fstream>
#include <ios>
#include <iterator>

#include "tokenize/load/json.h"
#include "tokenize/load/messages.h"

namespace ctx::tokenize::load {
namespace {

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) Fail(path, "cannot be opened");
  const std::streamoff size = file.tellg();
  if (size < 0) Fail(path, "cannot be read");
  std::string bytes(static_cast<std::size_t>(size), '\0');
  file.seekg(0);
  file.read(bytes.data(), size);
  if (!file || file.gcount() != size) Fail(path, "cannot be read");
  return bytes;
}

/// JSON begins with a brace, after white space at most.
bool LooksLikeJson(std::string_view bytes) {
  const std::size_t first = bytes.find_first_not_of(" \t\r\n");
  return first != bytes.npos && bytes[first] == '{';
}

/// A SentencePiece model begins with a field: its first piece. Base64 has no line feed in front.
bool LooksLikeSentencePiece(std::string_view bytes) { return bytes.starts_with('\n'); }

}  // namespace

LoadedFiles Load(const std::string& path, const RankFileOptions& options) {
  const std::string bytes = ReadFile(path);
  const bool is_json = LooksLikeJson(bytes);
  if (!is_json && !LooksLikeSentencePiece(bytes)) return {LoadRankFile(bytes, path, options)};
  if (options.pattern || options.special_tokens) {
    Fail(path,
         "brings its own pattern and special tokens: pattern= and special_tokens= are for "
         "rank files");
  }
  if (!is_json) return {LoadSentencePiece(bytes, path)};
  const JsonDocument document(bytes, path);
  const bool is_tekken = document.root().Find("config") && document.root().Find("vocab");
  return {is_tekken ? LoadTekken(bytes, path) : LoadTokenizerJson(bytes, path)};
}

}  // namespace ctx::tokenize::load
