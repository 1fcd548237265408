#include "tokenize/text_counter.h"

#include <algorithm>

#include "tokenize/pretokenize/scanner.h"

namespace ctx::tokenize {
namespace {

/// Small, so that a limit that is soon reached costs no more than that.
constexpr std::size_t kFirstChunkBytes = 1024;

/// Bytes of some characters more than what a scanner treats as a beginning (a blank, a
/// contraction).
constexpr std::size_t kLongBytes = 16;

bool BeginsCharacter(std::string_view text, std::size_t at) noexcept {
  return at >= text.size() || (static_cast<unsigned char>(text[at]) & 0xC0) != 0x80;
}

std::size_t FloorCharacter(std::string_view text, std::size_t at) noexcept {
  while (!BeginsCharacter(text, at)) --at;
  return at;
}

std::size_t MaxSpellingBytes(const SpecialTokens& tokens) noexcept {
  std::size_t max_bytes = 0;
  for (const SpecialToken& token : tokens.tokens()) {
    max_bytes = std::max(max_bytes, token.spelling.size());
  }
  return max_bytes;
}

/// A short text after which the scanner goes on as it does after `text`, which is the front of a
/// long pre-token, up to its end; nothing when it may have to go back. Where a run of letters,
/// numbers or symbols has come to, its last character tells.
std::string_view StandIn(Pattern pattern, std::string_view text) noexcept {
  const bool is_r50k = pattern == Pattern::kR50k;
  const bool has_marks_in_words = pattern == Pattern::kQwen35;
  if (!is_r50k && !has_marks_in_words && pattern != Pattern::kCl100k &&
      pattern != Pattern::kLlama3 && pattern != Pattern::kQwen2) {
    return {};
  }
  const auto* const data = reinterpret_cast<const scan::Byte*>(text.data());
  const scan::Char last = scan::ReadChar(data + FloorCharacter(text, text.size() - 1));
  if (last.Is(scan::kLetter) || (has_marks_in_words && last.Is(kMark))) return "a";
  if (last.Is(kNumber)) return is_r50k ? "1" : "";
  if (last.Is(scan::kSymbol)) return "!!";  // two, as one may be the prefix of a word
  // Newlines behind symbols, unless all is white space.
  const scan::Char first = scan::ReadChar(data);
  const scan::Char second = scan::ReadChar(first.next);
  return last.Is(kNewline) && (first.Is(scan::kSymbol) || second.Is(scan::kSymbol)) ? "!!\n" : "";
}

}  // namespace

TextCounter::TextCounter(const Encoding& encoding, std::int64_t limit, std::size_t max_chunk_bytes)
    : encoding_(encoding),
      limit_(limit),
      max_chunk_bytes_(max_chunk_bytes),
      is_cut_(!encoding.pre_tokenizer().steps().empty()),
      max_symbol_bytes_(MaxSpellingBytes(encoding.user_defined())),
      chunk_bytes_(std::min(kFirstChunkBytes, max_chunk_bytes)),
      pre_token_(encoding.vocabulary()) {}

std::size_t TextCounter::TakeStable(std::string_view utf8) {
  const Normalizer& normalizer = encoding_.normalizer();
  std::size_t begin = 0;  // of what the normalizer is not done with, unless some is in raw_
  for (std::size_t end = 0; end < utf8.size() && !Full();) {
    const std::size_t chunk_begin = end;
    end = std::min(utf8.size(), end + chunk_bytes_);
    while (end < utf8.size() && !BeginsCharacter(utf8, end)) ++end;
    chunk_bytes_ = std::min(max_chunk_bytes_, 2 * chunk_bytes_);

    const bool in_place = raw_.empty();
    const std::size_t unstable_bytes = in_place ? chunk_begin - begin : raw_.size();
    if (!in_place) raw_.append(utf8.substr(chunk_begin, end - chunk_begin));
    const std::string_view raw = in_place ? utf8.substr(begin, end - begin) : raw_;
    const std::size_t num_stable =
        normalizer.empty() ? raw.size() : normalizer.StablePrefix(raw, position_, unstable_bytes);
    if (num_stable == 0) continue;
    begin = end - (raw.size() - num_stable);  // what is left is text of this call
    const std::string_view stable = raw.substr(0, num_stable);
    const std::string_view normalized = normalizer.Apply(stable, position_, normalized_);
    position_ = Normalizer::Position::kMiddle;
    Take(normalized, in_place && normalized.data() == stable.data(), utf8.size() - begin);
    raw_.clear();
  }
  return raw_.empty() ? begin : utf8.size();
}

void TextCounter::Feed(std::string_view utf8) {
  const std::size_t begin = TakeStable(utf8);
  if (Full()) return;
  raw_.append(utf8.substr(begin));
  OwnOpen(0);
}

void TextCounter::FeedLast(std::string_view utf8) {
  const std::string_view rest = utf8.substr(TakeStable(utf8));
  if (!rest.empty() && !Full()) {
    const std::string_view normalized = encoding_.normalizer().Apply(rest, position_, normalized_);
    Take(normalized, /*stays=*/true, 0);
  }
  EndSection();
}

/// The text stays where it is until the call ends; else it is copied, and as many bytes more are to
/// be expected.
void TextCounter::Take(std::string_view normalized, bool stays, std::size_t expected_bytes) {
  if (!is_cut_) return TakeUncut(normalized, /*is_last=*/false);
  if (open_.empty()) {
    open_ = normalized;
    owns_open_ = false;
  } else if (stays && !owns_open_ && open_.data() + open_.size() == normalized.data()) {
    open_ = {open_.data(), open_.size() + normalized.size()};
  } else {
    OwnOpen(normalized.size() + expected_bytes);
    open_text_.append(normalized);
    open_ = open_text_;
  }
  CountFinal();
  if (!stays) OwnOpen(expected_bytes);
  if (owns_open_ && open_.size() >= std::max(kLongBytes, max_chunk_bytes_)) SetAside();
}

/// Counts the final pre-tokens at the front of open_.
void TextCounter::CountFinal() {
  if (stand_in_bytes_ != 0) {
    const std::size_t end = EndOfFirst(open_, /*is_final=*/true);
    const std::size_t num_known = end == 0 ? open_.size() : end;
    pre_token_.Feed(open_.substr(stand_in_bytes_, num_known - stand_in_bytes_));
    if (end == 0) return StandInFor(StandIn(*encoding_.pre_tokenizer().pattern(), open_));
    EndPreToken();
    stand_in_bytes_ = tried_bytes_ = 0;
    open_.remove_prefix(end);
  }
  if (open_.size() < 2 * tried_bytes_) return;
  const std::size_t num_final = encoding_.FinalPrefix(open_);
  if (num_final != 0) count_ += encoding_.CountNormalized(open_, num_final);
  open_.remove_prefix(num_final);
  tried_bytes_ = open_.size();
}

std::size_t TextCounter::EndOfFirst(std::string_view text, bool is_final) const {
  return WithPattern(*encoding_.pre_tokenizer().pattern(), [&](auto pattern) {
    return is_final ? NextFinalPreToken<pattern()>(text, 0) : NextPreToken<pattern()>(text, 0);
  });
}

/// Gives the bytes of open_ away if they are one pre-token, and its scanner can do without.
void TextCounter::SetAside() {
  const auto pattern = encoding_.pre_tokenizer().pattern();
  if (!pattern || max_symbol_bytes_ != 0 || stand_in_bytes_ != 0) return;
  if (EndOfFirst(open_, /*is_final=*/false) != open_.size()) return;
  const std::string_view stand_in = StandIn(*pattern, open_);
  if (stand_in.empty()) return;
  pre_token_.Feed(open_);
  StandInFor(stand_in);
}

void TextCounter::StandInFor(std::string_view stand_in) {
  std::string(stand_in).swap(open_text_);
  open_ = open_text_;
  owns_open_ = true;
  stand_in_bytes_ = stand_in.size();
}

void TextCounter::OwnOpen(std::size_t expected_bytes) {
  if (owns_open_) {
    open_text_.erase(0, static_cast<std::size_t>(open_.data() - open_text_.data()));
  } else {
    open_text_.assign(open_);
    owns_open_ = true;
  }
  // Memory that nobody writes to costs nothing; growing by copies would take twice as much.
  if (open_.size() > max_chunk_bytes_) open_text_.reserve(open_.size() + expected_bytes);
  open_ = open_text_;
}

void TextCounter::TakeUncut(std::string_view normalized, bool is_last) {
  if (max_symbol_bytes_ == 0) {
    if (!normalized.empty()) pre_token_.Feed(normalized);
    return;
  }
  pending_.append(normalized);
  if (!is_last && pending_.size() < 2 * max_symbol_bytes_) return;
  // Before this place it is known of every character whether a symbol begins with it, and which.
  const std::size_t decided = is_last ? pending_.size() : pending_.size() - max_symbol_bytes_ + 1;
  const TextRange all{0, pending_.size()};
  SpecialTokenMatches matches(encoding_.user_defined(), pending_, {&all, 1});
  const std::string_view text = pending_;
  std::size_t done = 0;
  for (auto match = matches.Next(); match && match->begin < decided; match = matches.Next()) {
    pre_token_.Feed(text.substr(done, match->begin - done));
    EndPreToken();
    ++count_;
    done = match->end;
  }
  const std::size_t end = std::max(done, FloorCharacter(text, decided));
  pre_token_.Feed(text.substr(done, end - done));
  pending_.erase(0, end);
}

void TextCounter::EndPreToken() {
  const auto count = pre_token_.Finish();
  count_ += count.value_or(0);
  gave_up_ |= !count;
}

void TextCounter::EndSection() {
  if (!Full()) {
    if (!raw_.empty()) {
      Take(encoding_.normalizer().Apply(raw_, position_, normalized_), /*stays=*/true, 0);
    }
    if (!is_cut_) {
      TakeUncut({}, /*is_last=*/true);
      EndPreToken();
    } else {
      if (stand_in_bytes_ != 0) {
        const std::size_t end = EndOfFirst(open_, /*is_final=*/false);
        pre_token_.Feed(open_.substr(stand_in_bytes_, end - stand_in_bytes_));
        EndPreToken();
        open_.remove_prefix(end);
      }
      if (!open_.empty()) count_ += encoding_.CountNormalized(open_, open_.size());
    }
  }
  stand_in_bytes_ = 0;
  raw_.clear();
  open_ = {};
  owns_open_ = false;
  tried_bytes_ = 0;
  position_ = Normalizer::Position::kSectionStart;
}

}  // namespace ctx::tokenize
