#include "tokenize/bpe/merge_many.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <string_view>

#include "tokenize/bpe/merge.h"
#include "tokenize/bpe/merge_pieces.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace ctx::tokenize {
namespace {

void MergeOne(const Vocabulary& vocabulary, MergeRequest& request,
              const char* readable_end) noexcept {
  request.count =
      MergeShort(vocabulary, {request.bytes, request.length}, readable_end, request.ranks);
}

/// At most so many are sorted at a time.
constexpr std::size_t kMaxTogether = 64;

#if defined(__x86_64__)
/// So few are faster one by one.
constexpr std::size_t kFew = 2;

#define CTX_TARGET __attribute__((target("avx2,bmi,bmi2,lzcnt,popcnt")))
#define CTX_INLINE [[gnu::always_inline]] CTX_TARGET inline

/// Pre-tokens that are merged together, one step of each at a time. Eight are a group; their states
/// are the elements of vectors:
///
///     starts    bit i: a part begins at byte i; the bit behind the last byte is set too
///     keys[i]   of the part that begins at byte i and the next one: the rank of both joined, then
///               i, so that the least key is the next pair to join
///     ranks[i]  of the part that begins at byte i, if it has more than one byte
///
/// A step takes three passes over the groups, so that what one waits for does not hold up the
/// others: join, look up the new pairs that are short, look up the few others.
class Lanes {
 public:
  static constexpr std::size_t kMaxBytes = kMaxLaneBytes;  // and a bit for the end
  static constexpr std::size_t kCount = 32;

  Lanes(const Vocabulary& vocabulary, const char* readable_end) noexcept
      : vocabulary_(vocabulary), readable_end_(readable_end) {}

  /// 1 to kCount pre-tokens of 1 to kMaxBytes bytes, the shorter ones first.
  CTX_TARGET void Merge(std::span<MergeRequest* const> requests) noexcept {
    std::size_t num_active = 0;
    for (std::size_t begin = 0; begin < requests.size(); begin += kEight) {
      const std::size_t count = std::min(kEight, requests.size() - begin);
      Start(num_active, requests.subspan(begin, count));
      active_[num_active] = static_cast<std::uint32_t>(num_active);
      ++num_active;
    }
    for (;;) {
      num_active = Join(num_active);
      if (num_active == 0) break;
      LookUpShort(num_active);
      LookUpPostponed();
    }
    for (std::size_t lane = 0; lane < requests.size(); ++lane) Finish(lane, *requests[lane]);
  }

 private:
  static constexpr std::size_t kEight = 8;
  static constexpr std::size_t kGroups = kCount / kEight;
  static constexpr std::uint32_t kPositions = kMaxBytes + 1;
  static constexpr int kPositionBits = std::countr_zero(kPositions);
  static constexpr std::size_t kGroupKeys = kPositions * kEight;
  static constexpr std::size_t kGroupBytes = kPositions * kEight;
  static constexpr std::uint32_t kNoKey = ~std::uint32_t{0};
  static constexpr std::uint32_t kNowhere =
      kGroups * kGroupKeys;  // index of a key that is not read
  static_assert(Vocabulary::kMaxTokens < std::uint32_t{1} << (32 - kPositionBits));

  using Eight = std::array<std::uint32_t, kEight>;

  /// What eight want to know of one pair each.
  struct Questions {
    alignas(32) Eight key;      // index of the key
    alignas(32) Eight text;     // index of the first byte
    alignas(32) Eight length;   // 0: nothing
    alignas(32) Eight word;     // the bytes, as in a ShortMergeTable
    alignas(32) Eight place;    // index of what is there, in halves of a place
    alignas(32) Eight answers;  // the keys
  };

  /// A step of a group.
  struct Step {
    alignas(32) Eight rank;   // of the joined part
    alignas(32) Eight right;  // index of the key that is no more
    Questions left;           // about the joined part and the next
    Questions previous;       // about the one before and the joined part
  };

  /// A pair to be looked up in the ByteTable.
  struct Postponed {
    std::uint32_t key;
    std::uint32_t text;
    ByteTable::Probe probe;
  };

