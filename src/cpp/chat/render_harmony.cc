// The harmony format of gpt-oss. "harmony" shows a list of harmony messages token for token as
// openai-harmony 0.0.8 renders a conversation for completion (its default configuration,
// auto_drop_analysis). "gpt-oss" first maps OpenAI chat messages and tools onto harmony messages,
// as vLLM does for its chat completions:
//
//   system message   SystemContent from the options
//   developer        the leading system or developer message as instructions, and the tools
//   assistant        reasoning -> analysis; text -> final, or commentary beside tool calls;
//                    each call -> commentary to=functions.NAME, content type json
//   tool             functions.NAME to=assistant in commentary, NAME being that of the call's id
//
// and drops all reasoning before the last final answer, as vLLM and the published chat template do.
//
// openai-harmony encodes each header field and each content by itself. Header fields can be encoded
// together where no pre-token spans them; what cannot be is a chunk of its own.
#include <algorithm>
#include <string>
#include <unordered_map>
#include <vector>

#include "chat/harmony_content.h"
#include "chat/template.h"
#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::chat {
namespace {

using std::string_view;

constexpr string_view kConstrain = "<|constrain|>";

// A message as harmony has it.
struct Shown {
  std::int64_t owner = kTemplateOwned;
  bool is_generated = false;  // just now, so not dropped
  Role role = Role::kUser;
  string_view name_prefix;
  std::optional<string_view> name;
  string_view recipient_prefix;
  std::optional<string_view> recipient;
  std::optional<string_view> channel;
  std::optional<string_view> content_type;
  std::vector<string_view> texts;
  std::vector<std::string> written;  // texts of our own making; they follow the others
};

// Once the assistant has answered, reasoning that precedes the conversation's first final message
// is dropped. The condition looks at the last assistant message, the cut at the first final one.
std::size_t EndOfDroppedAnalysis(std::span<const Shown> messages) {
  const auto last_assistant =
      std::find_if(messages.rbegin(), messages.rend(), [](const Shown& message) {
        return message.role == Role::kAssistant && !message.is_generated;
      });
  if (last_assistant == messages.rend() || last_assistant->channel != "final") return 0;
  const auto first_final = std::ranges::find_if(
      messages, [](const Shown& message) { return message.channel == "final"; });
  return static_cast<std::size_t>(first_final - messages.begin());
}

bool IsVisibleAscii(char c) { return c > ' ' && c < '\x7f'; }

// " TYPE" after the header's last field. A pre-token could span the two only if white space met.
void ContentType(string_view type, string_view field_before, std::int64_t owner, Rendered& out) {
  const bool constrains = type.starts_with(kConstrain);
  const bool is_apart = constrains ? field_before.empty() || IsVisibleAscii(field_before.back())
                                   : !type.empty() && IsVisibleAscii(type.front());
  if (!is_apart) out.BeginChunk(owner);
  out.Literal(" ");
  if (constrains) {
    out.Literal(kConstrain);
    type.remove_prefix(kConstrain.size());
  }
  out.Text(type);
}

void Show(Shown& message, Rendered& out) {
  out.BeginChunk(message.owner);
  out.Literal("<|start|>");
  string_view field_before = RoleName(message.role);
  if (message.role != Role::kTool) {
    out.Literal(field_before);
    if (message.name) out.Literal(":");
  }
  if (message.name) {
    out.Text(message.name_prefix);
    out.Text(*message.name);
    field_before = *message.name;
  }
  if (message.recipient && *message.recipient != "all") {
    out.Literal(" to=");
    out.Text(message.recipient_prefix);
    out.Text(*message.recipient);
    field_before = *message.recipient;
  }
  if (message.channel) {
    out.Literal("<|channel|>");
    out.Text(*message.channel);
    field_before = *message.channel;
  }
  if (message.content_type) ContentType(*message.content_type, field_before, message.owner, out);
  out.Literal("<|message|>");
  bool is_first = true;
  const auto next = [&](bool is_empty) {
    if (!is_empty && !is_first) out.BeginChunk(message.owner);
    is_first = is_first && is_empty;
  };
  for (const string_view text : message.texts) {
    next(text.empty());
    out.Text(text);
  }
  for (std::string& text : message.written) {
    next(text.empty());
    out.OwnText(std::move(text));
  }
  out.Literal(message.role == Role::kAssistant && message.recipient ? "<|call|>" : "<|end|>");
}

void ShowAll(std::span<Shown> messages, bool add_generation_prompt, Rendered& out) {
  const std::size_t dropped_until = EndOfDroppedAnalysis(messages);
  for (std::size_t i = 0; i < messages.size(); ++i) {
    Shown& message = messages[i];
    if (i < dropped_until && message.channel == "analysis" && !message.is_generated) continue;
    Show(message, out);
  }
  if (add_generation_prompt) {
    out.BeginChunk(kTemplateOwned);
    out.Literal("<|start|>assistant");
  }
}

// --- harmony messages ---

// The structured contents of a conversation, in order.
std::vector<HarmonyContent> StructuredContents(std::span<const Message> messages) {
  std::vector<HarmonyContent> contents;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    for (std::size_t k = 0; k < messages[i].parts.size(); ++k) {
      const ContentPart& part = messages[i].parts[k];
      if (part.kind == ContentPart::Kind::kText) continue;
      contents.emplace_back(part.kind == ContentPart::Kind::kSystemContent
                                ? HarmonyContent::Kind::kSystem
                                : HarmonyContent::Kind::kDeveloper,
                            part.text, StrCat("messages[", i, "].content[", k, "]"));
    }
  }
  return contents;
}

