#include "tokenize/pretokenize/first_pre_token.h"

#include <algorithm>
#include <utility>

namespace ctx::tokenize {
namespace {

const scan::Byte* BytesOf(std::string_view text) noexcept {
  return reinterpret_cast<const scan::Byte*>(text.data());
}

/// Of white space: newlines take all before them, and else a word may take the last character.
StandIn StandInOfWhitespace(Pattern pattern, std::string_view text) noexcept {
  const std::size_t newline =
      pattern == Pattern::kR50k ? std::string_view::npos : text.find_last_of("\r\n");
  if (newline != std::string_view::npos) return {"\n", newline + 1};
  return {" ", FloorCharacter(text, text.size() - 1)};
}

/// Of letters, where capitals make no difference: the last character tells.
StandIn StandInOfRun(Pattern pattern, std::string_view text, bool begins_with_symbols) noexcept {
  const auto at = FloorCharacter(text, text.size() - 1);
  const scan::Char last = scan::ReadChar(BytesOf(text) + at);
  if (last.Is(scan::kLetter) || (pattern == Pattern::kQwen35 && last.Is(kMark))) {
    return {"a", text.size()};
  }
  if (last.Is(kNumber) && pattern == Pattern::kR50k) return {"1", text.size()};
  if (last.Is(scan::kSymbol)) return {"!!", text.size()};  // one may be the prefix of a word
  if (last.Is(kNewline) && begins_with_symbols) return {"!!\n", text.size()};
  return {};
}

/// Of letters, where a capital behind a small one begins a word: the first small one tells, or a
/// caseless one, for it may be the last of the word.
StandIn StandInOfCasedRun(std::string_view text, bool begins_with_symbols) noexcept {
  if (begins_with_symbols) {
    const bool has_newline = text.find_first_of("\r\n") != std::string_view::npos;
    return {has_newline ? "!!\n" : "!!", text.size()};
  }
  bool has_caseless = false;
  const scan::Byte* const end = BytesOf(text) + text.size();
  const scan::Char first = scan::ReadChar(BytesOf(text));
  for (const scan::Byte* at = first.Is(scan::kLetter) ? BytesOf(text) : first.next; at < end;) {
    const scan::Char c = scan::ReadChar(at);
    if (c.Is(kLower)) return {"a", text.size()};
    has_caseless |= c.Is(kCaseless | kMark);
    at = c.next;
  }
  return {has_caseless ? "\u3042" : "A", text.size()};
}

}  // namespace

StandIn StandInFor(Pattern pattern, std::string_view text) noexcept {
  if (pattern == Pattern::kDeepSeek) return {};
  constexpr unsigned kWord = scan::kLetter | kMark;
  const bool is_cased = pattern == Pattern::kO200k || pattern == Pattern::kTekken;
  const scan::Char first = scan::ReadChar(BytesOf(text));
  const scan::Char second = scan::ReadChar(first.next);
  if (first.Is(kSpace) && second.Is(kSpace)) return StandInOfWhitespace(pattern, text);
  // White space apart, the scanner may go back to where the pre-token would end now.
  if (EndOfFirstPreToken(pattern, text, /*is_final=*/false) != text.size()) return {};
  const bool is_of_symbols = is_cased ? !first.Is(kWord) && !second.Is(kWord)
                                      : first.Is(scan::kSymbol) || second.Is(scan::kSymbol);
  return is_cased ? StandInOfCasedRun(text, is_of_symbols)
                  : StandInOfRun(pattern, text, is_of_symbols);
}

std::size_t EndOfFirstPreToken(Pattern pattern, std::string_view text, bool is_final) noexcept {
  return WithPattern(pattern, [&](auto constant) {
    return is_final ? NextFinalPreToken<constant()>(text, 0) : NextPreToken<constant()>(text, 0);
  });
}

bool EndsLikeTheNext(Pattern pattern, std::string_view text, std::size_t begin,
                     std::size_t end) noexcept {
  const scan::Char first = scan::ReadChar(BytesOf(text) + begin);
  if (first.next < BytesOf(text) + end && pattern != Pattern::kDeepSeek) {
    // Letters go on alike from any of them, but where a capital may begin another word.
    const bool is_cased = pattern == Pattern::kO200k || pattern == Pattern::kTekken;
    const unsigned letter = is_cased ? unsigned{kLower} : scan::kLetter;
    if (first.Is(letter) && scan::ReadChar(first.next).Is(letter)) return true;
  }
  const auto newline_at = [&](std::size_t at) { return text[at] == '\n' || text[at] == '\r'; };
  // With white space behind it no other alternative takes white space. The same holds for the next
  // character, so that both are looked at with the same run behind them.
  const scan::Byte* at = BytesOf(text) + begin;
  for (int i = 0; i < 3; ++i) {
    if (at >= BytesOf(text) + end) return false;
    const scan::Char c = scan::ReadChar(at);
    if (!c.Is(kSpace)) return false;
    at = c.next;
  }
  if (!newline_at(begin) || pattern == Pattern::kR50k) return true;
  // A newline ends there too if there is another one, or the end of the text takes all.
  return newline_at(end - 1) || (pattern == Pattern::kCl100k && end == text.size());
}

void FirstPreToken::Forget() noexcept {
  kept_.clear();
  stand_in_bytes_ = num_replaced_ = num_seen_ = 0;
  next_try_bytes_ = kFirstTryBytes;
}

void FirstPreToken::Follow(std::string_view text) {
  if (text.size() < num_seen_) Forget();
  if (num_replaced_ != 0) kept_.append(text.substr(num_seen_));
  num_seen_ = text.size();
}

void FirstPreToken::SetAside(std::string_view text) {
  const std::string_view looked_at = num_replaced_ == 0 ? text : kept_;
  if (looked_at.size() < next_try_bytes_) return;
  const StandIn stand_in = StandInFor(pattern_, looked_at);
  if (stand_in.num_replaced > stand_in_bytes_) {
    std::string kept(stand_in.text);
    kept.append(looked_at.substr(stand_in.num_replaced));
    kept_ = std::move(kept);
    num_replaced_ += stand_in.num_replaced - stand_in_bytes_;
    stand_in_bytes_ = stand_in.text.size();
  }
  const std::size_t left = num_replaced_ == 0 ? text.size() : kept_.size();
  next_try_bytes_ = std::max(kFirstTryBytes, 2 * left);
}

std::size_t FirstPreToken::End(std::string_view text, std::string_view tail) {
  Follow(text);
  if (num_replaced_ == 0 && tail.empty()) {
    return EndOfFirstPreToken(pattern_, text, /*is_final=*/false);
  }
  if (num_replaced_ == 0) {
    return EndOfFirstPreToken(pattern_, std::string(text).append(tail), /*is_final=*/false);
  }
  const std::size_t size = kept_.size();
  kept_.append(tail);
  const std::size_t end = EndInText(EndOfFirstPreToken(pattern_, kept_, /*is_final=*/false));
  kept_.resize(size);
  return end;
}

std::size_t FirstPreToken::FinalEnd(std::string_view text) {
  Follow(text);
  const std::size_t end = num_replaced_ == 0
                              ? EndOfFirstPreToken(pattern_, text, /*is_final=*/true)
                              : EndInText(EndOfFirstPreToken(pattern_, kept_, /*is_final=*/true));
  if (end == 0) SetAside(text);
  return end;
}

}  // namespace ctx::tokenize
