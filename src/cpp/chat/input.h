// What requests may say, and what becomes of it: the one place of the rules for messages of
// OpenAI's chat completions, items of its Responses API and Anthropic's messages. They are written
// once, for any source of values: JSON text (body.h) and Python's objects (the bindings).
//
// Every field of a message is of one of three kinds: it is read; or it is known not to reach the
// prompt, and is passed over; or it is an ArgumentError that names messages[i].field, and so are
// fields that nobody here knows. What a message of another shape says becomes the same messages
// without loss of text or order, or is an error too:
//
//   function_call              a call of the assistant's message before it, else of a new one
//   function_call_output       a tool's message
//   reasoning                  the reasoning of the assistant's message that follows
//   thinking, text, tool_use   reasoning, content and calls of one message, in this order
//   tool_result ..., then text tool's messages, then the user's
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "chat/message.h"
#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::chat {

/// Where in a request something stands, for errors: "messages[3].content[0].text".
class Path {
 public:
  // NOLINTNEXTLINE(google-explicit-constructor): the name of the whole is a path.
  Path(std::string_view name) : name_(name) {}
  // NOLINTNEXTLINE(google-explicit-constructor)
  Path(const char* name) : name_(name) {}
  Path operator[](std::size_t index) const { return Path(this, {}, index); }
  Path operator/(std::string_view name) const { return Path(this, name, 0); }
  std::string str() const {
    if (parent_ == nullptr) return std::string(name_);
    return name_.empty() ? StrCat(parent_->str(), "[", index_, "]")
                         : StrCat(parent_->str(), ".", name_);
  }

 private:
  Path(const Path* parent, std::string_view name, std::size_t index)
      : parent_(parent), name_(name), index_(index) {}

  const Path* parent_ = nullptr;
  std::string_view name_;
  std::size_t index_ = 0;
};

template <typename... Args>
[[noreturn]] void Refuse(const Path& path, const Args&... why) {
  throw ArgumentError(StrCat(path.str(), ": ", why...));
}

/// The beginning of a text of the caller's, for an error.
std::string Quoted(std::string_view text);

enum class ValueKind : std::uint8_t { kNull, kText, kList, kMapping, kOther };

/// What a field is to its kind of object: a slot that it is read into, or one of these.
inline constexpr int kWithoutEffect = -1;
inline constexpr int kRefused = -2;

struct Field {
  std::string_view name;
  int slot;
  std::string_view why_refused = {};
};

/// What ReadFields found beside the fields that are read.
struct OtherFields {
  const Field* refused = nullptr;
  const Field* twice = nullptr;
  bool has_unknown = false;
  std::string unknown;
};

/// How a caller says what parts that are no text cost.
inline constexpr std::string_view kPartTokens = "part_tokens";

/// A part that is no text: of which message, and what it says of itself.
template <typename Value>
struct PartCost {
  std::size_t message;
  Value part;
  std::string kind;
  std::string path;
};

std::span<const Field> MessageFields() noexcept;
std::span<const Field> CallItemFields() noexcept;
std::span<const Field> OutputItemFields() noexcept;
std::span<const Field> ReasoningItemFields() noexcept;
std::span<const Field> CallFields() noexcept;
std::span<const Field> BareCallFields() noexcept;
std::span<const Field> FunctionFields() noexcept;
std::span<const Field> TextPartFields() noexcept;
std::span<const Field> ToolUseFields() noexcept;
std::span<const Field> ToolResultFields() noexcept;
std::span<const Field> ThinkingFields() noexcept;

/// The slots of all these tables.
enum Slot : int {
  kType,
  kRole,
  kContent,
  kName,
  kToolCalls,
  kToolCallId,
  kReasoning,
  kReasoningContent,
  kChannel,
  kRecipient,
  kContentType,
  kText,
  kFunction,
  kId,
  kArguments,
  kOutput,
  kEncrypted,
  kIsError,
  kThinking,
  kNumSlots
};

/// The role of this spelling; nothing for others.
std::optional<Role> FindRole(std::string_view name) noexcept;

/// Whether a part of this type is text.
bool IsTextPart(std::string_view type) noexcept;

/// The item of a message that no item is.
inline constexpr std::size_t kNoItem = static_cast<std::size_t>(-1);

/// Throws for a leading message under the name of another API: `system` is of Anthropic's messages,
/// `instructions` of the Responses API.
void RequireLeadOf(bool is_system, bool is_responses, const Path& path);

