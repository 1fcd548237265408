// ChatTemplate and CountTable.
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "bindings/chat_request.h"
#include "bindings/convert.h"
#include "bindings/json_text.h"
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

py::object NewStr(std::string_view utf8) {
  PyObject* const made =
      PyUnicode_DecodeUTF8(utf8.data(), static_cast<Py_ssize_t>(utf8.size()), nullptr);
  if (made == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(made);
}

// Texts of messages as str: out of those that they were read from, where there are such.
class Strings {
 public:
  explicit Strings(const Messages& messages) {
    if (messages.live() == nullptr) return;
    known_ = messages.live()->source.texts();
    std::ranges::sort(known_, std::less(), [](const auto& text) { return text.first.data(); });
  }

  py::object Of(std::string_view text) const {
    if (const auto* const holder = text.size() < kMinShared ? nullptr : HolderOf(text)) {
      const auto& [whole, object] = *holder;
      const auto before = static_cast<std::size_t>(text.data() - whole.data());
      const Py_ssize_t end =
          PyUnicode_GET_LENGTH(object.ptr()) - NumChars(whole.substr(before + text.size()));
      PyObject* const part =
          PyUnicode_Substring(object.ptr(), NumChars(whole.substr(0, before)), end);
      if (part == nullptr) throw py::error_already_set();
      return py::reinterpret_steal<py::object>(part);
    }
    return NewStr(text);
  }

 private:
  static constexpr std::size_t kMinShared = 32;  // shorter ones are made as fast as found

  static Py_ssize_t NumChars(std::string_view utf8) {
    return std::ranges::count_if(utf8, [](char c) { return (c & 0xC0) != 0x80; });
  }

  // The str in whose UTF-8 the text lies.
  const std::pair<std::string_view, py::handle>* HolderOf(std::string_view text) const {
    const auto after = std::ranges::upper_bound(
        known_, text.data(), std::less(), [](const auto& known) { return known.first.data(); });
    if (after == known_.begin()) return nullptr;
    const auto& [whole, object] = *std::prev(after);
    const bool is_within =
        std::less_equal()(text.data() + text.size(), whole.data() + whole.size());
    const bool is_plain = PyUnicode_CheckExact(object.ptr()) && !HasSurrogates(object);
    return is_within && is_plain ? &*std::prev(after) : nullptr;
  }

  std::vector<std::pair<std::string_view, py::handle>> known_;
};

py::object Pair(const py::object& text, PyObject* is_own) {
  PyObject* const pair = PyTuple_Pack(2, text.ptr(), is_own);
  if (pair == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(pair);
}

// What a rendering has of the template's own: few texts, each at one place in memory.
class OwnPairs {
 public:
  py::object Of(std::string_view text) {
    Known& known = known_[(reinterpret_cast<std::uintptr_t>(text.data()) + text.size()) % kNum];
    if (known.text.data() != text.data() || known.text.size() != text.size()) {
      known = {text, Pair(NewStr(text), Py_True)};
    }
    return known.pair;
  }

 private:
  struct Known {
    std::string_view text;
    py::object pair;
  };
  static constexpr std::size_t kNum = 61;

  std::array<Known, kNum> known_;
};

py::list RenderSegments(const ChatTemplate& self, const Messages& messages, const py::list& tools,
                        bool add_generation_prompt) {
  RequireRendering(self);
  const chat::RequestView view = messages.view(add_generation_prompt);
  const ChatRequest with_tools(py::list(), tools, add_generation_prompt);
  chat::Conversation conversation = with_tools.conversation();
  conversation.messages = view.messages;
  chat::Validate(*self.family, self.options, view.messages, view.path, view.items);
  chat::ValidateRequest(*self.family, self.options, conversation);
  chat::Rendered rendered;
  self.family->render(conversation, self.options, rendered);
  const Strings strings(messages);
  OwnPairs own_pairs;
  py::list segments(rendered.segments().size());
  for (std::size_t i = 0; i < rendered.segments().size(); ++i) {
    const tokenize::Segment& segment = rendered.segments()[i];
    py::object pair =
        segment.trusted ? own_pairs.Of(segment.text) : Pair(strings.Of(segment.text), Py_False);
    PyList_SET_ITEM(segments.ptr(), static_cast<Py_ssize_t>(i), pair.release().ptr());
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

// Of a list, or of ChosenMessages.
py::array_t<TokenId> Encode(const ChatTemplate& self, const py::object& messages,
                            const py::list& tools, bool add_generation_prompt,
                            const Encoding& encoding, chat::CountTable* table,
                            std::int64_t first_generated) {
  RequireRendering(self);
  chat::ValidateEncoding(*self.family, encoding);
  const py::list tuples(py::isinstance<py::list>(messages) ? messages : messages.attr("tuples")());
  const ChatRequest request(tuples, tools, add_generation_prompt);
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
  module.def(
      "json_text",
      [](const py::object& value, const std::string& path) { return JsonTextOf(value, path); },
      py::arg("value"), py::arg("path"), py::pos_only());
  module.def("chat_template_names", [] {
    std::vector<std::string> names;
    for (const chat::Template& family : chat::AllTemplates()) names.emplace_back(family.name);
    return names;
  });
  module.def("count_texts", CountTexts, py::arg("texts"), encoding, table, py::pos_only());
}

}  // namespace ctx::bindings
