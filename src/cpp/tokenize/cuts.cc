#include "tokenize/cuts.h"

#include <algorithm>
#include <iterator>
#include <memory>
#include <optional>
#include <string>

#include "common/error.h"
#include "common/ids.h"
#include "common/str_cat.h"
#include "tokenize/appender.h"
#include "tokenize/bpe/merge.h"
#include "tokenize/merged_run.h"
#include "tokenize/pretokenize/scanner.h"

namespace ctx::tokenize {
namespace {

/// Pre-tokens of more bytes are merged once, into a MergedRun.
constexpr std::size_t kLongBytes = 512;

/// How far beyond the longest token the end of a pre-token (a contraction, blanks that the next
/// word takes) can depend on what follows.
constexpr std::size_t kLookaheadBytes = 16;

constexpr std::string_view kMetaspace = "\xE2\x96\x81";  // U+2581, which is put before texts

/// A guess at how many bytes a token has, on the high side.
constexpr std::size_t kLikelyBytes = 8;

/// Without a pre-tokenizer all is one pre-token, and never final.
std::size_t All(std::string_view text, std::size_t /*begin*/) noexcept { return text.size(); }
std::size_t Nothing(std::string_view /*text*/, std::size_t /*begin*/) noexcept { return 0; }

/// One text and the encoding by which it is cut.
class Cutter {
 public:
  Cutter(const Encoding& encoding, std::string_view text)
      : vocabulary_(encoding.vocabulary()), text_(text) {
    if (!encoding.pre_tokenizer().pattern()) return;
    WithPattern(*encoding.pre_tokenizer().pattern(), [&](auto pattern) {
      next_ = &NextPreToken<pattern()>;
      next_final_ = &NextFinalPreToken<pattern()>;
    });
  }

  std::size_t LongestPrefix(std::int64_t limit);
  std::size_t LongestSuffix(std::int64_t limit);
  /// The last border of pre-tokens up to `end` that ends a prefix with at most `limit` tokens.
  std::size_t LastBorder(std::size_t end, std::int64_t limit);

 private:
  /// A border of pre-tokens, and how many tokens are before it (prefixes) or behind it (suffixes).
  struct Border {
    std::size_t at;
    std::int64_t count;
  };
  /// Tokens of a text, at least when they are more than the limit.
  struct Count {
    std::int64_t count;
    bool for_good = false;  // every longer text too has more tokens than the limit
  };

  std::optional<std::size_t> PrefixWithin(std::size_t size, bool is_all, std::int64_t limit);
  std::optional<std::size_t> SuffixFrom(std::size_t from, bool is_all, std::int64_t limit);
  Border LastFinal(const std::vector<Border>& borders, std::size_t end) const;
  std::int64_t CountPiece(std::size_t begin, std::size_t end) const;
  Count CountPrefix(const Border& base, std::size_t end, std::int64_t limit);
  std::int64_t CountSuffixPiece(const std::vector<Border>& borders, std::size_t begin,
                                std::size_t end);
  std::int64_t CountSuffix(const std::vector<Border>& borders, std::size_t first_border,
                           std::size_t begin, std::int64_t limit);
  /// The text from `begin` to `end` merged; what was asked for last is kept.
  const MergedRun& Run(std::size_t begin, std::size_t end);
  std::size_t MaxBytes(std::int64_t limit) const noexcept;

  bool BeginsCharacter(std::size_t at) const noexcept {
    return at >= text_.size() || (static_cast<unsigned char>(text_[at]) & 0xC0) != 0x80;
  }
  std::size_t FloorCharacter(std::size_t at) const noexcept {
    while (!BeginsCharacter(at)) --at;
    return at;
  }
  std::size_t CeilCharacter(std::size_t at) const noexcept {
    while (!BeginsCharacter(at)) ++at;
    return std::min(at, text_.size());
  }

