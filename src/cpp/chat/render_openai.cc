// The count rule that OpenAI publishes for its API models (cookbook, "How to count tokens with
// tiktoken"): 3 tokens per message, 1 more per name, each field's text counted by itself, and 3
// that prime the reply. The rendering behind it is not published, so nothing here can be encoded.
#include "chat/template.h"

namespace ctx::chat {
namespace {

constexpr std::int64_t kTokensPerMessage = 3;
constexpr std::int64_t kTokensPerName = 1;
constexpr std::int64_t kPrimingTokens = 3;
// Not published; the framing of one call, taken to be that of a message.
constexpr std::int64_t kEstimatedTokensPerToolCall = 3;

void Field(std::string_view text, std::int64_t message, std::int64_t extra_tokens, Rendered& out) {
  out.BeginChunk(message, extra_tokens);
  out.Text(text);
}

}  // namespace

void CountOpenai(const Conversation& conversation, const TemplateOptions& /*options*/,
                 Rendered& out) {
  if (conversation.first_message == 0) {
    for (const std::string_view tool : conversation.tools_json) {
      Field(tool, kTemplateOwned, 0, out);
    }
  }
  for (std::size_t i = conversation.first_message; i < conversation.messages.size(); ++i) {
    const Message& message = conversation.messages[i];
    const auto owner = static_cast<std::int64_t>(i);
    Field(RoleName(message.role), owner, kTokensPerMessage, out);
    Field(message.content, owner, 0, out);
    if (message.name) Field(*message.name, owner, kTokensPerName, out);
    for (const ToolCall& call : message.tool_calls) {
      Field(call.name, owner, kEstimatedTokensPerToolCall, out);
      Field(call.arguments_json, owner, 0, out);
    }
  }
  if (conversation.add_generation_prompt) out.BeginChunk(kTemplateOwned, kPrimingTokens);
}

std::size_t FirstChangedOpenai(std::span<const Message> /*messages*/, std::size_t num_before) {
  return num_before;
}

}  // namespace ctx::chat
