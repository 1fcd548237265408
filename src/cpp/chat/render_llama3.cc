// The chat templates of Llama 3 and of Llama 3.1, 3.2 (text models) and 3.3, as Meta published them
// with the weights.
//
//   <|begin_of_text|>
//   <|start_header_id|>system<|end_header_id|>\n\n ... <|eot_id|>
//   <|start_header_id|>user<|end_header_id|>\n\n ... <|eot_id|>
//   <|start_header_id|>assistant<|end_header_id|>\n\n ... <|eot_id|>
//   <|start_header_id|>ipython<|end_header_id|>\n\n ... <|eot_id|>       (a tool's result)
//   <|start_header_id|>assistant<|end_header_id|>\n\n
//
// From 3.1 on there always is a system turn, which begins with two dates, and the definitions of
// the tools stand in the first user turn.
#include "chat/filters.h"
#include "chat/template.h"
#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::chat {
namespace {

using std::string_view;

constexpr std::size_t kMaxToolDepth = 64;  // the indentation would be quadratic

void Header(string_view role, Rendered& out) {
  out.Literal("<|start_header_id|>");
  out.Literal(role);
  out.Literal("<|end_header_id|>\n\n");
}

void PlainTurn(const Message& message, Rendered& out) {
  Header(RoleName(message.role), out);
  out.Text(Trim(message.content));
  out.Literal("<|eot_id|>");
}

void GenerationPrompt(const Conversation& conversation, Rendered& out) {
  if (!conversation.add_generation_prompt) return;
  out.BeginChunk(kTemplateOwned);
  Header("assistant", out);
}

void FirstUserTurn(const Message& message, std::span<const string_view> tools, Rendered& out) {
  Header("user", out);
  out.Literal(
      "Given the following functions, please respond with a JSON for a function call "
      "with its proper arguments that best answers the given prompt.\n\n"
      "Respond in the format {\"name\": function name, \"parameters\": dictionary of argument name "
      "and its value}.Do not use variables.\n\n");
  for (const string_view tool : tools) {
    out.OwnText(IndentJson(tool));
    out.Literal("\n\n");
  }
  out.Text(Trim(message.content));
  out.Literal("<|eot_id|>");
}

bool FirstIsSystem(std::span<const Message> messages) {
  return messages.front().role == Role::kSystem;
}

}  // namespace

void RenderLlama3(const Conversation& conversation, const TemplateOptions& /*options*/,
                  Rendered& out) {
  for (std::size_t i = 0; i < conversation.messages.size(); ++i) {
    out.BeginChunk(static_cast<std::int64_t>(i));
    if (i == 0) out.Literal("<|begin_of_text|>");
    PlainTurn(conversation.messages[i], out);
  }
  GenerationPrompt(conversation, out);
}

void RenderLlama31(const Conversation& conversation, const TemplateOptions& options,
                   Rendered& out) {
  const auto messages = conversation.messages;
  const bool has_tools = !conversation.tools_json.empty();
  const std::size_t first = FirstIsSystem(messages) ? 1 : 0;
  out.BeginChunk(first == 1 ? 0 : kTemplateOwned);
  out.Literal("<|begin_of_text|>");
  Header("system", out);
  if (has_tools) out.Literal("Environment: ipython\n");
  out.Literal("Cutting Knowledge Date: December 2023\nToday Date: ");
  out.Text(options.date);
  out.Literal("\n\n");
  if (first == 1) out.Text(Trim(messages.front().content));
  out.Literal("<|eot_id|>");
  for (std::size_t i = first; i < messages.size(); ++i) {
    const Message& message = messages[i];
    out.BeginChunk(static_cast<std::int64_t>(i));
    if (has_tools && i == first) {
      FirstUserTurn(message, conversation.tools_json, out);
    } else if (!message.tool_calls.empty()) {
      Header("assistant", out);
      out.Literal("{\"name\": \"");
      out.Text(message.tool_calls.front().name);
      out.Literal("\", \"parameters\": ");
      out.Text(message.tool_calls.front().arguments_json);
      out.Literal("}<|eot_id|>");
    } else if (message.role == Role::kTool) {
      Header("ipython", out);
      out.OwnText(JsonString(message.content));
      out.Literal("<|eot_id|>");
    } else {
      PlainTurn(message, out);
    }
  }
  GenerationPrompt(conversation, out);
}

void CheckLlama31(const Conversation& conversation) {
  const auto messages = conversation.messages;
  if (conversation.tools_json.empty()) return;
  for (std::size_t i = 0; i < conversation.tools_json.size(); ++i) {
    if (JsonDepth(conversation.tools_json[i]) > kMaxToolDepth) {
      throw ArgumentError(StrCat("tools[", i, "]: nested more than ", kMaxToolDepth, " deep"));
    }
  }
  const std::size_t first = FirstIsSystem(messages) ? 1 : 0;
  if (first == messages.size()) {
    throw ArgumentError("messages: tools are shown in the first user message, and there is none");
  }
  if (messages[first].role != Role::kUser) {
    throw ArgumentError(
        StrCat("messages[", first,
               "].role: tools are shown in the first message after the system's, which "
               "must be the user's"));
  }
}

}  // namespace ctx::chat
