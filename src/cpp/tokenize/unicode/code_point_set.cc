#include "tokenize/unicode/code_point_set.h"

#include <algorithm>

namespace ctx::tokenize {
namespace {

constexpr char32_t kLastCodePoint = 0x10FFFF;

}  // namespace

bool CodePointSet::Named(std::string_view name, CodePointSet& set) {
  const auto* const found = std::ranges::lower_bound(kProperties, name, {}, &Property::name);
  if (found == kProperties.end() || found->name != name) return false;
  set.ranges_.assign(kPropertyRanges.begin() + found->begin, kPropertyRanges.begin() + found->end);
  return true;
}

void CodePointSet::Add(const CodePointSet& other) {
  ranges_.insert(ranges_.end(), other.ranges_.begin(), other.ranges_.end());
  Normalize();
}

CodePointSet CodePointSet::Complement() const {
  CodePointSet rest;
  char32_t next = 0;
  for (const auto& [first, last] : ranges_) {
    if (first > next) rest.ranges_.push_back({next, first - 1});
    next = last + 1;
  }
  if (next <= kLastCodePoint) rest.ranges_.push_back({next, kLastCodePoint});
  return rest;
}

CodePointSet CodePointSet::ClosedUnderSimpleFolding() const {
  CodePointSet
      folded;  // what members fold to, where that is another character or others fold to it
  for (const auto& [from, to] : kSimpleFoldings) {
    if (Contains(from) || Contains(to)) folded.ranges_.push_back({to, to});
  }
  folded.Normalize();
  CodePointSet closed = *this;
  for (const auto& [from, to] : kSimpleFoldings) {
    if (folded.Contains(to)) closed.ranges_.push_back({from, from});
  }
  closed.Add(folded);
  return closed;
}

bool CodePointSet::Contains(char32_t c) const noexcept {
  const auto after = std::ranges::upper_bound(ranges_, c, {}, &CodePointRange::first);
  return after != ranges_.begin() && c <= std::prev(after)->last;
}

void CodePointSet::Normalize() {
  std::ranges::sort(ranges_, {}, &CodePointRange::first);
  std::size_t size = 0;
  for (const CodePointRange& range : ranges_) {
    if (size > 0 && range.first <= ranges_[size - 1].last + 1) {
      ranges_[size - 1].last = std::max(ranges_[size - 1].last, range.last);
    } else {
      ranges_[size++] = range;
    }
  }
  ranges_.resize(size);
}

char32_t SimpleFold(char32_t c) noexcept {
  const auto* const found = std::ranges::lower_bound(kSimpleFoldings, c, {}, &SimpleFolding::from);
  return found != kSimpleFoldings.end() && found->from == c ? found->to : c;
}

}  // namespace ctx::tokenize