  const Vocabulary& vocabulary_;
  std::string_view text_;
  std::size_t (*next_)(std::string_view, std::size_t) noexcept = &All;
  std::size_t (*next_final_)(std::string_view, std::size_t) noexcept = &Nothing;
  std::size_t end_ = 0;  // of what PrefixWithin looks at
  std::optional<MergedRun> run_;
  std::size_t run_begin_ = 0;
  std::size_t run_end_ = 0;
};

std::size_t Cutter::MaxBytes(std::int64_t limit) const noexcept {
  const std::size_t max_bytes = vocabulary_.max_token_bytes();
  const auto num_tokens = static_cast<std::uint64_t>(limit);
  return text_.size() / max_bytes < num_tokens ? text_.size() : num_tokens * max_bytes;
}

const MergedRun& Cutter::Run(std::size_t begin, std::size_t end) {
  if (!run_ || run_begin_ != begin || run_end_ != end) {
    run_.emplace(vocabulary_, text_.substr(begin, end - begin));
    run_begin_ = begin;
    run_end_ = end;
  }
  return *run_;
}

std::int64_t Cutter::CountPiece(std::size_t begin, std::size_t end) const {
  const std::string_view piece = text_.substr(begin, end - begin);
  return vocabulary_.Find(piece) != kNoToken ? 1 : CountMerged(vocabulary_, piece);
}

// --- prefixes ---

std::size_t Cutter::LongestPrefix(std::int64_t limit) {
  if (limit < 1) return 0;
  const std::size_t max_size = FloorCharacter(MaxBytes(limit));
  // Most texts have a few bytes for each token: look at no more of them before it is needed.
  for (std::size_t size = kLongBytes;; size *= 2) {
    if (size / kLikelyBytes < static_cast<std::uint64_t>(limit) && size < max_size) continue;
    const bool is_all = size >= max_size;
    const auto end = PrefixWithin(is_all ? max_size : FloorCharacter(size), is_all, limit);
    if (end) return *end;
  }
}

Cutter::Border Cutter::LastFinal(const std::vector<Border>& borders, std::size_t end) const {
  const std::string_view prefix = text_.substr(0, end);
  std::size_t i = 0;
  while (borders[i].at < end && next_final_(prefix, borders[i].at) == borders[i + 1].at) ++i;
  return borders[i];
}

Cutter::Count Cutter::CountPrefix(const Border& base, std::size_t end, std::int64_t limit) {
  const std::string_view prefix = text_.substr(0, end);
  Count result{base.count};
  bool is_final = true;
  for (std::size_t begin = base.at; begin < end;) {
    const std::size_t final_end = is_final ? next_final_(prefix, begin) : 0;
    is_final = final_end != 0;
    const std::size_t next = is_final ? final_end : next_(prefix, begin);
    const bool is_long = next - begin > std::max(kLongBytes, vocabulary_.max_token_bytes());
    result.count += is_long ? Run(begin, end_).CountTo(next - begin) : CountPiece(begin, next);
    if (result.count > limit) {
      result.for_good = is_final;
      return result;
    }
    begin = next;
  }
  return result;
}

/// The longest prefix, if it can be told from the first `size` bytes.
std::optional<std::size_t> Cutter::PrefixWithin(std::size_t size, bool is_all, std::int64_t limit) {
  const std::string_view text = text_.substr(0, size);
  end_ = size;
  std::vector<Border> borders = {{0, 0}};
  while (borders.back().at < size) {
    const std::size_t next = next_(text, borders.back().at);
    const std::int64_t count = borders.back().count + CountPiece(borders.back().at, next);
    if (count > limit) break;
    borders.push_back({next, count});
  }
  if (borders.back().at == size) return is_all ? std::optional(size) : std::nullopt;

  // `fits` has at most `limit` tokens; from `base` on, longer prefixes differ.
  std::size_t fits = borders.back().at;
  Border base = LastFinal(borders, fits);
  while (CountPrefix(base, fits, limit).count > limit) {
    borders.pop_back();
    fits = borders.back().at;
    base = LastFinal(borders, fits);
  }
  if (size - base.at > kLongBytes && next_(text, base.at) - base.at > kLongBytes) {
    // Where the tokens of the whole pre-token reach the limit is the place to begin at.
    const std::int64_t left = limit - base.count;
    for (std::int64_t fewer = 0; fewer < std::min<std::int64_t>(left, 8); ++fewer) {
      const std::size_t end = FloorCharacter(base.at + Run(base.at, size).EndOf(left - fewer));
      if (end <= fits || CountPrefix(base, end, limit).count > limit) continue;
      fits = end;
      break;
    }
  }
  // Of this stretch no place fits when the prefix of that length does not, and neither does a
  // longer pre-token that begins at `base` and has the end of a token there.
  const std::size_t stretch = vocabulary_.max_token_bytes() + kLookaheadBytes;
  std::size_t last_possible = fits;
  for (std::size_t end = fits; end < size;) {
    const std::size_t before = end;
    end = CeilCharacter(end + 1);
    const Count count = CountPrefix(base, end, limit);
    if (count.count <= limit) {
      fits = last_possible = end;
      continue;
    }
    if (count.for_good) return fits;
    if (end - base.at <= kLongBytes) {
      last_possible = end;
      continue;
    }
    const MergedRun& run = Run(base.at, size);
    for (std::size_t at = before + 1; at <= end; ++at) {
      if (at < end && vocabulary_.symbols() != Vocabulary::Symbols::kBytes) continue;
      if (base.count + run.CountTo(at - base.at) <= limit) last_possible = at;
    }
    if (end - last_possible > stretch) return fits;
  }
  return is_all ? std::optional(fits) : std::nullopt;
}

std::size_t Cutter::LastBorder(std::size_t end, std::int64_t limit) {
  // A little more than the prefix, so that its end does not look like the end of the text.
  const std::string_view text = text_.substr(0, CeilCharacter(end + kLookaheadBytes));
  std::vector<Border> borders = {{0, 0}};
  while (borders.back().at < end) {
    const std::size_t at = borders.back().at;
    const std::size_t next = next_(text, at);
    if (next > end) break;
    borders.push_back({next, borders.back().count + CountPiece(at, next)});
  }
  end_ = end;
  for (; borders.size() > 1; borders.pop_back()) {
    const std::size_t at = borders.back().at;
    if (CountPrefix(LastFinal(borders, at), at, limit).count <= limit) return at;
  }
  return 0;
}

// --- suffixes ---

std::size_t Cutter::LongestSuffix(std::int64_t limit) {
  if (limit < 1) return text_.size();
  const std::size_t max_size = text_.size() - CeilCharacter(text_.size() - MaxBytes(limit));
  for (std::size_t size = kLongBytes;; size *= 2) {
    if (size / kLikelyBytes < static_cast<std::uint64_t>(limit) && size < max_size) continue;
    const bool is_all = size >= max_size;
    const std::size_t from = CeilCharacter(text_.size() - (is_all ? max_size : size));
    const auto begin = SuffixFrom(from, is_all, limit);
    if (begin) return *begin;
  }
}

std::int64_t Cutter::CountSuffixPiece(const std::vector<Border>& borders, std::size_t begin,
                                      std::size_t end) {
  if (end - begin <= std::max(kLongBytes, vocabulary_.max_token_bytes())) {
    return CountPiece(begin, end);
  }
  const auto behind =
      std::upper_bound(borders.begin(), borders.end(), begin,
                       [](std::size_t at, const Border& border) { return at < border.at; });
  const std::size_t run_begin = std::prev(behind)->at;
  return Run(run_begin, end).CountFrom(begin - run_begin);
}

std::int64_t Cutter::CountSuffix(const std::vector<Border>& borders, std::size_t first_border,
                                 std::size_t begin, std::int64_t limit) {
  std::int64_t count = 0;
  while (count <= limit) {
    const auto border =
        std::lower_bound(borders.begin() + static_cast<std::ptrdiff_t>(first_border), borders.end(),
                         begin, [](const Border& known, std::size_t at) { return known.at < at; });
    if (border->at == begin) return count + border->count;
    const std::size_t next = next_(text_, begin);
    count += CountSuffixPiece(borders, begin, next);
    begin = next;
  }
  return count;
}

/// Where the longest suffix begins, if it can be told from the bytes from `from` on.
std::optional<std::size_t> Cutter::SuffixFrom(std::size_t from, bool is_all, std::int64_t limit) {
  std::vector<Border> borders;
  for (std::size_t at = from; at < text_.size(); at = next_(text_, at)) borders.push_back({at, 0});
  borders.push_back({text_.size(), 0});
  std::size_t first = borders.size() - 1;  // the first border that fits
  for (; first > 0; --first) {
    const std::int64_t count =
        borders[first].count + CountPiece(borders[first - 1].at, borders[first].at);
    if (count > limit) break;
    borders[first - 1].count = count;
  }
  if (first == 0) return is_all ? std::optional(from) : std::nullopt;

  std::size_t fits = borders[first].at;
  const std::size_t before = borders[first - 1].at;
  if (fits - before > kLongBytes) {
    const std::int64_t left = limit - borders[first].count;
    for (std::int64_t fewer = 0; fewer < std::min<std::int64_t>(left, 8); ++fewer) {
      const std::size_t begin =
          CeilCharacter(before + Run(before, borders[first].at).BeginOfLast(left - fewer));
      if (begin >= fits || CountSuffix(borders, first, begin, limit) > limit) continue;
      fits = begin;
      break;
    }
  }
  // As for prefixes: tokens of a longer pre-token would have to begin in the stretch.
  const std::size_t stretch = vocabulary_.max_token_bytes() + kLookaheadBytes;
  std::size_t last_possible = fits;
  for (std::size_t begin = fits; begin > from;) {
    const std::size_t behind = begin;
    begin = FloorCharacter(begin - 1);
    if (CountSuffix(borders, first, begin, limit) <= limit) {
      fits = last_possible = begin;
      continue;
    }
    if (vocabulary_.symbols() == Vocabulary::Symbols::kBytes) {
      const std::size_t next = next_(text_, begin);
      const std::int64_t rest = CountSuffix(borders, first, next, limit);
      for (std::size_t at = begin + 1; at < behind && next > behind; ++at) {
        if (CountSuffixPiece(borders, at, next) + rest <= limit) last_possible = at;
      }
    }
    if (last_possible - begin > stretch) return fits;
  }
  return is_all ? std::optional(fits) : std::nullopt;
}

/// Whether what is written on top of cuts.h holds for the text and all its parts. What a normalizer
/// leaves alone as a whole, it leaves alone in parts too.
bool IsCutAsWritten(const Encoding& encoding, std::string_view utf8) {
  const PreTokenizer& pre_tokenizer = encoding.pre_tokenizer();
  if (encoding.user_defined().Find(utf8)) return false;
  if (!pre_tokenizer.pattern() && !pre_tokenizer.steps().empty()) return false;
  if (encoding.normalizer().empty()) return true;
  std::string buffer;
  const std::string_view normalized =
      encoding.normalizer().Apply(utf8, Normalizer::Position::kInputStart, buffer);
  return normalized == utf8;
}

/// A part that has all prefixes, or suffixes, that can fit.
std::size_t MaxBytes(const Encoding& encoding, std::string_view utf8, std::int64_t limit) {
  const auto max_bytes = encoding.max_text_bytes_of_token();
  const auto num_tokens = static_cast<std::uint64_t>(limit);
  if (!max_bytes || utf8.size() / *max_bytes < num_tokens) return utf8.size();
  return std::min(utf8.size(), num_tokens * *max_bytes);
}

bool BeginsCharacter(std::string_view text, std::size_t at) noexcept {
  return at >= text.size() || (static_cast<unsigned char>(text[at]) & 0xC0) != 0x80;
}

std::size_t NextCharacter(std::string_view text, std::size_t at) noexcept {
  do ++at;
  while (!BeginsCharacter(text, at));
  return at;
}

/// A text that is merged as a whole after each of its characters has been replaced by itself, as
/// SentencePiece has it.
class WholeRun {
 public:
  /// Nothing when the encoding does not do so with this text.
  static std::optional<WholeRun> Make(const Encoding& encoding, std::string_view text,
                                      bool from_start) {
    const Normalizer& normalizer = encoding.normalizer();
    const auto position =
        from_start ? Normalizer::Position::kInputStart : Normalizer::Position::kMiddle;
    if (!encoding.pre_tokenizer().steps().empty() || encoding.pre_tokenizer().pattern() ||
        normalizer.StablePrefix(text, position) != text.size()) {
      return std::nullopt;
    }
    WholeRun whole(encoding, text);
    std::string buffer;
    whole.ends_.push_back({0, 0});
    for (std::size_t begin = 0; begin < text.size();) {
      const std::size_t end = NextCharacter(text, begin);
      whole.normalized_ += normalizer.Apply(
          text.substr(begin, end - begin),
          from_start && begin == 0 ? position : Normalizer::Position::kMiddle, buffer);
      whole.ends_.push_back({end, whole.normalized_.size()});
      begin = end;
    }
    // What is put before a suffix might complete a user-defined spelling.
    for (const SpecialToken& token : encoding.user_defined().tokens()) {
      if (!from_start && token.spelling.starts_with(kMetaspace)) return std::nullopt;
    }
    if (encoding.user_defined().Find(whole.normalized_)) return std::nullopt;
    return whole;
  }

