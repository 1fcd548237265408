// Merging of bytes or characters, however many.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>
#include <vector>

#include "common/isa.h"
#include "tokenize/bpe/merge.h"
#include "tokenize/bpe/merge_many.h"
#include "tokenize/bpe/merge_pieces.h"
#include "tokenize/bpe/min_tree.h"
#include "tokenize/bpe/symbols.h"
#include "tokenize/bpe/vocabulary.h"

namespace ctx::tokenize::internal {

/// Merges any number of bytes; keeps its memory from call to call.
template <bool characters>
class TreeMerger {
 public:
  TreeMerger(const Vocabulary& vocabulary, std::string_view bytes)
      : vocabulary_(vocabulary), bytes_(bytes) {}

  void SetBytes(std::string_view bytes) noexcept { bytes_ = bytes; }

  /// Merges bytes [begin, end), at least one, and appends the ranks.
  void Merge(std::size_t begin, std::size_t end, std::vector<Rank>& ranks) {
    if (!characters && MergeFast(bytes_.substr(begin, end - begin), ranks)) return;
    Start(begin, end);
    for (std::size_t left; (left = pairs_.Least()) != MinTree::kNothing;) {
      Join(left, characters ? FindPair(left) : pairs_.LeastRank());
    }
    for (std::size_t i = 0; i < region_.size(); i = parts_[i].next) {
      if (!characters || parts_[i].rank != kNoToken) {
        ranks.push_back(parts_[i].rank);
      } else {
        for (std::size_t j = i; j < parts_[i].next; ++j) {
          ranks.push_back(vocabulary_.ByteToken(At(j)));
        }
      }
    }
  }

 private:
  /// A run of bytes that is a token by now, or a character that is none, at the index of its first
  /// byte.
  struct Part {
    std::size_t previous;
    std::size_t next;  // also the end of this part
    Rank rank;
  };

  /// Without the tree, if that goes.
  bool MergeFast(std::string_view bytes, std::vector<Rank>& ranks) {
    const std::size_t size_before = ranks.size();
    std::size_t count = 0;
    if (bytes.size() <= kShortBytes) {
      ranks.resize(size_before + bytes.size());
      count = MergeShort(vocabulary_, bytes, BytesEnd(), &ranks[size_before]);
    } else if (bytes.size() <= kMaxInPieces && num_to_skip_ == 0) {
      ranks.resize(size_before + bytes.size());
      MergeRequest request = {bytes.data(), bytes.size(), &ranks[size_before], 0};
      MergeMany(vocabulary_, {&request, 1}, BytesEnd(), BestIsa());
      count = request.count;
      if (count == 0) num_to_skip_ = kSkipped;
    } else {
      num_to_skip_ -= num_to_skip_ > 0;
    }
    ranks.resize(size_before + count);
    return count != 0;
  }

  void Start(std::size_t begin, std::size_t end) {
    region_ = bytes_.substr(begin, end - begin);
    parts_.resize(region_.size());
    pairs_.Reset(region_.size());
    if constexpr (characters) {
      for (std::size_t i = 0, previous = 0; i < region_.size();) {
        std::size_t next = i + 1;
        while (next < region_.size() && !BeginsCharacter(region_, next)) ++next;
        parts_[i] = {previous, next, vocabulary_.Find(region_.data() + i, next - i, BytesEnd())};
        previous = i;
        i = next;
      }
      for (std::size_t i = 0; i < region_.size(); i = parts_[i].next)
        pairs_.Set(i, PriorityOfPair(i));
    } else {
      for (std::size_t i = 0; i < region_.size(); ++i) {
        parts_[i] = {i - 1, i + 1, vocabulary_.ByteToken(At(i))};
        if (i + 1 < region_.size()) pairs_.Set(i, vocabulary_.FindPair(At(i), At(i + 1)));
      }
    }
    pairs_.RefreshAll();
  }

  void Join(std::size_t left, Rank rank) {
    const std::size_t right = parts_[left].next;
    const std::size_t after = parts_[right].next;
    parts_[left].next = after;
    parts_[left].rank = rank;
    if (after < region_.size()) parts_[after].previous = left;
    const std::size_t before = left == 0 ? left : parts_[left].previous;
    pairs_.Set(right, kNoToken);
    pairs_.Set(left, PriorityOfPair(left));
    pairs_.Set(before, PriorityOfPair(before));
    pairs_.Refresh({before, left, right});
  }

  Rank PriorityOfPair(std::size_t left) const noexcept {
    const Rank rank = FindPair(left);
    return !characters || rank == kNoToken ? rank : vocabulary_.PriorityOf(rank);
  }

  /// Rank of the part at `left` joined with the next, or kNoToken.
  Rank FindPair(std::size_t left) const noexcept {
    const std::size_t right = parts_[left].next;
    if (right >= region_.size()) return kNoToken;
    const std::size_t length = parts_[right].next - left;
    if (length > vocabulary_.max_token_bytes()) return kNoToken;
    return vocabulary_.FindMerged(region_.data() + left, length, BytesEnd());
  }

  unsigned char At(std::size_t i) const noexcept { return static_cast<unsigned char>(region_[i]); }
  const char* BytesEnd() const noexcept { return bytes_.data() + bytes_.size(); }

  /// After one that did not go without the tree, so many do not try to.
  static constexpr int kSkipped = 7;

  const Vocabulary& vocabulary_;
  int num_to_skip_ = 0;
  std::string_view bytes_;
  std::string_view region_;
  std::vector<Part> parts_;
  MinTree pairs_;
};

}  // namespace ctx::tokenize::internal