  CTX_INLINE static __m256i Load(const std::uint32_t* from) noexcept {
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(from));
  }
  CTX_INLINE static void Store(std::uint32_t* to, __m256i value) noexcept {
    _mm256_store_si256(reinterpret_cast<__m256i*>(to), value);
  }
  CTX_INLINE static __m256i Each(std::uint32_t value) noexcept {
    return _mm256_set1_epi32(static_cast<int>(value));
  }
  CTX_INLINE static __m256i LaneNumbers() noexcept {
    return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  }
  CTX_INLINE static __m256i Gather(const void* from, __m256i at, auto scale) noexcept {
    return _mm256_i32gather_epi32(static_cast<const int*>(from), at, scale());
  }
  CTX_INLINE static __m256i LowestBit(__m256i bits) noexcept {
    return _mm256_and_si256(bits, _mm256_sub_epi32(_mm256_setzero_si256(), bits));
  }
  /// The number of the highest bit; of no bits any number below 32.
  CTX_INLINE static __m256i HighestBit(__m256i bits) noexcept {
    // The exponent of a float that is not rounded up, for there is no bit beside the highest.
    const __m256i rest = _mm256_andnot_si256(_mm256_srli_epi32(bits, 1), bits);
    const __m256i number = _mm256_castps_si256(_mm256_cvtepi32_ps(rest));
    return _mm256_and_si256(_mm256_sub_epi32(_mm256_srli_epi32(number, 23), Each(127)), Each(31));
  }