/// Messages out of values of any shape, one after another. A Source has
///
///   Value                        cheap to copy; default-constructed it is no value at all
///   KindOf(value)                ValueKind; no value is kNull
///   Find(value, name)            a field of a mapping or object, else no value
///   Has(value, name)             whether there is such a field, null or not
///   ReadFields(value, fields, slots, others)  every field of a mapping to where it belongs; of an
///                                object those in the table that are read or refused
///   TypeName(value)              for errors, in Python's words
///   Text(value)                  of a kText; stays as long as the messages
///   ForEach(list, f(k, value))
///   IsEmptyList(value), IsFalse(value)
///   Unwrapped(value)             of an enumeration its value, else the value
///   MappingJson(value, path)   a mapping as tojson writes it
///   CanonicalJson(text, path)    JSON text of an object as tojson writes it
///   Keep(string)                 a view that stays as long as the messages
///   knows_part_tokens()          whether the caller gave a rule for parts that are no text
template <typename Source>
class MessageReader {
 public:
  using Value = typename Source::Value;

  MessageReader(Source& source, std::vector<Message>& messages, std::vector<std::size_t>& items)
      : source_(source), messages_(messages), items_(items) {}

  /// Appends what item `index` says, or adds it to the message before. Throws ArgumentError.
  /// Returns the index of the item whose message it went on with, `index` if of none.
  std::size_t Add(Value item, std::size_t index, const Path& path) {
    item_ = index;
    const Value type = source_.Find(item, "type");
    if (!IsNull(type)) {
      const bool is_text = source_.KindOf(type) == ValueKind::kText;
      const std::string_view kind = is_text ? source_.Text(type) : std::string_view();
      if (kind == "function_call") return AddCallItem(item, path);
      if (kind == "function_call_output") return AddOutputItem(item, path);
      if (kind == "reasoning") return AddReasoningItem(item, path);
      if (kind != "message") {
        Refuse(path / "type", "cannot count an item of type ",
               is_text ? Quoted(kind) : source_.TypeName(type),
               ", only a message, a function_call, its output or reasoning");
      }
    }
    return AddMessage(item, path);
  }

  /// A message of a text, or of a list of texts of which at most one says anything.
  Message LeadFrom(const Value& text, Role role, const Path& path) {
    Message message;
    message.role = role;
    if (source_.KindOf(text) == ValueKind::kText) {
      message.content = source_.Text(text);
      return message;
    }
    if (source_.KindOf(text) != ValueKind::kList) {
      Refuse(path, "must be text or a list of texts, not ", source_.TypeName(text));
    }
    bool has_text = false;
    source_.ForEach(text, [&](std::size_t k, const Value& part) {
      const Path where = path[k];
      const std::string_view says = TextOfPart(part, where);
      if (says.empty()) return;
      if (has_text) Refuse(where, "servers join several texts here in ways of their own; give one");
      has_text = true;
      message.content = says;
    });
    return message;
  }

  std::vector<PartCost<Value>>& part_costs() noexcept { return part_costs_; }

  /// Whether the last message has only reasoning yet, which a message that follows goes on with;
  /// what a reader that goes on with the messages of another has to be told.
  bool has_open_reasoning() const noexcept {
    return open_reasoning_ > 0 && open_reasoning_ == messages_.size();
  }
  void OpenReasoning() noexcept { open_reasoning_ = messages_.size(); }

 private:
  using Slots = std::array<Value, kNumSlots>;

  bool IsNull(const Value& value) const { return source_.KindOf(value) == ValueKind::kNull; }

  // Reads the fields that the table has, and throws for others.
  Slots Read(const Value& value, std::span<const Field> fields, const Path& path) {
    Slots slots{};
    OtherFields others;
    source_.ReadFields(value, fields, slots, others);
    Check(others, path);
    return slots;
  }

  static void Check(const OtherFields& others, const Path& path) {
    if (others.refused != nullptr) {
      Refuse(path / others.refused->name, others.refused->why_refused);
    }
    if (others.twice != nullptr) Refuse(path / others.twice->name, "given twice");
    if (others.has_unknown) {
      throw ArgumentError(StrCat(path.str(), ".", std::string_view(others.unknown).substr(0, 64),
                                 ": unknown field; leave it out if it does not reach the prompt"));
    }
  }

  std::optional<std::string_view> TextOrNull(const Value& value, const Path& path) {
    const ValueKind kind = source_.KindOf(value);
    if (kind == ValueKind::kNull) return std::nullopt;
    if (kind != ValueKind::kText) {
      Refuse(path, "must be a string, not ", source_.TypeName(value));
    }
    return source_.Text(value);
  }

