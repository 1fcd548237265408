// Reading requests: Messages, BodyMemory and the functions that make the former.
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings/arguments.h"
#include "bindings/bindings.h"
#include "bindings/chat_request.h"
#include "bindings/convert.h"
#include "bindings/live_source.h"
#include "bindings/messages.h"
#include "chat/body.h"
#include "chat/json.h"
#include "chat/request_count.h"
#include "common/error.h"
#include "common/str_cat.h"
#include "tokenize/encoding.h"

namespace ctx::bindings {
namespace {

using chat::Body;
using chat::Message;
using chat::Path;
using chat::ValueKind;
using tokenize::Encoding;

// The bytes of a bytes-like or str, for as long as it lives.
class JsonText {
 public:
  explicit JsonText(const py::object& text) {
    if (PyUnicode_Check(text.ptr())) {
      utf8_.emplace(text);
      view_ = utf8_->view();
    } else if (PyBytes_Check(text.ptr())) {
      view_ = {PyBytes_AS_STRING(text.ptr()),
               static_cast<std::size_t>(PyBytes_GET_SIZE(text.ptr()))};
    } else {
      // Of what can be changed, a copy.
      copy_ = py::reinterpret_steal<py::object>(PyBytes_FromObject(text.ptr()));
      if (!copy_) throw py::error_already_set();
      view_ = {PyBytes_AS_STRING(copy_.ptr()),
               static_cast<std::size_t>(PyBytes_GET_SIZE(copy_.ptr()))};
    }
  }
  std::string_view view() const noexcept { return view_; }