// --- OpenAI chat messages ---

std::string TextOf(const Message& message) {
  if (message.parts.empty()) return std::string(message.content);
  std::string text;
  for (const ContentPart& part : message.parts) text += part.text;
  return text;
}

bool IsInstruction(const Message& message) {
  return message.role == Role::kSystem || message.role == Role::kDeveloper;
}

class GptOssMessages {
 public:
  explicit GptOssMessages(const Conversation& conversation) : conversation_(conversation) {
    for (const Message& message : conversation.messages) {
      for (const ToolCall& call : message.tool_calls) {
        if (call.id) names_.insert_or_assign(*call.id, call.name);
      }
    }
  }

  std::vector<Shown> Map(string_view system_content) {
    const auto messages = conversation_.messages;
    Shown system;
    system.role = Role::kSystem;
    system.written.push_back(HarmonyContent(HarmonyContent::Kind::kSystem, system_content, "system")
                                 .Text(!conversation_.tools_json.empty()));
    shown_.push_back(std::move(system));
    const bool leads = !messages.empty() && IsInstruction(messages.front());
    std::optional<std::string> instructions;
    if (leads) instructions = TextOf(messages.front());
    if ((instructions && !instructions->empty()) || !conversation_.tools_json.empty()) {
      Developer(instructions, conversation_.tools_json, leads ? 0 : kTemplateOwned);
    }
    for (std::size_t i = leads ? 1 : 0; i < messages.size(); ++i) Add(messages[i], i);
    DropAnswered();
    return std::move(shown_);
  }

 private:
  void Developer(const std::optional<std::string>& instructions,
                 std::span<const string_view> tools_json, std::int64_t owner) {
    Shown developer;
    developer.role = Role::kDeveloper;
    developer.owner = owner;
    developer.written.push_back(DeveloperText(instructions, tools_json));
    shown_.push_back(std::move(developer));
  }

  Shown& Next(const Message& message, std::size_t i, std::optional<string_view> channel) {
    Shown& shown = shown_.emplace_back();
    shown.owner = static_cast<std::int64_t>(i);
    shown.is_generated = i >= conversation_.first_generated;
    shown.role = message.role;
    shown.channel = channel;
    return shown;
  }

  // The texts each by itself, as vLLM hands them on.
  static void AddTexts(const Message& message, Shown& shown) {
    if (message.parts.empty()) shown.texts.push_back(message.content);
    for (const ContentPart& part : message.parts) shown.texts.push_back(part.text);
  }

