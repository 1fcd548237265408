// Finding stop strings in text that arrives in pieces.
//
// Of all occurrences, in whatever way they overlap, the one that ends first counts: a generator
// knows it as soon as it is there. Of those that end together the longest counts, which is the one
// that begins first.
//
// Aho and Corasick's automaton (1975): a tree of the stop strings' prefixes, and for each the
// longest proper suffix that is in the tree too. Reading is linear in the text whatever the stop
// strings are, and what could still become a stop string is known from the node alone, so nothing
// of the text is stored.
//
// Immutable after construction; safe to call from any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ctx::tokenize {

class StopStrings {
 public:
  /// What has been read: the longest suffix that a stop string begins with.
  using Node = std::uint32_t;
  static constexpr Node kRoot = 0;  ///< no stop string begins with any suffix

  /// Where reading stopped.
  struct Result {
    Node node;
    int stop;  ///< index of the stop string that was found, or -1
  };

  StopStrings() : StopStrings(std::vector<std::string>()) {}

  /// The strings must be valid UTF-8 (unchecked). Throws ArgumentError for an empty one and when
  /// all together have 2^31 bytes or more. Of equal ones the first counts. O(bytes), but for
  /// sorting them.
  explicit StopStrings(std::vector<std::string> stops);

  /// Reads whole characters, from `node` on, up to the end of the first stop string. Appends what
  /// no stop string can claim any more: all that was held back or read but for Held(node), without
  /// the stop string and what follows it. Never allocates when `out` has capacity for
  /// Held(node).size() + utf8.size() more bytes. O(utf8 + appended).
  Result Read(Node node, std::string_view utf8, std::string& out) const;

  /// What is held back at a node: the beginning of a stop string, empty at the root.
  std::string_view Held(Node node) const noexcept {
    if (node == kRoot) return {};
    return std::string_view(stops_[nodes_[node].owner]).substr(0, nodes_[node].num_bytes);
  }
  std::size_t NumHeldChars(Node node) const noexcept { return nodes_[node].num_chars; }

  /// Whether there is such a node and Read can have returned it, after whole characters.
  bool IsResting(std::uint32_t node) const noexcept;

  const std::vector<std::string>& stops() const noexcept { return stops_; }

 private:
  /// A prefix of a stop string. Children of a node lie side by side, sorted by `byte`.
  struct Prefix {
    std::uint32_t owner = 0;      // a stop string that begins with it
    std::uint32_t num_bytes = 0;  // how long it is
    std::uint32_t num_chars = 0;  // characters that begin in it
    Node longest_suffix = kRoot;  // of its proper suffixes in the tree
    Node first_child = 0;
    std::int32_t found = -1;  // the longest stop string that it ends in
    std::uint16_t num_children = 0;
    unsigned char byte = 0;  // its last
  };

  void BuildTree();
  void LinkSuffixes();
  Node Child(Node node, unsigned char byte) const noexcept;
  /// Where `byte` leads from `node`.
  Node Next(Node node, unsigned char byte) const noexcept;

  std::vector<std::string> stops_;
  std::vector<Prefix> nodes_;              // breadth first
  std::array<Node, 256> child_of_root_{};  // kRoot: none
};

}  // namespace ctx::tokenize