  std::string_view RequiredText(const Value& value, const Path& path) {
    if (source_.KindOf(value) != ValueKind::kText) Refuse(path, "missing or not a string");
    return source_.Text(value);
  }

  // The text of a part that must be text.
  std::string_view TextOfPart(const Value& part, const Path& path) {
    if (source_.KindOf(part) == ValueKind::kText) return source_.Text(part);
    const Slots slots = Read(part, TextPartFields(), path);
    const std::string_view kind = RequiredText(slots[kType], path / "type");
    if (!IsTextPart(kind)) {
      Refuse(path / "type", "cannot count a part of type ", Quoted(kind), ", only text");
    }
    return RequiredText(slots[kText], path / "text");
  }

  // The texts of one message, to be joined by a newline.
  struct Texts {
    std::string_view first;
    std::string joined;
    std::vector<ContentPart> parts;
    std::size_t size = 0;
    void Add(std::string_view text, ContentPart::Kind kind = ContentPart::Kind::kText) {
      parts.push_back({kind, text});
      if (size == 0) {
        first = text;
      } else {
        if (size == 1) joined = first;
        joined += '\n';
        joined += text;
      }
      ++size;
    }
  };

  void SetContent(Texts& texts, Message& message) {
    message.content = texts.size > 1 ? source_.Keep(std::move(texts.joined)) : texts.first;
    message.has_joined_parts = texts.size > 1;
    const bool is_one_text =
        texts.size == 1 && texts.parts.front().kind == ContentPart::Kind::kText;
    if (!is_one_text) message.parts = std::move(texts.parts);
  }

  // A part of a message that is to come at the end of the list.
  void AddPart(const Value& part, std::string_view kind, const Path& path, std::size_t message,
               Texts& texts) {
    if (IsTextPart(kind)) {
      texts.Add(TextOfPart(part, path));
      return;
    }
    if (kind == "system_content" || kind == "developer_content") {
      texts.Add(source_.MappingJson(part, path), kind == "system_content"
                                                     ? ContentPart::Kind::kSystemContent
                                                     : ContentPart::Kind::kDeveloperContent);
      return;
    }
    if (!source_.knows_part_tokens()) {
      Refuse(path / "type", "cannot count a part of type ", Quoted(kind),
             "; say what it costs: ", kPartTokens, "={", Quoted(kind), ": ...}");
    }
    part_costs_.push_back({message, part, std::string(kind), path.str()});
  }

  std::string_view KindOfPart(const Value& part, const Path& path) {
    return RequiredText(source_.Find(part, "type"), path / "type");
  }

  // A call with its name and arguments; `field` is what the latter are called.
  ToolCall CallFrom(const Slots& slots, const Path& path, std::string_view field = "arguments") {
    ToolCall call;
    call.name = RequiredText(slots[kName], path / "name");
    const Value& arguments = slots[kArguments];
    const Path where = path / field;
    switch (source_.KindOf(arguments)) {
      case ValueKind::kNull:
        call.arguments_json = "{}";
        break;
      case ValueKind::kMapping:
        call.arguments_json = source_.MappingJson(arguments, where);
        call.arguments_text = call.arguments_json;
        break;
      case ValueKind::kText:
        call.arguments_text = source_.Text(arguments);
        call.arguments_json = call.arguments_text.empty()
                                  ? std::string_view("{}")
                                  : source_.CanonicalJson(call.arguments_text, where);
        break;
      default:
        Refuse(where, "must be a JSON object, not ", source_.TypeName(arguments));
    }
    return call;
  }

  // The id of a call, which only links it with its result: what is no text is passed over.
  std::optional<std::string_view> IdFrom(const Value& id) {
    if (source_.KindOf(id) != ValueKind::kText) return std::nullopt;
    return source_.Text(id);
  }

  void ReadCalls(const Value& calls, const Path& path, Message& message) {
    if (IsNull(calls)) return;
    if (source_.KindOf(calls) != ValueKind::kList) {
      Refuse(path, "must be a list, not ", source_.TypeName(calls));
    }
    source_.ForEach(calls, [&](std::size_t k, const Value& call) {
      const Path where = path[k];
      const Value type = source_.Find(call, "type");
      if (!IsNull(type) &&
          !(source_.KindOf(type) == ValueKind::kText && source_.Text(type) == "function")) {
        Refuse(where / "type", "cannot count a call of type ",
               source_.KindOf(type) == ValueKind::kText ? Quoted(source_.Text(type))
                                                        : source_.TypeName(type));
      }
      const Value function = source_.Find(call, "function");
      if (IsNull(function)) {
        const Slots slots = Read(call, BareCallFields(), where);
        message.tool_calls.push_back(CallFrom(slots, where));
        message.tool_calls.back().id = IdFrom(slots[kId]);
      } else {
        const Slots slots = Read(call, CallFields(), where);
        const Path inner = where / "function";
        message.tool_calls.push_back(CallFrom(Read(function, FunctionFields(), inner), inner));
        message.tool_calls.back().id = IdFrom(slots[kId]);
      }
    });
  }