  void Add(const Message& message, std::size_t i) {
    switch (message.role) {
      case Role::kSystem:
      case Role::kDeveloper:
        Developer(TextOf(message), {}, static_cast<std::int64_t>(i));
        break;
      case Role::kUser:
        AddTexts(message, Next(message, i, std::nullopt));
        break;
      case Role::kTool:
        AddResult(message, i);
        break;
      case Role::kAssistant:
        AddAssistant(message, i);
        break;
    }
  }

  void AddResult(const Message& message, std::size_t i) {
    const auto name = message.tool_call_id ? names_.find(*message.tool_call_id) : names_.end();
    if (name == names_.end()) {
      throw ArgumentError(StrCat("messages[", i, "].tool_call_id: ",
                                 message.tool_call_id ? "no tool call has this id" : "missing",
                                 "; the result is shown under the name of its call"));
    }
    Shown& shown = Next(message, i, "commentary");
    shown.name_prefix = "functions.";
    shown.name = name->second;
    shown.recipient = "assistant";
    shown.written.push_back(TextOf(message));
  }

  void AddAssistant(const Message& message, std::size_t i) {
    const bool has_reasoning = message.reasoning && !message.reasoning->empty();
    if (message.tool_calls.empty()) {
      if (has_reasoning) Next(message, i, "analysis").texts.push_back(*message.reasoning);
      // An answer whose first text is empty is none.
      if (!(message.parts.empty() ? message.content : message.parts.front().text).empty()) {
        AddTexts(message, Next(message, i, "final"));
      }
      return;
    }
    if (std::string text = TextOf(message); !text.empty()) {
      Next(message, i, "commentary").written.push_back(std::move(text));
    }
    if (has_reasoning) Next(message, i, "analysis").texts.push_back(*message.reasoning);
    for (const ToolCall& call : message.tool_calls) {
      Shown& shown = Next(message, i, "commentary");
      shown.recipient_prefix = "functions.";
      shown.recipient = call.name;
      shown.content_type = "json";
      shown.texts.push_back(call.arguments_text);
    }
  }

  void DropAnswered() {
    const auto last_final = std::find_if(shown_.rbegin(), shown_.rend(), [](const Shown& message) {
                              return message.channel == "final" && !message.is_generated;
                            }).base();
    const auto dropped = std::remove_if(shown_.begin(), last_final, [](const Shown& message) {
      return message.channel == "analysis";
    });
    shown_.erase(dropped, last_final);
  }

  const Conversation& conversation_;
  std::unordered_map<string_view, string_view> names_;  // of the calls, by id; the last one counts
  std::vector<Shown> shown_;
};

}  // namespace

void RenderHarmony(const Conversation& conversation, const TemplateOptions& /*options*/,
                   Rendered& out) {
  const auto messages = conversation.messages;
  const std::vector<HarmonyContent> structured = StructuredContents(messages);
  const bool has_function_tools =
      std::ranges::any_of(structured, &HarmonyContent::has_function_tools);
  auto next_structured = structured.begin();
  std::vector<Shown> shown(messages.size());
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const Message& message = messages[i];
    Shown& made = shown[i];
    made.owner = static_cast<std::int64_t>(i);
    made.is_generated = i >= conversation.first_generated;
    made.role = message.role;
    made.name = message.name;
    made.recipient = message.recipient;
    made.channel = message.channel;
    made.content_type = message.content_type;
    if (message.parts.empty()) made.texts.push_back(message.content);
    for (const ContentPart& part : message.parts) {
      made.written.push_back(part.kind == ContentPart::Kind::kText
                                 ? std::string(part.text)
                                 : (next_structured++)->Text(has_function_tools));
    }
  }
  ShowAll(shown, conversation.add_generation_prompt, out);
}

void RenderGptOss(const Conversation& conversation, const TemplateOptions& options, Rendered& out) {
  std::vector<Shown> shown = GptOssMessages(conversation).Map(options.harmony_system);
  ShowAll(shown, conversation.add_generation_prompt, out);
}

}  // namespace ctx::chat