  std::size_t LongestPrefix(std::int64_t limit) const {
    const MergedRun run(encoding_.vocabulary(), normalized_);
    const std::size_t sure = run.EndOf(limit);
    std::size_t longest = 0;
    std::size_t last_possible = sure;
    for (std::size_t i = FirstAt(sure); i > 0 && longest == 0; --i) {
      if (i < ends_.size() && run.CountTo(ends_[i].normalized) <= limit) longest = i;
    }
    for (std::size_t i = longest + 1; i < ends_.size(); ++i) {
      if (ends_[i].normalized > last_possible + Stretch()) break;
      for (std::size_t at = ends_[i - 1].normalized + 1; at <= ends_[i].normalized; ++at) {
        if (!BeginsCharacter(normalized_, at) || run.CountTo(at) > limit) continue;
        last_possible = std::max(last_possible, at);
        if (at == ends_[i].normalized) longest = i;
      }
    }
    return ends_[longest].original;
  }

  std::size_t LongestSuffix(std::int64_t limit) const {
    const MergedRun run(encoding_.vocabulary(), normalized_);
    const std::size_t sure = run.BeginOfLast(limit);
    const std::size_t last = ends_.size() - 1;
    std::size_t longest = last;
    std::size_t last_possible = sure;
    for (std::size_t i = FirstAt(sure); i < last && longest == last; ++i) {
      if (CountFrom(run, i) <= limit) longest = i;
    }
    for (std::size_t i = std::min(longest, FirstAt(sure)); i-- > 0;) {
      if (ends_[i].normalized + Stretch() < last_possible) break;
      // What is put before a suffix may only add to the tokens that end behind `at`.
      for (std::size_t at = ends_[i].normalized; at < ends_[i + 1].normalized; ++at) {
        if (BeginsCharacter(normalized_, at) && run.CountFrom(at) < limit) {
          last_possible = std::min(last_possible, at);
        }
      }
      if (CountFrom(run, i) <= limit) longest = i;
    }
    return ends_[longest].original;
  }

