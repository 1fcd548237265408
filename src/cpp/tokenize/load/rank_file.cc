// Rank files. The grammar is what tiktoken writes and every published file keeps:
//
//     file = { line }    line = base64 SP rank LF    rank = "0" | [1-9][0-9]*
//
// The line feed at the end tells a whole file from one that was cut.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>

#include "tokenize/load/base64.h"
#include "tokenize/load/load.h"
#include "tokenize/load/messages.h"
#include "tokenize/load/published.h"
#include "tokenize/token_index.h"

namespace ctx::tokenize::load {
namespace {

/// A canonical decimal number below 2^31, or nothing.
std::optional<TokenId> ParseRank(std::string_view text) {
  if (text.empty() || text.size() > 10 || (text.size() > 1 && text[0] == '0')) return std::nullopt;
  std::uint64_t rank = 0;
  for (const char digit : text) {
    if (digit < '0' || digit > '9') return std::nullopt;
    rank = rank * 10 + static_cast<std::uint64_t>(digit - '0');
  }
  if (rank > kMaxTokenId) return std::nullopt;
  return static_cast<TokenId>(rank);
}

/// Token i stands in line i + 1.
std::vector<TokenDefinition> ParseLines(std::string_view bytes, const std::string& file_name) {
  std::vector<TokenDefinition> tokens;
  if (bytes.empty()) Fail(file_name, "is empty");
  std::size_t line = 1;
  for (std::size_t at = 0; at < bytes.size(); ++line) {
    const std::size_t end = bytes.find('\n', at);
    if (end == bytes.npos) {
      FailAtLine(file_name, line, "the file is cut: no line feed after the last line");
    }
    const std::string_view row = bytes.substr(at, end - at);
    at = end + 1;
    const std::size_t space = row.find(' ');
    if (space == row.npos) FailAtLine(file_name, line, "must be base64, one space, a rank");
    std::optional<std::string> token = DecodeBase64(row.substr(0, space));
    if (!token) {
      FailAtLine(file_name, line, "no canonical base64: ", Quoted(row.substr(0, space)));
    }
    if (token->empty()) FailAtLine(file_name, line, "an empty token");
    if (token->size() > kMaxTokenBytes) {
      FailAtLine(file_name, line, "a token longer than ", kMaxTokenBytes, " bytes");
    }
    const std::optional<TokenId> rank = ParseRank(row.substr(space + 1));
    if (!rank) {
      FailAtLine(file_name, line, "no decimal number below 2^31: ", Quoted(row.substr(space + 1)));
    }
    tokens.push_back({*std::move(token), *rank});
  }
  return tokens;
}

void RequireDistinct(const std::vector<TokenDefinition>& tokens, const std::string& file_name) {
  const TokenIndex index(tokens);
  const auto line = [&tokens](const TokenDefinition* token) { return token - tokens.data() + 1; };
  const auto require_none = [&](const TokenIndex::Pair& twice, const char* what) {
    if (twice.first == nullptr) return;
    FailAtLine(file_name, static_cast<std::size_t>(line(twice.second)), "the same ", what,
               " as in line ", line(twice.first));
  };
  require_none(index.SameBytes(), "token");
  require_none(index.SameId(), "rank");
}

/// Throws for a rank that neither a token nor a special token has, though a token has a larger one.
/// `tokens` ascend.
void RequireNoHoles(const std::vector<TokenDefinition>& tokens,
                    const std::vector<SpecialTokenDefinition>& special_tokens,
                    const std::string& file_name) {
  std::vector<TokenId> special_ids;
  for (const SpecialTokenDefinition& token : special_tokens) special_ids.push_back(token.id);
  std::sort(special_ids.begin(), special_ids.end());
  TokenId next = 0;
  for (const TokenDefinition& token : tokens) {
    while (next < token.id && std::binary_search(special_ids.begin(), special_ids.end(), next)) {
      ++next;
    }
    if (next != token.id) {
      Fail(file_name, "has the rank ", token.id, ", but no token has the rank ", next);
    }
    ++next;
  }
}

}  // namespace

EncodingDefinition LoadRankFile(std::string_view bytes, const std::string& file_name,
                                const RankFileOptions& options) {
  EncodingDefinition definition;
  definition.name = StemOf(file_name);
  const PublishedRankFile* const published = FindPublished(bytes);
  PreTokenizerStep split;  // tiktoken takes the matches and drops what lies between
  split.behavior = PreTokenizerStep::Behavior::kRemoved;
  split.invert = true;
  if (published != nullptr) {
    definition.name = published->name;
    if (published->normalize_nfc) {
      definition.normalizer.push_back({NormalizerStep::Kind::kNfc, {}, {}});
    }
    split.pattern = published->pattern;
    definition.special_tokens = published->special_tokens();
  }
  if (options.pattern) split.pattern = *options.pattern;
  if (options.special_tokens) definition.special_tokens = *options.special_tokens;

  std::vector<TokenDefinition>& tokens = definition.model.tokens;
  tokens = ParseLines(bytes, file_name);
  RequireDistinct(tokens, file_name);
  if (split.pattern.empty()) {
    Fail(file_name, "is no rank file whose pattern is known: pass pattern=");
  }
  const auto by_id = [](const TokenDefinition& a, const TokenDefinition& b) { return a.id < b.id; };
  if (!std::is_sorted(tokens.begin(), tokens.end(), by_id)) {
    std::sort(tokens.begin(), tokens.end(), by_id);
  }
  RequireNoHoles(tokens, definition.special_tokens, file_name);
  definition.pre_tokenizer.push_back(std::move(split));
  return definition;
}

}  // namespace ctx::tokenize::load
