// Finding special-token spellings in text: leftmost first, and of those that begin at the same byte
// the longest. Immutable after construction; safe to call from any thread.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/ids.h"

namespace ctx::tokenize {

struct SpecialToken {
  std::string spelling;  ///< not empty
  TokenId id;
};

class SpecialTokens {
 public:
  struct Match {
    std::size_t begin;  ///< byte offsets into the searched text
    std::size_t end;
    TokenId id;
  };

  /// The longest spelling. It bounds what is read again at each byte of hostile text, so that a
  /// search stays linear in the text; published spellings have some 30 bytes.
  static constexpr std::size_t kMaxSpellingBytes = 256;

  SpecialTokens() = default;

  /// Throws ArgumentError for an empty spelling and for the same spelling twice.
  explicit SpecialTokens(std::vector<SpecialToken> tokens);

  /// The first match that begins at or after `from`, or nothing. O(text) times the length of the
  /// longest spelling at worst; text without first bytes of spellings costs one memchr.
  std::optional<Match> Find(std::string_view text, std::size_t from = 0) const noexcept;

  std::optional<TokenId> IdOf(std::string_view spelling) const noexcept;

  /// Sorted by spelling.
  const std::vector<SpecialToken>& tokens() const noexcept { return tokens_; }
  bool empty() const noexcept { return tokens_.empty(); }

 private:
  std::size_t NextCandidate(std::string_view text, std::size_t from) const noexcept;
  std::optional<Match> LongestAt(std::string_view text, std::size_t begin) const noexcept;

  std::vector<SpecialToken> tokens_;
  std::array<bool, 256> starts_{};  // bytes that some spelling begins with
  int only_start_ = -1;             // that byte, when there is exactly one
};

}  // namespace ctx::tokenize
