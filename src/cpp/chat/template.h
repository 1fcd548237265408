// Chat templates as native renderers: a conversation becomes segments, in which the template's own
// text is trusted (it may spell control tokens) and everything the caller supplied is not.
//
// Every function here is pure and may be called from any thread. O(messages + tools) segments and
// O(text) time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "chat/message.h"
#include "tokenize/encoding.h"

namespace ctx::chat {

/// The owner of a chunk that no message owns: default system prompt, generation prompt, priming.
inline constexpr std::int64_t kTemplateOwned = -1;

/// A run of segments whose tokens do not depend on its neighbours, because it begins with a control
/// token (or because the family's reference encodes it, or a count rule counts it, by itself). Ends
/// where the next begins. Encode chunk by chunk.
struct Chunk {
  std::size_t first_segment;
  std::int64_t message;       ///< index of the message it belongs to, or kTemplateOwned
  std::int64_t extra_tokens;  ///< constants of a count rule; 0 for renderings
};

/// A rendered conversation. The views point into the conversation's text, into literals and into
/// what the rendering itself wrote.
class Rendered {
 public:
  Rendered() = default;
  Rendered(Rendered&&) = default;
  Rendered& operator=(Rendered&&) = default;

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
  /// The caller's text as the template writes it, where that is not a part of what the caller gave.
  void OwnText(std::string text) { Text(owned_.emplace_back(std::move(text))); }

  std::span<const tokenize::Segment> segments() const noexcept { return segments_; }
  std::span<const Chunk> chunks() const noexcept { return chunks_; }
  std::span<const tokenize::Segment> SegmentsOf(std::size_t chunk) const noexcept;

 private:
  std::vector<tokenize::Segment> segments_;
  std::vector<Chunk> chunks_;
  std::deque<std::string> owned_;  // its strings stay where they are
};

struct TemplateOptions {
  bool enable_thinking = true;       ///< qwen3: false closes an empty reasoning block in the prompt
  bool estimate_tools = false;       ///< openai: count tools although no exact rule is published
  std::string date = "26 Jul 2024";  ///< llama3.1: "Today Date", by default the template's own
  std::string harmony_system = "{}";  ///< gpt-oss: the system message's SystemContent as JSON
  bool operator==(const TemplateOptions&) const = default;
};

/// Whether the tokens of a prompt are the sum of its parts: those of a prompt without some of its
/// messages, and of each of these among others (message_sums.h). What may be left out is any
/// message that is neither one of the system's that the conversation begins with, nor the last
/// user's or the last one, and of results of tools that follow each other all or none.
enum class Sums : std::uint8_t { kNever, kWithoutTools, kAlways };

/// One family. `render` expects what `Validate` and `ValidateRequest` accept.
struct Template {
  std::string_view name;
  bool is_rendering = true;  ///< false for a count rule, which has chunks but no text to encode
  std::span<const std::string_view> control_tokens = {};  ///< what an encoding must have
  std::span<const Role> roles;
  bool takes_tools = false;
  bool one_tool_call = false;        ///< a message that calls several tools is an error
  bool takes_reasoning = true;       ///< false: a message with separate reasoning is an error
  bool needs_first_message = false;  ///< the family's template fails on an empty list
  /// A user message that only wraps a tool's result (IsWrappedToolResponse) continues its turn.
  bool wraps_tool_results = false;
  bool joins_parts = true;  ///< several texts of one message are shown, mostly joined by a newline
  bool takes_date = false;  ///< TemplateOptions::date is shown
  Sums sums = Sums::kNever;
  bool joins_results = false;    ///< results of tools that follow each other are one chunk
  bool shows_open_turn = false;  ///< a message is shown differently behind the last user's
  /// Throws ArgumentError for what only the whole conversation shows.
  void (*check)(const Conversation&) = nullptr;
  void (*render)(const Conversation&, const TemplateOptions&, Rendered&);
  /// The first message whose chunks may differ from those in the rendering of the first
  /// `num_before` messages (at least one), generation prompt apart; a chunk begins there. Null:
  /// not known, and `render` pays no heed to Conversation::first_message.
  std::size_t (*first_changed)(std::span<const Message> messages, std::size_t num_before) = nullptr;
};

/// Throws UnknownTokenError that lists the names there are.
const Template& FindTemplate(std::string_view name);

std::span<const Template> AllTemplates() noexcept;

/// Throws ArgumentError, naming `path`[i].field, for a message that the family has no rendering
/// for. Where a message is not the caller's i-th, `items` says which it is.
void Validate(const Template& family, const TemplateOptions& options,
              std::span<const Message> messages, std::string_view path,
              std::span<const std::size_t> items = {});

/// Throws ArgumentError when the family cannot show tools, for an empty list of messages where
/// the family's template needs one, and for what else its template refuses.
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
void RenderGptOss(const Conversation&, const TemplateOptions&, Rendered&);
void RenderLlama3(const Conversation&, const TemplateOptions&, Rendered&);
void RenderLlama31(const Conversation&, const TemplateOptions&, Rendered&);
void RenderDeepseekR1(const Conversation&, const TemplateOptions&, Rendered&);
void RenderGemma(const Conversation&, const TemplateOptions&, Rendered&);
void RenderMistralV3(const Conversation&, const TemplateOptions&, Rendered&);
void RenderMistralV7(const Conversation&, const TemplateOptions&, Rendered&);
void RenderMistralV11(const Conversation&, const TemplateOptions&, Rendered&);
void RenderMistralV13(const Conversation&, const TemplateOptions&, Rendered&);
void CountOpenai(const Conversation&, const TemplateOptions&, Rendered&);

// Where appended messages make a difference, in the same files.
std::size_t FirstChangedChatml(std::span<const Message> messages, std::size_t num_before);
std::size_t FirstChangedQwen2(std::span<const Message> messages, std::size_t num_before);
std::size_t FirstChangedQwen3(std::span<const Message> messages, std::size_t num_before);
std::size_t FirstChangedOpenai(std::span<const Message> messages, std::size_t num_before);

// What they need of the whole conversation, in the same files.
void CheckDeepseekR1(const Conversation&);
void CheckGemma(const Conversation&);
void CheckLlama31(const Conversation&);
void CheckMistralV3(const Conversation&);
void CheckMistralV7(const Conversation&);
void CheckMistralV11(const Conversation&);
void CheckMistralV13(const Conversation&);

}  // namespace ctx::chat
