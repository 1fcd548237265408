// Ids that a model sampled, in the place of those that their text would be encoded to: what is in a
// KV cache are the former.
//
// Pure functions, callable from any thread.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "chat/template.h"
#include "common/ids.h"
#include "tokenize/encoding.h"

namespace ctx::chat {

/// Some chunks of a rendering, with their ids.
struct EncodedChunks {
  std::vector<TokenId> ids;
  std::vector<std::size_t> ends;  ///< so many ids have the chunks up to each
};

struct SampledChunks {
  EncodedChunks chunks;
  std::size_t num_kept;  ///< so many of the sampled ids are among them
};

/// The text of sampled ids without the special tokens at its end. Throws UnknownTokenError, and,
/// when it `must_be_utf8`, ArgumentError where it is not (the ids end amid a character).
std::string TextOfSampled(const tokenize::Encoding& encoding, std::span<const TokenId> sampled,
                          bool must_be_utf8);

/// Chunks [first, last) of `now`, which show what chunks from `first` on of `before` end in (the
/// prompt, whose ids are in `prompt`) and then what a model sampled. Kept are the prompt's ids and
/// the sampled ones as far as they spell what is shown, control tokens included, and a special
/// token or the end follows. Nothing when the prompt itself is shown differently. O(text).
std::optional<SampledChunks> KeepSampled(const tokenize::Encoding& encoding, const Rendered& before,
                                         const EncodedChunks& prompt, const Rendered& now,
                                         std::size_t first, std::size_t last,
                                         std::span<const TokenId> sampled);

}  // namespace ctx::chat
