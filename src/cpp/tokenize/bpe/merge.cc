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
#include "tokenize/bpe/merge.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <variant>

#include "common/isa.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace ctx::tokenize {
namespace {

constexpr std::size_t kBlockBytes = 2048;
constexpr std::size_t kTakenBackTokens = 2;

#if defined(__x86_64__)
#define CTX_TARGET __attribute__((target("avx2")))

/// The least of children[i] & ~15 | i, for i from 0 to 15.
CTX_TARGET std::int32_t LeastOf16Avx2(const std::int32_t* children) noexcept {
  const auto* const from = reinterpret_cast<const __m256i*>(children);
  const __m256i mask = _mm256_set1_epi32(~15);
  const __m256i first = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i second = _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15);
  const __m256i eight = _mm256_min_epi32(
      _mm256_or_si256(_mm256_and_si256(_mm256_loadu_si256(from), mask), first),
      _mm256_or_si256(_mm256_and_si256(_mm256_loadu_si256(from + 1), mask), second));
  __m128i four = _mm_min_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  four = _mm_min_epi32(four, _mm_shuffle_epi32(four, 0x4E));
  four = _mm_min_epi32(four, _mm_shuffle_epi32(four, 0xB1));
  return _mm_cvtsi128_si32(four);
}
#endif

std::int32_t LeastOf16Portable(const std::int32_t* children) noexcept {
  // Signed, because baseline x86-64 has no unsigned vector minimum.
  std::array<std::int32_t, 4> least;
  least.fill(INT32_MAX);
  for (std::int32_t i = 0; i < 16; i += 4) {
    for (std::int32_t lane = 0; lane < 4; ++lane) {
      least[lane] = std::min(least[lane], (children[i + lane] & ~15) | (i + lane));
    }
  }
  return std::min(std::min(least[0], least[1]), std::min(least[2], least[3]));
}

/// The least of many ranks, leftmost of equals, under updates: a tree of minima in which every node
/// has 16 children, so that a node is a few vector instructions and the whole of a block has three
/// levels.
///
///     an entry: rank << 4 | which child holds it      a leaf: rank << 4
class MinTree {
 public:
  static constexpr std::size_t kNothing = ~std::size_t{0};

  MinTree() noexcept {
#if defined(__x86_64__)
    if (BestIsa() >= Isa::kAvx2) least_of_16_ = &LeastOf16Avx2;
#endif
  }

  /// `size` >= 1 leaves without a rank.
  void Reset(std::size_t size) {
    num_levels_ = 0;
    do {
      if (num_levels_ == levels_.size()) levels_.emplace_back();
      levels_[num_levels_++].assign((size + 15) / 16 * 16, kNone);
      size = (size + 15) / 16;
    } while (size > 1);
  }

  /// Takes effect with the next Refresh or RefreshAll.
  void Set(std::size_t leaf, Rank rank) noexcept {
    levels_[0][leaf] = rank == kNoToken ? kNone : static_cast<std::int32_t>(rank << kChildBits);
  }

  void RefreshAll() noexcept {
    for (std::size_t level = 0; level < num_levels_; ++level) {
      for (std::size_t node = 0; node < levels_[level].size() / 16; ++node)
        RefreshNode(level, node);
    }
  }

  /// After changes of these three leaves.
  void Refresh(std::array<std::size_t, 3> at) noexcept {
    for (std::size_t level = 0; level < num_levels_; ++level) {
      for (std::size_t& i : at) i /= 16;
      RefreshNode(level, at[0]);
      if (at[1] != at[0]) RefreshNode(level, at[1]);
      if (at[2] != at[0] && at[2] != at[1]) RefreshNode(level, at[2]);
    }
  }