  CTX_TARGET void Start(std::size_t group, std::span<MergeRequest* const> requests) noexcept {
    char* const text = &text_[group * kGroupBytes];
    alignas(32) Eight num_pairs = {};
    std::uint32_t* const starts = &starts_[group * kEight];
    for (std::size_t lane = 0; lane < kEight; ++lane) starts[lane] = 0;
    for (std::size_t lane = 0; lane < requests.size(); ++lane) {
      const auto& [bytes, length, ranks, count] = *requests[lane];
      char* const to = text + lane * kPositions;
      if (readable_end_ - bytes >= static_cast<std::ptrdiff_t>(kPositions)) {
        std::memcpy(to, bytes, kPositions);
      } else {
        std::memset(to, 0, kPositions);
        std::memcpy(to, bytes, length);
      }
      num_pairs[lane] = static_cast<std::uint32_t>(length) - 1;
      starts[lane] = static_cast<std::uint32_t>((std::uint64_t{2} << length) - 1);
    }
    num_keys_[group] = std::max(num_pairs[requests.size() - 1], std::uint32_t{1});
    const __m256i ends = Load(num_pairs.data());
    const __m256i text_at = _mm256_slli_epi32(LaneNumbers(), kPositionBits);
    // From the bytes of a word to 256 * first + second.
    const __m256i first_two = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(1, 0, -1, -1, 5, 4, -1, -1, 9, 8, -1, -1, 13, 12, -1, -1));
    for (std::uint32_t i = 0; i < num_keys_[group]; ++i) {
      const __m256i words = Gather(text + i, text_at, Scale<1>());
      const __m256i ranks = Gather(vocabulary_.byte_pairs().data(),
                                   _mm256_shuffle_epi8(words, first_two), Scale<4>());
      const __m256i no_pair = _mm256_or_si256(_mm256_cmpeq_epi32(ranks, Each(kNoToken)),
                                              _mm256_cmpgt_epi32(Each(i + 1), ends));
      const __m256i keys = _mm256_or_si256(_mm256_slli_epi32(ranks, kPositionBits), Each(i));
      Store(&keys_[group * kGroupKeys + i * kEight], _mm256_or_si256(keys, no_pair));
    }
  }

  /// Joins the next pair of each, and makes the questions that arise. Returns how many groups still
  /// had one.
  CTX_TARGET std::size_t Join(std::size_t num_active) noexcept {
    const __m256i zero = _mm256_setzero_si256();
    const __m256i one = Each(1);
    std::size_t num_left = 0;
    for (std::size_t i = 0; i < num_active; ++i) {
      const std::uint32_t group = active_[i];
      const std::uint32_t* const keys = &keys_[group * kGroupKeys];
      __m256i key = Load(keys);
      for (std::size_t at = 1; at < num_keys_[group]; ++at) {
        key = _mm256_min_epu32(key, Load(keys + at * kEight));
      }
      const __m256i no_pair = _mm256_cmpeq_epi32(key, Each(kNoKey));
      if (_mm256_movemask_epi8(no_pair) == -1) continue;
      // Where there is no pair, `left` is the last position, so that there is no right part either.
      const __m256i starts = Load(&starts_[group * kEight]);
      const __m256i left = _mm256_and_si256(key, Each(kPositions - 1));
      const __m256i left_bit = _mm256_sllv_epi32(one, left);
      const __m256i below_left = _mm256_sub_epi32(left_bit, one);
      const __m256i before = _mm256_and_si256(starts, below_left);
      const __m256i from_right = _mm256_andnot_si256(_mm256_or_si256(left_bit, below_left), starts);
      const __m256i right_bit = LowestBit(from_right);
      const __m256i from_end = _mm256_xor_si256(from_right, right_bit);
      const __m256i end_bit = LowestBit(from_end);
      const __m256i from_next_end = _mm256_xor_si256(from_end, end_bit);
      Store(&starts_[group * kEight], _mm256_xor_si256(starts, right_bit));
      const __m256i previous = HighestBit(before);
      const __m256i end = HighestBit(end_bit);
      const __m256i next_end = HighestBit(LowestBit(from_next_end));
      Step& step = steps_[num_left];
      Store(step.rank.data(), _mm256_srli_epi32(key, kPositionBits));
      Store(step.right.data(), KeyIndex(group, HighestBit(right_bit), no_pair));
      // The key of the joined part changes in any case.
      Store(step.left.key.data(), KeyIndex(group, left, no_pair));
      Ask(step.left, group, left, next_end, _mm256_cmpeq_epi32(from_next_end, zero));
      const __m256i no_previous = _mm256_or_si256(no_pair, _mm256_cmpeq_epi32(before, zero));
      Store(step.previous.key.data(), KeyIndex(group, previous, no_previous));
      Ask(step.previous, group, previous, end, no_previous);
      active_[num_left++] = group;
    }
    return num_left;
  }

  CTX_INLINE static __m256i KeyIndex(std::uint32_t group, __m256i position,
                                     __m256i is_nowhere) noexcept {
    const __m256i in_group = _mm256_add_epi32(_mm256_slli_epi32(position, 3), LaneNumbers());
    return _mm256_blendv_epi8(_mm256_add_epi32(in_group, Each(group * kGroupKeys)), Each(kNowhere),
                              is_nowhere);
  }

  CTX_INLINE void Ask(Questions& questions, std::uint32_t group, __m256i begin, __m256i end,
                      __m256i is_none) const noexcept {
    const ShortMergeTable& table = vocabulary_.short_merges();
    const __m256i length = _mm256_andnot_si256(is_none, _mm256_sub_epi32(end, begin));
    const __m256i lane_text = _mm256_slli_epi32(LaneNumbers(), kPositionBits);
    const __m256i text = _mm256_add_epi32(_mm256_add_epi32(lane_text, begin),
                                          Each(static_cast<std::uint32_t>(group * kGroupBytes)));
    const __m256i num_beyond = _mm256_sub_epi32(Each(4), length);  // shifts all out if negative
    const __m256i kept = _mm256_srlv_epi32(Each(kNoKey), _mm256_slli_epi32(num_beyond, 3));
    const __m256i word = _mm256_and_si256(Gather(text_.data(), text, Scale<1>()), kept);
    const __m256i hash = _mm256_mullo_epi32(word, Each(ShortMergeTable::kMultiplier));
    const __m256i place = _mm256_srl_epi32(hash, _mm_cvtsi32_si128(table.shift()));
    Store(questions.text.data(), text);
    Store(questions.length.data(), length);
    Store(questions.word.data(), word);
    // For those that are too long, a place that is near.
    const __m256i is_long = _mm256_cmpgt_epi32(length, Each(ShortMergeTable::kMaxBytes));
    Store(questions.place.data(), _mm256_andnot_si256(is_long, _mm256_slli_epi32(place, 1)));
    const auto* const places = reinterpret_cast<const std::uint32_t*>(table.places());
    for (std::size_t lane = 0; lane < kEight; ++lane) {
      __builtin_prefetch(places + questions.place[lane]);
    }
  }

  CTX_TARGET void LookUpShort(std::size_t num_active) noexcept {
    num_postponed_ = 0;
    for (std::size_t i = 0; i < num_active; ++i) {
      Step& step = steps_[i];
      const unsigned postponed_left = Answer(step.left);
      const unsigned postponed_previous = Answer(step.previous);
      for (std::size_t lane = 0; lane < kEight; ++lane) {
        ranks_[step.left.key[lane]] = step.rank[lane];
        keys_[step.left.key[lane]] = step.left.answers[lane];
        keys_[step.right[lane]] = kNoKey;
        keys_[step.previous.key[lane]] = step.previous.answers[lane];
      }
      Postpone(step.left, postponed_left);
      Postpone(step.previous, postponed_previous);
    }
  }

  /// Returns a bit for each lane whose question is for the ByteTable.
  CTX_INLINE unsigned Answer(Questions& questions) const noexcept {
    using Table = ShortMergeTable;
    const Table::Place* const places = vocabulary_.short_merges().places();
    const __m256i place = Load(questions.place.data());
    const __m256i length = Load(questions.length.data());
    const __m256i words = Gather(&places->word, place, Scale<4>());
    const __m256i answers = Gather(&places->answer, place, Scale<4>());
    const __m256i is_asked = _mm256_cmpgt_epi32(length, _mm256_setzero_si256());
    const __m256i same_word = _mm256_cmpeq_epi32(words, Load(questions.word.data()));
    const __m256i same_length =
        _mm256_cmpeq_epi32(_mm256_and_si256(answers, Each(Table::kLengthMask)),
                           _mm256_slli_epi32(length, Table::kLengthShift));
    const __m256i found = _mm256_and_si256(_mm256_and_si256(same_word, same_length), is_asked);
    const __m256i position =
        _mm256_and_si256(_mm256_srli_epi32(Load(questions.key.data()), 3), Each(kPositions - 1));
    const __m256i ranks = _mm256_srli_epi32(answers, Table::kRankShift);
    const __m256i keys = _mm256_or_si256(_mm256_slli_epi32(ranks, kPositionBits), position);
    Store(questions.answers.data(), _mm256_blendv_epi8(Each(kNoKey), keys, found));
    const __m256i is_long = _mm256_cmpgt_epi32(length, Each(Table::kMaxBytes));
    const __m256i is_crowded = _mm256_cmpeq_epi32(
        _mm256_and_si256(answers, Each(Table::kIsCrowded)), Each(Table::kIsCrowded));
    const __m256i is_open = _mm256_and_si256(_mm256_andnot_si256(found, is_asked),
                                             _mm256_or_si256(is_long, is_crowded));
    return static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(is_open)));
  }

  CTX_INLINE void Postpone(const Questions& questions, unsigned lanes) noexcept {
    const ByteTable& table = vocabulary_.byte_table();
    for (; lanes != 0; lanes &= lanes - 1) {
      const unsigned lane = _tzcnt_u32(lanes);
      const char* const bytes = &text_[questions.text[lane]];
      Postponed& postponed = postponed_[num_postponed_++];
      postponed.key = questions.key[lane];
      postponed.text = questions.text[lane];
      postponed.probe =
          table.MakeProbe(bytes, questions.length[lane], bytes + ByteTable::kReadableBytes);
      table.PrefetchFilter(postponed.probe);
    }
  }

  CTX_TARGET void LookUpPostponed() noexcept {
    const ByteTable& table = vocabulary_.byte_table();
    std::size_t num_left = 0;
    for (std::size_t i = 0; i < num_postponed_; ++i) {
      const Postponed postponed = postponed_[i];
      postponed_[num_left] = postponed;  // without a branch: hard to guess
      num_left += table.MayHold(postponed.probe);
    }
    for (std::size_t i = 0; i < num_left; ++i) table.Prefetch(postponed_[i].probe);
    for (std::size_t i = 0; i < num_left; ++i) {
      const auto& [key, text, probe] = postponed_[i];
      const Rank rank = table.FindProbe(probe, &text_[text]);
      if (rank >= vocabulary_.num_merged()) continue;
      keys_[key] = rank << kPositionBits | (key / kEight % kPositions);
    }
  }

  CTX_TARGET void Finish(std::size_t lane, MergeRequest& request) const noexcept {
    const char* const text = &text_[lane * kPositions];
    const Rank* const ranks = &ranks_[lane / kEight * kGroupKeys + lane % kEight];
    const std::uint32_t starts = starts_[lane];
    const std::uint32_t single_bytes = starts & starts >> 1;
    Rank* to = request.ranks;
    std::uint32_t rest = starts & ~(std::uint32_t{1} << request.length);
    for (; rest != 0; rest &= rest - 1) {
      const unsigned at = _tzcnt_u32(rest);
      const Rank single = vocabulary_.ByteToken(static_cast<unsigned char>(text[at]));
      *to++ = (single_bytes >> at & 1) != 0 ? single : ranks[at * kEight];
    }
    request.count = static_cast<std::size_t>(to - request.ranks);
  }

  template <int scale>
  using Scale = std::integral_constant<int, scale>;

  // By group, position and lane.
  alignas(32) std::array<std::uint32_t, kGroups * kGroupKeys + 1> keys_;
  std::array<Rank, kGroups * kGroupKeys + 1> ranks_;
  // By lane.
  std::array<char, kGroups * kGroupBytes + ByteTable::kReadableBytes> text_;
  alignas(32) std::array<std::uint32_t, kCount> starts_;
  // By group.
  std::array<std::uint32_t, kGroups> num_keys_;  // of the longest
  std::array<std::uint32_t, kGroups> active_;    // the groups with something to do are in front
  std::array<Step, kGroups> steps_;              // of those
  std::array<Postponed, 2 * kCount> postponed_;
  std::size_t num_postponed_ = 0;
  const Vocabulary& vocabulary_;
  const char* readable_end_;
};

