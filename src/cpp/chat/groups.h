// The messages of a conversation as groups that are kept or cut together.
//
// A group is a user's message; or an assistant's message with the results of its calls and the
// reasoning before it. Whatever else stands behind one of them, such as a system message, belongs
// to it. A turn begins at a user's message that is more than a tool's result. The messages of the
// system that a conversation begins with are in no group.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "chat/message.h"

namespace ctx::chat {

/// What of a message its neighbours depend on.
struct MessageFacts {
  Role role = Role::kUser;
  bool wraps_result = false;  ///< its text is a wrapped tool's result (IsWrappedToolResponse)
  bool only_reasons = false;  ///< the assistant's reasoning that leads to its next message
  std::size_t num_calls = 0;
  std::vector<std::string> ids;  ///< of its calls, or of the one call that a tool's message answers
};

MessageFacts FactsOf(const Message& message);

/// Grows by a message at a time. After an exception it is to be thrown away.
class MessageGroups {
 public:
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);

  /// With `wraps_tool_results` (Template), a user's message may be a tool's result.
  explicit MessageGroups(bool wraps_tool_results) : wraps_tool_results_(wraps_tool_results) {}

  /// The next message. Throws ArgumentError that names `path`[i] for a result without a call before
  /// it and for a call without its result before the next message. O(calls).
  void Add(const MessageFacts& facts, std::string_view path);

  std::size_t num_messages() const noexcept { return num_messages_; }
  /// Leading messages of the system.
  std::size_t lead() const noexcept { return lead_; }
  std::size_t size() const noexcept { return starts_.size(); }
  /// The first message of each group.
  std::span<const std::size_t> starts() const noexcept { return starts_; }
  /// The first message of a group, or the end.
  std::size_t begin_of(std::size_t group) const noexcept {
    return group < starts_.size() ? starts_[group] : num_messages_;
  }
  /// For each group that of the user's message that began its turn, or kNone.
  std::span<const std::size_t> heads() const noexcept { return heads_; }
  /// The last group that began a turn, or kNone.
  std::size_t last_user() const noexcept { return head_; }
  /// Groups before which the conversation may be cut: all but those behind a user's message, which
  /// stays with its turn, so that nothing would be gone.
  std::span<const std::size_t> places() const noexcept { return places_; }

 private:
  void Answer(const MessageFacts& facts, std::string_view path);

  bool wraps_tool_results_;
  std::size_t num_messages_ = 0;
  std::size_t lead_ = 0;
  std::vector<std::size_t> starts_;
  std::vector<std::size_t> heads_;
  std::vector<std::size_t> places_;
  std::size_t head_ = kNone;
  bool leads_on_ = false;  // the last message is nothing but reasoning

  // The calls of one message, while their results come in.
  std::size_t caller_ = kNone;
  std::size_t num_open_ = 0;
  bool has_ids_ = false;
  std::vector<std::string> open_ids_;
};

}  // namespace ctx::chat
