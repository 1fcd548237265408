#include "chat/input.h"

#include <algorithm>

namespace ctx::chat {
namespace {

constexpr std::string_view kNotShown = "no template shows this field";
constexpr std::string_view kContinued = "an open message that the model continues is not counted";
constexpr std::string_view kReasoningHint =
    "no template shows this field; give the text as reasoning_content";

// Marks for prompt caches and what only answers carry do not reach the prompt.
constexpr Field kMessageFields[] = {
    {"role", kRole},
    {"content", kContent},
    {"name", kName},
    {"tool_calls", kToolCalls},
    {"tool_call_id", kToolCallId},
    {"reasoning", kReasoning},
    {"reasoning_content", kReasoningContent},
    {"channel", kChannel},
    {"recipient", kRecipient},
    {"content_type", kContentType},
    {"type", kType},
    {"annotations", kWithoutEffect},
    {"cache_control", kWithoutEffect},
    {"id", kWithoutEffect},
    {"parsed", kWithoutEffect},
    {"status", kWithoutEffect},
    {"weight", kWithoutEffect},
    {"audio", kRefused, kNotShown},
    {"function_call", kRefused, kNotShown},
    {"images", kRefused, kNotShown},
    {"partial", kRefused, kContinued},
    {"phase", kRefused, kNotShown},
    {"prefix", kRefused, kContinued},
    {"reasoning_details", kRefused, kReasoningHint},
    {"refusal", kRefused, kNotShown},
    {"thinking", kRefused, kReasoningHint},
    {"thinking_blocks", kRefused, kReasoningHint},
    {"tools", kRefused, "no template shows this field; give the tools of the request"},
};
constexpr Field kCallItemFields[] = {
    {"type", kType},           {"call_id", kId},       {"name", kName},
    {"arguments", kArguments}, {"id", kWithoutEffect}, {"status", kWithoutEffect},
};
constexpr Field kOutputItemFields[] = {
    {"type", kType},        {"call_id", kToolCallId},   {"output", kOutput},
    {"id", kWithoutEffect}, {"status", kWithoutEffect},
};
constexpr Field kReasoningItemFields[] = {
    {"type", kType},
    {"content", kContent},
    {"encrypted_content", kEncrypted},
    {"summary", kWithoutEffect},
    {"id", kWithoutEffect},
    {"status", kWithoutEffect},
};
constexpr Field kCallFields[] = {
    {"function", kFunction},           {"type", kType}, {"id", kId}, {"index", kWithoutEffect},
    {"cache_control", kWithoutEffect},
};
constexpr Field kBareCallFields[] = {
    {"name", kName},
    {"arguments", kArguments},
    {"type", kType},
    {"function", kFunction},
    {"id", kId},
    {"index", kWithoutEffect},
    {"cache_control", kWithoutEffect},
    {"parsed_arguments", kWithoutEffect},
};
constexpr Field kFunctionFields[] = {
    {"name", kName},
    {"arguments", kArguments},
    {"parsed_arguments", kWithoutEffect},
};
constexpr Field kTextPartFields[] = {
    {"type", kType},
    {"text", kText},
    {"annotations", kWithoutEffect},
    {"cache_control", kWithoutEffect},
    {"logprobs", kWithoutEffect},
    {"prompt_cache_breakpoint", kWithoutEffect},
};
constexpr Field kToolUseFields[] = {
    {"type", kType},
    {"name", kName},
    {"input", kArguments},
    {"id", kId},
    {"cache_control", kWithoutEffect},
};
constexpr Field kToolResultFields[] = {
    {"type", kType},        {"tool_use_id", kToolCallId},      {"content", kContent},
    {"is_error", kIsError}, {"cache_control", kWithoutEffect},
};
constexpr Field kThinkingFields[] = {
    {"type", kType},
    {"thinking", kThinking},
    {"signature", kWithoutEffect},
    {"cache_control", kWithoutEffect},
};

}  // namespace

std::span<const Field> MessageFields() noexcept { return kMessageFields; }
std::span<const Field> CallItemFields() noexcept { return kCallItemFields; }
std::span<const Field> OutputItemFields() noexcept { return kOutputItemFields; }
std::span<const Field> ReasoningItemFields() noexcept { return kReasoningItemFields; }
std::span<const Field> CallFields() noexcept { return kCallFields; }
std::span<const Field> BareCallFields() noexcept { return kBareCallFields; }
std::span<const Field> FunctionFields() noexcept { return kFunctionFields; }
std::span<const Field> TextPartFields() noexcept { return kTextPartFields; }
std::span<const Field> ToolUseFields() noexcept { return kToolUseFields; }
std::span<const Field> ToolResultFields() noexcept { return kToolResultFields; }
std::span<const Field> ThinkingFields() noexcept { return kThinkingFields; }

std::optional<Role> FindRole(std::string_view name) noexcept {
  for (const Role role :
       {Role::kSystem, Role::kDeveloper, Role::kUser, Role::kAssistant, Role::kTool}) {
    if (RoleName(role) == name) return role;
  }
  return std::nullopt;
}

bool IsTextPart(std::string_view type) noexcept {
  return type == "text" || type == "input_text" || type == "output_text";
}

void RequireLeadOf(bool is_system, bool is_responses, const Path& path) {
  if (is_system == is_responses) {
    Refuse(path, "belongs to another API; give it as the first message, with role 'system'");
  }
}

std::string Quoted(std::string_view text) {
  constexpr std::size_t kMaxQuoted = 64;
  const bool is_cut = text.size() > kMaxQuoted;
  if (is_cut) {
    text = text.substr(0, kMaxQuoted);
    while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0x80) != 0) {
      text.remove_suffix(1);
    }
  }
  return StrCat("'", text, is_cut ? "...'" : "'");
}

}  // namespace ctx::chat
