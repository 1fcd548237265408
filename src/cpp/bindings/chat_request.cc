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
  if (fields.size() != 7) throw ArgumentError("a message is a tuple of seven fields");
  Message message;
  message.role = RoleFrom(View(fields[0]));
  message.content = View(fields[1]);
  message.name = OptionalView(fields[2]);
  message.reasoning = OptionalView(fields[3]);
  message.channel = OptionalView(fields[4]);
  for (const py::handle call : py::cast<py::tuple>(fields[5])) {
    const auto pair = py::cast<py::tuple>(call);
    if (pair.size() != 2) throw ArgumentError("a tool call is a tuple of two fields");
    const std::string_view name = View(pair[0]);
    message.tool_calls.push_back({name, View(pair[1])});
  }
  message.has_joined_parts = py::cast<bool>(fields[6]);
  return message;
}

}  // namespace ctx::bindings
