#include "tokenize/special_tokens.h"

#include <algorithm>
#include <cstring>

#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::tokenize {

SpecialTokens::SpecialTokens(std::vector<SpecialToken> tokens) : tokens_(std::move(tokens)) {
  std::sort(tokens_.begin(), tokens_.end(),
            [](const SpecialToken& a, const SpecialToken& b) { return a.spelling < b.spelling; });
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    const std::string& spelling = tokens_[i].spelling;
    if (spelling.empty()) {
      throw ArgumentError(StrCat("special token ", tokens_[i].id, " has an empty spelling"));
    }
    if (spelling.size() > kMaxSpellingBytes) {
      throw ArgumentError(StrCat("the spelling of a special token has ", spelling.size(),
                                 " bytes; at most ", kMaxSpellingBytes, " are allowed"));
    }
    if (i > 0 && tokens_[i - 1].spelling == spelling) {
      throw ArgumentError(StrCat("special token ", spelling, " is given twice"));
    }
    starts_[static_cast<unsigned char>(spelling[0])] = true;
  }
  if (!tokens_.empty() && tokens_.front().spelling[0] == tokens_.back().spelling[0]) {
    only_start_ = static_cast<unsigned char>(tokens_.front().spelling[0]);
  }
}

std::size_t SpecialTokens::NextCandidate(std::string_view text, std::size_t from) const noexcept {
  if (only_start_ >= 0) {
    const void* const found = std::memchr(text.data() + from, only_start_, text.size() - from);
    return found == nullptr ? text.size() : static_cast<const char*>(found) - text.data();
  }
  while (from < text.size() && !starts_[static_cast<unsigned char>(text[from])]) ++from;
  return from;
}

std::optional<SpecialTokens::Match> SpecialTokens::LongestAt(std::string_view text,
                                                             std::size_t begin) const noexcept {
  // Among the sorted spellings, those that agree with the text so far are a range, which each byte
  // narrows. A spelling that ends here sorts first in its range.
  std::optional<Match> longest;
  auto first = tokens_.begin();
  auto last = tokens_.end();
  for (std::size_t depth = 0; begin + depth < text.size(); ++depth) {
    const auto byte = static_cast<unsigned char>(text[begin + depth]);
    const auto at_depth = [depth](const SpecialToken& token) {
      return static_cast<unsigned char>(token.spelling[depth]);
    };
    first = std::partition_point(first, last, [&](const auto& t) { return at_depth(t) < byte; });
    last = std::partition_point(first, last, [&](const auto& t) { return at_depth(t) <= byte; });
    if (first == last) break;
    if (first->spelling.size() == depth + 1) {
      longest = Match{begin, begin + depth + 1, first->id};
      if (++first == last) break;
    }
  }
  return longest;
}

std::optional<SpecialTokens::Match> SpecialTokens::Find(std::string_view text,
                                                        std::size_t from) const noexcept {
  if (tokens_.empty() || from >= text.size()) return std::nullopt;
  for (from = NextCandidate(text, from); from < text.size(); from = NextCandidate(text, from + 1)) {
    const std::optional<Match> match = LongestAt(text, from);
    if (match) return match;
  }
  return std::nullopt;
}

std::optional<TokenId> SpecialTokens::IdOf(std::string_view spelling) const noexcept {
  const auto found =
      std::partition_point(tokens_.begin(), tokens_.end(),
                           [&](const SpecialToken& token) { return token.spelling < spelling; });
  if (found == tokens_.end() || found->spelling != spelling) return std::nullopt;
  return found->id;
}

}  // namespace ctx::tokenize
