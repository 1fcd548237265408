// ChatTemplate and CountTable.
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "bindings/chat_request.h"
#include "bindings/convert.h"
#include "bindings/messages.h"
#include "chat/count.h"
#include "chat/count_table.h"
#include "chat/template.h"
#include "common/error.h"
#include "common/str_cat.h"
#include "tokenize/encoding.h"

namespace ctx::bindings {
namespace {

using tokenize::Encoding;

chat::Rendered Render(const ChatTemplate& self, const ChatRequest& request,
                      std::int64_t first_generated = -1) {
  const chat::Conversation conversation = request.conversation(first_generated);
  chat::Validate(*self.family, self.options, conversation.messages, "messages");
  chat::ValidateRequest(*self.family, self.options, conversation);
  chat::Rendered rendered;
  self.family->render(conversation, self.options, rendered);
  return rendered;
}

void RequireRendering(const ChatTemplate& self) {
  if (self.family->is_rendering) return;
  throw ArgumentError(StrCat("template '", self.family->name,
                             "' is a count rule: its prompt is not published, so there is no text "
                             "and there are no token ids"));
}

py::list RenderSegments(const ChatTemplate& self, const py::list& messages, const py::list& tools,
                        bool add_generation_prompt) {
  RequireRendering(self);
  const ChatRequest request(messages, tools, add_generation_prompt);
  const chat::Rendered rendered = Render(self, request);
  py::list segments;
  for (const tokenize::Segment& segment : rendered.segments()) {
    segments.append(
        py::make_tuple(py::str(segment.text.data(), segment.text.size()), segment.trusted));
  }
  return segments;
}

py::tuple Count(const ChatTemplate& self, const py::list& messages, const py::list& tools,
                bool add_generation_prompt, const Encoding& encoding, chat::CountTable& table) {
  chat::ValidateEncoding(*self.family, encoding);
  const ChatRequest request(messages, tools, add_generation_prompt);
  chat::Counts counts;
  {
    const ReleaseGilForLongWork release(request.size_bytes());
    const chat::Rendered rendered = Render(self, request);
    counts = chat::CountTokens(rendered, messages.size(), encoding, &table);
  }
  return py::make_tuple(std::move(counts.per_message), counts.template_tokens, counts.total);
}

py::array_t<TokenId> Encode(const ChatTemplate& self, const py::list& messages,
                            const py::list& tools, bool add_generation_prompt,
                            const Encoding& encoding, chat::CountTable* table,
                            std::int64_t first_generated) {
  RequireRendering(self);
  chat::ValidateEncoding(*self.family, encoding);
  const ChatRequest request(messages, tools, add_generation_prompt);
  std::vector<TokenId> ids;
  {
    const ReleaseGilForLongWork release(request.size_bytes());
    chat::EncodeRendered(Render(self, request, first_generated), encoding, table, ids);
  }
  return ArrayOfIds(std::move(ids));
}

// Counts of plain texts, through the same table as the messages.
std::vector<std::int64_t> CountTexts(const py::list& texts, const Encoding& encoding,
                                     chat::CountTable& table) {
  std::vector<Utf8Text> strings;
  chat::Rendered rendered;
  std::size_t size_bytes = 0;
  for (const py::handle text : texts) {
    const std::string_view view = strings.emplace_back(text).view();
    rendered.BeginChunk(static_cast<std::int64_t>(strings.size()) - 1);
    rendered.Text(view);
    size_bytes += view.size();
  }
  const ReleaseGilForLongWork release(size_bytes);
  return chat::CountTokens(rendered, strings.size(), encoding, &table).per_message;
}

}  // namespace

void RegisterChat(py::module_& module) {
  const auto messages = py::arg("messages");
  const auto tools = py::arg("tools");
  const auto generation = py::arg("add_generation_prompt");
  const auto encoding = py::arg("encoding");
  const auto table = py::arg("table");

  py::class_<chat::CountTable>(module, "CountTable")
      .def(py::init<std::size_t>(), py::arg("capacity_bytes"), py::pos_only())
      .def("stats",
           [](const chat::CountTable& self) {
             const chat::CountTable::Stats stats = self.stats();
             return py::make_tuple(stats.hits, stats.misses, stats.evictions, stats.num_entries,
                                   stats.size_bytes, stats.capacity_bytes);
           })
      .def("clear", &chat::CountTable::Clear)
      // Keeps the object for as long as the process lives, whatever becomes of its references.
      .def("abandon", [](py::object self) { self.release(); });

  py::class_<ChatTemplate>(module, "ChatTemplate")
      .def(py::init([](const std::string& name, bool enable_thinking, bool estimate_tools,
                       std::optional<std::string> date, std::string harmony_system) {
             ChatTemplate self{&chat::FindTemplate(name), {}};
             self.options.enable_thinking = enable_thinking;
             self.options.estimate_tools = estimate_tools;
             if (date) self.options.date = *std::move(date);
             self.options.harmony_system = std::move(harmony_system);
             return self;
           }),
           py::arg("name"), py::arg("enable_thinking"), py::arg("estimate_tools"), py::arg("date"),
           py::arg("harmony_system") = "{}", py::pos_only())
      .def_property_readonly("is_rendering",
                             [](const ChatTemplate& self) { return self.family->is_rendering; })
      .def_property_readonly(
          "wraps_tool_results",
          [](const ChatTemplate& self) { return self.family->wraps_tool_results; })
      .def_property_readonly("takes_date",
                             [](const ChatTemplate& self) { return self.family->takes_date; })
      .def(
          "validate",
          [](const ChatTemplate& self, const py::list& converted, const std::string& path) {
            const ChatRequest request(converted);
            chat::Validate(*self.family, self.options, request.conversation().messages, path);
          },
          messages, py::arg("path"), py::pos_only())
      .def("render", RenderSegments, messages, tools, generation, py::pos_only())
      .def("count", Count, messages, tools, generation, encoding, table, py::pos_only())
      .def("encode", Encode, messages, tools, generation, encoding, py::arg("table") = py::none(),
           py::arg("first_generated") = -1, py::pos_only());

  RegisterMessages(module);
  module.def("chat_template_names", [] {
    std::vector<std::string> names;
    for (const chat::Template& family : chat::AllTemplates()) names.emplace_back(family.name);
    return names;
  });
  module.def("count_texts", CountTexts, py::arg("texts"), encoding, table, py::pos_only());
}

}  // namespace ctx::bindings
