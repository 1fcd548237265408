#include "tokenize/bpe/merge_pieces.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <new>

#include "tokenize/bpe/merge.h"

namespace ctx::tokenize {
namespace {

constexpr std::size_t kPieceBytes = 28;
constexpr std::size_t kMaxPieces = kMaxInPieces / kPieceBytes;
static_assert(kPieceBytes <= kMaxLaneBytes);

/// Of each of two pieces, at most so much is merged again at first, and half of it if need be.
constexpr std::size_t kBorderTokens = 4;
constexpr std::size_t kBorderBytes = 14;
static_assert(2 * kBorderBytes <= kMaxLaneBytes);
static_assert(2 * kPieceBytes <= kShortBytes);

/// The pieces of some pre-tokens, one behind the other.
class Pieces {
 public:
  explicit Pieces(const Vocabulary& vocabulary) noexcept : vocabulary_(vocabulary) {}

  static std::size_t NumPieces(const MergeRequest& request) noexcept {
    return (request.length + kPieceBytes - 1) / kPieceBytes;
  }

  /// At most kMaxPieces in all.
  void Merge(std::span<MergeRequest* const> requests, const char* readable_end, Isa isa) noexcept {
    std::size_t num_pieces = 0;
    for (const MergeRequest* const request : requests) {
      const std::size_t count = NumPieces(*request);
      for (std::size_t i = 0; i < count; ++i) {
        const std::size_t begin = request->length * i / count;
        const std::size_t end = request->length * (i + 1) / count;
        pieces_[num_pieces++] = {request->bytes + begin, end - begin, request->ranks + begin, 0};
      }
    }
    MergeMany(vocabulary_, std::span(pieces_).first(num_pieces), readable_end, isa);
    std::size_t num_borders = 0;
    const MergeRequest* piece = pieces_.data();
    for (const MergeRequest* const request : requests) {
      const std::size_t count = NumPieces(*request);
      for (std::size_t i = 1; i < count; ++i) AddBorder(piece[i - 1], piece[i], num_borders++);
      piece += count;
    }
    MergeMany(vocabulary_, std::span(merges_).first(num_borders), readable_end, isa);
    readable_end_ = readable_end;
    piece = pieces_.data();
    std::size_t border = 0;
    for (MergeRequest* const request : requests) {
      const std::size_t count = NumPieces(*request);
      request->count = Join({piece, count}, border, request->ranks);
      border += count - 1;
      piece += count;
    }
  }

 private:
  /// So many tokens and bytes on one side of a border are merged again.
  struct Side {
    std::size_t num_tokens = 0;
    std::size_t num_bytes = 0;
  };

  std::size_t SizeOf(Rank rank) const noexcept { return vocabulary_.Bytes(rank).size(); }

  /// At the end of the piece before a border.
  Side LeftSide(const MergeRequest& piece, std::size_t max_tokens,
                std::size_t max_bytes) const noexcept {
    Side side;
    const Rank* rank = piece.ranks + piece.count;
    for (max_tokens = std::min(max_tokens, piece.count / 2); side.num_tokens < max_tokens;
         ++side.num_tokens) {
      const std::size_t size = SizeOf(*--rank);
      if (side.num_bytes + size > max_bytes) break;
      side.num_bytes += size;
    }
    return side;
  }
  /// At the beginning of the piece behind it.
  Side RightSide(const MergeRequest& piece, std::size_t max_tokens,
                 std::size_t max_bytes) const noexcept {
    Side side;
    const Rank* rank = piece.ranks;
    for (max_tokens = std::min(max_tokens, piece.count / 2); side.num_tokens < max_tokens;
         ++side.num_tokens) {
      const std::size_t size = SizeOf(*rank++);
      if (side.num_bytes + size > max_bytes) break;
      side.num_bytes += size;
    }
    return side;
  }

