// The chat templates of Gemma 2 and Gemma 3 (text), as Google published them with the weights.
//
//   <bos><start_of_turn>user\n[system\n\n]...<end_of_turn>\n
//   <start_of_turn>model\n...<end_of_turn>\n
//   <start_of_turn>model\n
//
// User and assistant take turns. Gemma 3 shows the system's text, as it is, in the first user turn;
// Gemma 2 refuses it.
#include "chat/filters.h"
#include "chat/template.h"
#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::chat {

void RenderGemma(const Conversation& conversation, const TemplateOptions& /*options*/,
                 Rendered& out) {
  const auto messages = conversation.messages;
  const bool system_first = messages.front().role == Role::kSystem;
  const std::size_t first = system_first ? 1 : 0;
  for (std::size_t i = first; i < messages.size(); ++i) {
    out.BeginChunk(static_cast<std::int64_t>(i));
    if (i == first) out.Literal("<bos>");
    out.Literal(messages[i].role == Role::kUser ? "<start_of_turn>user\n"
                                                : "<start_of_turn>model\n");
    if (i == first && system_first) {
      out.Text(messages.front().content);
      out.Literal("\n\n");
    }
    out.Text(Trim(messages[i].content));
    out.Literal("<end_of_turn>\n");
  }
  if (conversation.add_generation_prompt) {
    out.BeginChunk(kTemplateOwned);
    out.Literal("<start_of_turn>model\n");
  }
}

void CheckGemma(const Conversation& conversation) {
  const auto messages = conversation.messages;
  const std::size_t first = messages.front().role == Role::kSystem ? 1 : 0;
  if (first == messages.size()) {
    throw ArgumentError(
        "messages: the system's text is shown in the first user message, and there is none");
  }
  for (std::size_t i = first; i < messages.size(); ++i) {
    const Role expected = (i - first) % 2 == 0 ? Role::kUser : Role::kAssistant;
    if (messages[i].role == expected) continue;
    throw ArgumentError(StrCat("messages[", i, "].role: '", RoleName(messages[i].role),
                               "' where user and assistant take turns, and it is the ",
                               RoleName(expected), "'s"));
  }
}

}  // namespace ctx::chat
