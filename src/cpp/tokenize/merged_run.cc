#include "tokenize/merged_run.h"

#include <algorithm>
#include <string>
#include <utility>

#include "tokenize/bpe/encode_pre_tokens.h"
#include "tokenize/bpe/merge.h"
#include "tokenize/id_output.h"
#include "tokenize/unicode/utf8.h"

namespace ctx::tokenize {
namespace {

/// How many tokens beside a cut are merged anew at first: more than a cut changes in real text.
constexpr std::size_t kTokensAnew = 4;

/// More bytes, which are no token, are encoded as what they are, a long pre-token: in parts.
constexpr std::size_t kLongBytes = 1024;

/// So many borders, the last ones merged anew, are looked for among those that are known.
constexpr std::size_t kMaxTries = 64;

/// So many suffixes are kept: no token of a published vocabulary repeats a letter more often.
constexpr std::size_t kMaxSuffixes = 128;

}  // namespace

MergedRun::MergedRun(const Vocabulary& vocabulary, std::string_view text)
    : vocabulary_(vocabulary), text_(text), ends_(Ends(text)) {}

std::vector<std::size_t> MergedRun::Ends(std::string_view text) const {
  std::vector<std::size_t> ends = {0};
  const auto append = [&](Rank rank) {
    ends.push_back(ends.back() + vocabulary_.Bytes(rank).size());
  };
  if (text.size() > std::max(kLongBytes, vocabulary_.max_token_bytes())) {
    IdMemory ids;
    EncodeLong(vocabulary_, text, ids);
    ends.reserve(ids.size() + 1);
    for (const TokenId id : ids.view()) append(vocabulary_.RankOf(id));
  } else {
    std::vector<Rank> ranks;
    Merge(vocabulary_, text, ranks);
    ends.reserve(ranks.size() + 1);
    for (const Rank rank : ranks) append(rank);
  }
  return ends;
}

bool MergedRun::IsBorderOf(std::string_view text, std::size_t at) const noexcept {
  return vocabulary_.symbols() == Vocabulary::Symbols::kBytes || BeginsCharacter(text, at);
}

bool MergedRun::Joins(std::string_view left, std::string_view right) const {
  std::vector<std::size_t> expected = Ends(left);
  for (const std::size_t end : Ends(right)) {
    if (end > 0) expected.push_back(left.size() + end);
  }
  return Ends(std::string(left).append(right)) == expected;
}

std::int64_t MergedRun::CountTo(std::size_t end, std::string_view tail) const {
  std::size_t num_whole = static_cast<std::size_t>(
      std::upper_bound(ends_.begin(), ends_.end(), end) - ends_.begin() - 1);
  if (ends_[num_whole] == end && tail.empty()) return static_cast<std::int64_t>(num_whole);
  for (std::size_t num_anew = kTokensAnew;; num_anew *= 2) {
    std::size_t kept = num_whole > num_anew ? num_whole - num_anew : 0;
    while (!IsBorderOf(text_, ends_[kept])) --kept;
    std::size_t before = kept == 0 ? 0 : kept - 1;
    while (!IsBorderOf(text_, ends_[before])) --before;
    // The last token that is kept, then what is merged anew.
    const std::size_t size_kept = ends_[kept] - ends_[before];
    std::string ending(text_.substr(ends_[before], end - ends_[before]));
    ending += tail;
    const std::string_view rest = std::string_view(ending).substr(size_kept);
    const std::vector<std::size_t> anew = Ends(rest);
    const auto count = static_cast<std::int64_t>(kept + anew.size() - 1);
    if (kept == 0 || rest.empty()) return count;
    std::size_t behind = 1;
    while (!IsBorderOf(rest, anew[behind])) ++behind;
    if (Joins(std::string_view(ending).substr(0, size_kept), rest.substr(0, anew[behind]))) {
      return count;
    }
  }
}

std::int64_t MergedRun::CountFrom(std::size_t begin, std::string_view head) {
  // visit(borders, border) for the lists of borders that have that place, until it returns true.
  const auto any_known = [&](std::size_t at, auto&& visit) {
    const auto is_known = [&](const std::vector<std::size_t>& borders) {
      const auto border = std::lower_bound(borders.begin(), borders.end(), at);
      return border != borders.end() && *border == at && visit(borders, border);
    };
    return is_known(ends_) || std::any_of(suffixes_.begin(), suffixes_.end(), is_known);
  };
  std::int64_t count = 0;
  const auto count_behind = [&](const auto& borders, auto border) {
    count += borders.end() - border - 1;
    return true;
  };
  if (head.empty() && any_known(begin, count_behind)) return count;

  const std::size_t num_tokens = ends_.size() - 1;
  const auto first =
      static_cast<std::size_t>(std::lower_bound(ends_.begin(), ends_.end(), begin) - ends_.begin());
  for (std::size_t num_anew = kTokensAnew;; num_anew *= 2) {
    // An eighth of what follows merged in vain: nothing known will be met.
    const bool gives_up = num_anew > (num_tokens - first) / 8 + kTokensAnew;
    std::size_t last = gives_up ? num_tokens : std::min(first + num_anew, num_tokens);
    while (!IsBorderOf(text_, ends_[last])) ++last;
    std::string beginning(head);
    beginning += text_.substr(begin, ends_[last] - begin);
    std::vector<std::size_t> anew = Ends(beginning);
    if (last == num_tokens) {
      count = static_cast<std::int64_t>(anew.size() - 1);
      std::erase_if(anew, [&](std::size_t end) { return end < head.size(); });
      for (std::size_t& end : anew) end = begin + end - head.size();
      KeepSuffix(std::move(anew));
      return count;
    }
    const std::size_t num_tries = std::min(kMaxTries, anew.size() - 1);
    for (std::size_t i = anew.size() - 1; i >= anew.size() - num_tries; --i) {
      if (anew[i] < head.size()) break;
      const std::size_t at = begin + anew[i] - head.size();
      if (!IsBorderOf(text_, at)) continue;
      std::size_t before = i - 1;
      while (!IsBorderOf(beginning, anew[before])) --before;
      const std::string_view left =
          std::string_view(beginning).substr(anew[before], anew[i] - anew[before]);
      const auto stays_apart = [&](const auto& borders, auto border) {
        auto behind = border + 1;
        while (!IsBorderOf(text_, *behind)) ++behind;
        if (!Joins(left, text_.substr(at, *behind - at))) return false;
        count = static_cast<std::int64_t>(i);
        return count_behind(borders, border);
      };
      if (any_known(at, stays_apart)) return count;
    }
  }
}

void MergedRun::KeepSuffix(std::vector<std::size_t> borders) {
  if (suffixes_.size() >= kMaxSuffixes || borders.size() > text_.size() - num_kept_) return;
  num_kept_ += borders.size();
  suffixes_.push_back(std::move(borders));
}

std::size_t MergedRun::EndOf(std::int64_t num_tokens) const noexcept {
  return ends_[std::min(static_cast<std::size_t>(num_tokens), ends_.size() - 1)];
}

std::size_t MergedRun::BeginOfLast(std::int64_t num_tokens) const noexcept {
  const std::size_t size = ends_.size() - 1;
  return ends_[size - std::min(static_cast<std::size_t>(num_tokens), size)];
}

}  // namespace ctx::tokenize
