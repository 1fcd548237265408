// The harmony format of gpt-oss, for message lists without tools, as openai-harmony renders a
// conversation for completion (its default configuration, auto_drop_analysis).
#include <algorithm>

#include "chat/template.h"

namespace ctx::chat {
namespace {

// Once the assistant has answered, reasoning that precedes the conversation's first final message
// is dropped. The condition looks at the last assistant message, the cut at the first final one.
std::size_t EndOfDroppedAnalysis(std::span<const Message> messages) {
  const auto last_assistant =
      std::find_if(messages.rbegin(), messages.rend(),
                   [](const Message& message) { return message.role == Role::kAssistant; });
  if (last_assistant == messages.rend() || last_assistant->channel != "final") return 0;
  const auto first_final = std::ranges::find_if(
      messages, [](const Message& message) { return message.channel == "final"; });
  return static_cast<std::size_t>(first_final - messages.begin());
}

}  // namespace

void RenderHarmony(const Conversation& conversation, const TemplateOptions& /*options*/,
                   Rendered& out) {
  const std::size_t dropped_until = EndOfDroppedAnalysis(conversation.messages);
  for (std::size_t i = 0; i < conversation.messages.size(); ++i) {
    const Message& message = conversation.messages[i];
    if (i < dropped_until && message.channel == "analysis") continue;
    out.BeginChunk(static_cast<std::int64_t>(i));
    out.Literal("<|start|>");
    out.Literal(RoleName(message.role));
    if (message.name) {
      out.Literal(":");
      out.Text(*message.name);
    }
    if (message.channel) {
      out.Literal("<|channel|>");
      out.Text(*message.channel);
    }
    out.Literal("<|message|>");
    out.Text(message.content);
    out.Literal("<|end|>");
  }
  if (conversation.add_generation_prompt) {
    out.BeginChunk(kTemplateOwned);
    out.Literal("<|start|>assistant");
  }
}

}  // namespace ctx::chat
