// How long input is merged in blocks, exactly.
//
// Let T be a cut of some bytes into tokens such that merging the bytes of any two neighbours of T
// alone gives those two tokens back. Then T is what merging all the bytes gives. For consider the
// first merge of the whole that crosses a cut of T, say the one between t and u. Until then nothing
// crossed the cuts around t and u, so their bytes went through the very merges that they go through
// when t and u are merged alone; there the next merge would cross the cut too, but alone they end
// as t and u. So no merge crosses a cut of T, and by the same comparison t and u end as themselves.
// (The argument is that of the `bpe` crate of github/rust-gems; it needs nothing of the
// vocabulary.) The converse holds too: neighbours within a merged block pass that test by
// themselves.
//
//     ids so far    ... t t t t | t t t     next block
//                        keep     `- merged again, together with the block: r r r r
//
// So after each block one test is due, of the last kept token against the first new one. When it
// fails, twice as many tokens are taken back. Should that add up to too much work (no published
// vocabulary does), everything is merged in one go.
//
// Where the last tokens of a block repeat the ones before them, and the text goes on repeating too,
// they are repeated as they are: all neighbours in what comes out were neighbours before. So a run
// of one letter costs little more than a look at it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "tokenize/bpe/symbols.h"
#include "tokenize/bpe/tree_merger.h"
#include "tokenize/bpe/vocabulary.h"

namespace ctx::tokenize::internal {

inline constexpr std::size_t kBlockBytes = 1024;
inline constexpr std::size_t kTakenBackTokens = 2;

/// The loop over blocks that the head of this file explains.
template <bool characters>
class BlockMerger {
 public:
  BlockMerger(const Vocabulary& vocabulary, std::string_view bytes)
      : vocabulary_(vocabulary), bytes_(bytes), merger_(vocabulary, bytes) {}

  /// ranks[first..] are those of the first `done` bytes; goes on from there. Returns how many of
  /// them it kept.
  std::size_t Merge(std::size_t done, std::vector<Rank>& ranks, std::size_t first) {
    work_left_ = 8 * (bytes_.size() - done) + kBlockBytes;
    num_untouched_ = ranks.size();
    while (done < bytes_.size()) {
      if (!MergeBlock(done, ranks, first, /*may_start_over=*/true)) {
        ranks.resize(first);
        merger_.Merge(0, bytes_.size(), ranks);
        return 0;
      }
      Repeat(done, ranks, first, /*max_ranks=*/~std::size_t{0});
    }
    return num_untouched_ - first;
  }

  std::int64_t Count() {
    work_left_ = 8 * bytes_.size() + kBlockBytes;
    std::vector<Rank> window;
    std::int64_t num_dropped = 0;
    for (std::size_t done = 0; done < bytes_.size();) {
      if (!MergeBlock(done, window, 0, /*may_start_over=*/num_dropped == 0)) {
        window.clear();
        num_dropped = 0;
        merger_.Merge(0, bytes_.size(), window);
        break;
      }
      Repeat(done, window, 0, 16 * kWindowTokens);
      num_dropped += static_cast<std::int64_t>(CutWindow(window, done).num_tokens);
    }
    return num_dropped + static_cast<std::int64_t>(window.size());
  }

  // What MergeCounter does with a window of the bytes.

  /// `bytes` instead of those so far; `num_new` of them have not been seen before.
  void SetBytes(std::string_view bytes, std::size_t num_new) noexcept {
    bytes_ = bytes;
    merger_.SetBytes(bytes);
    work_left_ += 8 * num_new;
  }
  void Restart() noexcept { work_left_ = kBlockBytes; }

  struct Dropped {
    std::size_t num_tokens;
    std::size_t end;  // of their bytes
  };
  /// Drops tokens at the front of those of the bytes up to `done`, if there are more than enough
  /// for taking back. The bytes of a character stay together.
  Dropped CutWindow(std::vector<Rank>& window, std::size_t done) const {
    if (window.size() < 2 * kWindowTokens) return {0, 0};
    std::size_t num_dropped = window.size();
    while (window.size() - num_dropped < kWindowTokens) TakeBack(window, num_dropped, done);
    window.erase(window.begin(), window.begin() + static_cast<std::ptrdiff_t>(num_dropped));
    return {num_dropped, done};
  }

  /// Merges the block that begins at `done` and moves `done` to its end. False, and nothing
  /// changed, when all has to be merged in one go.
  bool MergeBlock(std::size_t& done, std::vector<Rank>& ranks, std::size_t first,
                  bool may_start_over) {
    std::size_t block_end = std::min(done + kBlockBytes, bytes_.size());
    if constexpr (characters) {
      while (block_end < bytes_.size() && !BeginsCharacter(bytes_, block_end)) ++block_end;
    }
    std::size_t num_kept = ranks.size();
    std::size_t kept_end = done;
    for (std::size_t num_taken = kTakenBackTokens;; num_taken *= 2) {
      while (num_kept > first && ranks.size() - num_kept < num_taken) {
        TakeBack(ranks, num_kept, kept_end);
      }
      if (block_end - kept_end > work_left_) return false;
      work_left_ -= block_end - kept_end;
      merged_.clear();
      merger_.Merge(kept_end, block_end, merged_);
      if (num_kept == first) {
        if (!may_start_over) return false;
        break;
      }
      if (StayApart(ranks, num_kept, kept_end)) break;
    }
    num_untouched_ = std::min(num_untouched_, num_kept);
    ranks.resize(num_kept);
    ranks.insert(ranks.end(), merged_.begin(), merged_.end());
    done = block_end;
    return true;
  }

