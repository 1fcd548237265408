#include "tokenize/cuts.h"

#include <algorithm>
#include <iterator>
#include <memory>
#include <optional>
#include <string>

#include "common/error.h"
#include "common/str_cat.h"
#include "tokenize/appender.h"
#include "tokenize/bpe/zeroed_array.h"
#include "tokenize/cut_text.h"
#include "tokenize/merged_run.h"
#include "tokenize/pretokenize/first_pre_token.h"

namespace ctx::tokenize {
namespace {

/// Pre-tokens of more bytes, which are no tokens, are merged once, into a MergedRun.
constexpr std::size_t kLongBytes = 64;

/// So much of a text is looked at at first.
constexpr std::size_t kFirstBytes = 512;

/// So much of what is behind a text may decide how its last pre-token ends.
constexpr std::size_t kLookaheadBytes = 16;

/// So much of a text tells how many bytes its tokens have.
constexpr std::size_t kSampleBytes = 2048;

/// One normalized text and the pieces into which it falls.
class Cutter {
 public:
  /// All must outlive it.
  Cutter(const Encoding& encoding, const Pieces& pieces, std::string_view text)
      : vocabulary_(encoding.vocabulary()),
        pieces_(pieces),
        text_(text),
        stretch_(pieces.max_token_bytes() + pieces.max_lookahead_bytes()),
        open_(pieces.pattern().value_or(Pattern::kR50k)) {}

  /// A place, and that every text which goes on alike up to `bound` (prefixes) or from there on
  /// (suffixes) and differs beyond has too many tokens.
  struct Cut {
    std::size_t at;
    std::size_t bound;
  };

  /// The longest prefix, if the text, or what it is the front of, allows to tell.
  std::optional<Cut> LongestPrefix(bool is_all, std::int64_t limit);
  /// Where the longest suffix begins, likewise.
  std::optional<Cut> LongestSuffix(bool is_all, std::int64_t limit);
  /// After these: tokens of the first `end` bytes and `tail`, or of `head` and those from `begin`
  /// on; at least when they are no more than the limit.
  std::int64_t CountPrefix(std::size_t end, std::string_view tail, std::int64_t limit);
  std::int64_t CountSuffix(std::string_view head, std::size_t begin, std::int64_t limit);

  /// The borders of pre-tokens up to `end` that end a prefix with at most `limit` tokens, the last
  /// one first: visit(border) says whether to go on.
  template <typename Visit>
  void ForEachBorder(std::size_t end, std::int64_t limit, Visit&& visit);

 private:
  /// A border of pieces, and how many tokens are before it (prefixes) or behind it (suffixes).
  struct Border {
    std::size_t at;
    std::int64_t count;
  };
  /// Tokens of a text, at least when they are more than the limit.
  struct Count {
    std::int64_t count;
    Border last_final;      // before which every longer text has the same pieces
    bool for_good = false;  // every longer text too has more tokens than the limit
  };

  Border LastFinal(std::size_t end) const;
  bool IsLong(std::size_t size_bytes) const noexcept {
    return pieces_.are_pre_tokens() && size_bytes > std::max(kLongBytes, pieces_.max_token_bytes());
  }
  /// The end of the piece of a prefix that begins at its last border that stands, as Pieces has it.
  std::size_t EndOfOpen(std::string_view prefix, std::size_t begin, bool is_final);
  /// The end of the piece at `begin`.
  std::size_t EndOfPiece(std::size_t begin);
  Count CountPrefixFrom(const Border& base, std::size_t end, std::int64_t limit);
  std::int64_t CountSuffixPiece(std::string_view head, std::size_t begin, std::size_t end);
  /// What follows a piece depends on its end alone: each place is counted once.
  std::int64_t CountSuffixFrom(std::size_t begin);
  /// The text from `begin` to `end` merged; what was asked for last is kept.
  MergedRun& Run(std::size_t begin, std::size_t end);
  /// The piece at `begin` merged, or what goes on behind it too, at least up to `end`.
  const MergedRun& RunTo(std::size_t begin, std::size_t end);

