#include "tokenize/decoder.h"

#include <algorithm>

#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::tokenize {
namespace {

/// Empty when there is no such token; no token is empty.
std::string_view BytesOrEmpty(const Encoding& encoding, TokenId id) noexcept {
  const std::string_view ordinary = encoding.TokenBytes(id);
  if (!ordinary.empty()) return ordinary;
  const SpecialToken* const special = encoding.FindSpecialToken(id);
  return special == nullptr ? std::string_view() : std::string_view(special->spelling);
}

}  // namespace

std::string_view TokenBytes(const Encoding& encoding, TokenId id) {
  const std::string_view bytes = BytesOrEmpty(encoding, id);
  if (bytes.empty()) {
    throw UnknownTokenError(StrCat("encoding ", encoding.name(), " has no token ", id));
  }
  return bytes;
}

void DecodeBytes(const Encoding& encoding, std::span<const TokenId> ids, std::string& bytes) {
  std::size_t size = 0;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const std::string_view token = BytesOrEmpty(encoding, ids[i]);
    if (token.empty()) {
      throw UnknownTokenError(
          StrCat("encoding ", encoding.name(), " has no token ", ids[i], ", at index ", i));
    }
    size += token.size();
  }
  bytes.reserve(bytes.size() + size);
  for (const TokenId id : ids) bytes.append(BytesOrEmpty(encoding, id));
}

std::vector<std::string_view> SortedTokenBytes(const Encoding& encoding) {
  const Vocabulary& vocabulary = encoding.vocabulary();
  std::vector<std::string_view> tokens;
  tokens.reserve(vocabulary.num_tokens());
  for (Rank rank = 0; rank < vocabulary.num_ranks(); ++rank) {
    const std::string_view bytes = vocabulary.Bytes(rank);
    if (!bytes.empty()) tokens.push_back(bytes);
  }
  std::sort(tokens.begin(), tokens.end());
  return tokens;
}

}  // namespace ctx::tokenize