  /// The leaf of the least rank, or kNothing when no leaf has one.
  std::size_t Least() const noexcept {
    if (root_ >= (kNone & ~kChildMask)) return kNothing;
    std::size_t at = root_ & kChildMask;
    for (std::size_t level = num_levels_ - 1; level > 0; --level) {
      at = at * 16 + (levels_[level][at] & kChildMask);
    }
    return at;
  }

  Rank LeastRank() const noexcept { return static_cast<Rank>(root_ >> kChildBits); }

 private:
  static constexpr int kChildBits = 4;
  static constexpr std::int32_t kChildMask = 15;
  static constexpr std::int32_t kNone = INT32_MAX;
  static_assert(Vocabulary::kMaxTokens <= std::uint32_t{1} << (30 - kChildBits));

  void RefreshNode(std::size_t level, std::size_t node) noexcept {
    const std::int32_t entry = least_of_16_(&levels_[level][node * 16]);
    (level + 1 < num_levels_ ? levels_[level + 1][node] : root_) = entry;
  }

  std::int32_t (*least_of_16_)(const std::int32_t*) noexcept = &LeastOf16Portable;
  std::vector<std::vector<std::int32_t>> levels_;
  std::size_t num_levels_ = 0;
  std::int32_t root_ = kNone;
};

bool BeginsCharacter(std::string_view text, std::size_t at) noexcept {
  return (static_cast<unsigned char>(text[at]) & 0xC0) != 0x80;
}

/// Merges any number of bytes; keeps its memory from call to call.
template <bool characters>
class TreeMerger {
 public:
  TreeMerger(const Vocabulary& vocabulary, std::string_view bytes)
      : vocabulary_(vocabulary), bytes_(bytes) {}

  void SetBytes(std::string_view bytes) noexcept { bytes_ = bytes; }

  /// Merges bytes [begin, end), at least one, and appends the ranks.
  void Merge(std::size_t begin, std::size_t end, std::vector<Rank>& ranks) {
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

  const Vocabulary& vocabulary_;
  std::string_view bytes_;
  std::string_view region_;
  std::vector<Part> parts_;
  MinTree pairs_;
};

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

template <bool characters>
std::size_t MergeShortSymbols(const Vocabulary& vocabulary, std::string_view bytes,
                              const char* readable_end, Rank* ranks) noexcept {
  // Bit i of `starts` says that a part begins at byte i. keys[i] is the rank of that part joined
  // with the next, then the position, so that the least key is the next pair to join. Signed,
  // because baseline x86-64 has no unsigned vector minimum.
  constexpr std::size_t kLanes = 8;
  constexpr std::int32_t kNone = INT32_MAX;
  constexpr int kPositionBits = 6;
  static_assert(kShortBytes == 1 << kPositionBits);
  static_assert(Vocabulary::kMaxTokens <= std::uint32_t{1} << (31 - kPositionBits));
  std::array<Rank, kShortBytes> rank_at;
  std::array<std::int32_t, kShortBytes> keys;
  const std::size_t size = bytes.size();
  const std::size_t padded = (size + kLanes - 1) / kLanes * kLanes;
  std::uint64_t starts = 0;
  if constexpr (characters) {
    for (std::size_t i = 0; i < size; ++i) {
      starts |= std::uint64_t{BeginsCharacter(bytes, i)} << i;
    }
  } else {
    starts = size == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << size) - 1;
  }

  const auto key_of = [](Rank rank, std::size_t at) {
    return rank == kNoToken
               ? kNone
               : static_cast<std::int32_t>(rank << kPositionBits | static_cast<Rank>(at));
  };
  const auto byte_at = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  // First part that begins after byte i, or `size`.
  const auto next_part = [&](std::size_t i) {
    const std::uint64_t later = i == 63 ? 0 : starts >> (i + 1) << (i + 1);
    return later == 0 ? size : static_cast<std::size_t>(std::countr_zero(later));
  };
  const auto find_pair = [&](std::size_t left) {
    const std::size_t right = next_part(left);
    const std::size_t end = right == size ? size : next_part(right);
    const bool possible = right != size && end - left <= vocabulary.max_token_bytes();
    return possible ? vocabulary.FindMerged(bytes.data() + left, end - left, readable_end)
                    : kNoToken;
  };
  const auto update_pair = [&](std::size_t left) {
    const Rank rank = find_pair(left);
    const bool may_have_equals = characters && rank != kNoToken;
    keys[left] = key_of(may_have_equals ? vocabulary.PriorityOf(rank) : rank, left);
  };

