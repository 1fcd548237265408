// The chat templates of Qwen2.5 and Qwen3 (hybrid, and the 2507 instruct and thinking releases).
//
//   <|im_start|>system\n ... [# Tools ...]<|im_end|>\n
//   <|im_start|>user\n ... <|im_end|>\n
//   <|im_start|>assistant\n[<think>\n...\n</think>\n\n] ... [<tool_call>...]<|im_end|>\n
//   <|im_start|>user\n<tool_response>\n...\n</tool_response>[\n<tool_response>...]<|im_end|>\n
//   <|im_start|>assistant\n
//
// Consecutive tool results share one user turn, which is one chunk and belongs to its first result.
#include <algorithm>
#include <string_view>

#include "chat/template.h"

namespace ctx::chat {
namespace {

using std::string_view;

constexpr string_view kToolsHead =
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>";
constexpr string_view kToolsTail =
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments "
    "within <tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, "
    "\"arguments\": <args-json-object>}\n</tool_call><|im_end|>\n";
constexpr string_view kQwen2DefaultSystem =
    "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.";

bool FirstIsSystem(const Conversation& conversation) {
  return conversation.messages.front().role == Role::kSystem;
}

void Tools(const Conversation& conversation, Rendered& out) {
  out.Literal(kToolsHead);
  for (const string_view tool : conversation.tools_json) {
    out.Literal("\n");
    out.Text(tool);
  }
  out.Literal(kToolsTail);
}

void PlainTurn(const Message& message, std::int64_t owner, Rendered& out) {
  out.BeginChunk(owner);
  out.Literal("<|im_start|>");
  out.Literal(RoleName(message.role));
  out.Literal("\n");
  out.Text(message.content);
  out.Literal("<|im_end|>\n");
}

void Call(const ToolCall& call, Rendered& out) {
  out.Literal("<tool_call>\n{\"name\": \"");
  out.Text(call.name);
  out.Literal("\", \"arguments\": ");
  out.Text(call.arguments_json);
  out.Literal("}\n</tool_call>");
}

void ToolResult(std::span<const Message> messages, std::size_t i, Rendered& out) {
  if (i == 0 || messages[i - 1].role != Role::kTool) {
    out.BeginChunk(static_cast<std::int64_t>(i));
    out.Literal("<|im_start|>user");
  }
  out.Literal("\n<tool_response>\n");
  out.Text(messages[i].content);
  out.Literal("\n</tool_response>");
  if (i + 1 == messages.size() || messages[i + 1].role != Role::kTool) {
    out.Literal("<|im_end|>\n");
  }
}

void Qwen2Head(const Conversation& conversation, Rendered& out) {
  const bool system_first = FirstIsSystem(conversation);
  out.BeginChunk(system_first ? 0 : kTemplateOwned);
  out.Literal("<|im_start|>system\n");
  if (system_first) {
    out.Text(conversation.messages.front().content);
  } else {
    out.Literal(kQwen2DefaultSystem);
  }
  if (!conversation.tools_json.empty()) {
    out.Literal("\n\n");
    Tools(conversation, out);
  } else {
    out.Literal("<|im_end|>\n");
  }
}

// str.lstrip("\n"), str.rstrip("\n"), str.strip("\n") of the templates.
string_view StripLeft(string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of('\n'), text.size()));
  return text;
}
string_view StripRight(string_view text) { return text.substr(0, text.find_last_not_of('\n') + 1); }
string_view Strip(string_view text) { return StripRight(StripLeft(text)); }

struct Answer {
  string_view reasoning;
  string_view content;
};

// Reasoning comes separately, or is cut out of the content: what precedes the first </think>, after
// the last <think> before it. The visible answer follows the last </think>.
Answer SplitReasoning(const Message& message) {
  constexpr string_view kOpen = "<think>";
  constexpr string_view kClose = "</think>";
  if (message.reasoning) return {*message.reasoning, message.content};
  const std::size_t first_close = message.content.find(kClose);
  if (first_close == string_view::npos) return {{}, message.content};
  string_view reasoning = StripRight(message.content.substr(0, first_close));
  if (const std::size_t open = reasoning.rfind(kOpen); open != string_view::npos) {
    reasoning.remove_prefix(open + kOpen.size());
  }
  const string_view content = message.content.substr(message.content.rfind(kClose) + kClose.size());
  return {StripLeft(reasoning), StripLeft(content)};
}

enum class Qwen3Kind { kHybrid, kInstruct2507, kThinking2507 };

// Reasoning is shown after the last user message that is not a wrapped tool result, but never in
// the instruct release. Without such a message the templates' index stands at the last message, so
// none is shown.
std::size_t LastQueryIndex(std::span<const Message> messages) {
  for (std::size_t i = messages.size(); i-- > 0;) {
    if (messages[i].role == Role::kUser && !IsWrappedToolResponse(messages[i])) return i;
  }
  return messages.size() - 1;
}

void Qwen3Assistant(const Message& message, std::int64_t owner, Answer answer, bool may_think,
                    bool must_think, Rendered& out) {
  out.BeginChunk(owner);
  if (may_think && (must_think || !answer.reasoning.empty())) {
    out.Literal("<|im_start|>assistant\n<think>\n");
    out.Text(Strip(answer.reasoning));
    out.Literal("\n</think>\n\n");
    out.Text(StripLeft(answer.content));
  } else {
    out.Literal("<|im_start|>assistant\n");
    out.Text(answer.content);
  }
  for (std::size_t i = 0; i < message.tool_calls.size(); ++i) {
    if (i > 0 || !answer.content.empty()) out.Literal("\n");
    Call(message.tool_calls[i], out);
  }
  out.Literal("<|im_end|>\n");
}

