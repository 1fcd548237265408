#include "bindings/chat_request.h"

#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::bindings {
namespace {

using chat::Message;
using chat::Role;

Role RoleFrom(std::string_view name) {
  for (const Role role :
       {Role::kSystem, Role::kDeveloper, Role::kUser, Role::kAssistant, Role::kTool}) {
    if (chat::RoleName(role) == name) return role;
  }
  throw ArgumentError(StrCat("unknown role '", name, "'"));
}

chat::ContentPart::Kind PartKindFrom(std::string_view type) {
  if (type == "system_content") return chat::ContentPart::Kind::kSystemContent;
  if (type == "developer_content") return chat::ContentPart::Kind::kDeveloperContent;
  return chat::ContentPart::Kind::kText;
}

}  // namespace

ChatRequest::ChatRequest(const py::list& messages) {
  messages_.reserve(messages.size());
  for (const py::handle item : messages) messages_.push_back(MessageFrom(item));
}

ChatRequest::ChatRequest(const py::list& messages, const py::list& tools,
                         bool add_generation_prompt)
    : ChatRequest(messages) {
  tools_json_.reserve(tools.size());
  for (const py::handle tool : tools) tools_json_.push_back(View(tool));
  add_generation_prompt_ = add_generation_prompt;
}

std::string_view ChatRequest::View(py::handle text) {
  const std::string_view view = strings_.emplace_back(text).view();
  size_bytes_ += view.size();
  return view;
}

std::optional<std::string_view> ChatRequest::OptionalView(py::handle text) {
  if (text.is_none()) return std::nullopt;
  return View(text);
}

Message ChatRequest::MessageFrom(py::handle item) {
  const auto fields = py::cast<py::tuple>(item);
  if (fields.size() != 8) throw ArgumentError("a message is a tuple of eight fields");
  Message message;
  message.role = RoleFrom(View(fields[0]));
  message.content = View(fields[1]);
  message.name = OptionalView(fields[2]);
  message.reasoning = OptionalView(fields[3]);
  message.channel = OptionalView(fields[4]);
  for (const py::handle call : py::cast<py::tuple>(fields[5])) {
    const auto parts = py::cast<py::tuple>(call);
    if (parts.size() != 4) throw ArgumentError("a tool call is a tuple of four fields");
    chat::ToolCall& made = message.tool_calls.emplace_back();
    made.name = View(parts[0]);
    made.arguments_json = View(parts[1]);
    made.arguments_text = OptionalView(parts[2]).value_or(made.arguments_json);
    made.id = OptionalView(parts[3]);
  }
  if (!fields[6].is_none()) ReadRareFields(py::cast<py::tuple>(fields[6]), message);
  message.has_joined_parts = py::cast<bool>(fields[7]);
  return message;
}

void ChatRequest::ReadRareFields(const py::tuple& fields, Message& message) {
  if (fields.size() != 4) throw ArgumentError("rare fields are a tuple of four");
  message.tool_call_id = OptionalView(fields[0]);
  message.recipient = OptionalView(fields[1]);
  message.content_type = OptionalView(fields[2]);
  for (const py::handle item : py::cast<py::tuple>(fields[3])) {
    const auto part = py::cast<py::tuple>(item);
    if (part.size() != 2) throw ArgumentError("a content part is a tuple of two fields");
    message.parts.push_back({PartKindFrom(View(part[0])), View(part[1])});
  }
}

}  // namespace ctx::bindings
