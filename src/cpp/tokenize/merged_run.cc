#include "tokenize/merged_run.h"

#include <algorithm>
#include <string>

#include "tokenize/bpe/merge.h"

namespace ctx::tokenize {
namespace {

/// How many tokens beside a cut are merged anew at first: more than a cut changes in real text.
constexpr std::size_t kTokensAnew = 4;

}  // namespace

MergedRun::MergedRun(const Vocabulary& vocabulary, std::string_view text)
    : vocabulary_(vocabulary), text_(text), ends_(Ends(text)) {}

std::vector<std::size_t> MergedRun::Ends(std::string_view text) const {
  std::vector<Rank> ranks;
  if (!text.empty()) Merge(vocabulary_, text, ranks);
  std::vector<std::size_t> ends = {0};
  ends.reserve(ranks.size() + 1);
  for (const Rank rank : ranks) ends.push_back(ends.back() + vocabulary_.Bytes(rank).size());
  return ends;
}

bool MergedRun::IsBorderOf(std::string_view text, std::size_t at) const noexcept {
  return vocabulary_.symbols() == Vocabulary::Symbols::kBytes || at >= text.size() ||
         (static_cast<unsigned char>(text[at]) & 0xC0) != 0x80;
}

bool MergedRun::Joins(std::string_view left, std::string_view right) const {
  std::vector<std::size_t> expected = Ends(left);
  for (const std::size_t end : Ends(right)) {
    if (end > 0) expected.push_back(left.size() + end);
  }
  return Ends({left.data(), left.size() + right.size()}) == expected;
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

std::int64_t MergedRun::CountFrom(std::size_t begin, std::string_view head) const {
  const std::size_t num_tokens = ends_.size() - 1;
  const auto first =
      static_cast<std::size_t>(std::lower_bound(ends_.begin(), ends_.end(), begin) - ends_.begin());
  if (ends_[first] == begin && head.empty()) return static_cast<std::int64_t>(num_tokens - first);
  for (std::size_t num_anew = kTokensAnew;; num_anew *= 2) {
    std::size_t kept = std::min(first + num_anew, num_tokens);  // tokens from this one on are kept
    while (!IsBorderOf(text_, ends_[kept])) ++kept;
    const std::size_t border = ends_[kept];
    std::string beginning(head);
    beginning += text_.substr(begin, border - begin);
    const std::vector<std::size_t> anew = Ends(beginning);
    const auto count = static_cast<std::int64_t>(anew.size() - 1 + num_tokens - kept);
    if (kept == num_tokens) return count;
    std::size_t before = anew.size() - 2;
    while (!IsBorderOf(beginning, anew[before])) --before;
    std::size_t behind = kept + 1;
    while (!IsBorderOf(text_, ends_[behind])) ++behind;
    const std::size_t size = beginning.size();
    beginning += text_.substr(border, ends_[behind] - border);
    const std::string_view around = std::string_view(beginning).substr(anew[before]);
    if (Joins(around.substr(0, size - anew[before]), around.substr(size - anew[before]))) {
      return count;
    }
  }
}

std::size_t MergedRun::EndOf(std::int64_t num_tokens) const noexcept {
  return ends_[std::min(static_cast<std::size_t>(num_tokens), ends_.size() - 1)];
}

std::size_t MergedRun::BeginOfLast(std::int64_t num_tokens) const noexcept {
  const std::size_t size = ends_.size() - 1;
  return ends_[size - std::min(static_cast<std::size_t>(num_tokens), size)];
}

}  // namespace ctx::tokenize
