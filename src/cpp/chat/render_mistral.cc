// The instruct formats of Mistral's models by the version of their tokenizers, as mistral-common
// validates, normalizes and encodes requests.
//
//   v3    <s>[INST]...[/INST]answer</s>[AVAILABLE_TOOLS][...][/AVAILABLE_TOOLS][INST]system\n\n
//         ...[/INST][TOOL_CALLS][{"name": ..., "arguments": ..., "id": ...}]</s>
//         [TOOL_RESULTS]{"content": ..., "call_id": ...}[/TOOL_RESULTS]
//   v7    <s>[SYSTEM_PROMPT]...[/SYSTEM_PROMPT][INST]...[/INST]answer[TOOL_CALLS][...]</s>
//         [TOOL_RESULTS]id[TOOL_CONTENT]...[/TOOL_RESULTS]
//   v11   ... [TOOL_CALLS]name[CALL_ID]id[ARGS]{...}[TOOL_CALLS]name...</s>
//   v13   ... [TOOL_CALLS]name[ARGS]{...}</s>[TOOL_RESULTS]...[/TOOL_RESULTS]
//
// Neighbours of one role become one turn, which belongs to the first of them; the tools stand
// before the last user turn, from v13 on before the first. Every token that closes a turn waits
// (Writer) until it is known whether the next turn begins with text: then it opens that one's
// chunk, so that each chunk begins with a control token.
#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "chat/filters.h"
#include "chat/python_json.h"
#include "chat/template.h"
#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::chat {
namespace {

using std::string_view;

enum class Version { kV3, kV7, kV11, kV13 };

bool IsSystem(Role role) { return role == Role::kSystem || role == Role::kDeveloper; }
Role PlainRole(Role role) { return IsSystem(role) ? Role::kSystem : role; }

// Neighbours of one role; of tools and, from v7 on, of systems each message is a turn.
struct Turn {
  Role role;
  std::vector<std::size_t> messages;  // none for the empty user turn that v3 begins with
};

// Tool results come in the order of the calls, whatever their own; unknown ids last.
void SortResults(std::span<const Message> messages, const std::vector<string_view>& call_ids,
                 std::span<Turn> results) {
  std::map<string_view, std::size_t> place;
  std::map<string_view, std::size_t> last_of_id;
  for (std::size_t i = 0; i < call_ids.size(); ++i) place[call_ids[i]] = i;
  const auto id = [&](const Turn& turn) {
    return messages[turn.messages.front()].tool_call_id.value_or("");
  };
  for (std::size_t i = 0; i < results.size(); ++i) last_of_id[id(results[i])] = i;
  const auto key = [&](const Turn& turn) {
    const auto found = place.find(id(turn));
    const std::size_t call =
        found == place.end() ? std::numeric_limits<std::size_t>::max() : found->second;
    return std::pair(call, last_of_id[id(turn)]);
  };
  std::ranges::stable_sort(results, {}, key);
}

std::vector<Turn> Turns(std::span<const Message> messages, Version version) {
  const bool sorts = version >= Version::kV11;
  std::vector<Turn> turns;
  std::vector<string_view> call_ids;
  for (std::size_t i = 0; i < messages.size();) {
    const Role role = PlainRole(messages[i].role);
    const std::size_t begin = i;
    const std::size_t first_turn = turns.size();
    for (; i < messages.size() && PlainRole(messages[i].role) == role; ++i) {
      if (role == Role::kSystem && version == Version::kV3) continue;
      const bool joins = role == Role::kUser || role == Role::kAssistant;
      if (!joins || i == begin) turns.push_back({role, {}});
      turns.back().messages.push_back(i);
      for (const ToolCall& call : messages[i].tool_calls) {
        call_ids.push_back(call.id.value_or(""));
      }
    }
    if (role == Role::kTool) {
      if (sorts) SortResults(messages, call_ids, std::span(turns).subspan(first_turn));
      call_ids.clear();
    }
  }
  if (turns.empty() || (version == Version::kV3 && turns.front().role != Role::kUser)) {
    turns.insert(turns.begin(), {Role::kUser, {}});
  }
  return turns;
}

string_view StripSpacesRight(string_view text) {
  return text.substr(0, text.find_last_not_of(' ') + 1);
}

std::string ToolsJson(std::span<const string_view> tools) {
  std::string json = "[";
  for (const string_view tool : tools) {
    const string_view function = JsonField(tool, "function");
    const string_view description = JsonField(function, "description");
    const string_view parameters = JsonField(function, "parameters");
    if (json.size() > 1) json += ", ";
    json += "{\"type\": \"function\", \"function\": {\"name\": ";
    json += JsonField(function, "name");
    json += ", \"description\": ";
    json += description.empty() || description == "null" ? "\"\"" : description;
    json += ", \"parameters\": ";
    json += parameters.empty() || parameters == "null" ? "{}" : parameters;
    json += "}}";
  }
  return json + "]";
}

class Writer {
 public:
  Writer(const Conversation& conversation, Version version, Rendered& out)
      : conversation_(conversation), version_(version), out_(out) {}

