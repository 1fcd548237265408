// A conversation that goes on: what its messages render to, encoded and counted, kept up to date
// turn by turn.
//
// After every change the ids are those of Encoding::EncodeSegments for the family's rendering of
// all messages, except that ids which a model sampled are kept where the template shows the very
// text that they spell. Where a later message changes how earlier ones are shown (reasoning of
// earlier turns is dropped), what is shown differently is encoded again, and nothing else.
//
// Each call is atomic under a mutex: any thread may call at any time. A call that throws leaves the
// conversation as it was.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "chat/count_table.h"
#include "chat/groups.h"
#include "chat/message.h"
#include "chat/template.h"
#include "chat/tip_buffer.h"
#include "common/ids.h"
#include "tokenize/encoding.h"

namespace ctx::chat {

class LiveConversation {
 public:
  using Ids = TipBuffer<TokenId>::View;

  /// A place in the history of changes. Copies made later know it too.
  struct Cursor {
    std::uint64_t branch;
    std::uint64_t version;
  };
  struct Since {
    std::size_t changed_from;  ///< the ids before it have not changed since
    Ids ids;                   ///< all
  };
  struct Generated {
    std::size_t num_kept;      ///< so many of the first sampled ids are in the conversation
    std::size_t changed_from;  ///< of this change
  };
  struct Counts {
    std::vector<std::int64_t> per_message;
    std::int64_t template_tokens;
  };

  /// What is kept: the first `lead` messages, those from `carried_begin` to `carried_end`, and
  /// those from `start` on.
  struct Cut {
    std::size_t lead;
    std::size_t carried_begin;
    std::size_t carried_end;
    std::size_t start;
    std::int64_t tokens;  ///< of what is kept
  };

  /// Throws ArgumentError as ValidateEncoding, and for tools that the family cannot show.
  LiveConversation(std::shared_ptr<const tokenize::Encoding> encoding, const Template& family,
                   TemplateOptions options, std::span<const std::string_view> tools_json,
                   bool add_generation_prompt);
  /// Shares all there is until one of the two changes. O(changes), a few bytes each.
  LiveConversation(const LiveConversation& other);
  LiveConversation& operator=(const LiveConversation&) = delete;

  /// Adds messages at the end. Throws ArgumentError as Validate (naming `path`[i]) and
  /// ValidateRequest. O(what they render to, and what they change of what was there) for families
  /// with Template::first_changed, where Qwen3's also look for the last user message; for others
  /// all messages are rendered, but only what is new or shown differently is encoded. Chunks found
  /// in `table` (may be null) are not encoded.
  void Append(std::span<const Message> messages, std::string_view path, CountTable* table);

  /// Likewise, of messages that a model generated as `sampled` ids after the generation prompt.
  /// Those are kept as far as the messages render to what they spell and a control token or the end
  /// follows. Without messages there is one, an assistant's: the text of the ids without the
  /// control tokens at its end. Throws UnknownTokenError for an id that there is not.
  Generated AppendGenerated(std::span<const TokenId> sampled,
                            std::optional<std::span<const Message>> messages, std::string_view path,
                            CountTable* table);

  /// Replaces messages [begin, end) by others, or by none. All messages are rendered, only what is
  /// new or shown differently is encoded.
  void Replace(std::size_t begin, std::size_t end, std::span<const Message> messages,
               std::string_view path, CountTable* table);

  std::size_t num_messages() const;
  /// The first message of each turn: the users' messages that are more than a tool's result.
  /// O(messages).
  std::vector<std::size_t> turns() const;
  /// Tokens of all, the generation prompt included. Throws ArgumentError where the template needs a
  /// message and there is none; so do all that follow.
  std::int64_t count() const;
  /// The messages' and the template's own. O(chunks).
  Counts counts() const;
  /// The first place between groups (MessageGroups) from which on all fits into `max_tokens`, with
  /// the system's leading messages, the newest group, and the user's message that began its turn or
  /// the one that is cut inside; the last place where nothing fits. Throws ArgumentError for a
  /// family whose prompts do not add up (Template::sums), and as MessageGroups. O(log messages),
  /// and O(1) for each message since the last call; O(messages) after a replacement.
  Cut Fit(std::int64_t max_tokens) const;
  /// Throws ArgumentError for a count rule. The ids stay as they are when the conversation goes on.
  Ids ids() const;
  /// Index of the first id that the last change changed or added.
  std::size_t changed_from() const;

  Cursor cursor() const;
  /// Throws ArgumentError for a cursor of another conversation, or of a copy made before it. O(log
  /// changes).
  Since since(const Cursor& cursor) const;

 private:
  using Text = std::shared_ptr<const char[]>;
  struct ChunkEnd {
    std::int64_t message;
    std::int64_t tokens;  // of all chunks up to its end
  };
  struct Change {
    std::uint64_t version;
    std::size_t changed_from;
  };
  struct Edit;

  LiveConversation(const LiveConversation& other, const std::lock_guard<std::mutex>& lock);

  bool IsRendered(std::span<const Message> messages) const noexcept;
  Rendered RenderFrom(std::span<const Message> messages, std::size_t first_message) const;
  void Apply(const Edit& edit, CountTable* table, Generated* generated);
  void RequireIds() const;
  void RequireMessage() const;
  std::size_t TokensBefore(std::size_t chunk) const noexcept;
  std::int64_t TokensBeforeMessage(std::size_t message) const noexcept;

  const std::shared_ptr<const tokenize::Encoding> encoding_;
  const Template& family_;
  const TemplateOptions options_;
  const bool add_generation_prompt_;
  const std::shared_ptr<const std::vector<std::string>> tools_;
  std::vector<std::string_view> tools_json_;  // views of tools_

  mutable std::mutex mutex_;
  TipBuffer<Message> messages_;  // views of texts_
  TipBuffer<Text> texts_;        // one each
  TipBuffer<ChunkEnd> chunks_;
  TipBuffer<TokenId> ids_;
  mutable std::optional<MessageGroups> groups_;  // of the first messages, as far as asked for
  std::vector<Change> changes_;   // of each version the changes since: minima, so both increase
  std::vector<Cursor> branches_;  // each up to which version; the last is our own
  std::uint64_t version_ = 0;
  std::size_t changed_from_ = 0;
};

}  // namespace ctx::chat