  void AddBorder(const MergeRequest& left, const MergeRequest& right, std::size_t at) noexcept {
    Border& border = borders_[at];
    border.left = LeftSide(left, kBorderTokens, kBorderBytes);
    border.right = RightSide(right, kBorderTokens, kBorderBytes);
    // One byte, of no meaning, where a token is too long.
    const std::size_t num_bytes = border.left.num_bytes + border.right.num_bytes;
    merges_[at] = {right.bytes - border.left.num_bytes, std::max<std::size_t>(num_bytes, 1),
                   border.ranks.data(), 0};
  }

  /// Whether the outermost tokens came out as they went in. These are those of the pieces.
  static bool IsSameOutside(std::span<const Rank> merged, const MergeRequest& left,
                            const Side& left_side, const MergeRequest& right,
                            const Side& right_side) noexcept {
    return left_side.num_tokens > 0 && right_side.num_tokens > 0 &&
           merged.front() == left.ranks[left.count - left_side.num_tokens] &&
           merged.back() == right.ranks[right_side.num_tokens - 1];
  }

  /// Moves the ranks together, to where those of the first piece are. Returns their number, or 0
  /// when they do not go together.
  std::size_t Join(std::span<const MergeRequest> pieces, std::size_t border, Rank* ranks) noexcept {
    std::array<Rank, kShortBytes> wider;
    Rank* to = ranks;
    const Rank* from = ranks;  // what is left of the piece
    for (std::size_t i = 0; i + 1 < pieces.size(); ++i, ++border) {
      const MergeRequest& left = pieces[i];
      const MergeRequest& right = pieces[i + 1];
      Side left_side = borders_[border].left;
      Side right_side = borders_[border].right;
      std::span<const Rank> merged(merges_[border].ranks, merges_[border].count);
      if (!IsSameOutside(merged, left, left_side, right, right_side)) {
        left_side = LeftSide(left, kPieceBytes, kPieceBytes);
        right_side = RightSide(right, kPieceBytes, kPieceBytes);
        const std::size_t num_bytes = left_side.num_bytes + right_side.num_bytes;
        if (num_bytes == 0) return 0;
        const std::size_t count =
            MergeShort(vocabulary_, {right.bytes - left_side.num_bytes, num_bytes}, readable_end_,
                       wider.data());
        merged = {wider.data(), count};
        if (!IsSameOutside(merged, left, left_side, right, right_side)) return 0;
      }
      const Rank* const rest = right.ranks + right_side.num_tokens;
      to = std::copy(from, static_cast<const Rank*>(left.ranks) + left.count - left_side.num_tokens,
                     to);
      if (std::ssize(merged) > rest - to) return 0;
      to = std::copy(merged.begin(), merged.end(), to);
      from = rest;
    }
    to = std::copy(from, static_cast<const Rank*>(pieces.back().ranks) + pieces.back().count, to);
    return static_cast<std::size_t>(to - ranks);
  }

  struct Border {
    Side left;
    Side right;
    std::array<Rank, 2 * kBorderBytes> ranks;
  };

  const Vocabulary& vocabulary_;
  std::array<MergeRequest, kMaxPieces> pieces_;
  std::array<MergeRequest, kMaxPieces> merges_;  // of the borders
  std::array<Border, kMaxPieces> borders_;
  const char* readable_end_ = nullptr;
};

}  // namespace

void MergeInPieces(const Vocabulary& vocabulary, std::span<MergeRequest* const> requests,
                   const char* readable_end, Isa isa) noexcept {
  // Not on the stack, where much lies already.
  const std::unique_ptr<Pieces> pieces(new (std::nothrow) Pieces(vocabulary));
  if (pieces == nullptr) {
    for (MergeRequest* const request : requests) request->count = 0;
    return;
  }
  while (!requests.empty()) {
    std::size_t count = 0;
    std::size_t num_pieces = 0;
    for (; count < requests.size(); ++count) {
      num_pieces += Pieces::NumPieces(*requests[count]);
      if (num_pieces > kMaxPieces) break;
    }
    pieces->Merge(requests.first(count), readable_end, isa);
    requests = requests.subspan(count);
  }
}

}  // namespace ctx::tokenize
