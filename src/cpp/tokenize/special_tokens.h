// Finding special-token spellings in text: leftmost first, of those that begin at the same byte the
// longest, and on from its end, with the conditions of Hugging Face's added tokens (single_word,
// lstrip, rstrip). SpecialTokens is immutable after construction and safe to call from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "common/ids.h"
#include "tokenize/definition.h"
#include "tokenize/spelling_trie.h"

namespace ctx::tokenize {

using SpecialToken = SpecialTokenDefinition;

class SpecialTokens {
 public:
  struct Match {
    std::size_t begin;  ///< byte offsets into the searched text, stripped white space included
    std::size_t end;
    TokenId id;
  };

  /// The longest spelling.
  static constexpr std::size_t kMaxSpellingBytes = kMaxTokenBytes;

  SpecialTokens() = default;

  /// O(total size of the spellings). Throws ArgumentError for a spelling that is empty, too long,
  /// not UTF-8 or given twice.
  explicit SpecialTokens(std::vector<SpecialToken> tokens);

  /// The first match that begins at or after `from`, or nothing: what is before `from` is only
  /// looked at to tell whether a word ends there. O(text), one memchr where no spelling can begin.
  std::optional<Match> Find(std::string_view text, std::size_t from = 0) const;

  std::optional<TokenId> IdOf(std::string_view spelling) const noexcept;

  /// Sorted by spelling.
  const std::vector<SpecialToken>& tokens() const noexcept { return tokens_; }
  bool empty() const noexcept { return tokens_.empty(); }
  /// Of the longest; 0 when there are none.
  std::size_t max_spelling_bytes() const noexcept { return max_spelling_bytes_; }

 private:
  friend class SpecialTokenMatches;

  std::vector<SpecialToken> tokens_;
  SpellingTrie trie_;
  std::size_t max_spelling_bytes_ = 0;
  bool some_begin_with_space_ = false;
};

/// Part of a text, in bytes.
struct TextRange {
  std::size_t begin;
  std::size_t end;
};

/// All matches in a text, in order. They do not overlap.
class SpecialTokenMatches {
 public:
  /// Spellings are looked for in each range by itself; beside them, the whole text decides what is
  /// a word and which white space is stripped, back to `from` at most. The ranges must be in order
  /// and must not overlap. All arguments must outlive this.
  SpecialTokenMatches(const SpecialTokens& tokens, std::string_view text,
                      std::span<const TextRange> ranges, std::size_t from = 0)
      : tokens_(tokens), text_(text), ranges_(ranges), search_(tokens.trie_, text), done_(from) {
    search_.Restart(0, 0);
  }

  /// Nothing at the end. All calls together cost O(text), one memchr where no spelling can begin.
  /// Throws std::bad_alloc.
  std::optional<SpecialTokens::Match> Next();

 private:
  const SpecialToken& TokenOf(const SpellingTrie::Match& match) const noexcept {
    return tokens_.tokens_[match.spelling];
  }
  std::optional<SpellingTrie::Match> NextSpelling();
  bool IsOneWord(const SpellingTrie::Match& match) const noexcept;
  std::size_t SpaceBefore(std::size_t at) const noexcept;
  std::size_t StrippedEnd(const SpellingTrie::Match& match) noexcept;

  const SpecialTokens& tokens_;
  std::string_view text_;
  std::span<const TextRange> ranges_;  // still to be searched
  SpellingSearch search_;
  std::optional<SpellingTrie::Match> ahead_;  // found while the match before was bounded
  std::size_t done_;                          // end of the last match
  std::size_t space_end_ = 0;                 // of the white space that was last stripped
};

}  // namespace ctx::tokenize
