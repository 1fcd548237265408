// What a message takes in a prompt, for families whose prompts are the sums of their messages
// (Template::sums).
//
// Pure functions of their arguments, any thread. O(text of the message).
#pragma once

#include <cstdint>
#include <span>

#include "chat/count_table.h"
#include "chat/message.h"
#include "chat/template.h"
#include "tokenize/encoding.h"

namespace ctx::chat {

/// Whether the prompts of a family are sums, with these tools or without.
bool AddsUp(const Template& family, bool has_tools) noexcept;

/// Tokens of a message among others: so many less has a prompt without it, unless it is one of the
/// system's that a conversation begins with, or the last one, or (Template::joins_results) one of
/// several results of tools that follow each other. `in_open_turn` for what stands behind the last
/// user's message. It must be valid (Validate). Found in `table` it is not tokenized.
std::int64_t TokensAmongOthers(const Template& family, const TemplateOptions& options,
                               const Message& message, bool in_open_turn,
                               const tokenize::Encoding& encoding, CountTable* table);

/// Likewise, of several messages that follow each other.
std::int64_t TokensAmongOthers(const Template& family, const TemplateOptions& options,
                               std::span<const Message> messages, bool in_open_turn,
                               const tokenize::Encoding& encoding, CountTable* table);

}  // namespace ctx::chat