  if constexpr (characters) {
    for (std::size_t i = 0; i < padded; ++i) keys[i] = kNone;
    for (std::size_t i = 0; i < size; i = next_part(i)) {
      rank_at[i] = vocabulary.Find(bytes.data() + i, next_part(i) - i, readable_end);
      update_pair(i);
    }
  } else {
    for (std::size_t i = 0; i + 1 < size; ++i) {
      rank_at[i] = vocabulary.ByteToken(byte_at(i));
      keys[i] = key_of(vocabulary.FindPair(byte_at(i), byte_at(i + 1)), i);
    }
    rank_at[size - 1] = vocabulary.ByteToken(byte_at(size - 1));
    for (std::size_t i = size - 1; i < padded; ++i) keys[i] = kNone;
  }

  for (;;) {
    std::array<std::int32_t, kLanes> least;
    least.fill(kNone);
    for (std::size_t i = 0; i < padded; i += kLanes) {
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        least[lane] = std::min(least[lane], keys[i + lane]);
      }
    }
    const std::int32_t key = *std::min_element(least.begin(), least.end());
    if (key == kNone) break;
    const std::size_t left = key & (kShortBytes - 1);
    const std::size_t right = next_part(left);
    // The key tells the token, unless the token has equals.
    rank_at[left] = characters ? find_pair(left) : static_cast<Rank>(key >> kPositionBits);
    keys[right] = kNone;
    starts &= ~(std::uint64_t{1} << right);
    update_pair(left);
    const std::uint64_t earlier = starts & ((std::uint64_t{1} << left) - 1);
    if (earlier != 0) update_pair(63 - std::countl_zero(earlier));
  }

  std::size_t num_ranks = 0;
  for (std::uint64_t rest = starts; rest != 0; rest &= rest - 1) {
    const auto i = static_cast<std::size_t>(std::countr_zero(rest));
    if (!characters || rank_at[i] != kNoToken) {
      ranks[num_ranks++] = rank_at[i];
    } else {
      for (std::size_t j = i; j < next_part(i); ++j) {
        ranks[num_ranks++] = vocabulary.ByteToken(byte_at(j));
      }
    }
  }
  return num_ranks;
}

}  // namespace

std::size_t MergeShort(const Vocabulary& vocabulary, std::string_view bytes,
                       const char* readable_end, Rank* ranks) noexcept {
  if (vocabulary.symbols() == Vocabulary::Symbols::kCharacters) {
    return MergeShortSymbols<true>(vocabulary, bytes, readable_end, ranks);
  }
  return MergeShortSymbols<false>(vocabulary, bytes, readable_end, ranks);
}

std::size_t MergeMore(const Vocabulary& vocabulary, std::string_view bytes,
                      std::size_t num_merged_bytes, std::vector<Rank>& ranks, std::size_t first) {
  return WithBlockMerger(vocabulary, bytes,
                         [&](auto merger) { return merger.Merge(num_merged_bytes, ranks, first); });
}

void MergeLong(const Vocabulary& vocabulary, std::string_view bytes, std::vector<Rank>& ranks) {
  MergeMore(vocabulary, bytes, 0, ranks, ranks.size());
}

std::int64_t CountMerged(const Vocabulary& vocabulary, std::string_view bytes) {
  return WithBlockMerger(vocabulary, bytes, [](auto merger) { return merger.Count(); });
}

