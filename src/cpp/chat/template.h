// Chat templates as native renderers: a conversation becomes segments, in which the template's own
// text is trusted (it may spell control tokens) and everything the caller supplied is not.
//
// Every function here is pure and may be called from any thread. O(messages + tools) segments and
// O(text) time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "chat/message.h"
#include "tokenize/encoding.h"

namespace ctx::chat {

/// The owner of a chunk that no message owns: default system prompt, generation prompt, priming.
inline constexpr std::int64_t kTemplateOwned = -1;

/// A run of segments whose tokens do not depend on its neighbours, because it begins with a control
/// token (or, for a count rule, because the rule counts it by itself). Ends where the next begins.
struct Chunk {
  std::size_t first_segment;
  std::int64_t message;       ///< index of the message it belongs to, or kTemplateOwned
  std::int64_t extra_tokens;  ///< constants of a count rule; 0 for renderings
};

/// A rendered conversation. The views point into the conversation's text and into literals.
class Rendered {
 public:
  /// Opens the next chunk; every segment belongs to one.
  void BeginChunk(std::int64_t message, std::int64_t extra_tokens = 0) {
    chunks_.push_back({segments_.size(), message, extra_tokens});
  }
  /// The template's own text; only literals may come here.
  void Literal(std::string_view text) { segments_.push_back({text, true}); }
  /// The caller's text, which never becomes a control token.
  void Text(std::string_view text) {
    if (!text.empty()) segments_.push_back({text, false});
  }

  std::span<const tokenize::Segment> segments() const noexcept { return segments_; }
  std::span<const Chunk> chunks() const noexcept { return chunks_; }
  std::span<const tokenize::Segment> SegmentsOf(std::size_t chunk) const noexcept;

 private:
  std::vector<tokenize::Segment> segments_;
  std::vector<Chunk> chunks_;
};

struct TemplateOptions {
  bool enable_thinking = true;  ///< qwen3: false closes an empty reasoning block in the prompt
  bool estimate_tools = false;  ///< openai: count tools although no exact rule is published
};

/// One family. `render` expects what `Validate` accepts.
struct Template {
  std::string_view name;
  bool is_rendering;  ///< false for a count rule, which has chunks but no text to encode
  std::span<const std::string_view> control_tokens;  ///< what an encoding must have
  std::span<const Role> roles;
  bool takes_tools;
  bool takes_reasoning;      ///< false: a message with separate reasoning is an error
  bool needs_first_message;  ///< the family's template fails on an empty list
  /// A user message that only wraps a tool's result (IsWrappedToolResponse) continues its turn.
  bool wraps_tool_results;
  bool joins_parts;  ///< several texts of one message are shown joined by a newline
  void (*render)(const Conversation&, const TemplateOptions&, Rendered&);
};

/// Throws UnknownTokenError that lists the names there are.
const Template& FindTemplate(std::string_view name);

std::span<const Template> AllTemplates() noexcept;

/// Throws ArgumentError, naming `path`[i].field, for a message that the family has no rendering
/// for.
void Validate(const Template& family, const TemplateOptions& options,
              std::span<const Message> messages, std::string_view path);

/// Throws ArgumentError when the family cannot show tools, or for an empty list of messages where
/// the family's template needs one.
void ValidateRequest(const Template& family, const TemplateOptions& options,
                     const Conversation& conversation);

/// Throws ArgumentError when the encoding lacks one of the family's control tokens, or when one
/// takes white space along or depends on what is beside it: chunks would not be independent.
void ValidateEncoding(const Template& family, const tokenize::Encoding& encoding);

/// Whether a user message only wraps a tool's result, and so continues the turn it stands in
/// (the rule of the Qwen3 templates).
bool IsWrappedToolResponse(const Message& message) noexcept;

// The renderers, one source file each.
void RenderChatml(const Conversation&, const TemplateOptions&, Rendered&);
void RenderQwen2(const Conversation&, const TemplateOptions&, Rendered&);
void RenderQwen3(const Conversation&, const TemplateOptions&, Rendered&);
void RenderQwen3Instruct2507(const Conversation&, const TemplateOptions&, Rendered&);
void RenderQwen3Thinking2507(const Conversation&, const TemplateOptions&, Rendered&);
void RenderHarmony(const Conversation&, const TemplateOptions&, Rendered&);
void CountOpenai(const Conversation&, const TemplateOptions&, Rendered&);

}  // namespace ctx::chat