  std::size_t AddMessage(const Value& item, const Path& path) {
    Slots slots{};
    OtherFields others;
    source_.ReadFields(item, MessageFields(), slots, others);
    const Value role_value = source_.Unwrapped(slots[kRole]);
    const std::string_view role_name = RequiredText(role_value, path / "role");
    const std::optional<Role> role = FindRole(role_name);
    if (!role) Refuse(path / "role", "unknown role ", Quoted(role_name));
    Check(others, path);
    Message message;
    message.role = *role;
    ReadCalls(slots[kToolCalls], path / "tool_calls", message);
    message.reasoning = TextOrNull(slots[kReasoningContent], path / "reasoning_content");
    const auto reasoning = TextOrNull(slots[kReasoning], path / "reasoning");
    if (message.reasoning && reasoning && *message.reasoning != *reasoning) {
      Refuse(path / "reasoning", "differs from reasoning_content");
    }
    if (!message.reasoning) message.reasoning = reasoning;
    message.tool_call_id = TextOrNull(slots[kToolCallId], path / "tool_call_id");
    message.name = TextOrNull(slots[kName], path / "name");
    message.channel = TextOrNull(slots[kChannel], path / "channel");
    message.recipient = TextOrNull(slots[kRecipient], path / "recipient");
    message.content_type = TextOrNull(slots[kContentType], path / "content_type");
    const Value& content = slots[kContent];
    const Path where = path / "content";
    switch (source_.KindOf(content)) {
      case ValueKind::kText:
        message.content = source_.Text(content);
        break;
      case ValueKind::kList:
        return AddParts(content, where, std::move(message));
      case ValueKind::kNull: {
        const bool says_anything =
            !message.tool_calls.empty() || (message.reasoning && !message.reasoning->empty());
        if (message.role != Role::kAssistant || !says_anything) {
          Refuse(where, source_.Has(item, "content") ? "is null" : "missing",
                 message.role == Role::kAssistant ? ", and there are no tool_calls" : "");
        }
        break;
      }
      default:
        Refuse(where, "must be text or a list of parts, not ", source_.TypeName(content));
    }
    return Append(std::move(message));
  }

  std::size_t AddParts(const Value& parts, const Path& path, Message message) {
    Texts texts;
    bool has_results = false;
    bool has_others = false;
    bool has_calls = false;  // in parts
    source_.ForEach(parts, [&](std::size_t k, const Value& part) {
      const Path where = path[k];
      if (source_.KindOf(part) == ValueKind::kText) {
        has_others = true;
        if (has_calls) Refuse(where, "a message shows its content before its calls");
        texts.Add(source_.Text(part));
        return;
      }
      const std::string_view kind = KindOfPart(part, where);
      if (kind == "tool_result" && message.role == Role::kUser) {
        if (has_others) Refuse(where, "the results of tools come before the user's own parts");
        has_results = true;
        AddResult(part, where);
        return;
      }
      if (kind == "tool_use" && message.role == Role::kAssistant) {
        const Slots slots = Read(part, ToolUseFields(), where);
        if (!message.tool_calls.empty() && !has_calls) {
          Refuse(where, "calls are in tool_calls already");
        }
        has_calls = true;
        message.tool_calls.push_back(CallFrom(slots, where, "input"));
        message.tool_calls.back().id = IdFrom(slots[kId]);
        return;
      }
      if (kind == "thinking" && message.role == Role::kAssistant) {
        const Slots slots = Read(part, ThinkingFields(), where);
        if (message.reasoning) Refuse(where, "a message shows its reasoning once");
        if (has_others || has_calls) Refuse(where, "reasoning is shown before all else");
        message.reasoning = RequiredText(slots[kThinking], where / "thinking");
        return;
      }
      has_others = true;
      if (has_calls) Refuse(where, "a message shows its content before its calls");
      AddPart(part, kind, where, messages_.size(), texts);
    });
    SetContent(texts, message);
    if (has_results && !has_others) return item_;
    return has_results ? Push(std::move(message)) : Append(std::move(message));
  }

