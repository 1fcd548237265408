#include "tokenize/spelling_trie.h"

#include <algorithm>
#include <cstring>

namespace ctx::tokenize {

SpellingTrie::SpellingTrie(const std::vector<std::string_view>& spellings) {
  if (spellings.empty()) return;
  // The spellings that begin with a node's prefix are a range of the sorted ones.
  struct Range {
    std::uint32_t first;
    std::uint32_t last;
  };
  std::vector<Range> ranges = {{0, static_cast<std::uint32_t>(spellings.size())}};
  nodes_.push_back({0, kRoot, kNone, 0});
  labels_.push_back(0);
  for (std::uint32_t node = 0; node < nodes_.size(); ++node) {
    auto [first, last] = ranges[node];
    const std::uint32_t depth = nodes_[node].depth;
    nodes_[node].first_child = static_cast<std::uint32_t>(nodes_.size());
    if (spellings[first].size() == depth) {
      nodes_[node].fail = kRoot;
      nodes_[node].last_pop = static_cast<std::uint32_t>(pops_.size());
      pops_.push_back({kNone, first, 0, depth});
      ++first;
    }
    while (first < last) {
      const auto label = static_cast<unsigned char>(spellings[first][depth]);
      std::uint32_t end = first + 1;
      while (end < last && static_cast<unsigned char>(spellings[end][depth]) == label) ++end;
      const auto child = static_cast<std::uint32_t>(nodes_.size());
      nodes_.push_back({0, kRoot, kNone, depth + 1});
      labels_.push_back(label);
      ranges.push_back({first, end});
      if (node == kRoot) {
        root_child_[label] = child;
      } else {
        LinkFailure(node, child);
      }
      first = end;
    }
  }
  nodes_.push_back({static_cast<std::uint32_t>(nodes_.size()), kRoot, kNone, 0});
  if (nodes_[1].first_child == 2) only_first_byte_ = labels_[1];
}

std::uint32_t SpellingTrie::Child(std::uint32_t node, unsigned char byte) const noexcept {
  if (node == kRoot) return root_child_[byte];
  const unsigned char* const first = labels_.data() + nodes_[node].first_child;
  const unsigned char* const last = labels_.data() + nodes_[node + 1].first_child;
  const unsigned char* const found = std::lower_bound(first, last, byte);
  return found == last || *found != byte ? kRoot
                                         : static_cast<std::uint32_t>(found - labels_.data());
}

void SpellingTrie::LinkFailure(std::uint32_t parent, std::uint32_t node) {
  // Leaving at `node` is leaving at `parent` and then reading one byte more, from where that leads.
  std::uint32_t last_pop = nodes_[parent].last_pop;
  std::uint32_t from = nodes_[parent].fail;
  std::uint32_t next = Child(from, labels_[node]);
  std::vector<Pop> pops;
  while (next == kRoot && from != kRoot) {
    const std::uint32_t offset = nodes_[parent].depth - nodes_[from].depth;
    pops.clear();
    for (std::uint32_t i = nodes_[from].last_pop; i != kNone; i = pops_[i].previous) {
      pops.push_back({kNone, pops_[i].spelling, offset + pops_[i].begin, offset + pops_[i].end});
    }
    for (auto pop = pops.rbegin(); pop != pops.rend(); ++pop) {
      pop->previous = last_pop;
      last_pop = static_cast<std::uint32_t>(pops_.size());
      pops_.push_back(*pop);
    }
    from = nodes_[from].fail;
    next = Child(from, labels_[node]);
  }
  nodes_[node].fail = next;
  nodes_[node].last_pop = last_pop;
}

std::size_t SpellingTrie::NextCandidate(std::string_view text, std::size_t from) const noexcept {
  if (only_first_byte_ >= 0) {
    const void* const found = std::memchr(text.data() + from, only_first_byte_, text.size() - from);
    return found == nullptr ? text.size() : static_cast<const char*>(found) - text.data();
  }
  while (from < text.size() && root_child_[static_cast<unsigned char>(text[from])] == kRoot) ++from;
  return from;
}

void SpellingSearch::Restart(std::size_t begin, std::size_t end) noexcept {
  text_ = {text_.data(), end};
  at_ = begin;
  node_ = SpellingTrie::kRoot;
  ready_.clear();
}

void SpellingSearch::Leave() {
  const SpellingTrie::Node& node = trie_.nodes_[node_];
  const std::size_t begin = at_ - node.depth;
  for (std::uint32_t i = node.last_pop; i != SpellingTrie::kNone; i = trie_.pops_[i].previous) {
    const SpellingTrie::Pop& pop = trie_.pops_[i];
    ready_.push_back({begin + pop.begin, begin + pop.end, pop.spelling});
  }
  node_ = node.fail;
}

std::optional<SpellingTrie::Match> SpellingSearch::Next() {
  while (ready_.empty()) {
    if (node_ == SpellingTrie::kRoot) {
      if (trie_.nodes_.empty() || at_ == text_.size()) return std::nullopt;
      at_ = trie_.NextCandidate(text_, at_);
      if (at_ == text_.size()) return std::nullopt;
    }
    const std::uint32_t child = at_ == text_.size()
                                    ? SpellingTrie::kRoot
                                    : trie_.Child(node_, static_cast<unsigned char>(text_[at_]));
    if (child == SpellingTrie::kRoot) {
      Leave();
    } else {
      node_ = child;
      ++at_;
    }
  }
  const SpellingTrie::Match match = ready_.back();
  ready_.pop_back();
  return match;
}

}  // namespace ctx::tokenize