struct MergeCounter::State {
  using Merger = std::variant<BlockMerger<false>, BlockMerger<true>>;

  explicit State(const Vocabulary& all)
      : vocabulary(all),
        merger(WithBlockMerger(all, {}, [](auto blocks) { return Merger(std::move(blocks)); })) {
    Restart();
  }

  void Restart() {
    bytes.clear();
    window.clear();
    merged_end = size_bytes = 0;
    num_dropped = 0;
    gave_up = false;
    std::visit([](auto& blocks) { blocks.Restart(); }, merger);
    SetBytes(0);
  }

  /// Merges block by block, until fewer than `num_left` bytes are left.
  void MergeUntil(std::size_t num_left) {
    std::visit(
        [&](auto& blocks) {
          while (!gave_up && bytes.size() - merged_end >= num_left) {
            gave_up =
                !blocks.MergeBlock(merged_end, window, 0, /*may_start_over=*/num_dropped == 0);
            if (!gave_up) blocks.Repeat(merged_end, window, 0, blocks.kWindowTokens);
            const auto dropped = blocks.CutWindow(window, merged_end);
            if (dropped.num_tokens == 0) continue;
            num_dropped += static_cast<std::int64_t>(dropped.num_tokens);
            bytes.erase(0, dropped.end);
            merged_end -= dropped.end;
            blocks.SetBytes(bytes, 0);
          }
        },
        merger);
  }

  void SetBytes(std::size_t num_new) {
    std::visit([&](auto& blocks) { blocks.SetBytes(bytes, num_new); }, merger);
  }

  const Vocabulary& vocabulary;
  Merger merger;
  std::string bytes;         // all, but for those of the ranks that were dropped at the front
  std::vector<Rank> window;  // what bytes [0, merged_end) give
  std::size_t merged_end = 0;
  std::int64_t num_dropped = 0;  // ranks before the window
  std::size_t size_bytes = 0;
  bool gave_up = false;
};

MergeCounter::MergeCounter(const Vocabulary& vocabulary)
    : state_(std::make_unique<State>(vocabulary)) {}

MergeCounter::~MergeCounter() = default;

void MergeCounter::Feed(std::string_view bytes) {
  State& state = *state_;
  state.size_bytes += bytes.size();
  if (state.gave_up) return;
  state.bytes.append(bytes);
  state.SetBytes(bytes.size());
  state.MergeUntil(kBlockBytes);
}

std::optional<std::int64_t> MergeCounter::Finish() {
  State& state = *state_;
  std::optional<std::int64_t> count;
  const bool may_be_token = state.size_bytes <= state.vocabulary.max_token_bytes();
  const bool has_all = !state.gave_up && state.num_dropped == 0;
  if (state.size_bytes == 0) {
    count = 0;
  } else if (may_be_token && has_all && state.vocabulary.Find(state.bytes) != kNoToken) {
    count = 1;
  } else if (state.size_bytes <= kShortBytes) {
    std::array<Rank, kShortBytes> merged;
    const char* const end = state.bytes.data() + state.bytes.size();
    count =
        static_cast<std::int64_t>(MergeShort(state.vocabulary, state.bytes, end, merged.data()));
  } else if (has_all || !may_be_token) {
    state.MergeUntil(1);
    if (!state.gave_up) count = state.num_dropped + std::ssize(state.window);
  }
  state.Restart();
  return count;
}

void Merge(const Vocabulary& vocabulary, std::string_view bytes, std::vector<Rank>& ranks) {
  if (bytes.empty()) return;
  if (bytes.size() > kShortBytes) return MergeLong(vocabulary, bytes, ranks);
  std::array<Rank, kShortBytes> merged;
  const std::size_t num_ranks =
      MergeShort(vocabulary, bytes, bytes.data() + bytes.size(), merged.data());
  ranks.insert(ranks.end(), merged.begin(), merged.begin() + num_ranks);
}

}  // namespace ctx::tokenize
