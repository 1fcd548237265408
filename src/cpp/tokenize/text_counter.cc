#include "tokenize/text_counter.h"

#include <algorithm>

#include "tokenize/pretokenize/first_pre_token.h"
#include "tokenize/unicode/utf8.h"

namespace ctx::tokenize {
namespace {

/// Small, so that a limit that is soon reached costs no more than that.
constexpr std::size_t kFirstChunkBytes = 1024;

/// Bytes of some characters more than what a scanner treats as a beginning (a blank, a
/// contraction).
constexpr std::size_t kLongBytes = 16;

}  // namespace

TextCounter::TextCounter(const Encoding& encoding, std::int64_t limit, std::size_t max_chunk_bytes)
    : encoding_(encoding),
      limit_(limit),
      max_chunk_bytes_(max_chunk_bytes),
      is_cut_(!encoding.pre_tokenizer().steps().empty()),
      max_symbol_bytes_(encoding.user_defined().max_spelling_bytes()),
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
  if (owns_open_ && open_.size() == tried_bytes_ && stand_in_bytes_ == 0 &&
      max_symbol_bytes_ == 0 && encoding_.pre_tokenizer().pattern() &&
      open_.size() >= std::max(kLongBytes, max_chunk_bytes_)) {
    SetAside();
  }
}

/// Counts the final pre-tokens at the front of open_.
void TextCounter::CountFinal() {
  if (open_.size() < 2 * tried_bytes_) return;
  if (stand_in_bytes_ != 0) {
    const std::size_t end =
        EndOfFirstPreToken(*encoding_.pre_tokenizer().pattern(), open_, /*is_final=*/true);
    if (end == 0) return SetAside();
    pre_token_.Feed(open_.substr(stand_in_bytes_, end - stand_in_bytes_));
    EndPreToken();
    stand_in_bytes_ = 0;
    open_.remove_prefix(end);
  }
  const std::size_t num_final = encoding_.FinalPrefix(open_);
  if (num_final != 0) count_ += encoding_.CountNormalized(open_, num_final);
  open_.remove_prefix(num_final);
  tried_bytes_ = open_.size();
}

/// Feeds of open_, the front of a long pre-token, what belongs to it whatever follows.
void TextCounter::SetAside() {
  tried_bytes_ = open_.size();
  const StandIn stand_in = StandInFor(*encoding_.pre_tokenizer().pattern(), open_);
  if (stand_in.num_replaced <= stand_in_bytes_) return;
  pre_token_.Feed(open_.substr(stand_in_bytes_, stand_in.num_replaced - stand_in_bytes_));
  std::string kept(stand_in.text);
  kept.append(open_.substr(stand_in.num_replaced)).swap(open_text_);
  open_ = open_text_;
  owns_open_ = true;
  stand_in_bytes_ = stand_in.text.size();
  tried_bytes_ = open_.size();
}

void TextCounter::OwnOpen(std::size_t expected_bytes) {
  if (owns_open_) {
    open_text_.erase(0, static_cast<std::size_t>(open_.data() - open_text_.data()));
  } else {
    open_text_.assign(open_);
    owns_open_ = true;
  }
  // Memory that nobody writes to costs nothing; growing by copies would take twice as much.
  const std::size_t num_expected = open_.size() + expected_bytes;
  if (open_.size() > max_chunk_bytes_ && num_expected > open_text_.capacity()) {
    open_text_.reserve(std::max(num_expected, 2 * open_.size()));
  }
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
        const std::size_t end =
            EndOfFirstPreToken(*encoding_.pre_tokenizer().pattern(), open_, /*is_final=*/false);
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