  const Vocabulary& vocabulary_;
  const Pieces& pieces_;
  std::string_view text_;
  const std::size_t stretch_;  // see tokenize/cuts.h
  std::vector<Border> borders_;
  std::size_t first_ = 0;  // of the borders, the first whose suffix fits
  // One more than the tokens from each place on, 0 where they are not known: most never are.
  ZeroedArray<std::int64_t> suffix_counts_;
  // The last final border of the first base_end_ bytes.
  Border base_ = {0, 0};
  std::size_t base_end_ = 0;
  std::size_t base_step_ = kFirstBytes;
  // What EndOfOpen was asked for last.
  FirstPreToken open_;
  std::size_t open_begin_ = 0;
  // What EndOfPiece found last.
  std::size_t piece_begin_ = std::string_view::npos;
  std::size_t piece_end_ = 0;
  std::optional<MergedRun> run_;
  std::size_t run_begin_ = 0;
  std::size_t run_end_ = 0;
};

MergedRun& Cutter::Run(std::size_t begin, std::size_t end) {
  if (!run_ || run_begin_ != begin || run_end_ != end) {
    run_.emplace(vocabulary_, text_.substr(begin, end - begin));
    run_begin_ = begin;
    run_end_ = end;
  }
  return *run_;
}

const MergedRun& Cutter::RunTo(std::size_t begin, std::size_t end) {
  if (run_ && run_begin_ == begin && run_end_ >= end) return *run_;
  const std::size_t more = std::min(text_.size(), CeilCharacter(text_, end + stretch_));
  return Run(begin, std::max(more, pieces_.End(text_, begin)));
}

// --- prefixes ---

/// The last border before which the pieces are those of every text that goes on behind `end`.
Cutter::Border Cutter::LastFinal(std::size_t end) const {
  const std::string_view prefix = text_.substr(0, end);
  std::size_t i = 0;
  while (borders_[i].at < end && i + 1 < borders_.size() &&
         pieces_.FinalEnd(prefix, borders_[i].at) == borders_[i + 1].at) {
    ++i;
  }
  return borders_[i];
}

std::size_t Cutter::EndOfOpen(std::string_view prefix, std::size_t begin, bool is_final) {
  if (!pieces_.pattern() || prefix.size() - begin <= kLongBytes) {
    return is_final ? pieces_.FinalEnd(prefix, begin) : pieces_.End(prefix, begin);
  }
  if (open_begin_ != begin) open_.Forget();
  open_begin_ = begin;
  const std::string_view text = prefix.substr(begin);
  const std::size_t end = is_final ? open_.FinalEnd(text) : open_.End(text);
  return end == 0 ? 0 : begin + end;
}

Cutter::Count Cutter::CountPrefixFrom(const Border& base, std::size_t end, std::int64_t limit) {
  const std::string_view prefix = text_.substr(0, end);
  Count result{base.count, base};
  bool is_final = true;
  for (std::size_t begin = base.at; begin < end;) {
    const auto end_of = [&](bool final_one) {
      if (begin == base.at) return EndOfOpen(prefix, begin, final_one);
      return final_one ? pieces_.FinalEnd(prefix, begin) : pieces_.End(prefix, begin);
    };
    const std::size_t final_end = is_final ? end_of(/*final_one=*/true) : 0;
    is_final = final_end != 0;
    const std::size_t next = is_final ? final_end : end_of(/*final_one=*/false);
    result.count += IsLong(next - begin) ? RunTo(begin, next).CountTo(next - begin)
                                         : pieces_.Count(prefix, begin, next);
    if (result.count > limit) {
      result.for_good = is_final;
      return result;
    }
    begin = next;
    if (is_final) result.last_final = {begin, result.count};
  }
  return result;
}

std::optional<Cutter::Cut> Cutter::LongestPrefix(bool is_all, std::int64_t limit) {
  const std::size_t size = text_.size();
  borders_.assign(1, Border{0, 0});
  while (borders_.back().at < size) {
    const std::size_t begin = borders_.back().at;
    const std::size_t next = pieces_.End(text_, begin);
    const std::int64_t count = borders_.back().count + pieces_.Count(text_, begin, next);
    if (count > limit) break;
    borders_.push_back({next, count});
  }
  if (borders_.back().at == size) return is_all ? std::optional(Cut{size, size}) : std::nullopt;

  // `fits` has at most `limit` tokens; from `base` on, longer prefixes differ.
  std::size_t fits = borders_.back().at;
  Border base = LastFinal(fits);
  while (CountPrefixFrom(base, fits, limit).count > limit) {
    borders_.pop_back();
    fits = borders_.back().at;
    base = LastFinal(fits);
  }
  base_ = base;
  base_end_ = fits;
  for (const Border from : {borders_.back(), base}) {
    if (!pieces_.are_pre_tokens() || pieces_.End(text_, from.at) - from.at <= kLongBytes) continue;
    // Where the tokens of the whole pre-token reach the limit is the place to begin at.
    const std::int64_t left = limit - from.count;
    for (std::int64_t fewer = 0; fewer < std::min<std::int64_t>(left, 8); ++fewer) {
      const std::size_t end =
          FloorCharacter(text_, from.at + RunTo(from.at, from.at + 1).EndOf(left - fewer));
      if (end <= fits || CountPrefixFrom(base, end, limit).count > limit) continue;
      fits = end;
      break;
    }
  }
  // Of this stretch no place fits when the prefix of that length does not, and neither does a
  // longer pre-token that begins at `base` and has the end of a token there.
  std::size_t last_possible = fits;
  for (std::size_t end = fits; end < size;) {
    const std::size_t before = end;
    end = CeilCharacter(text_, end + 1);
    const Count count = CountPrefixFrom(base, end, limit);
    base = base_ = count.last_final;
    base_end_ = end;
    if (count.count <= limit) {
      fits = last_possible = end;
      continue;
    }
    if (count.for_good) return Cut{fits, end};
    if (!pieces_.are_pre_tokens() || end - base.at <= kLongBytes) {
      last_possible = end;
      continue;
    }
    if (!pieces_.has_symbols()) {
      const MergedRun& run = RunTo(base.at, end);
      for (std::size_t at = before + 1; at <= end; ++at) {
        if (at < end && vocabulary_.symbols() != Vocabulary::Symbols::kBytes) continue;
        if (base.count + run.CountTo(at - base.at) <= limit) last_possible = at;
      }
    }
    if (end - last_possible > stretch_) return Cut{fits, end};
  }
  return is_all ? std::optional(Cut{fits, size}) : std::nullopt;
}

std::int64_t Cutter::CountPrefix(std::size_t end, std::string_view tail, std::int64_t limit) {
  while (end < base_end_) {
    base_end_ = FloorCharacter(text_, end - std::min(end, base_step_));
    base_step_ *= 2;
    base_ = LastFinal(base_end_);
  }
  if (tail.empty()) return CountPrefixFrom(base_, end, limit).count;
  std::string text(text_.substr(base_.at, end - base_.at));
  text += tail;
  std::int64_t count = base_.count;
  for (std::size_t begin = 0; begin < text.size() && count <= limit;) {
    const std::size_t next = pieces_.End(text, begin);
    if (IsLong(next - begin) && base_.at + begin < end) {
      const std::size_t run_end = std::min(base_.at + next, end);
      const auto tail_bytes = base_.at + next - run_end;
      count += RunTo(base_.at + begin, run_end)
                   .CountTo(run_end - base_.at - begin, tail.substr(0, tail_bytes));
    } else {
      count += pieces_.Count(text, begin, next);
    }
    begin = next;
  }
  return count;
}

template <typename Visit>
void Cutter::ForEachBorder(std::size_t end, std::int64_t limit, Visit&& visit) {
  borders_.assign(1, Border{0, 0});
  while (borders_.back().at < end) {
    const std::size_t begin = borders_.back().at;
    const std::size_t next = pieces_.End(text_, begin);
    if (next > end) break;
    borders_.push_back({next, borders_.back().count + pieces_.Count(text_, begin, next)});
  }
  for (; borders_.size() > 1; borders_.pop_back()) {
    const std::size_t at = borders_.back().at;
    if (CountPrefixFrom(LastFinal(at), at, limit).count <= limit && !visit(at)) return;
  }
}

// --- suffixes ---

std::int64_t Cutter::CountSuffixPiece(std::string_view head, std::size_t begin, std::size_t end) {
  if (!IsLong(end - begin)) {
    if (head.empty()) return pieces_.Count(text_, begin, end);
    std::string piece(head);
    piece += text_.substr(begin, end - begin);
    return pieces_.Count(piece, 0, piece.size());
  }
  const auto behind =
      std::upper_bound(borders_.begin(), borders_.end(), begin,
                       [](std::size_t at, const Border& border) { return at < border.at; });
  const std::size_t run_begin = std::prev(behind)->at;
  return Run(run_begin, end).CountFrom(begin - run_begin, head);
}

std::size_t Cutter::EndOfPiece(std::size_t begin) {
  if (begin == piece_begin_) return piece_end_;
  const bool ends_alike = pieces_.pattern() && piece_begin_ == CeilCharacter(text_, begin + 1) &&
                          EndsLikeTheNext(*pieces_.pattern(), text_, begin, piece_end_);
  if (!ends_alike) piece_end_ = pieces_.End(text_, begin);
  piece_begin_ = begin;
  return piece_end_;
}

std::int64_t Cutter::CountSuffixFrom(std::size_t begin) {
  if (suffix_counts_.size() == 0) suffix_counts_ = ZeroedArray<std::int64_t>(text_.size() + 1);
  std::vector<Border> walked;  // with the tokens of the piece that begins there
  std::int64_t count = -1;
  for (bool is_first = true; (count = suffix_counts_[begin] - 1) < 0; is_first = false) {
    const auto border =
        std::lower_bound(borders_.begin() + static_cast<std::ptrdiff_t>(first_), borders_.end(),
                         begin, [](const Border& known, std::size_t at) { return known.at < at; });
    if (border->at == begin) {
      count = border->count;
      break;
    }
    const std::size_t next = is_first ? EndOfPiece(begin) : pieces_.End(text_, begin);
    walked.push_back({begin, CountSuffixPiece({}, begin, next)});
    begin = next;
  }
  for (; !walked.empty(); walked.pop_back()) {
    count += walked.back().count;
    suffix_counts_[walked.back().at] = count + 1;
  }
  return count;
}

std::int64_t Cutter::CountSuffix(std::string_view head, std::size_t begin, std::int64_t limit) {
  if (head.empty()) return CountSuffixFrom(begin);
  if (pieces_.is_one() && !pieces_.has_symbols()) {
    return CountSuffixPiece(head, begin, text_.size());
  }
  std::int64_t count = 0;
  std::size_t at = 0;  // in the head
  for (std::size_t size = kFirstBytes; count <= limit;) {
    const std::size_t end = CeilCharacter(text_, std::min(text_.size(), begin + size));
    std::string text(head);
    text += text_.substr(begin, end - begin);
    const bool is_all = end == text_.size();
    const std::size_t next = is_all ? pieces_.End(text, at) : pieces_.FinalEnd(text, at);
    if (next == 0) {
      size *= 2;
    } else if (next <= head.size()) {
      count += pieces_.Count(text, at, next);
      at = next;
      if (at == head.size()) return count + CountSuffixFrom(begin);
    } else {
      const std::size_t piece_end = begin + next - head.size();
      count += pieces_.are_pre_tokens() ? CountSuffixPiece(head.substr(at), begin, piece_end)
                                        : pieces_.Count(text, at, next);
      return count + CountSuffixFrom(piece_end);
    }
  }
  return count;
}

std::optional<Cutter::Cut> Cutter::LongestSuffix(bool is_all, std::int64_t limit) {
  borders_.clear();
  borders_.reserve(text_.size() / 2);  // where pieces are longer most is never touched
  for (std::size_t at = 0; at < text_.size(); at = pieces_.End(text_, at)) {
    borders_.push_back({at, 0});
  }
  borders_.push_back({text_.size(), 0});
  first_ = borders_.size() - 1;
  for (; first_ > 0; --first_) {
    const std::int64_t count =
        borders_[first_].count + pieces_.Count(text_, borders_[first_ - 1].at, borders_[first_].at);
    if (count > limit) break;
    borders_[first_ - 1].count = count;
  }
  if (first_ == 0) return is_all ? std::optional(Cut{0, 0}) : std::nullopt;

  std::size_t fits = borders_[first_].at;
  const std::size_t before = borders_[first_ - 1].at;
  if (pieces_.are_pre_tokens() && fits - before > kLongBytes) {
    const std::int64_t left = limit - borders_[first_].count;
    for (std::int64_t fewer = 0; fewer < std::min<std::int64_t>(left, 8); ++fewer) {
      const std::size_t begin =
          CeilCharacter(text_, before + Run(before, borders_[first_].at).BeginOfLast(left - fewer));
      if (begin >= fits || CountSuffixFrom(begin) > limit) continue;
      fits = begin;
      break;
    }
  }
  // As for prefixes: tokens of a longer pre-token would have to begin in the stretch.
  std::size_t last_possible = fits;
  for (std::size_t begin = fits; begin > 0;) {
    const std::size_t behind = begin;
    begin = FloorCharacter(text_, begin - 1);
    if (CountSuffixFrom(begin) <= limit) {
      fits = last_possible = begin;
      continue;
    }
    if (!pieces_.are_pre_tokens()) continue;
    // The pre-token in which a token begins may end where one that begins there does, or where the
    // one does that is there now.
    const std::size_t next = EndOfPiece(begin);
    const auto known = std::upper_bound(
        borders_.begin() + static_cast<std::ptrdiff_t>(first_), borders_.end(), begin,
        [](std::size_t at, const Border& border) { return at < border.at; });
    const bool may_begin_within = vocabulary_.symbols() == Vocabulary::Symbols::kBytes;
    const std::size_t last = may_begin_within ? behind : begin + 1;
    if (may_begin_within && next > behind) {
      const std::int64_t rest = CountSuffixFrom(next);
      for (std::size_t at = begin + 1; at < last; ++at) {
        if (CountSuffixPiece({}, at, next) + rest <= limit) last_possible = at;
      }
    }
    if (known->at != next && begin >= before && !pieces_.has_symbols()) {
      for (std::size_t at = begin; at < last; ++at) {
        if (CountSuffixPiece({}, at, known->at) + known->count <= limit) last_possible = at;
      }
    }
    if (last_possible - begin > stretch_) return Cut{fits, begin};
  }
  return is_all ? std::optional(Cut{fits, 0}) : std::nullopt;
}

// --- texts that are normalized first ---

/// A part that has all prefixes, or suffixes, that can fit.
std::size_t MaxBytes(const Encoding& encoding, std::string_view utf8, std::int64_t limit) {
  const auto max_bytes = encoding.max_text_bytes_of_token();
  const auto num_tokens = static_cast<std::uint64_t>(limit);
  if (!max_bytes || utf8.size() / *max_bytes < num_tokens) return utf8.size();
  return std::min(utf8.size(), num_tokens * *max_bytes);
}

/// The longest of the prefixes of `part` that fits, where `cut` is known of its normalized text.
std::size_t LongestOriginalPrefix(const Encoding& encoding, std::string_view part,
                                  const NormalizedPart& normalized, Cutter& cutter, Cutter::Cut cut,
                                  std::int64_t limit) {
  const auto& cuts = normalized.cuts();
  const auto above =
      std::upper_bound(cuts.begin(), cuts.end(), cut.bound,
                       [](std::size_t at, const auto& known) { return at < known.normalized; });
  std::string buffer;
  for (auto i = above; i-- != cuts.begin();) {
    // Prefixes that end between this cut and the next are normalized otherwise than the whole.
    const std::size_t next = i + 1 == cuts.end() ? i->original : (i + 1)->original;
    for (std::size_t end = next; end > i->original;) {
      end = FloorCharacter(part, end - 1);
      if (end == i->original) break;
      const std::string_view tail = encoding.normalizer().Apply(
          part.substr(i->original, end - i->original),
          i->original == 0 ? Normalizer::Position::kInputStart : Normalizer::Position::kMiddle,
          buffer);
      if (cutter.CountPrefix(i->normalized, tail, limit) <= limit) return end;
    }
    if (i->normalized == cut.at ||
        (i->normalized < cut.at && cutter.CountPrefix(i->normalized, {}, limit) <= limit)) {
      return i->original;
    }
  }
  return 0;
}

std::size_t LongestOriginalSuffix(const Encoding& encoding, std::string_view part,
                                  const NormalizedPart& normalized, Cutter& cutter, Cutter::Cut cut,
                                  std::int64_t limit) {
  const auto& cuts = normalized.cuts();
  const bool prepends = encoding.normalizer().Prepends();
  auto i =
      std::upper_bound(cuts.begin(), cuts.end(), cut.bound,
                       [](std::size_t at, const auto& known) { return at < known.normalized; });
  if (i != cuts.begin()) --i;
  while (i != cuts.begin() && std::prev(i)->normalized == i->normalized) --i;
  std::string buffer;
  for (; i + 1 != cuts.end(); ++i) {
    if (!prepends &&
        (i->normalized == cut.at ||
         (i->normalized > cut.at && cutter.CountSuffix({}, i->normalized, limit) <= limit))) {
      return i->original;
    }
    const std::size_t next = (i + 1)->original;
    for (std::size_t begin = prepends ? i->original : CeilCharacter(part, i->original + 1);
         begin < next; begin = CeilCharacter(part, begin + 1)) {
      const std::string_view head = encoding.normalizer().Apply(
          part.substr(begin, next - begin), Normalizer::Position::kInputStart, buffer);
      if (cutter.CountSuffix(head, (i + 1)->normalized, limit) <= limit) return begin;
    }
  }
  return part.size();
}

/// Where a normalizer promises nothing: every length is tried, from a state that grows.
std::size_t LongestPrefixByAppending(const Encoding& encoding, std::string_view utf8,
                                     std::int64_t limit) {
  // The appender needs an owner for the encoding; the caller keeps it alive.
  Appender appender(std::shared_ptr<const Encoding>(std::shared_ptr<const void>(), &encoding));
  std::size_t longest = 0;
  for (std::size_t end = 0; end < utf8.size();) {
    const std::size_t begin = end;
    end = CeilCharacter(utf8, end + 1);
    appender.Append(utf8.substr(begin, end - begin), /*trusted=*/false);
    if (appender.count() <= limit) longest = end;
  }
  return longest;
}

/// Likewise, each from scratch.
std::size_t LongestSuffixByTrying(const Encoding& encoding, std::string_view utf8,
                                  std::int64_t limit) {
  for (std::size_t begin = 0; begin < utf8.size(); begin = CeilCharacter(utf8, begin + 1)) {
    if (encoding.FitsOrdinary(utf8.substr(begin), limit)) return begin;
  }
  return utf8.size();
}

bool MayCut(const Normalizer& normalizer, std::string_view utf8, std::size_t at) noexcept {
  return at >= utf8.size() || normalizer.empty() || normalizer.IsStableCut(utf8, at);
}

/// How much of a text of `size` bytes, of which `sample` is a part, is to be looked at at first:
/// probably a little more than has so many tokens.
std::size_t LikelyBytes(const Encoding& encoding, std::string_view sample, std::size_t size,
                        std::int64_t limit) {
  const auto num_tokens = static_cast<std::size_t>(limit);
  if (num_tokens >= size) return size;
  constexpr std::size_t kManyBytes = 8;  // for a token
  if (num_tokens <= kSampleBytes / kManyBytes)
    return std::max(kFirstBytes, kManyBytes * num_tokens);
  const auto sample_tokens = static_cast<std::size_t>(encoding.CountOrdinary(sample));
  const std::size_t num_samples = num_tokens / std::max<std::size_t>(sample_tokens, 1) + 1;
  const std::size_t a_little_more = sample.size() + sample.size() / 8;
  return num_samples < size / a_little_more ? num_samples * a_little_more : size;
}

}  // namespace

std::size_t LongestPrefix(const Encoding& encoding, std::string_view utf8, std::int64_t limit) {
  if (limit < 1) return 0;
  const Normalizer& normalizer = encoding.normalizer();
  const std::size_t max_size = FloorCharacter(utf8, MaxBytes(encoding, utf8, limit));
  if (!normalizer.Promises(Normalizer::Position::kInputStart)) {
    return LongestPrefixByAppending(encoding, utf8.substr(0, max_size), limit);
  }
  const Pieces pieces(encoding);
  const std::string_view sample = utf8.substr(0, FloorCharacter(utf8, kSampleBytes));
  for (std::size_t size = LikelyBytes(encoding, sample, max_size, limit);; size *= 2) {
    std::size_t end = FloorCharacter(utf8, std::min(size, max_size));
    while (end > 0 && !MayCut(normalizer, utf8, end)) end = FloorCharacter(utf8, end - 1);
    const bool is_all = size >= max_size;
    if (is_all) end = max_size;
    if (end == 0 && !is_all) continue;
    const std::string_view part = utf8.substr(0, end);
    const NormalizedPart normalized(normalizer, part, /*is_front=*/true);
    Cutter cutter(encoding, pieces, normalized.text());
    const auto cut = cutter.LongestPrefix(is_all, limit);
    if (!cut) continue;
    if (normalized.is_same()) return cut->at;
    return LongestOriginalPrefix(encoding, part, normalized, cutter, *cut, limit);
  }
}

std::size_t LongestSuffix(const Encoding& encoding, std::string_view utf8, std::int64_t limit) {
  if (limit < 1) return utf8.size();
  const Normalizer& normalizer = encoding.normalizer();
  const std::size_t min_begin = CeilCharacter(utf8, utf8.size() - MaxBytes(encoding, utf8, limit));
  if (!normalizer.Promises(Normalizer::Position::kInputStart)) {
    return min_begin + LongestSuffixByTrying(encoding, utf8.substr(min_begin), limit);
  }
  const Pieces pieces(encoding);
  const std::size_t max_size = utf8.size() - min_begin;
  const std::size_t sample_begin = utf8.size() - std::min(utf8.size(), kSampleBytes);
  const std::string_view sample = utf8.substr(CeilCharacter(utf8, sample_begin));
  std::size_t size =
      pieces.are_pre_tokens() ? LikelyBytes(encoding, sample, max_size, limit) : max_size;
  for (;; size *= 2) {
    const bool is_all = size >= max_size;
    std::size_t begin = min_begin;
    if (!is_all) {
      begin = CeilCharacter(utf8, utf8.size() - size);
      while (!MayCut(normalizer, utf8, begin)) begin = CeilCharacter(utf8, begin + 1);
      if (begin == utf8.size()) continue;
    }
    const std::string_view part = utf8.substr(begin);
    const NormalizedPart normalized(normalizer, part, /*is_front=*/false);
    Cutter cutter(encoding, pieces, normalized.text());
    const auto cut = cutter.LongestSuffix(is_all, limit);
    if (!cut) continue;
    if (normalized.is_same()) return begin + cut->at;
    return begin + LongestOriginalSuffix(encoding, part, normalized, cutter, *cut, limit);
  }
}

namespace {

/// The last border of pre-tokens up to `end` that ends a prefix with at most `limit` tokens, or 0.
std::size_t LastBorder(const Encoding& encoding, std::string_view utf8, std::size_t end,
                       std::int64_t limit) {
  const Normalizer& normalizer = encoding.normalizer();
  const Pieces pieces(encoding);
  if (!pieces.are_pre_tokens() || pieces.is_one() ||
      !normalizer.Promises(Normalizer::Position::kInputStart)) {
    return 0;
  }
  // A little more than the prefix, so that its end does not look like the end of the text.
  std::size_t size = CeilCharacter(utf8, std::min(utf8.size(), end + kLookaheadBytes));
  while (!MayCut(normalizer, utf8, size)) size = CeilCharacter(utf8, size + 1);
  const NormalizedPart normalized(normalizer, utf8.substr(0, size), /*is_front=*/true);
  Cutter cutter(encoding, pieces, normalized.text());
  if (normalized.is_same()) {
    std::size_t border = 0;
    cutter.ForEachBorder(end, limit, [&](std::size_t at) {
      border = at;
      return false;
    });
    return border;
  }
  const auto& cuts = normalized.cuts();
  const auto behind =
      std::upper_bound(cuts.begin(), cuts.end(), end,
                       [](std::size_t at, const auto& cut) { return at < cut.original; });
  std::size_t border = 0;
  cutter.ForEachBorder(std::prev(behind)->normalized, limit, [&](std::size_t at) {
    const auto cut = std::lower_bound(
        cuts.begin(), behind, at,
        [](const auto& known, std::size_t place) { return known.normalized < place; });
    if (cut == behind || cut->normalized != at) return true;
    border = cut->original;
    return false;
  });
  return border;
}

}  // namespace

std::vector<TextSpan> Split(const Encoding& encoding, std::string_view utf8,
                            std::int64_t max_tokens, std::int64_t overlap) {
  if (max_tokens < 1) throw ArgumentError(StrCat("max_tokens must be >= 1, got ", max_tokens));
  if (overlap < 0 || overlap >= max_tokens) {
    throw ArgumentError(
        StrCat("overlap must be in [0, max_tokens), got ", overlap, " and ", max_tokens));
  }
  std::vector<TextSpan> spans;
  for (std::size_t begin = 0, covered = 0; covered < utf8.size();) {
    const std::string_view rest = utf8.substr(begin);
    std::size_t size = LongestPrefix(encoding, rest, max_tokens);
    if (begin + size <= covered) {
      // The overlap leaves no room for the next character.
      if (begin == covered) {
        throw ArgumentError(
            StrCat("the character at byte ", begin, " has more than ", max_tokens, " tokens"));
      }
      begin = covered;
      continue;
    }
    if (size < rest.size()) {
      const std::size_t border = LastBorder(encoding, rest, size, max_tokens);
      if (begin + border > covered) size = border;
    }
    spans.push_back({begin, begin + size});
    covered = begin + size;
    const std::string_view part = rest.substr(0, size);
    const std::size_t shared = LongestSuffix(encoding, part, overlap);
    begin = shared == 0 ? covered : begin + shared;
  }
  return spans;
}

}  // namespace ctx::tokenize