 private:
  std::optional<Utf8Text> utf8_;
  py::object copy_;
  std::string_view view_;
};

// What a part costs, by the caller's rule: a function of the part, or a mapping from kinds of parts
// to numbers or functions.
std::int64_t TokensOfPart(const py::object& rule, const std::string& kind, const py::object& part,
                          const std::string& path) {
  py::object tokens = rule;
  if (PyCallable_Check(rule.ptr()) == 0) {
    tokens = py::reinterpret_steal<py::object>(
        PyObject_GetItem(rule.ptr(), py::str(kind.data(), kind.size()).ptr()));
    if (!tokens) {
      if (PyErr_ExceptionMatches(PyExc_KeyError) == 0) throw py::error_already_set();
      PyErr_Clear();
      throw ArgumentError(StrCat(path, ".type: ", chat::kPartTokens,
                                 " says nothing of parts of type ", chat::Quoted(kind)));
    }
  }
  if (PyCallable_Check(tokens.ptr()) != 0) tokens = tokens(part);
  const bool is_int = PyLong_Check(tokens.ptr()) && !PyBool_Check(tokens.ptr());
  if (!is_int) {
    throw ArgumentError(StrCat(path, ": ", chat::kPartTokens, " must give an int, not ",
                               Py_TYPE(tokens.ptr())->tp_name));
  }
  constexpr long long kMost = std::int64_t{1} << 40;
  int overflow = 0;
  const long long number = PyLong_AsLongLongAndOverflow(tokens.ptr(), &overflow);
  if (overflow != 0 || number < 0 || number > kMost) {
    throw ArgumentError(StrCat(path, ": ", chat::kPartTokens, " must give a number of tokens, not ",
                               Printed(tokens)));
  }
  return number;
}

bool IsRule(const py::object& rule) { return !rule.is_none(); }

void AddCostsOf(Body& body, const py::object& rule) {
  for (const chat::JsonPartCost& cost : body.part_costs()) {
    const py::object part =
        py::module_::import("json").attr("loads")(py::bytes(cost.json.data(), cost.json.size()));
    body.messages()[cost.message].extra_tokens += TokensOfPart(rule, cost.kind, part, cost.path);
  }
}

Messages ReadJsonList(const py::object& text, const std::string& path, const py::object& rule) {
  const JsonText json(text);
  auto body = std::make_unique<Body>();
  {
    const ReleaseGilForLongWork release(json.view().size());
    body->ReadList(json.view(), path, IsRule(rule));
  }
  AddCostsOf(*body, rule);
  return Messages(std::move(body), nullptr, {});
}

void AddItems(LiveMessages& live, const py::object& items, const py::object& rule) {
  const Path list(live.path);
  const bool is_text = PyUnicode_Check(items.ptr()) != 0;
  if (is_text || live.source.KindOf(items) == ValueKind::kMapping ||
      !py::hasattr(items, "__iter__")) {
    chat::Refuse(list, "must be a list of messages, not ", live.source.TypeName(items));
  }
  chat::MessageReader<LiveSource> reader(live.source, live.messages, live.items);
  const auto all = py::reinterpret_steal<py::object>(PySequence_Tuple(items.ptr()));
  if (!all) throw py::error_already_set();
  live.source.ForEach(all, [&](std::size_t i, const py::object& item) {
    reader.Add(item, i, list[i]);
    live.num_items = i + 1;
  });
  for (const auto& cost : reader.part_costs()) {
    live.messages[cost.message].extra_tokens += TokensOfPart(rule, cost.kind, cost.part, cost.path);
  }
}

Messages ReadMessages(const py::object& messages, const std::string& path, const py::object& rule) {
  if (PyBytes_Check(messages.ptr()) || PyByteArray_Check(messages.ptr())) {
    return ReadJsonList(messages, path, rule);
  }
  auto live = std::make_unique<LiveMessages>(IsRule(rule));
  live->path = path;
  AddItems(*live, messages, rule);
  return Messages(std::move(live));
}

Messages ReadBody(const py::object& text, const py::object& rule, const py::object& memory) {
  auto& bodies = py::cast<chat::BodyMemory&>(memory);
  const JsonText json(text);
  std::unique_ptr<Body> body;
  {
    const ReleaseGilForLongWork release(json.view().size());
    body = bodies.Take(json.view());
    body->Read(json.view(), IsRule(rule));
  }
  AddCostsOf(*body, rule);
  return Messages(std::move(body), &bodies, memory);
}

// The parts of a body that was parsed already; None for those that it does not have.
Messages ReadParts(const py::object& items, bool is_responses, const py::object& lead,
                   const py::object& tools, const py::object& rule) {
  auto live = std::make_unique<LiveMessages>(IsRule(rule));
  const Path body("body");
  live->path = is_responses ? "input" : "messages";
  if (!live->source.IsAbsent(lead)) {
    chat::MessageReader<LiveSource> reader(live->source, live->messages, live->items);
    live->messages.push_back(reader.LeadFrom(lead, chat::Role::kSystem,
                                             body / (is_responses ? "instructions" : "system")));
    live->items.push_back(chat::kNoItem);
  }
  if (is_responses && PyUnicode_Check(items.ptr())) {
    Message message;
    message.content = live->source.Text(items);
    live->messages.push_back(std::move(message));
    live->items.push_back(0);
    live->num_items = 1;
  } else {
    AddItems(*live, items, rule);
  }
  if (!live->source.IsAbsent(tools)) {
    // Written and read again, so that the rules for tools stand in one place.
    const std::string_view text = live->source.Json(tools, Path("tools"));
    chat::JsonReader reader(text, 0, "tools");
    std::vector<chat::JsonNode> nodes;
    reader.ReadValue(nodes);
    reader.ExpectEnd();
    live->tools_json = chat::ReadToolsJson(nodes.front(), is_responses, live->written);
  }
  return Messages(std::move(live));
}

py::object TextOrNone(const std::optional<std::string_view>& text) {
  if (!text) return py::none();
  return py::str(text->data(), text->size());
}

py::object RareFields(const Message& message) {
  if (message.parts.empty() && !message.tool_call_id && !message.recipient &&
      !message.content_type) {
    return py::none();
  }
  py::list parts;
  for (const chat::ContentPart& part : message.parts) {
    using Kind = chat::ContentPart::Kind;
    const char* const kind = part.kind == Kind::kSystemContent      ? "system_content"
                             : part.kind == Kind::kDeveloperContent ? "developer_content"
                                                                    : "text";
    parts.append(py::make_tuple(kind, TextOrNone(part.text)));
  }
  return py::make_tuple(TextOrNone(message.tool_call_id), TextOrNone(message.recipient),
                        TextOrNone(message.content_type), py::tuple(parts));
}

// With `one_each`, an item that is not one message is an error.
py::list Tuples(const Messages& messages, bool one_each) {
  const chat::RequestView view = messages.view(true);
  py::list tuples;
  for (std::size_t k = 0; k < view.messages.size(); ++k) {
    const Message& message = view.messages[k];
    if (one_each && (view.items[k] != k || view.messages.size() != view.num_items)) {
      const std::size_t item = std::min(k, view.items[k]);
      throw ArgumentError(StrCat(view.path, "[", item,
                                 "]: is not one message, with its neighbours or by itself; give "
                                 "messages as in chat completions"));
    }
    tuples.append(TupleOf(message));
  }
  return tuples;
}

chat::RequestCounts CountOf(const ChatTemplate& self, Messages& messages,
                            const chat::RequestView& view, const Encoding& encoding,
                            chat::CountTable& table) {
  messages.Spoil();
  chat::RequestCounts counts;
  {
    const ReleaseGilForLongWork release(messages.size_bytes());
    counts =
        chat::CountRequest(*self.family, self.options, view, encoding, &table, messages.memo());
  }
  messages.Mend();
  return counts;
}

std::int64_t CountMessages(const ChatTemplate& self, Messages& messages, const py::list& tools,
                           const Encoding& encoding, chat::CountTable& table) {
  chat::RequestView view = messages.view(true);
  std::vector<Utf8Text> strings;
  std::vector<std::string_view> tools_json;
  strings.reserve(tools.size());
  for (const py::handle tool : tools) tools_json.push_back(strings.emplace_back(tool).view());
  view.tools_json = tools_json;
  return CountOf(self, messages, view, encoding, table).total;
}

py::tuple CountRequest(const ChatTemplate& self, Messages& messages, bool add_generation_prompt,
                       const Encoding& encoding, chat::CountTable& table) {
  const chat::RequestCounts counts =
      CountOf(self, messages, messages.view(add_generation_prompt), encoding, table);
  py::tuple per_item(counts.per_item.size());
  for (std::size_t i = 0; i < counts.per_item.size(); ++i) {
    PyObject* const number = PyLong_FromLongLong(counts.per_item[i]);
    if (number == nullptr) throw py::error_already_set();
    PyTuple_SET_ITEM(per_item.ptr(), static_cast<Py_ssize_t>(i), number);
  }
  py::dict roles;
  for (std::size_t role = 0; role < counts.roles.size(); ++role) {
    if (!counts.has_role[role]) continue;
    const std::string_view name = chat::RoleName(static_cast<chat::Role>(role));
    roles[py::str(name.data(), name.size())] = counts.roles[role];
  }
  return py::make_tuple(counts.total, per_item, roles, counts.template_tokens, counts.system_tokens,
                        counts.tools_tokens, counts.message_tokens);
}

}  // namespace

py::tuple TupleOf(const Message& message) {
  py::list calls;
  for (const chat::ToolCall& call : message.tool_calls) {
    calls.append(py::make_tuple(TextOrNone(call.name), TextOrNone(call.arguments_json),
                                TextOrNone(call.arguments_text), TextOrNone(call.id)));
  }
  const std::string_view role = chat::RoleName(message.role);
  return py::make_tuple(py::str(role.data(), role.size()), TextOrNone(message.content),
                        TextOrNone(message.name), TextOrNone(message.reasoning),
                        TextOrNone(message.channel), py::tuple(calls), RareFields(message),
                        message.has_joined_parts);
}

chat::RequestView Messages::view(bool add_generation_prompt) const {
  if (body_ != nullptr) return body_->view(add_generation_prompt);
  return {live_->messages,   live_->items,          live_->num_items,
          live_->tools_json, add_generation_prompt, live_->path};
}

std::size_t Messages::size_bytes() const noexcept {
  return body_ != nullptr ? body_->size_bytes() : live_->source.size_bytes();
}

void RegisterMessages(py::module_& module) {
  const auto part_tokens = py::arg("part_tokens");
  py::class_<chat::BodyMemory>(module, "BodyMemory")
      .def(py::init<std::size_t>(), py::arg("capacity_bytes"), py::pos_only())
      .def("clear", &chat::BodyMemory::Clear)
      // Keeps the object for as long as the process lives, whatever becomes of its references.
      .def("abandon", [](py::object self) { self.release(); });

  py::class_<Messages>(module, "Messages")
      .def_property_readonly("is_responses",
                             [](const Messages& self) { return self.view(true).path == "input"; })
      .def_property_readonly(
          "has_tools", [](const Messages& self) { return !self.view(true).tools_json.empty(); })
      .def_property_readonly("tools_json",
                             [](const Messages& self) {
                               py::list tools;
                               for (const auto tool : self.view(true).tools_json) {
                                 tools.append(TextOrNone(tool));
                               }
                               return tools;
                             })
      // Which of the caller's items each message is; -1 for a leading one that is none.
      .def_property_readonly("items",
                             [](const Messages& self) {
                               py::list items;
                               for (const std::size_t item : self.view(true).items) {
                                 items.append(static_cast<std::int64_t>(item));
                               }
                               return items;
                             })
      .def_property_readonly("num_items",
                             [](const Messages& self) { return self.view(true).num_items; })
      .def_property_readonly(
          "other_fields",
          [](const Messages& self) {
            return py::bytes(self.body() == nullptr ? "{}" : self.body()->other_fields());
          })
      .def("tuples", Tuples, py::arg("one_each"), py::pos_only());

  module.def("read_messages", ReadMessages, py::arg("messages"), py::arg("path"), part_tokens,
             py::pos_only());
  module.def("read_body", ReadBody, py::arg("body"), part_tokens, py::arg("memory"),
             py::pos_only());
  module.def("read_parts", ReadParts, py::arg("items"), py::arg("is_responses"), py::arg("lead"),
             py::arg("tools"), part_tokens, py::pos_only());
  const auto self = py::arg("template");
  const auto messages = py::arg("messages");
  const auto encoding = py::arg("encoding");
  const auto table = py::arg("table");
  module.def("count_messages", CountMessages, self, messages, py::arg("tools"), encoding, table,
             py::pos_only());
  module.def("count_request", CountRequest, self, messages, py::arg("add_generation_prompt"),
             encoding, table, py::pos_only());
}

}  // namespace ctx::bindings