 private:
  struct End {
    std::size_t original;
    std::size_t normalized;
  };

  WholeRun(const Encoding& encoding, std::string_view text) : encoding_(encoding), text_(text) {}

  /// The first character that ends, or begins, at `normalized` or behind.
  std::size_t FirstAt(std::size_t normalized) const noexcept {
    return static_cast<std::size_t>(
        std::lower_bound(ends_.begin(), ends_.end(), normalized,
                         [](const End& end, std::size_t at) { return end.normalized < at; }) -
        ends_.begin());
  }
  std::size_t Stretch() const noexcept {
    return encoding_.vocabulary().max_token_bytes() + kLookaheadBytes;
  }
  std::int64_t CountFrom(const MergedRun& run, std::size_t i) const {
    if (i + 1 == ends_.size()) return 0;
    // The character that becomes the first may have something put before it.
    const std::string_view character =
        text_.substr(ends_[i].original, ends_[i + 1].original - ends_[i].original);
    std::string buffer;
    const std::string first(
        encoding_.normalizer().Apply(character, Normalizer::Position::kInputStart, buffer));
    return run.CountFrom(ends_[i + 1].normalized, first);
  }

  const Encoding& encoding_;
  std::string_view text_;
  std::string normalized_;
  std::vector<End> ends_;
};

/// Where neither holds: every length is tried, from a state that grows.
std::size_t LongestPrefixByAppending(const Encoding& encoding, std::string_view utf8,
                                     std::int64_t limit) {
  // The appender needs an owner for the encoding; the caller keeps it alive.
  Appender appender(std::shared_ptr<const Encoding>(std::shared_ptr<const void>(), &encoding));
  std::size_t longest = 0;
  for (std::size_t end = 0; end < utf8.size();) {
    const std::size_t begin = end;
    end = NextCharacter(utf8, begin);
    appender.Append(utf8.substr(begin, end - begin), /*trusted=*/false);
    if (appender.count() <= limit) longest = end;
  }
  return longest;
}

/// Likewise, each from scratch.
std::size_t LongestSuffixByTrying(const Encoding& encoding, std::string_view utf8,
                                  std::int64_t limit) {
  for (std::size_t begin = 0; begin < utf8.size(); begin = NextCharacter(utf8, begin)) {
    if (encoding.FitsOrdinary(utf8.substr(begin), limit)) return begin;
  }
  return utf8.size();
}

}  // namespace

std::size_t LongestPrefix(const Encoding& encoding, std::string_view utf8, std::int64_t limit) {
  if (limit < 1) return 0;
  std::size_t size = MaxBytes(encoding, utf8, limit);
  while (!BeginsCharacter(utf8, size)) --size;
  const std::string_view part = utf8.substr(0, size);
  if (IsCutAsWritten(encoding, part)) return Cutter(encoding, part).LongestPrefix(limit);
  if (const auto run = WholeRun::Make(encoding, part, /*from_start=*/true)) {
    return run->LongestPrefix(limit);
  }
  return LongestPrefixByAppending(encoding, part, limit);
}

std::size_t LongestSuffix(const Encoding& encoding, std::string_view utf8, std::int64_t limit) {
  if (limit < 1) return utf8.size();
  std::size_t begin = utf8.size() - MaxBytes(encoding, utf8, limit);
  while (!BeginsCharacter(utf8, begin)) ++begin;
  const std::string_view part = utf8.substr(begin);
  if (IsCutAsWritten(encoding, part)) return begin + Cutter(encoding, part).LongestSuffix(limit);
  if (const auto run = WholeRun::Make(encoding, part, /*from_start=*/false)) {
    return begin + run->LongestSuffix(limit);
  }
  return begin + LongestSuffixByTrying(encoding, part, limit);
}

namespace {

/// The last border of pre-tokens up to `end` that ends a prefix with at most `limit` tokens, or 0.
std::size_t LastBorder(const Encoding& encoding, std::string_view utf8, std::size_t end,
                       std::int64_t limit) {
  std::size_t size = std::min(utf8.size(), end + kLookaheadBytes);
  while (!BeginsCharacter(utf8, size)) ++size;
  const std::string_view part = utf8.substr(0, size);
  return IsCutAsWritten(encoding, part) ? Cutter(encoding, part).LastBorder(end, limit) : 0;
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
