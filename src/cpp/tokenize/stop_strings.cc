#include "tokenize/stop_strings.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "common/error.h"
#include "common/str_cat.h"
#include "tokenize/unicode/utf8.h"

namespace ctx::tokenize {
StopStrings::StopStrings(std::vector<std::string> stops) : stops_(std::move(stops)) {
  std::size_t size_bytes = 0;
  for (std::size_t i = 0; i < stops_.size(); ++i) {
    if (stops_[i].empty()) throw ArgumentError(StrCat("stop string ", i, " is empty"));
    size_bytes += stops_[i].size();
  }
  if (size_bytes > INT32_MAX) {
    throw ArgumentError(
        StrCat("the stop strings have ", size_bytes, " bytes, the limit is ", INT32_MAX));
  }
  BuildTree();
  LinkSuffixes();
}

void StopStrings::BuildTree() {
  std::vector<std::uint32_t> order(stops_.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [this](std::uint32_t a, std::uint32_t b) {
    const int compared = stops_[a].compare(stops_[b]);
    return compared != 0 ? compared < 0 : a < b;
  });
  // Sorted, the stop strings that begin with a node's prefix lie side by side, and those that are
  // it come first.
  struct Range {
    std::size_t begin;
    std::size_t end;
  };
  std::vector<Range> ranges = {{0, order.size()}};
  nodes_.emplace_back();
  for (std::size_t node = 0; node < nodes_.size(); ++node) {
    auto [begin, end] = ranges[node];
    const std::uint32_t depth = nodes_[node].num_bytes;
    if (begin < end && stops_[order[begin]].size() == depth) {
      nodes_[node].found = static_cast<std::int32_t>(order[begin]);
    }
    while (begin < end && stops_[order[begin]].size() == depth) ++begin;
    nodes_[node].first_child = static_cast<Node>(nodes_.size());
    while (begin < end) {
      const char byte = stops_[order[begin]][depth];
      std::size_t next = begin + 1;
      while (next < end && stops_[order[next]][depth] == byte) ++next;
      Prefix child;
      child.owner = order[begin];
      child.num_bytes = depth + 1;
      child.num_chars = nodes_[node].num_chars + (BeginsCharacter(byte) ? 1 : 0);
      child.byte = static_cast<unsigned char>(byte);
      ++nodes_[node].num_children;
      nodes_.push_back(child);
      ranges.push_back({begin, next});
      begin = next;
    }
  }
  for (Node i = 0; i < nodes_[kRoot].num_children; ++i) {
    const Node child = nodes_[kRoot].first_child + i;
    child_of_root_[nodes_[child].byte] = child;
  }
}

void StopStrings::LinkSuffixes() {
  // Breadth first: a suffix is shorter than what it is a suffix of, so its links are made.
  for (const Prefix& parent : nodes_) {
    for (std::uint32_t i = 0; i < parent.num_children; ++i) {
      Prefix& child = nodes_[parent.first_child + i];
      if (parent.num_bytes > 0) child.longest_suffix = Next(parent.longest_suffix, child.byte);
      if (child.found < 0) child.found = nodes_[child.longest_suffix].found;
    }
  }
}

StopStrings::Node StopStrings::Child(Node node, unsigned char byte) const noexcept {
  if (node == kRoot) return child_of_root_[byte];
  const auto begin = nodes_.begin() + nodes_[node].first_child;
  const auto end = begin + nodes_[node].num_children;
  const auto child =
      std::partition_point(begin, end, [byte](const Prefix& prefix) { return prefix.byte < byte; });
  return child == end || child->byte != byte ? kRoot : static_cast<Node>(child - nodes_.begin());
}

StopStrings::Node StopStrings::Next(Node node, unsigned char byte) const noexcept {
  // Each turn shortens what is held by a byte at least, and a call lengthens it by one at most: all
  // calls together are linear.
  for (;;) {
    const Node child = Child(node, byte);
    if (child != kRoot || node == kRoot) return child;
    node = nodes_[node].longest_suffix;
  }
}

StopStrings::Result StopStrings::Read(Node node, std::string_view utf8, std::string& out) const {
  for (std::size_t at = 0; at < utf8.size();) {
    if (node == kRoot) {
      const std::size_t begin = at;
      while (at < utf8.size() && child_of_root_[static_cast<unsigned char>(utf8[at])] == kRoot)
        ++at;
      out.append(utf8, begin, at - begin);
      if (at == utf8.size()) break;
    }
    const Node next = Next(node, static_cast<unsigned char>(utf8[at]));
    // Held(node) and this byte, of which Held(next) is the end. A stop string that it ends in is
    // not to come out either.
    const std::int32_t stop = nodes_[next].found;
    const std::size_t num_kept =
        stop < 0 ? nodes_[next].num_bytes : stops_[static_cast<std::size_t>(stop)].size();
    const std::string_view held = Held(node);
    const std::size_t num_out = held.size() + 1 - num_kept;
    out.append(held.substr(0, num_out));
    if (num_out > held.size()) out.push_back(utf8[at]);
    if (stop >= 0) return {kRoot, stop};
    node = next;
    ++at;
  }
  return {node, -1};
}

bool StopStrings::IsResting(std::uint32_t node) const noexcept {
  if (node >= nodes_.size() || nodes_[node].found >= 0) return false;
  if (node == kRoot) return true;
  const std::string& owner = stops_[nodes_[node].owner];
  return BeginsCharacter(owner[nodes_[node].num_bytes]);
}

}  // namespace ctx::tokenize