/// Those that are short enough for a lane.
[[gnu::noinline]] CTX_TARGET void MergeInLanes(const Vocabulary& vocabulary,
                                               std::span<MergeRequest* const> requests,
                                               const char* readable_end) noexcept {
  // By length: those that take equally long end up in one group.
  std::array<std::uint8_t, Lanes::kMaxBytes + 2> ends = {};
  for (const MergeRequest* const request : requests) ++ends[request->length + 1];
  for (std::size_t length = 1; length < ends.size(); ++length) ends[length] += ends[length - 1];
  std::array<MergeRequest*, kMaxTogether> sorted;
  for (MergeRequest* const request : requests) sorted[ends[request->length]++] = request;
  Lanes lanes(vocabulary, readable_end);
  for (std::size_t i = 0; i < requests.size(); i += Lanes::kCount) {
    lanes.Merge(std::span(sorted).subspan(i, std::min(Lanes::kCount, requests.size() - i)));
  }
}
#endif

/// Up to kMaxTogether.
void MergeTogether(const Vocabulary& vocabulary, std::span<MergeRequest> requests,
                   const char* readable_end, Isa isa) noexcept {
  std::array<MergeRequest*, kMaxTogether + 1> short_ones;
  std::array<MergeRequest*, kMaxTogether + 1> long_ones;
  std::size_t num_short = 0;
  std::size_t num_long = 0;
  for (MergeRequest& request : requests) {
    short_ones[num_short] = &request;
    long_ones[num_long] = &request;
    num_short += request.length <= kMaxLaneBytes;
    num_long += request.length > kMaxLaneBytes;
  }
  bool has_lanes = false;
#if defined(__x86_64__)
  has_lanes = isa >= Isa::kAvx2 && num_short > kFew;
  if (has_lanes) MergeInLanes(vocabulary, std::span(short_ones).first(num_short), readable_end);
#endif
  for (std::size_t i = 0; i < num_short && !has_lanes; ++i) {
    MergeOne(vocabulary, *short_ones[i], readable_end);
  }
  if (num_long == 0) return;
  MergeInPieces(vocabulary, std::span(long_ones).first(num_long), readable_end, isa);
  for (std::size_t i = 0; i < num_long; ++i) {
    const bool is_done = long_ones[i]->count != 0 || long_ones[i]->length > kShortBytes;
    if (!is_done) MergeOne(vocabulary, *long_ones[i], readable_end);
  }
}

}  // namespace

void MergeMany(const Vocabulary& vocabulary, std::span<MergeRequest> requests,
               const char* readable_end, Isa isa) noexcept {
  while (!requests.empty()) {
    const std::size_t count = std::min(requests.size(), kMaxTogether);
    MergeTogether(vocabulary, requests.first(count), readable_end, isa);
    requests = requests.subspan(count);
  }
}

}  // namespace ctx::tokenize
