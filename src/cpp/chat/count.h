// Counting and encoding a rendered conversation, chunk by chunk: a chunk's tokens do not depend on
// its neighbours, so each is tokenized once and then found in the table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "chat/count_table.h"
#include "chat/template.h"
#include "tokenize/encoding.h"

namespace ctx::chat {

struct Counts {
  std::vector<std::int64_t> per_message;
  std::int64_t template_tokens = 0;  ///< chunks that no message owns
  std::int64_t total = 0;
};

/// Exact number of tokens of each message and of the whole. O(text); chunks found in `table` (may
/// be null) are hashed and compared but not tokenized. The encoding must have the family's control
/// tokens (ValidateEncoding). Safe from any thread.
Counts CountTokens(const Rendered& rendered, std::size_t num_messages,
                   const tokenize::Encoding& encoding, CountTable* table);

/// Appends the ids of a rendering (not of a count rule): those of EncodeSegments for all of it.
/// O(text); chunks whose ids are found in `table` (may be null) are copied from there. When it
/// throws (std::bad_alloc), `ids` is as it was. Safe from any thread.
void EncodeRendered(const Rendered& rendered, const tokenize::Encoding& encoding, CountTable* table,
                    std::vector<TokenId>& ids);

/// Likewise, of the segments of one chunk, constants of a count rule apart.
std::int64_t CountChunk(std::span<const tokenize::Segment> segments,
                        const tokenize::Encoding& encoding, CountTable* table);
void EncodeChunk(std::span<const tokenize::Segment> segments, const tokenize::Encoding& encoding,
                 CountTable* table, std::vector<TokenId>& ids);

}  // namespace ctx::chat
