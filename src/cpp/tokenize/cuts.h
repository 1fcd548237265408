// Where to cut a text so that a part has at most so many tokens of its own.
//
// Counts do not grow with the length of a text: one more character can join tokens. So the longest
// prefix that fits is not where the ids of the whole text reach the limit; these functions find the
// true one without trying every length. What they rely on (n: a length, f(n): tokens of the prefix
// of n bytes by itself):
//
// 1. Pre-tokens that are final (PreTokenizer) are those of every longer prefix.
// 2. If A and B merge to a1..ai and b1..bj and the bytes of ai and b1 merge to just ai b1, then AB
//    merges to a1..ai b1..bj, and the other way round. (The first merge across the border would be
//    made for ai and b1 by themselves too: up to it, the merges inside them are the same ones in
//    the same order, as each merge is the best on both sides.) So a prefix that ends between two
//    tokens of a pre-token has the tokens before that place, and the count of any prefix follows
//    from the tokens of a longer one and a few bytes merged anew.
// 3. A token has at most so many bytes: if no place in a stretch of that length fits, none after it
//    does, for tokens would have to end inside the stretch, and to there they would be too many.
//
// 4. Where the normalizer says that nothing can be joined across (Normalizer::IsStableCut), both
//    sides are normalized by themselves: a prefix is, normalized, the front of the whole text's
//    normalized form, but for what follows its last such place; likewise a suffix.
//
// O(limit), with the longest token's length as factor, for whatever text. There are these limits:
// - Between two stable cuts (a letter and the marks that follow it) every length is tried, each for
//   the length of that.
// - Where a regular expression that no scanner knows cuts, borders are those that the pre-tokenizer
//   is sure of (FinalPrefix), some hundred bytes apart; for suffixes every length up to the longest
//   that is possible is tried, each for some hundred bytes, as nothing proves that a longer one has
//   more tokens. Expressions that look behind or match the empty string give no borders: every
//   length is tried, each from scratch.
// - Where a normalizer promises nothing (Normalizer::Promises), likewise, for prefixes from a state
//   that grows (tokenize/appender.h).
//
// Pure functions of immutable tables: callable from any thread. Texts must be valid UTF-8
// (unchecked).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "tokenize/encoding.h"

namespace ctx::tokenize {

/// Length of the longest prefix of whole characters with CountOrdinary(prefix) <= limit; 0 when
/// limit < 1.
std::size_t LongestPrefix(const Encoding& encoding, std::string_view utf8, std::int64_t limit);

/// Where the longest such suffix begins.
std::size_t LongestSuffix(const Encoding& encoding, std::string_view utf8, std::int64_t limit);

/// Bytes begin to end - 1 of a text.
struct TextSpan {
  std::size_t begin;
  std::size_t end;
};

/// Cuts a text into parts with at most `max_tokens` tokens each by itself, which together cover it.
/// A part ends at the last border of pre-tokens that it can, or inside a pre-token that is too long
/// by itself. Each part but the first begins in the one before it, with the longest suffix of that
/// with at most `overlap` tokens, where this lets the part go further than the one before. No part
/// for an empty text. O(text) times one more than the share of the overlap. Throws ArgumentError
/// unless 0 <= overlap < max_tokens, and when a character alone has more tokens than that.
std::vector<TextSpan> Split(const Encoding& encoding, std::string_view utf8,
                            std::int64_t max_tokens, std::int64_t overlap);

}  // namespace ctx::tokenize
