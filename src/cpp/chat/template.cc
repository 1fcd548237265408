#include "chat/template.h"

#include <algorithm>
#include <array>
#include <string>

#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::chat {
namespace {

using std::string_view;

constexpr std::array<string_view, 2> kChatmlTokens = {"<|im_start|>", "<|im_end|>"};
constexpr std::array<string_view, 4> kQwen2Tokens = {"<|im_start|>", "<|im_end|>", "<tool_call>",
                                                     "</tool_call>"};
constexpr std::array<string_view, 8> kQwen3Tokens = {
    "<|im_start|>", "<|im_end|>", "<tool_call>",     "</tool_call>",
    "<think>",      "</think>",   "<tool_response>", "</tool_response>"};
constexpr std::array<string_view, 4> kLlama3Tokens = {"<|begin_of_text|>", "<|start_header_id|>",
                                                      "<|end_header_id|>", "<|eot_id|>"};
constexpr std::array<string_view, 6> kHarmonyTokens = {"<|start|>", "<|channel|>", "<|message|>",
                                                       "<|end|>",   "<|call|>",    "<|constrain|>"};
constexpr std::array<string_view, 15> kDeepseekTokens = {"<｜begin▁of▁sentence｜>",
                                                         "<｜end▁of▁sentence｜>",
                                                         "<｜User｜>",
                                                         "<｜Assistant｜>",
                                                         "<｜tool▁calls▁begin｜>",
                                                         "<｜tool▁calls▁end｜>",
                                                         "<｜tool▁call▁begin｜>",
                                                         "<｜tool▁call▁end｜>",
                                                         "<｜tool▁outputs▁begin｜>",
                                                         "<｜tool▁outputs▁end｜>",
                                                         "<｜tool▁output▁begin｜>",
                                                         "<｜tool▁output▁end｜>",
                                                         "<｜tool▁sep｜>",
                                                         "<think>",
                                                         "</think>"};
constexpr std::array<string_view, 3> kGemmaTokens = {"<bos>", "<start_of_turn>", "<end_of_turn>"};
// The first 9 are those of v3, 12 of v7, 14 of v11 and v13, and all of v13 with reasoning.
constexpr std::array<string_view, 16> kMistralTokens = {"<s>",
                                                        "</s>",
                                                        "[INST]",
                                                        "[/INST]",
                                                        "[AVAILABLE_TOOLS]",
                                                        "[/AVAILABLE_TOOLS]",
                                                        "[TOOL_CALLS]",
                                                        "[TOOL_RESULTS]",
                                                        "[/TOOL_RESULTS]",
                                                        "[SYSTEM_PROMPT]",
                                                        "[/SYSTEM_PROMPT]",
                                                        "[TOOL_CONTENT]",
                                                        "[CALL_ID]",
                                                        "[ARGS]",
                                                        "[THINK]",
                                                        "[/THINK]"};

constexpr std::array<Role, 2> kTurnRoles = {Role::kUser, Role::kAssistant};
constexpr std::array<Role, 3> kPlainRoles = {Role::kSystem, Role::kUser, Role::kAssistant};
constexpr std::array<Role, 4> kToolRoles = {Role::kSystem, Role::kUser, Role::kAssistant,
                                            Role::kTool};
constexpr std::array<Role, 5> kAllRoles = {Role::kSystem, Role::kDeveloper, Role::kUser,
                                           Role::kAssistant, Role::kTool};

constexpr std::array<Template, 18> kTemplates = {{
    {.name = "chatml",
     .control_tokens = kChatmlTokens,
     .roles = kPlainRoles,
     .sums = Sums::kAlways,
     .render = RenderChatml,
     .first_changed = FirstChangedChatml},
    {.name = "qwen2",
     .control_tokens = kQwen2Tokens,
     .roles = kToolRoles,
     .takes_tools = true,
     .needs_first_message = true,
     .sums = Sums::kAlways,
     .joins_results = true,
     .render = RenderQwen2,
     .first_changed = FirstChangedQwen2},
    {.name = "qwen3",
     .control_tokens = kQwen3Tokens,
     .roles = kToolRoles,
     .takes_tools = true,
     .needs_first_message = true,
     .wraps_tool_results = true,
     .sums = Sums::kAlways,
     .joins_results = true,
     .shows_open_turn = true,
     .render = RenderQwen3,
     .first_changed = FirstChangedQwen3},
    {.name = "qwen3-instruct-2507",
     .control_tokens = kQwen3Tokens,
     .roles = kToolRoles,
     .takes_tools = true,
     .needs_first_message = true,
     .wraps_tool_results = true,
     .sums = Sums::kAlways,
     .joins_results = true,
     .shows_open_turn = true,
     .render = RenderQwen3Instruct2507,
     .first_changed = FirstChangedQwen2},
    {.name = "qwen3-thinking-2507",
     .control_tokens = kQwen3Tokens,
     .roles = kToolRoles,
     .takes_tools = true,
     .needs_first_message = true,
     .wraps_tool_results = true,
     .sums = Sums::kAlways,
     .joins_results = true,
     .shows_open_turn = true,
     .render = RenderQwen3Thinking2507,
     .first_changed = FirstChangedQwen3},
    {.name = "llama3",
     .control_tokens = kLlama3Tokens,
     .roles = kPlainRoles,
     .needs_first_message = true,
     .sums = Sums::kAlways,
     .render = RenderLlama3},
    {.name = "llama3.1",
     .control_tokens = kLlama3Tokens,
     .roles = kToolRoles,
     .takes_tools = true,
     .one_tool_call = true,
     .needs_first_message = true,
     .takes_date = true,
     .sums = Sums::kWithoutTools,
     .check = CheckLlama31,
     .render = RenderLlama31},
    {.name = "deepseek-r1",
     .control_tokens = kDeepseekTokens,
     .roles = kToolRoles,
     .takes_tools = true,
     .check = CheckDeepseekR1,
     .render = RenderDeepseekR1},
    {.name = "gemma2",
     .control_tokens = kGemmaTokens,
     .roles = kTurnRoles,
     .needs_first_message = true,
     .check = CheckGemma,
     .render = RenderGemma},
    {.name = "gemma3",
     .control_tokens = kGemmaTokens,
     .roles = kPlainRoles,
     .needs_first_message = true,
     .joins_parts = false,
     .check = CheckGemma,
     .render = RenderGemma},
    {.name = "mistral-v3",
     .control_tokens = std::span(kMistralTokens).first(9),
     .roles = kAllRoles,
     .takes_tools = true,
     .takes_reasoning = false,
     .needs_first_message = true,
     .joins_parts = false,
     .check = CheckMistralV3,
     .render = RenderMistralV3},
    {.name = "mistral-v7",
     .control_tokens = std::span(kMistralTokens).first(12),
     .roles = kAllRoles,
     .takes_tools = true,
     .takes_reasoning = false,
     .needs_first_message = true,
     .joins_parts = false,
     .check = CheckMistralV7,
     .render = RenderMistralV7},
    {.name = "mistral-v11",
     .control_tokens = std::span(kMistralTokens).first(14),
     .roles = kAllRoles,
     .takes_tools = true,
     .takes_reasoning = false,
     .needs_first_message = true,
     .joins_parts = false,
     .check = CheckMistralV11,
     .render = RenderMistralV11},
    {.name = "mistral-v13",
     .control_tokens = std::span(kMistralTokens).first(14),
     .roles = kAllRoles,
     .takes_tools = true,
     .takes_reasoning = false,
     .needs_first_message = true,
     .joins_parts = false,
     .check = CheckMistralV13,
     .render = RenderMistralV13},
    {.name = "mistral-v13-reasoning",
     .control_tokens = std::span(kMistralTokens).first(16),
     .roles = kAllRoles,
     .takes_tools = true,
     .needs_first_message = true,
     .joins_parts = false,
     .check = CheckMistralV13,
     .render = RenderMistralV13},
    {.name = "harmony",
     .control_tokens = kHarmonyTokens,
     .roles = kAllRoles,
     .takes_reasoning = false,
     .render = RenderHarmony},
    {.name = "gpt-oss",
     .control_tokens = kHarmonyTokens,
     .roles = kAllRoles,
     .takes_tools = true,
     .render = RenderGptOss},
    {.name = "openai",
     .is_rendering = false,
     .roles = kAllRoles,
     .takes_tools = true,
     .takes_reasoning = false,
     .joins_parts = false,
     .sums = Sums::kAlways,
     .render = CountOpenai,
     .first_changed = FirstChangedOpenai},
}};

// The count rule of "openai" is published for plain messages only.
bool OnlyEstimates(const Template& family) { return !family.is_rendering; }

[[noreturn]] void Refuse(string_view path, std::size_t index, string_view field, string_view why) {
  throw ArgumentError(StrCat(path, "[", index, "].", field, ": ", why));
}

// A harmony message's structured contents stand where openai-harmony takes them.
void ValidateStructured(const Message& message, string_view path, std::size_t index) {
  for (const ContentPart& part : message.parts) {
    const bool is_system = part.kind == ContentPart::Kind::kSystemContent;
    if (part.kind == ContentPart::Kind::kText ||
        message.role == (is_system ? Role::kSystem : Role::kDeveloper)) {
      continue;
    }
    Refuse(path, index, "content",
           is_system ? "a system_content stands in system messages only"
                     : "a developer_content stands in developer messages only");
  }
}

// What only harmony's own messages have.
void RefuseHarmonyFields(const Template& family, const Message& message, string_view path,
                         std::size_t index) {
  const auto refuse = [&](string_view field, string_view what) {
    Refuse(path, index, field,
           StrCat("template '", family.name, "' has no ", what, "; 'harmony' has"));
  };
  if (message.channel) refuse("channel", "channels");
  if (message.recipient) refuse("recipient", "recipients");
  if (message.content_type) refuse("content_type", "content types");
  for (const ContentPart& part : message.parts) {
    if (part.kind != ContentPart::Kind::kText) refuse("content", "structured contents");
  }
}

constexpr string_view kEstimateHint =
    "no exact count is published for it; ask for an estimate with "
    "Template('openai', estimate_tools=True)";

}  // namespace