  void Write() {
    const std::vector<Turn> turns = Turns(conversation_.messages, version_);
    const auto is_user = [](const Turn& turn) { return turn.role == Role::kUser; };
    const auto first_user = std::ranges::find_if(turns, is_user);
    const auto last_user = std::find_if(turns.rbegin(), turns.rend(), is_user);
    const Turn* with_system = last_user == turns.rend() ? nullptr : &*last_user;
    const Turn* with_tools = version_ < Version::kV13    ? with_system
                             : first_user == turns.end() ? nullptr
                                                         : &*first_user;
    for (const Turn& turn : turns) {
      switch (turn.role) {
        case Role::kUser:
          User(turn, &turn == with_tools, version_ == Version::kV3 && &turn == with_system);
          break;
        case Role::kAssistant:
          Assistant(turn);
          break;
        case Role::kTool:
          Result(turn);
          break;
        default:
          Begin(turn, false);
          out_.Literal("[SYSTEM_PROMPT]");
          out_.Text(messages()[turn.messages.front()].content);
          pending_ = "[/SYSTEM_PROMPT]";
      }
    }
    out_.Literal(pending_);
  }

 private:
  std::span<const Message> messages() const { return conversation_.messages; }

  void Begin(const Turn& turn, bool with_text) {
    const bool opens = with_text || is_first_;
    is_first_ = false;
    if (!opens) out_.Literal(pending_);
    out_.BeginChunk(turn.messages.empty() ? kTemplateOwned
                                          : static_cast<std::int64_t>(turn.messages.front()));
    if (opens) out_.Literal(pending_);
  }

  void User(const Turn& turn, bool with_tools, bool with_system) {
    Begin(turn, false);
    if (with_tools && !conversation_.tools_json.empty()) {
      out_.Literal("[AVAILABLE_TOOLS]");
      out_.OwnText(ToolsJson(conversation_.tools_json));
      out_.Literal("[/AVAILABLE_TOOLS]");
    }
    out_.Literal("[INST]");
    if (with_system) {
      for (const Message& message : messages()) {
        if (!IsSystem(message.role) || message.content.empty()) continue;
        out_.Text(message.content);
        out_.Literal("\n\n");
      }
    }
    bool joins = false;
    for (const std::size_t i : turn.messages) {
      if (messages()[i].content.empty()) continue;
      if (joins) out_.Literal("\n\n");
      out_.Text(messages()[i].content);
      joins = true;
    }
    pending_ = "[/INST]";
  }

  // Without reasoning the joined texts go without the spaces at their end.
  void Assistant(const Turn& turn) {
    std::size_t last_text = messages().size();
    bool thinks = false;
    bool has_text = false;
    for (const std::size_t i : turn.messages) {
      thinks |= messages()[i].reasoning.has_value();
      if (messages()[i].content.empty()) continue;
      has_text |= last_text != messages().size();
      last_text = i;
    }
    const auto text_of = [&](std::size_t i) {
      const string_view text = messages()[i].content;
      return i == last_text && !thinks ? StripSpacesRight(text) : text;
    };
    if (last_text != messages().size()) has_text |= !text_of(last_text).empty();
    Begin(turn, has_text && !messages()[turn.messages.front()].reasoning);
    bool joins = false;
    for (const std::size_t i : turn.messages) {
      if (const auto& reasoning = messages()[i].reasoning) {
        out_.Literal("[THINK]");
        out_.Text(*reasoning);
        out_.Literal("[/THINK]");
        joins = false;
      }
      if (messages()[i].content.empty()) continue;
      if (joins) out_.Literal("\n\n");
      out_.Text(text_of(i));
      joins = true;
    }
    Calls(turn);
    pending_ = "</s>";
  }

