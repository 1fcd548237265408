#include "chat/message_sums.h"

#include <vector>

#include "chat/count.h"

namespace ctx::chat {

bool AddsUp(const Template& family, bool has_tools) noexcept {
  return family.sums == Sums::kAlways || (family.sums == Sums::kWithoutTools && !has_tools);
}

std::int64_t TokensAmongOthers(const Template& family, const TemplateOptions& options,
                               const Message& message, bool in_open_turn,
                               const tokenize::Encoding& encoding, CountTable* table) {
  return TokensAmongOthers(family, options, std::span(&message, 1), in_open_turn, encoding, table);
}

std::int64_t TokensAmongOthers(const Template& family, const TemplateOptions& options,
                               std::span<const Message> messages, bool in_open_turn,
                               const tokenize::Encoding& encoding, CountTable* table) {
  // Rendered between two others; only what is of its own is counted.
  std::vector<Message> among(1);
  among.front().role = Role::kUser;
  among.front().content = "x";
  among.insert(among.end(), messages.begin(), messages.end());
  among.push_back(among.front());
  if (in_open_turn) among.back().role = Role::kAssistant;
  Rendered rendered;
  family.render({.messages = among, .tools_json = {}, .add_generation_prompt = false}, options,
                rendered);
  std::int64_t num_tokens = 0;
  const auto last = static_cast<std::int64_t>(messages.size());
  for (std::size_t i = 0; i < rendered.chunks().size(); ++i) {
    const Chunk& chunk = rendered.chunks()[i];
    if (chunk.message < 1 || chunk.message > last) continue;
    num_tokens += CountChunk(rendered.SegmentsOf(i), encoding, table) + chunk.extra_tokens;
  }
  return num_tokens;
}

}  // namespace ctx::chat