  /// Where the last ranks of the bytes up to `done` repeat themselves (but for a few at the end,
  /// which the end of the block may have cut) and the bytes do so too, repeats them, at most
  /// `max_ranks` of them, and moves `done` to their end.
  void Repeat(std::size_t& done, std::vector<Rank>& ranks, std::size_t first,
              std::size_t max_ranks) {
    std::size_t end = done;
    std::size_t num_kept = ranks.size();
    for (int dropped = 0; dropped < kMaxCutRanks && num_kept > first; ++dropped) {
      for (std::size_t period = 1; period <= kMaxPeriod && 2 * period <= num_kept - first;
           ++period) {
        const auto unit = ranks.begin() + static_cast<std::ptrdiff_t>(num_kept - period);
        const auto period_before = static_cast<std::ptrdiff_t>(period);
        if (!std::equal(unit, unit + period_before, unit - period_before)) continue;
        std::size_t unit_bytes = 0;
        for (std::size_t i = num_kept - period; i < num_kept; ++i) {
          unit_bytes += vocabulary_.Bytes(ranks[i]).size();
        }
        if (characters && !(BeginsCharacter(bytes_, end - unit_bytes) && AtBorder(end))) continue;
        const std::size_t repeated = RepeatedBytes(end, unit_bytes);
        const std::size_t times = std::min(repeated / unit_bytes, max_ranks / period);
        if (end + times * unit_bytes <= done) return;
        num_untouched_ = std::min(num_untouched_, num_kept);
        ranks.resize(num_kept);
        for (std::size_t i = 0; i < times * period; ++i) {
          const Rank rank = ranks[ranks.size() - period];
          ranks.push_back(rank);
        }
        done = end + times * unit_bytes;
        return;
      }
      end -= vocabulary_.Bytes(ranks[--num_kept]).size();
    }
  }

  /// Tokens that counting keeps, for taking back.
  static constexpr std::size_t kWindowTokens = kBlockBytes;

 private:
  /// What Repeat tries.
  static constexpr int kMaxCutRanks = 4;
  static constexpr std::size_t kMaxPeriod = 4;

  bool AtBorder(std::size_t at) const noexcept {
    return at == bytes_.size() || BeginsCharacter(bytes_, at);
  }

  /// How many bytes from `at` on equal those that are `distance` before them.
  std::size_t RepeatedBytes(std::size_t at, std::size_t distance) const noexcept {
    constexpr std::size_t kStep = 64;
    const char* const bytes = bytes_.data();
    std::size_t end = at;
    while (bytes_.size() - end >= kStep &&
           std::memcmp(bytes + end, bytes + end - distance, kStep) == 0) {
      end += kStep;
    }
    while (end < bytes_.size() && bytes[end] == bytes[end - distance]) ++end;
    return end - at;
  }

  /// Takes the last part before `end` off: a token, or all the bytes of a character without one.
  void TakeBack(const std::vector<Rank>& ranks, std::size_t& num_kept, std::size_t& end) const {
    do {
      end -= vocabulary_.Bytes(ranks[--num_kept]).size();
    } while (characters && !BeginsCharacter(bytes_, end));
  }

  /// Whether the last part before `cut` and the first of `merged_` after it, merged together, give
  /// just these two.
  bool StayApart(const std::vector<Rank>& ranks, std::size_t num_kept, std::size_t cut) {
    std::size_t left = num_kept;
    std::size_t begin = cut;
    TakeBack(ranks, left, begin);
    std::size_t num_right = 0;
    std::size_t end = cut;
    do {
      end += vocabulary_.Bytes(merged_[num_right++]).size();
    } while (characters && end < bytes_.size() && !BeginsCharacter(bytes_, end));
    pair_.clear();
    merger_.Merge(begin, end, pair_);
    const std::size_t num_left = num_kept - left;
    return pair_.size() == num_left + num_right &&
           std::equal(pair_.begin(), pair_.begin() + static_cast<std::ptrdiff_t>(num_left),
                      ranks.begin() + static_cast<std::ptrdiff_t>(left)) &&
           std::equal(pair_.begin() + static_cast<std::ptrdiff_t>(num_left), pair_.end(),
                      merged_.begin());
  }

  const Vocabulary& vocabulary_;
  std::string_view bytes_;
  TreeMerger<characters> merger_;
  std::vector<Rank> merged_;
  std::vector<Rank> pair_;
  // Blocks and what is taken back for them; several times what ordinary text needs.
  std::size_t work_left_ = 0;
  std::size_t num_untouched_ = 0;  // ranks at the front that no block has taken back
};

/// Calls function(BlockMerger) with the one for the vocabulary's symbols.
template <typename Function>
auto WithBlockMerger(const Vocabulary& vocabulary, std::string_view bytes, Function&& function) {
  if (vocabulary.symbols() == Vocabulary::Symbols::kCharacters) {
    return function(BlockMerger<true>(vocabulary, bytes));
  }
  return function(BlockMerger<false>(vocabulary, bytes));
}

}  // namespace ctx::tokenize::internal