std::string_view RoleName(Role role) noexcept {
  constexpr std::array<string_view, 5> kNames = {"system", "developer", "user", "assistant",
                                                 "tool"};
  return kNames[static_cast<std::size_t>(role)];
}

std::span<const tokenize::Segment> Rendered::SegmentsOf(std::size_t chunk) const noexcept {
  const std::size_t begin = chunks_[chunk].first_segment;
  const std::size_t end =
      chunk + 1 < chunks_.size() ? chunks_[chunk + 1].first_segment : segments_.size();
  return std::span(segments_).subspan(begin, end - begin);
}

std::span<const Template> AllTemplates() noexcept { return kTemplates; }

const Template& FindTemplate(string_view name) {
  const auto found = std::ranges::find(kTemplates, name, &Template::name);
  if (found != kTemplates.end()) return *found;
  std::string names;
  for (const Template& family : kTemplates) {
    names += names.empty() ? "" : ", ";
    names += family.name;
  }
  throw UnknownTokenError(StrCat("unknown template '", name, "'; known: ", names));
}

void Validate(const Template& family, const TemplateOptions& options,
              std::span<const Message> messages, string_view path,
              std::span<const std::size_t> items) {
  const bool is_harmony = family.render == RenderHarmony;
  for (std::size_t k = 0; k < messages.size(); ++k) {
    const Message& message = messages[k];
    const std::size_t i = items.empty() ? k : items[k];
    if (std::ranges::find(family.roles, message.role) == family.roles.end()) {
      Refuse(path, i, "role",
             StrCat("template '", family.name, "' has no role '", RoleName(message.role), "'"));
    }
    if (!message.tool_calls.empty()) {
      if (message.role != Role::kAssistant) {
        Refuse(path, i, "tool_calls", "only an assistant message can call tools");
      }
      if (!family.takes_tools) {
        Refuse(path, i, "tool_calls",
               StrCat("template '", family.name, "' has no rendering for tool calls",
                      is_harmony ? "; give each as a message with a recipient" : ""));
      }
      if (family.one_tool_call && message.tool_calls.size() > 1) {
        Refuse(path, i, "tool_calls",
               StrCat("template '", family.name, "' shows one call in a message, not several"));
      }
    }
    if (message.reasoning && !family.takes_reasoning) {
      Refuse(path, i, "reasoning_content",
             !family.is_rendering ? "the API models do not take reasoning back as text"
             : is_harmony
                 ? "harmony keeps reasoning in a message of its own with channel 'analysis'"
                 : "this format has no place for reasoning");
    }
    if (message.has_joined_parts && !family.joins_parts && !options.estimate_tools) {
      Refuse(path, i, "content",
             StrCat("template '", family.name,
                    "' has no published way to join several texts; give one"));
    }
    if (is_harmony) {
      if (message.role == Role::kTool && !message.name) {
        Refuse(path, i, "name", "missing; harmony shows a tool's message under its name");
      }
      ValidateStructured(message, path, i);
    } else {
      RefuseHarmonyFields(family, message, path, i);
    }
    if (OnlyEstimates(family) && !options.estimate_tools) {
      if (message.role == Role::kTool) Refuse(path, i, "role", kEstimateHint);
      if (!message.tool_calls.empty()) Refuse(path, i, "tool_calls", kEstimateHint);
    }
  }
}

