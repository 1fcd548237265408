#include "chat/groups.h"

#include <algorithm>

#include "chat/input.h"
#include "chat/template.h"
#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::chat {

MessageFacts FactsOf(const Message& message) {
  MessageFacts facts;
  facts.role = message.role;
  facts.wraps_result = message.role == Role::kUser && IsWrappedToolResponse(message);
  const bool has_reasoning = message.reasoning && !message.reasoning->empty();
  facts.only_reasons =
      message.role == Role::kAssistant && message.tool_calls.empty() &&
      (message.channel == "analysis" || (has_reasoning && message.content.empty()));
  facts.num_calls = message.tool_calls.size();
  for (const ToolCall& call : message.tool_calls) {
    if (call.id) facts.ids.emplace_back(*call.id);
  }
  if (message.role == Role::kTool && message.tool_call_id) {
    facts.ids.emplace_back(*message.tool_call_id);
  }
  return facts;
}

void MessageGroups::Add(const MessageFacts& facts, std::string_view path) {
  const Role role = facts.role;
  const bool is_system = role == Role::kSystem || role == Role::kDeveloper;
  if (starts_.empty() && is_system) {
    lead_ = ++num_messages_;
    return;
  }
  const bool is_result = role == Role::kTool || (role == Role::kUser && wraps_tool_results_ &&
                                                 head_ != kNone && facts.wraps_result);
  if (is_result) {
    if (caller_ != kNone) {
      Answer(facts, path);
    } else if (role == Role::kTool) {
      throw ArgumentError(
          StrCat(path, "[", num_messages_, "]: a tool result without a tool call before it"));
    }
  } else {
    if (num_open_ > 0) {
      throw ArgumentError(StrCat(path, "[", caller_, "].tool_calls: ", num_open_,
                                 " of them have no result; only the newest message may have open "
                                 "calls"));
    }
    caller_ = facts.num_calls > 0 ? num_messages_ : kNone;
    num_open_ = facts.num_calls;
    has_ids_ = facts.num_calls > 0 && !facts.ids.empty();
    if (facts.num_calls > 0) open_ids_ = facts.ids;
  }
  const bool begins = !is_result && (role == Role::kUser || role == Role::kAssistant) &&
                      !(leads_on_ && role == Role::kAssistant);
  if (starts_.empty() || begins) {
    const std::size_t group = starts_.size();
    if (role == Role::kUser) head_ = group;
    starts_.push_back(num_messages_);
    heads_.push_back(head_);
    if (head_ == kNone || head_ + 1 != group) places_.push_back(group);
  }
  leads_on_ = facts.only_reasons;
  ++num_messages_;
}

void MessageGroups::Answer(const MessageFacts& facts, std::string_view path) {
  if (num_open_ == 0) {
    throw ArgumentError(StrCat(path, "[", num_messages_,
                               "]: a tool result too many for the calls of ", path, "[", caller_,
                               "]"));
  }
  if (has_ids_ && facts.role == Role::kTool && !facts.ids.empty()) {
    const auto found = std::ranges::find(open_ids_, facts.ids.front());
    if (found == open_ids_.end()) {
      throw ArgumentError(StrCat(path, "[", num_messages_,
                                 "].tool_call_id: ", Quoted(facts.ids.front()),
                                 " is none of the calls before it, or answered already"));
    }
    open_ids_.erase(found);
  }
  --num_open_;
}

}  // namespace ctx::chat