void RenderQwen3Kind(const Conversation& conversation, Qwen3Kind kind, bool enable_thinking,
                     Rendered& out) {
  const auto messages = conversation.messages;
  const bool system_first = FirstIsSystem(conversation);
  if (conversation.first_message > 0) {
    // The head is not asked for.
  } else if (!conversation.tools_json.empty()) {
    out.BeginChunk(system_first ? 0 : kTemplateOwned);
    out.Literal("<|im_start|>system\n");
    if (system_first) {
      out.Text(messages.front().content);
      out.Literal("\n\n");
    }
    Tools(conversation, out);
  } else if (system_first) {
    PlainTurn(messages.front(), 0, out);
  }
  const std::size_t last_query = LastQueryIndex(messages);
  const std::size_t first = std::max<std::size_t>(system_first ? 1 : 0, conversation.first_message);
  for (std::size_t i = first; i < messages.size(); ++i) {
    const auto owner = static_cast<std::int64_t>(i);
    switch (messages[i].role) {
      case Role::kAssistant: {
        const bool thinks = kind != Qwen3Kind::kInstruct2507;
        Qwen3Assistant(messages[i], owner,
                       thinks ? SplitReasoning(messages[i]) : Answer{{}, messages[i].content},
                       thinks && i > last_query, i + 1 == messages.size(), out);
        break;
      }
      case Role::kTool:
        ToolResult(messages, i, out);
        break;
      default:
        PlainTurn(messages[i], owner, out);
    }
  }
  if (!conversation.add_generation_prompt) return;
  out.BeginChunk(kTemplateOwned);
  if (kind == Qwen3Kind::kThinking2507) {
    out.Literal("<|im_start|>assistant\n<think>\n");
  } else if (kind == Qwen3Kind::kHybrid && !enable_thinking) {
    out.Literal("<|im_start|>assistant\n<think>\n\n</think>\n\n");
  } else {
    out.Literal("<|im_start|>assistant\n");
  }
}

}  // namespace

void RenderQwen2(const Conversation& conversation, const TemplateOptions& /*options*/,
                 Rendered& out) {
  const auto messages = conversation.messages;
  const bool system_first = FirstIsSystem(conversation);
  if (conversation.first_message == 0) Qwen2Head(conversation, out);
  const std::size_t first = std::max<std::size_t>(system_first ? 1 : 0, conversation.first_message);
  for (std::size_t i = first; i < messages.size(); ++i) {
    const Message& message = messages[i];
    if (message.role == Role::kTool) {
      ToolResult(messages, i, out);
    } else if (message.tool_calls.empty()) {
      PlainTurn(message, static_cast<std::int64_t>(i), out);
    } else {
      out.BeginChunk(static_cast<std::int64_t>(i));
      out.Literal("<|im_start|>assistant");
      if (!message.content.empty()) {
        out.Literal("\n");
        out.Text(message.content);
      }
      for (const ToolCall& call : message.tool_calls) {
        out.Literal("\n");
        Call(call, out);
      }
      out.Literal("<|im_end|>\n");
    }
  }
  if (conversation.add_generation_prompt) {
    out.BeginChunk(kTemplateOwned);
    out.Literal("<|im_start|>assistant\n");
  }
}

void RenderQwen3(const Conversation& conversation, const TemplateOptions& options, Rendered& out) {
  RenderQwen3Kind(conversation, Qwen3Kind::kHybrid, options.enable_thinking, out);
}

void RenderQwen3Instruct2507(const Conversation& conversation, const TemplateOptions& options,
                             Rendered& out) {
  RenderQwen3Kind(conversation, Qwen3Kind::kInstruct2507, options.enable_thinking, out);
}

void RenderQwen3Thinking2507(const Conversation& conversation, const TemplateOptions& options,
                             Rendered& out) {
  RenderQwen3Kind(conversation, Qwen3Kind::kThinking2507, options.enable_thinking, out);
}

// A tool's result goes on with the turn of the results before it.
std::size_t FirstChangedQwen2(std::span<const Message> messages, std::size_t num_before) {
  std::size_t first = num_before;
  if (first == messages.size() || messages[first].role != Role::kTool) return first;
  while (first > 0 && messages[first - 1].role == Role::kTool) --first;
  return first;
}

// What was the last message may have been shown with reasoning that it does not have; a new query
// takes the reasoning after the last one away.
std::size_t FirstChangedQwen3(std::span<const Message> messages, std::size_t num_before) {
  const auto is_query = [](const Message& message) {
    return message.role == Role::kUser && !IsWrappedToolResponse(message);
  };
  std::size_t first = FirstChangedQwen2(messages, num_before);
  if (messages[num_before - 1].role == Role::kAssistant) first = std::min(first, num_before - 1);
  if (std::ranges::none_of(messages.subspan(num_before), is_query)) return first;
  for (std::size_t i = num_before; i-- > 0;) {
    if (is_query(messages[i])) return std::min(first, i + 1);
  }
  return first;
}

}  // namespace ctx::chat