void ValidateRequest(const Template& family, const TemplateOptions& options,
                     const Conversation& conversation) {
  if (conversation.messages.empty() && family.needs_first_message) {
    throw ArgumentError(StrCat("messages: template '", family.name, "' needs at least one"));
  }
  if (family.check != nullptr) family.check(conversation);
  if (conversation.tools_json.empty()) return;
  if (!family.takes_tools) {
    throw ArgumentError(StrCat("tools: template '", family.name, "' has no rendering for tools"));
  }
  if (OnlyEstimates(family) && !options.estimate_tools) {
    throw ArgumentError(StrCat("tools: ", kEstimateHint));
  }
}

void ValidateEncoding(const Template& family, const tokenize::Encoding& encoding) {
  for (const string_view token : family.control_tokens) {
    const auto& tokens = encoding.special_tokens().tokens();
    const auto found =
        std::ranges::lower_bound(tokens, token, {}, &tokenize::SpecialToken::spelling);
    if (found == tokens.end() || found->spelling != token) {
      throw ArgumentError(StrCat("template '", family.name, "' needs the control token '", token,
                                 "', which encoding '", encoding.name(), "' does not have"));
    }
    if (found->lstrip || found->rstrip || found->single_word) {
      throw ArgumentError(StrCat(
          "template '", family.name, "': control token '", token, "' of encoding '",
          encoding.name(), "' depends on the text beside it (lstrip, rstrip or single_word)"));
    }
  }
}

bool IsWrappedToolResponse(const Message& message) noexcept {
  return message.content.starts_with("<tool_response>") &&
         message.content.ends_with("</tool_response>");
}

}  // namespace ctx::chat
