// The chat template of DeepSeek-R1, as DeepSeek published it with the weights. It shows no tools,
// and the calls of one message only: of a second one it would leave the beginning out.
//
//   <｜begin▁of▁sentence｜>system\n\nsystem<｜User｜>...<｜Assistant｜>...<｜end▁of▁sentence｜>
//   <｜Assistant｜><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>name\n```json\n...\n```
//   <｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>...<｜tool▁calls▁end｜><｜end▁of▁sentence｜>
//   <｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>...<｜tool▁output▁end｜><｜tool▁outputs▁end｜>
//   <｜Assistant｜><think>\n
#include <algorithm>

#include "chat/template.h"
#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::chat {
namespace {

using std::string_view;

void Systems(std::span<const Message> messages, Rendered& out) {
  const auto is_system = [](const Message& message) { return message.role == Role::kSystem; };
  const auto first = std::ranges::find_if(messages, is_system);
  out.BeginChunk(first == messages.end() ? kTemplateOwned : first - messages.begin());
  out.Literal("<｜begin▁of▁sentence｜>");
  for (auto message = first; message != messages.end(); ++message) {
    if (!is_system(*message)) continue;
    if (message != first) out.Literal("\n\n");
    out.Text(message->content);
  }
}

void Calls(const Message& message, Rendered& out) {
  out.Literal("<｜Assistant｜>");
  out.Text(message.content);
  out.Literal("<｜tool▁calls▁begin｜>");
  bool is_first = true;
  for (const ToolCall& call : message.tool_calls) {
    if (!is_first) out.Literal("\n");
    is_first = false;
    out.Literal("<｜tool▁call▁begin｜>function<｜tool▁sep｜>");
    out.Text(call.name);
    out.Literal("\n```json\n");
    out.Text(call.arguments_text);
    out.Literal("\n```<｜tool▁call▁end｜>");
  }
  out.Literal("<｜tool▁calls▁end｜><｜end▁of▁sentence｜>");
}

// Reasoning is dropped, be it separate or in the content, unless the message has just been
// generated.
void Answer(const Message& message, bool is_generated, Rendered& out) {
  constexpr string_view kClose = "</think>";
  string_view content = message.content;
  out.Literal("<｜Assistant｜>");
  if (is_generated && message.reasoning) {
    out.Literal("<think>\n");
    out.Text(*message.reasoning);
    out.Literal("\n</think>\n\n");
  } else if (const std::size_t close = content.rfind(kClose);
             close != string_view::npos && !is_generated) {
    content.remove_prefix(close + kClose.size());
  }
  out.Text(content);
  out.Literal("<｜end▁of▁sentence｜>");
}

}  // namespace

void RenderDeepseekR1(const Conversation& conversation, const TemplateOptions& /*options*/,
                      Rendered& out) {
  const auto messages = conversation.messages;
  Systems(messages, out);
  bool has_results = false;  // that no assistant's message has closed
  bool is_first_result = true;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const Message& message = messages[i];
    if (message.role == Role::kSystem) continue;
    out.BeginChunk(static_cast<std::int64_t>(i));
    if (message.role == Role::kTool) {
      if (is_first_result) out.Literal("<｜tool▁outputs▁begin｜>");
      out.Literal("<｜tool▁output▁begin｜>");
      out.Text(message.content);
      out.Literal("<｜tool▁output▁end｜>");
      is_first_result = false;
      has_results = true;
      continue;
    }
    if (message.role == Role::kUser) {
      out.Literal("<｜User｜>");
      out.Text(message.content);
    } else if (!message.tool_calls.empty()) {
      Calls(message, out);
    } else if (has_results) {
      out.Literal("<｜tool▁outputs▁end｜>");
      out.Text(message.content);
      out.Literal("<｜end▁of▁sentence｜>");
    } else {
      Answer(message, i >= conversation.first_generated, out);
    }
    has_results = false;
  }
  if (has_results) {
    out.BeginChunk(kTemplateOwned);
    out.Literal("<｜tool▁outputs▁end｜>");
  } else if (conversation.add_generation_prompt) {
    out.BeginChunk(kTemplateOwned);
    out.Literal("<｜Assistant｜><think>\n");
  }
}

void CheckDeepseekR1(const Conversation& conversation) {
  if (!conversation.tools_json.empty()) {
    throw ArgumentError("tools: template 'deepseek-r1' shows none; write them into a message");
  }
  bool has_calls = false;
  for (std::size_t i = 0; i < conversation.messages.size(); ++i) {
    if (conversation.messages[i].tool_calls.empty()) continue;
    if (has_calls) {
      throw ArgumentError(StrCat("messages[", i,
                                 "].tool_calls: template 'deepseek-r1' shows the calls of one "
                                 "message of a conversation only"));
    }
    has_calls = true;
  }
}

}  // namespace ctx::chat