  void Calls(const Turn& turn) {
    std::vector<const ToolCall*> calls;
    for (const std::size_t i : turn.messages) {
      for (const ToolCall& call : messages()[i].tool_calls) calls.push_back(&call);
    }
    if (calls.empty()) return;
    if (version_ <= Version::kV7) {
      out_.Literal("[TOOL_CALLS][");
      for (const ToolCall* call : calls) {
        if (call != calls.front()) out_.Literal(", ");
        out_.Literal("{\"name\": \"");
        out_.Text(call->name);
        out_.Literal("\", \"arguments\": ");
        out_.Text(call->arguments_json);
        out_.Literal(", \"id\": \"");
        out_.Text(*call->id);
        out_.Literal("\"}");
      }
      out_.Literal("]");
      return;
    }
    for (const ToolCall* call : calls) {
      out_.Literal("[TOOL_CALLS]");
      out_.Text(call->name);
      if (version_ == Version::kV11) {
        out_.Literal("[CALL_ID]");
        out_.Text(*call->id);
      }
      out_.Literal("[ARGS]");
      out_.Text(call->arguments_json);
    }
  }

  void Result(const Turn& turn) {
    const Message& message = messages()[turn.messages.front()];
    Begin(turn, false);
    out_.Literal("[TOOL_RESULTS]");
    if (version_ == Version::kV3) {
      out_.Literal("{\"content\": ");
      if (message.content.empty()) {
        out_.Literal("{}");
      } else if (std::optional<std::string> json = RewriteJson(message.content)) {
        out_.OwnText(*std::move(json));
      } else {
        out_.OwnText(JsonString(message.content));
      }
      out_.Literal(", \"call_id\": \"");
      out_.Text(*message.tool_call_id);
      out_.Literal("\"}");
    } else {
      if (version_ < Version::kV13) {
        out_.Text(*message.tool_call_id);
        out_.Literal("[TOOL_CONTENT]");
      }
      out_.Text(message.content);
    }
    pending_ = "[/TOOL_RESULTS]";
  }

  const Conversation& conversation_;
  Version version_;
  Rendered& out_;
  string_view pending_ = "<s>";
  bool is_first_ = true;
};

// --- what mistral-common refuses ---

[[noreturn]] void Refuse(std::size_t index, string_view field, string_view why) {
  throw ArgumentError(StrCat("messages[", index, "].", field, ": ", why));
}

bool IsAlphanumeric(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool IsName(string_view name) {
  return !name.empty() && name.size() <= 64 && std::ranges::all_of(name, [](char c) {
    return IsAlphanumeric(c) || c == '_' || c == '-';
  });
}

bool IsId(const std::optional<string_view>& id, Version version) {
  if (!id) return false;
  if (version == Version::kV13) return !id->empty() && *id != "null";
  return id->size() == 9 && std::ranges::all_of(*id, IsAlphanumeric);
}

constexpr string_view kNameRule = "must be 1 to 64 of a-z, A-Z, 0-9, '_' and '-'";

string_view IdRule(Version version) {
  return version == Version::kV13 ? "must be given and not be 'null'"
                                  : "must be 9 of a-z, A-Z and 0-9";
}

void CheckMessage(const Message& message, std::size_t i, Version version) {
  for (std::size_t k = 0; k < message.tool_calls.size(); ++k) {
    const ToolCall& call = message.tool_calls[k];
    const std::string where = StrCat("tool_calls[", k, "].");
    if (!IsName(call.name)) Refuse(i, where + "function.name", kNameRule);
    if (!IsId(call.id, version)) Refuse(i, where + "id", IdRule(version));
  }
  if (message.role == Role::kTool) {
    if (!IsId(message.tool_call_id, version)) Refuse(i, "tool_call_id", IdRule(version));
    if (message.name && !IsName(*message.name)) Refuse(i, "name", kNameRule);
    if (version == Version::kV3) {
      try {
        RewriteJson(message.content);
      } catch (const ArgumentError& error) {
        Refuse(i, "content", error.what());
      }
    }
  }
  if (message.role == Role::kAssistant && version == Version::kV3 &&
      message.content.empty() == message.tool_calls.empty()) {
    Refuse(i, "content",
           message.content.empty() ? "empty, and there are no tool_calls"
                                   : "a message that calls tools has no content in this format");
  }
}

bool MayFollow(Role role, Role previous) {
  const bool is_reply = previous == Role::kAssistant || previous == Role::kTool;
  return role != (is_reply ? Role::kSystem : Role::kTool);
}

void CheckOrder(std::span<const Message> messages) {
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const Role role = PlainRole(messages[i].role);
    const bool may_stand =
        i == 0 ? role != Role::kTool : MayFollow(role, PlainRole(messages[i - 1].role));
    if (!may_stand) {
      Refuse(i, "role",
             i == 0 ? std::string("a conversation cannot begin with a tool's message")
                    : StrCat("'", RoleName(role), "' cannot follow '",
                             RoleName(messages[i - 1].role), "' in this format"));
    }
  }
}

// Each result answers a call of the last assistant's message, and all are answered before the next.
void CheckResults(std::span<const Message> messages, Version version) {
  const bool by_id = version >= Version::kV11;
  std::multiset<string_view> open;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const Message& message = messages[i];
    if (message.role == Role::kTool) {
      const auto found = by_id ? open.find(*message.tool_call_id) : open.begin();
      if (found == open.end()) {
        Refuse(i, "tool_call_id", "no call is open that this result could answer");
      }
      open.erase(found);
    } else if (message.role == Role::kAssistant) {
      if (!open.empty()) {
        Refuse(i, "role", "an assistant's message before all calls have their results");
      }
      for (std::size_t k = 0; k < message.tool_calls.size(); ++k) {
        const string_view id = *message.tool_calls[k].id;
        if (by_id && open.contains(id)) {
          Refuse(i, StrCat("tool_calls[", k, "].id"), "another call of the message has this id");
        }
        open.insert(id);
      }
    }
  }
}

