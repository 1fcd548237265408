// Greedy search for many spellings at once: leftmost first, of those that begin at the same byte
// the longest, and on from its end. A trie with failure links that carry the matches which became
// certain (LinMaxMatch: Song et al., "Fast WordPiece Tokenization", 2021), so that no byte of the
// text is read twice, whatever the spellings.
//
// Immutable after construction; safe to call from any thread. A SpellingSearch is one thread's.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace ctx::tokenize {

class SpellingTrie {
 public:
  SpellingTrie() = default;

  /// The spellings must be sorted bytewise, distinct and not empty, with fewer than 2^31 bytes in
  /// all. O(their total size) time and, at worst, memory: 17 bytes for each distinct prefix.
  explicit SpellingTrie(const std::vector<std::string_view>& spellings);

  /// Whether a spelling may begin in the text, at or after `from`: one memchr where all begin
  /// alike.
  bool MayOccur(std::string_view text, std::size_t from) const noexcept {
    return !nodes_.empty() && from < text.size() && NextCandidate(text, from) != text.size();
  }

  struct Match {
    std::size_t begin;  ///< byte offsets into the searched text
    std::size_t end;
    std::uint32_t spelling;  ///< index into the spellings
  };

 private:
  friend class SpellingSearch;

  static constexpr std::uint32_t kRoot = 0;
  static constexpr std::uint32_t kNone = UINT32_MAX;

  /// A prefix of spellings. Nodes stand in breadth-first order, so that the children of a node are
  /// those from its first_child up to the next node's.
  struct Node {
    std::uint32_t first_child;
    std::uint32_t fail;      // where to go on when the text leaves the trie here
    std::uint32_t last_pop;  // and the last of the matches that are certain then
    std::uint32_t depth;
  };
  /// A match that becomes certain when the text leaves the trie, linked from last to first.
  struct Pop {
    std::uint32_t previous;
    std::uint32_t spelling;
    std::uint32_t begin;  // from the first byte of the node where the text left
    std::uint32_t end;
  };

  std::uint32_t Child(std::uint32_t node, unsigned char byte) const noexcept;
  void LinkFailure(std::uint32_t parent, std::uint32_t node);
  std::size_t NextCandidate(std::string_view text, std::size_t from) const noexcept;

  std::vector<Node> nodes_;            // and a sentinel; empty without spellings
  std::vector<unsigned char> labels_;  // the last byte of each node's prefix
  std::vector<Pop> pops_;
  std::array<std::uint32_t, 256> root_child_{};  // kRoot: none
  int only_first_byte_ = -1;  // the byte that all spellings begin with, if there is one
};

/// The matches in one text, one after the other. O(1) memory beyond the matches of one failed
/// attempt, at most the longest spelling's length.
class SpellingSearch {
 public:
  /// Both must outlive the search.
  SpellingSearch(const SpellingTrie& trie, std::string_view text) : trie_(trie), text_(text) {}

  /// Forgets what was found and goes on with text[begin, end) by itself.
  void Restart(std::size_t begin, std::size_t end) noexcept;

  /// Nothing at the end. All calls together read each byte once: O(end - begin), one memchr where
  /// no spelling can begin. Throws std::bad_alloc.
  std::optional<SpellingTrie::Match> Next();

 private:
  void Leave();

  const SpellingTrie& trie_;
  std::string_view text_;                     // up to where the search ends
  std::size_t at_ = 0;                        // what is before it has been read
  std::uint32_t node_ = SpellingTrie::kRoot;  // the bytes before at_ that may begin a match
  std::vector<SpellingTrie::Match> ready_;    // the first one last
};

}  // namespace ctx::tokenize
