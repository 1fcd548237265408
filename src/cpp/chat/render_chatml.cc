// Plain ChatML, as OpenAI published it and many models use it: no default system prompt, no tools.
#include "chat/template.h"

namespace ctx::chat {

void RenderChatml(const Conversation& conversation, const TemplateOptions& /*options*/,
                  Rendered& out) {
  for (std::size_t i = conversation.first_message; i < conversation.messages.size(); ++i) {
    const Message& message = conversation.messages[i];
    out.BeginChunk(static_cast<std::int64_t>(i));
    out.Literal("<|im_start|>");
    out.Literal(RoleName(message.role));
    out.Literal("\n");
    out.Text(message.content);
    out.Literal("<|im_end|>\n");
  }
  if (conversation.add_generation_prompt) {
    out.BeginChunk(kTemplateOwned);
    out.Literal("<|im_start|>assistant\n");
  }
}

std::size_t FirstChangedChatml(std::span<const Message> /*messages*/, std::size_t num_before) {
  return num_before;
}

}  // namespace ctx::chat
