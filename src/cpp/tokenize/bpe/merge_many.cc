#include "tokenize/bpe/merge_many.h"

#include <bit>
#include <string_view>
#include <utility>

#include "tokenize/bpe/merge.h"

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

#if defined(__x86_64__)
#define CTX_TARGET __attribute__((target("avx2,bmi,bmi2,lzcnt,popcnt")))
#define CTX_INLINE [[gnu::always_inline]] CTX_TARGET inline

/// One pre-token being merged. Bit i of `starts` says that a part begins at byte i; bit `length` is
/// set too. keys[i] is the rank of that part joined with the next, then the position, so that the
/// least key is the next pair to join.
class Lane {
 public:
  static constexpr std::size_t kMaxBytes = 63;  // and a bit for the end

  CTX_INLINE void Start(const Vocabulary& vocabulary, MergeRequest& request) noexcept {
    request_ = &request;
    const std::size_t length = request.length;
    starts_ = (std::uint64_t{2} << length) - 1;
    num_pending_ = 0;
    num_vectors_ = (length + 7) / 8;
    for (std::size_t i = 0; i < num_vectors_; ++i) {
      _mm256_store_si256(reinterpret_cast<__m256i*>(&keys_[8 * i]), _mm256_set1_epi32(-1));
    }
    for (std::size_t i = 0; i < length; ++i) {
      const auto byte = static_cast<unsigned char>(request.bytes[i]);
      ranks_[i] = vocabulary.ByteToken(byte);
      if (i + 1 == length) break;
      const auto next = static_cast<unsigned char>(request.bytes[i + 1]);
      keys_[i] = KeyOf(vocabulary.FindPair(byte, next), i);
    }
  }

  /// One merge; false when there is none left.
  CTX_INLINE bool Step(const Vocabulary& vocabulary, const char* readable_end) noexcept {
    for (std::size_t i = 0; i < num_pending_; ++i) {
      const Pending& pending = pending_[i];
      const Rank rank =
          vocabulary.byte_table().FindProbe(pending.probe, request_->bytes + pending.at);
      keys_[pending.at] = KeyOf(rank < vocabulary.num_merged() ? rank : kNoToken, pending.at);
    }
    num_pending_ = 0;
    const std::uint32_t key = LeastKey();
    if (key == kNoKey) return false;
    const unsigned left = key % kPositions;
    const unsigned right = NextStart(left);
    const unsigned end = NextStart(right);
    starts_ &= ~(std::uint64_t{1} << right);
    ranks_[left] = key / kPositions;
    keys_[right] = kNoKey;
    keys_[left] = kNoKey;
    if (end < request_->length) AskFor(vocabulary, left, NextStart(end), readable_end);
    const std::uint64_t before = starts_ & ((std::uint64_t{1} << left) - 1);
    if (before != 0) {
      const auto previous = static_cast<unsigned>(63 - std::countl_zero(before));
      keys_[previous] = kNoKey;
      AskFor(vocabulary, previous, end, readable_end);
    }
    return true;
  }

  CTX_INLINE void Finish() noexcept {
    Rank* to = request_->ranks;
    std::uint64_t rest = starts_ & ~(std::uint64_t{1} << request_->length);
    for (; rest != 0; rest &= rest - 1) *to++ = ranks_[std::countr_zero(rest)];
    request_->count = static_cast<std::size_t>(to - request_->ranks);
  }

 private:
  static constexpr std::uint32_t kNoKey = ~std::uint32_t{0};
  static constexpr std::uint32_t kPositions = 64;

  /// A pair that the filter lets pass, whose slot is on its way.
  struct Pending {
    ByteTable::Probe probe;
    unsigned at;
  };

  CTX_INLINE static std::uint32_t KeyOf(Rank rank, std::size_t at) noexcept {
    return rank == kNoToken ? kNoKey : rank * kPositions | static_cast<std::uint32_t>(at);
  }
  CTX_INLINE unsigned NextStart(unsigned at) const noexcept {
    return at + 1 + static_cast<unsigned>(std::countr_zero(starts_ >> (at + 1)));
  }
  CTX_INLINE std::uint32_t LeastKey() const noexcept {
    const auto* const keys = reinterpret_cast<const __m256i*>(keys_.data());
    __m256i eight = _mm256_load_si256(keys);
    for (std::size_t i = 1; i < num_vectors_; ++i) {
      eight = _mm256_min_epu32(eight, _mm256_load_si256(keys + i));
    }
    __m128i four = _mm_min_epu32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    four = _mm_min_epu32(four, _mm_shuffle_epi32(four, 0x4E));
    four = _mm_min_epu32(four, _mm_shuffle_epi32(four, 0xB1));
    return static_cast<std::uint32_t>(_mm_cvtsi128_si32(four));
  }
  CTX_INLINE void AskFor(const Vocabulary& vocabulary, unsigned begin, unsigned end,
                         const char* readable_end) noexcept {
    const ByteTable& table = vocabulary.byte_table();
    Pending& pending = pending_[num_pending_];
    pending.at = begin;
    pending.probe = table.MakeProbe(request_->bytes + begin, end - begin, readable_end);
    table.Prefetch(pending.probe);
    num_pending_ += table.MayHold(pending.probe);
  }

  alignas(32) std::array<std::uint32_t, kPositions> keys_;
  std::array<Rank, kMaxBytes> ranks_;
  std::array<Pending, 3> pending_;
  std::size_t num_pending_;
  std::size_t num_vectors_;
  std::uint64_t starts_;
  MergeRequest* request_;
};
static_assert(Vocabulary::kMaxTokens <= (std::uint64_t{1} << 32) / 64);

CTX_TARGET void MergeManyAvx2(const Vocabulary& vocabulary, std::span<MergeRequest> requests,
                              const char* readable_end) noexcept {
  constexpr std::size_t kLanes = 8;
  std::array<Lane, kLanes> all;
  std::array<Lane*, kLanes> lanes;  // those with something to do are in front
  for (std::size_t i = 0; i < kLanes; ++i) lanes[i] = &all[i];
  std::size_t next = 0;
  // Lets a lane go on with the next request, if there is one; too long ones are done at once.
  const auto start = [&](Lane& lane) CTX_TARGET {
    for (; next < requests.size(); ++next) {
      if (requests[next].length <= Lane::kMaxBytes) {
        lane.Start(vocabulary, requests[next++]);
        return true;
      }
      MergeOne(vocabulary, requests[next], readable_end);
    }
    return false;
  };
  std::size_t num_lanes = 0;
  while (num_lanes < kLanes && start(*lanes[num_lanes])) ++num_lanes;
  while (num_lanes > 0) {
    for (std::size_t i = 0; i < num_lanes;) {
      if (lanes[i]->Step(vocabulary, readable_end)) {
        ++i;
        continue;
      }
      lanes[i]->Finish();
      if (start(*lanes[i])) {
        ++i;
      } else {
        std::swap(lanes[i], lanes[--num_lanes]);
      }
    }
  }
}
#endif

}  // namespace

void MergeMany(const Vocabulary& vocabulary, std::span<MergeRequest> requests,
               const char* readable_end, [[maybe_unused]] Isa isa) noexcept {
#if defined(__x86_64__)
  if (isa >= Isa::kAvx2) return MergeManyAvx2(vocabulary, requests, readable_end);
#endif
  for (MergeRequest& request : requests) MergeOne(vocabulary, request, readable_end);
}

}  // namespace ctx::tokenize
