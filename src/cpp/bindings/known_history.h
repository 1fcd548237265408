// The messages of a history as a planner needs them, by what a MessageMemory knows of them.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "bindings/chat_request.h"
#include "bindings/live_source.h"
#include "bindings/message_memory.h"
#include "chat/count_table.h"
#include "chat/groups.h"
#include "tokenize/encoding.h"

namespace ctx::bindings {

/// Messages that were read from entries, and the strings that they view.
class ReadEntries {
 public:
  /// Reads one more; may run Python code. False for what is not one message by itself. Throws
  /// ArgumentError.
  bool Add(const MessageMemory::Entry& entry);
  std::span<const chat::Message> messages() const noexcept { return messages_; }
  std::size_t size_bytes() const noexcept { return source_.size_bytes(); }

 private:
  LiveSource source_{false};
  std::vector<chat::Message> messages_;
};

/// Needs the GIL, as a MessageMemory does. Does not change.
class KnownHistory {
 public:
  /// Null where the history has to be read and rendered as a whole: its template's prompts do not
  /// add up, a message is not of plain objects or not one message by itself, or something about it
  /// is an error. The tokens of messages that are not known are counted, without the GIL if there
  /// is much text.
  static std::unique_ptr<KnownHistory> Read(const py::tuple& messages, const ChatTemplate& family,
                                            bool has_tools, const tokenize::Encoding& encoding,
                                            chat::CountTable& table, MessageMemory& memory);

  const chat::MessageGroups& groups() const noexcept { return groups_; }
  /// Tokens of each message among others, as all later prompts will show it and as this one does;
  /// 0 for the leading ones of the system.
  std::span<const std::int64_t> measured() const noexcept { return measured_; }
  std::span<const std::int64_t> shown() const noexcept { return shown_; }
  std::span<const MessageMemory::Reference> entries() const noexcept { return entries_; }

 private:
  class Counting;

  explicit KnownHistory(bool wraps_tool_results) : groups_(wraps_tool_results) {}

  std::vector<MessageMemory::Reference> entries_;
  chat::MessageGroups groups_;
  std::vector<std::int64_t> measured_;
  std::vector<std::int64_t> shown_;
};

}  // namespace ctx::bindings
