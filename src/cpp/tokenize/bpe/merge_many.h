// Byte-pair merging of many short pre-tokens at a time.
//
// To merge one is to wait: for each pair the vocabulary is asked, and what to ask next depends on
// the answer. Here several pre-tokens take turns, one step each, so that the answers for all are
// under way together.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "common/isa.h"
#include "tokenize/bpe/vocabulary.h"

namespace ctx::tokenize {

/// Up to this many bytes a pre-token is merged in one go.
inline constexpr std::size_t kMaxLaneBytes = 31;

/// A pre-token of 1 to kMaxInPieces bytes (merge_pieces.h) that is no token, and where its ranks
/// go.
struct MergeRequest {
  const char* bytes;
  std::size_t length;
  Rank* ranks;        // room for `length`
  std::size_t count;  // set by MergeMany
};

/// Merges each by the rule of merge.h. Symbols::kBytes alone. Bytes up to `readable_end` may be
/// read. One of more than kShortBytes may end with a count of 0: then it has to be merged by
/// itself.
void MergeMany(const Vocabulary& vocabulary, std::span<MergeRequest> requests,
               const char* readable_end, Isa isa) noexcept;

}  // namespace ctx::tokenize
