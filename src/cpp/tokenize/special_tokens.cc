#include "tokenize/special_tokens.h"

#include <algorithm>
#include <utility>

#include "common/error.h"
#include "common/str_cat.h"
#include "tokenize/unicode/unicode_tables.h"
#include "tokenize/unicode/utf8.h"
#include "tokenize/unicode/utf8_validation.h"
#include "tokenize/unicode/word_character.h"

namespace ctx::tokenize {
namespace {

CodePoint CodePointAt(std::string_view text, std::size_t at) noexcept {
  return DecodeUtf8(reinterpret_cast<const unsigned char*>(text.data()) + at);
}

/// The code point that ends at `at` > 0.
CodePoint CodePointBefore(std::string_view text, std::size_t at) noexcept {
  return CodePointAt(text, FloorCharacter(text, at - 1));
}

bool IsSpace(char32_t code_point) noexcept { return (CharClassesOf(code_point) & kSpace) != 0; }

}  // namespace

SpecialTokens::SpecialTokens(std::vector<SpecialToken> tokens) : tokens_(std::move(tokens)) {
  std::sort(tokens_.begin(), tokens_.end(),
            [](const SpecialToken& a, const SpecialToken& b) { return a.spelling < b.spelling; });
  std::vector<std::string_view> spellings;
  std::size_t size_bytes = 0;
  for (const SpecialToken& token : tokens_) {
    const std::string_view spelling = token.spelling;
    if (spelling.empty()) {
      throw ArgumentError(StrCat("special token ", token.id, " has an empty spelling"));
    }
    if (spelling.size() > kMaxSpellingBytes) {
      throw ArgumentError(StrCat("the spelling of special token ", token.id, " has ",
                                 spelling.size(), " bytes; at most ", kMaxSpellingBytes,
                                 " are allowed"));
    }
    if (ValidUtf8Prefix(spelling) != spelling.size()) {
      throw ArgumentError(StrCat("the spelling of special token ", token.id, " is not UTF-8"));
    }
    if (!spellings.empty() && spellings.back() == spelling) {
      throw ArgumentError(StrCat("special token ", spelling, " is given twice"));
    }
    max_spelling_bytes_ = std::max(max_spelling_bytes_, spelling.size());
    size_bytes += spelling.size();
    if (size_bytes > INT32_MAX) {
      throw ArgumentError("the spellings of the special tokens have 2^31 bytes or more in all");
    }
    some_begin_with_space_ |= IsSpace(CodePointAt(spelling, 0).value);
    spellings.push_back(spelling);
  }
  trie_ = SpellingTrie(spellings);
}

std::optional<SpecialTokens::Match> SpecialTokens::Find(std::string_view text,
                                                        std::size_t from) const {
  const TextRange range = {std::min(from, text.size()), text.size()};
  if (!trie_.MayOccur(text, range.begin)) return std::nullopt;
  return SpecialTokenMatches(*this, text, {&range, 1}, range.begin).Next();
}

std::optional<TokenId> SpecialTokens::IdOf(std::string_view spelling) const noexcept {
  const auto found =
      std::partition_point(tokens_.begin(), tokens_.end(),
                           [&](const SpecialToken& token) { return token.spelling < spelling; });
  if (found == tokens_.end() || found->spelling != spelling) return std::nullopt;
  return found->id;
}

std::optional<SpecialTokens::Match> SpecialTokenMatches::Next() {
  const auto match = ahead_ ? std::exchange(ahead_, std::nullopt) : NextSpelling();
  if (!match) return std::nullopt;
  const SpecialToken& token = TokenOf(*match);
  const std::size_t begin = token.lstrip ? SpaceBefore(match->begin) : match->begin;
  std::size_t end = StrippedEnd(*match);
  if (end > match->end && tokens_.some_begin_with_space_) {
    // Hugging Face's search goes on behind the spelling, not behind the white space. A match that
    // begins in there keeps its bytes, or is dropped if it strips them too and has no others.
    do {
      ahead_ = NextSpelling();
    } while (ahead_ && TokenOf(*ahead_).lstrip && StrippedEnd(*ahead_) <= end);
    if (ahead_) end = std::min(end, ahead_->begin);
  }
  done_ = end;
  return SpecialTokens::Match{begin, end, token.id};
}

/// The next match of a spelling where its token may stand.
std::optional<SpellingTrie::Match> SpecialTokenMatches::NextSpelling() {
  for (;;) {
    const auto match = search_.Next();
    if (match) {
      // A match that is no word of its own has taken its bytes all the same.
      if (!TokenOf(*match).single_word || IsOneWord(*match)) return match;
    } else {
      if (ranges_.empty()) return std::nullopt;
      search_.Restart(ranges_.front().begin, ranges_.front().end);
      ranges_ = ranges_.subspan(1);
    }
  }
}

bool SpecialTokenMatches::IsOneWord(const SpellingTrie::Match& match) const noexcept {
  return (match.begin == 0 || !IsWordCharacter(CodePointBefore(text_, match.begin).value)) &&
         (match.end == text_.size() || !IsWordCharacter(CodePointAt(text_, match.end).value));
}

std::size_t SpecialTokenMatches::SpaceBefore(std::size_t at) const noexcept {
  while (at > done_) {
    const CodePoint before = CodePointBefore(text_, at);
    if (!IsSpace(before.value)) break;
    at -= before.size_bytes;
  }
  return at;
}

std::size_t SpecialTokenMatches::StrippedEnd(const SpellingTrie::Match& match) noexcept {
  if (!TokenOf(match).rstrip) return match.end;
  if (match.end < space_end_) return space_end_;  // in white space that was read before
  space_end_ = match.end;
  while (space_end_ < text_.size()) {
    const CodePoint next = CodePointAt(text_, space_end_);
    if (!IsSpace(next.value)) break;
    space_end_ += next.size_bytes;
  }
  return space_end_;
}

}  // namespace ctx::tokenize