void CheckTools(const Conversation& conversation) {
  const auto tools = conversation.tools_json;
  for (std::size_t i = 0; i < tools.size(); ++i) {
    const auto refuse = [&](string_view field, string_view why) {
      throw ArgumentError(StrCat("tools[", i, "].", field, ": ", why));
    };
    const string_view type = JsonField(tools[i], "type");
    const string_view function = JsonField(tools[i], "function");
    const string_view name = JsonField(function, "name");
    const string_view description = JsonField(function, "description");
    const string_view parameters = JsonField(function, "parameters");
    if (!type.empty() && type != "\"function\"") refuse("type", "must be 'function'");
    if (!function.starts_with('{')) refuse("function", "missing or not a mapping");
    if (name.size() < 2 || !IsName(name.substr(1, name.size() - 2))) {
      refuse("function.name", kNameRule);
    }
    if (!description.empty() && description != "null" && !description.starts_with('"')) {
      refuse("function.description", "must be a string");
    }
    if (!parameters.empty() && parameters != "null" && !parameters.starts_with('{')) {
      refuse("function.parameters", "must be a mapping");
    }
  }
}

void Check(const Conversation& conversation, Version version) {
  const auto messages = conversation.messages;
  CheckOrder(messages);
  for (std::size_t i = 0; i < messages.size(); ++i) CheckMessage(messages[i], i, version);
  CheckResults(messages, version);
  CheckTools(conversation);
  bool has_user = version == Version::kV3;
  for (const Turn& turn : Turns(messages, version)) {
    has_user |= turn.role == Role::kUser;
    if (turn.role != Role::kAssistant) continue;
    bool has_content = false;
    bool has_calls = false;
    for (const std::size_t i : turn.messages) {
      has_content |= !messages[i].content.empty() || messages[i].reasoning.has_value();
      has_calls |= !messages[i].tool_calls.empty();
    }
    if (!has_content && !has_calls) {
      Refuse(turn.messages.front(), "content", "empty, and there are no tool_calls");
    }
    if (has_content && has_calls && version == Version::kV3) {
      Refuse(turn.messages.front(), "content",
             "with the messages that follow it, it has content and tool_calls");
    }
  }
  if (!conversation.tools_json.empty() && !has_user) {
    throw ArgumentError("messages: tools are shown in a user's message, and there is none");
  }
  if (conversation.add_generation_prompt && messages.back().role == Role::kAssistant) {
    Refuse(messages.size() - 1, "role", "the assistant has answered; there is nothing to generate");
  }
}

}  // namespace

void RenderMistralV3(const Conversation& conversation, const TemplateOptions& /*options*/,
                     Rendered& out) {
  Writer(conversation, Version::kV3, out).Write();
}

void RenderMistralV7(const Conversation& conversation, const TemplateOptions& /*options*/,
                     Rendered& out) {
  Writer(conversation, Version::kV7, out).Write();
}

void RenderMistralV11(const Conversation& conversation, const TemplateOptions& /*options*/,
                      Rendered& out) {
  Writer(conversation, Version::kV11, out).Write();
}

void RenderMistralV13(const Conversation& conversation, const TemplateOptions& /*options*/,
                      Rendered& out) {
  Writer(conversation, Version::kV13, out).Write();
}

void CheckMistralV3(const Conversation& conversation) { Check(conversation, Version::kV3); }
void CheckMistralV7(const Conversation& conversation) { Check(conversation, Version::kV7); }
void CheckMistralV11(const Conversation& conversation) { Check(conversation, Version::kV11); }
void CheckMistralV13(const Conversation& conversation) { Check(conversation, Version::kV13); }

}  // namespace ctx::chat
