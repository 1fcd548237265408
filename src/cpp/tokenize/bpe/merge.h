// Byte-pair merging of one pre-token.
//
// The rule (tiktoken's byte_pair_merge): start from single bytes; as long as some two neighbours
// joined spell a token, join those whose token has the lowest rank, the leftmost of equals. The
// priority of a pair is the rank of its concatenated bytes, not an entry of a merge list: the two
// differ for vocabularies some of whose tokens cannot be reached by merging.
//
// Pure functions of immutable tables: callable from any thread.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "tokenize/bpe/vocabulary.h"

namespace ctx::tokenize {

/// Up to this many bytes MergeShort can take.
inline constexpr std::size_t kShortBytes = 64;

/// Merges 1 to kShortBytes bytes; writes the ids to `ids`, which has room for as many, and returns
/// their number. O(size^2 / SIMD lanes), without allocation. Bytes up to `readable_end` may be
/// read.
std::size_t MergeShort(const Vocabulary& vocabulary, std::string_view bytes,
                       const char* readable_end, TokenId* ids) noexcept;

/// Merges any number of bytes and appends the ids. O(size log size) at worst; for long input close
/// to linear, as it works in blocks that stay in the first-level cache.
void MergeLong(const Vocabulary& vocabulary, std::string_view bytes, std::vector<TokenId>& ids);

/// Merges with whichever of the two suits the size, and appends the ids.
void Merge(const Vocabulary& vocabulary, std::string_view bytes, std::vector<TokenId>& ids);

}  // namespace ctx::tokenize
