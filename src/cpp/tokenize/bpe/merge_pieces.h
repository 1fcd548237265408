// Merging of what is too long for a lane of MergeMany, from pieces that are not.
//
//     pieces     a b c d e f | g h i j k l      merged by themselves
//     border             e f   g h              merged again, across the cut
//     together   a b c d e  x  h i j k l        as long as e and h came out as they went in
//
// This is what merging all the bytes gives, for any two neighbours were neighbours in something
// that was merged; the head of block_merger.h says why that is enough.
#pragma once

#include <cstddef>
#include <span>

#include "common/isa.h"
#include "tokenize/bpe/merge_many.h"
#include "tokenize/bpe/vocabulary.h"

namespace ctx::tokenize {

/// Pre-tokens up to this length may be merged so.
inline constexpr std::size_t kMaxInPieces = 1120;

/// As MergeMany, for pre-tokens of kMaxLaneBytes + 1 to kMaxInPieces bytes. The count of those
/// whose pieces do not go together so simply becomes 0.
void MergeInPieces(const Vocabulary& vocabulary, std::span<MergeRequest* const> requests,
                   const char* readable_end, Isa isa) noexcept;

}  // namespace ctx::tokenize