  void AddResult(const Value& part, const Path& path) {
    const Slots slots = Read(part, ToolResultFields(), path);
    const auto id = TextOrNull(slots[kToolCallId], path / "tool_use_id");
    if (!IsNull(slots[kIsError]) && !source_.IsFalse(slots[kIsError])) {
      Refuse(path / "is_error", "no template shows this field; write it into the content");
    }
    AddToolMessage(slots[kContent], id, path / "content");
  }

  std::size_t AddToolMessage(const Value& content, std::optional<std::string_view> call_id,
                             const Path& path) {
    Message message;
    message.role = Role::kTool;
    message.tool_call_id = call_id;
    Texts texts;
    switch (source_.KindOf(content)) {
      case ValueKind::kNull:
        break;
      case ValueKind::kText:
        texts.Add(source_.Text(content));
        break;
      case ValueKind::kList:
        source_.ForEach(content, [&](std::size_t k, const Value& part) {
          const Path where = path[k];
          if (source_.KindOf(part) == ValueKind::kText) {
            texts.Add(source_.Text(part));
          } else {
            AddPart(part, KindOfPart(part, where), where, messages_.size(), texts);
          }
        });
        break;
      default:
        Refuse(path, "must be text or a list of parts, not ", source_.TypeName(content));
    }
    SetContent(texts, message);
    return Push(std::move(message));
  }

  // --- items of the Responses API ---

  std::size_t AddCallItem(const Value& item, const Path& path) {
    const Slots slots = Read(item, CallItemFields(), path);
    ToolCall call = CallFrom(slots, path);
    call.id = TextOrNull(slots[kId], path / "call_id");
    if (!messages_.empty() && messages_.back().role == Role::kAssistant &&
        items_.back() != kNoItem) {
      messages_.back().tool_calls.push_back(call);
      return items_.back();
    }
    Message message;
    message.role = Role::kAssistant;
    message.tool_calls.push_back(call);
    return Push(std::move(message));
  }

  std::size_t AddOutputItem(const Value& item, const Path& path) {
    const Slots slots = Read(item, OutputItemFields(), path);
    const auto id = TextOrNull(slots[kToolCallId], path / "call_id");
    if (IsNull(slots[kOutput])) Refuse(path / "output", "missing");
    return AddToolMessage(slots[kOutput], id, path / "output");
  }

  std::size_t AddReasoningItem(const Value& item, const Path& path) {
    const Slots slots = Read(item, ReasoningItemFields(), path);
    if (!IsNull(slots[kEncrypted])) {
      Refuse(path / "encrypted_content", "what is encrypted cannot be counted");
    }
    Texts texts;
    const Value& content = slots[kContent];
    if (source_.KindOf(content) == ValueKind::kList) {
      source_.ForEach(content, [&](std::size_t k, const Value& part) {
        const Path where = path / "content";
        const Path inner = where[k];
        const Slots fields = Read(part, TextPartFields(), inner);
        if (RequiredText(fields[kType], inner / "type") != "reasoning_text") {
          Refuse(inner / "type", "must be 'reasoning_text'");
        }
        if (texts.size > 0) Refuse(inner, "servers join several texts here in ways of their own");
        texts.Add(RequiredText(fields[kText], inner / "text"));
      });
    } else if (!IsNull(content)) {
      Refuse(path / "content", "must be a list of parts, not ", source_.TypeName(content));
    }
    if (texts.size == 0) {
      Refuse(path / "content", "missing; a summary is not what the model is shown");
    }
    Message message;
    message.role = Role::kAssistant;
    message.reasoning = texts.first;
    const std::size_t index = Push(std::move(message));
    open_reasoning_ = messages_.size();
    return index;
  }

  // Appends a message, or fills the one that reasoning alone has opened.
  std::size_t Append(Message message) {
    const bool fills = has_open_reasoning() && message.role == Role::kAssistant &&
                       !message.reasoning && messages_.back().tool_calls.empty();
    if (!fills) return Push(std::move(message));
    message.reasoning = messages_.back().reasoning;
    for (PartCost<Value>& cost : part_costs_) {
      if (cost.message == messages_.size()) --cost.message;
    }
    messages_.back() = std::move(message);
    open_reasoning_ = 0;
    return items_.back();
  }

  std::size_t Push(Message message) {
    messages_.push_back(std::move(message));
    items_.push_back(item_);
    return item_;
  }

  Source& source_;
  std::vector<Message>& messages_;
  std::vector<std::size_t>& items_;
  std::vector<PartCost<Value>> part_costs_;
  std::size_t item_ = 0;
  std::size_t open_reasoning_ = 0;  // the number of messages just after a reasoning item, else 0
};

}  // namespace ctx::chat
