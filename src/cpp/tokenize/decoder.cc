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

std::string_view TextOfToken(const Encoding& encoding, std::span<const TokenId> ids, std::size_t i,
                             bool is_first, bool skip_special_tokens) {
  std::string_view bytes = encoding.TokenBytes(ids[i]);
  const SpecialToken* const special = encoding.FindSpecialToken(ids[i]);
  if (special != nullptr) {
    if (skip_special_tokens && special->special) return {};
    bytes = special->spelling;
  }
  if (bytes.empty()) {
    throw UnknownTokenError(
        StrCat("encoding ", encoding.name(), " has no token ", ids[i], ", at index ", i));
  }
  if (is_first && encoding.strips_leading_space() && bytes.front() == ' ') bytes.remove_prefix(1);
  return bytes;
}

void DecodeBytes(const Encoding& encoding, std::span<const TokenId> ids, std::string& bytes,
                 bool skip_special_tokens) {
  std::size_t size = 0;
  std::size_t first = ids.size();
  for (std::size_t i = ids.size(); i-- > 0;) {
    const std::size_t num_bytes =
        TextOfToken(encoding, ids, i, /*is_first=*/false, skip_special_tokens).size();
    if (num_bytes > 0) first = i;
    size += num_bytes;
  }
  bytes.reserve(bytes.size() + size);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    bytes.append(TextOfToken(encoding, ids, i, i == first, skip_special_tokens));
  }
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
