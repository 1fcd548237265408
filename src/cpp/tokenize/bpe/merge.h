// Byte-pair merging of one pre-token.
//
// The rule (tiktoken's byte_pair_merge): start from the symbols, single bytes or characters; as
// long as some two neighbours joined spell a token, join those whose token has the lowest rank, the
// leftmost of equals. The priority of a pair is the rank of its concatenated bytes, not an entry of
// a merge list: the two differ for vocabularies some of whose tokens cannot be reached by merging.
// A character that is no token and that no merge takes up ends as its bytes.
//
// Pure functions of immutable tables: callable from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "tokenize/bpe/vocabulary.h"

namespace ctx::tokenize {

/// Up to this many bytes MergeShort can take.
inline constexpr std::size_t kShortBytes = 64;

/// Merges 1 to kShortBytes bytes; writes the ranks to `ranks`, which has room for as many, and
/// returns their number. O(size^2 / SIMD lanes), without allocation. Bytes up to `readable_end` may
/// be read.
std::size_t MergeShort(const Vocabulary& vocabulary, std::string_view bytes,
                       const char* readable_end, Rank* ranks) noexcept;

/// Merges any number of bytes and appends the ranks. O(size log size) at worst; for long input
/// close to linear, as it works in blocks that stay in the first-level cache.
void MergeLong(const Vocabulary& vocabulary, std::string_view bytes, std::vector<Rank>& ranks);

/// Merges `bytes`, of which the first `num_merged_bytes` are merged already: ranks[first..] is what
/// they gave. Replaces those by the ranks of all of `bytes`. As MergeLong in what is new; reaches
/// back as far as the new bytes change what stood before, for published vocabularies some tokens.
/// Returns how many of the ranks stand as they were; at least these, counted from `first`.
std::size_t MergeMore(const Vocabulary& vocabulary, std::string_view bytes,
                      std::size_t num_merged_bytes, std::vector<Rank>& ranks, std::size_t first);

/// How many ranks MergeLong would append. Keeps a bounded number of them.
std::int64_t CountMerged(const Vocabulary& vocabulary, std::string_view bytes);

/// Merges with whichever suits the size, and appends the ranks.
void Merge(const Vocabulary& vocabulary, std::string_view bytes, std::vector<Rank>& ranks);

}  // namespace ctx::tokenize
