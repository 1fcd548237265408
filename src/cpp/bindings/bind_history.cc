// MessageMemory, Groups, KnownHistory and what is made of them: trimmed lists, chosen messages.
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "bindings/bindings.h"
#include "bindings/convert.h"
#include "bindings/known_history.h"
#include "bindings/messages.h"
#include "budget/grouped_history.h"
#include "budget/history_cut.h"
#include "chat/count.h"
#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::bindings {
namespace {

using chat::MessageGroups;
using tokenize::Encoding;

py::object Int64Array(std::span<const std::int64_t> numbers) {
  const py::bytes bytes(reinterpret_cast<const char*>(numbers.data()), numbers.size_bytes());
  return py::module_::import("array").attr("array")("q", bytes);
}

py::list ListOfSizes(std::span<const std::size_t> numbers) {
  py::list list(numbers.size());
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    // kNone becomes -1.
    PyObject* const number = PyLong_FromSsize_t(static_cast<Py_ssize_t>(numbers[i]));
    if (number == nullptr) throw py::error_already_set();
    PyList_SET_ITEM(list.ptr(), static_cast<Py_ssize_t>(i), number);
  }
  return list;
}

MessageGroups GroupsOf(const py::list& messages, bool wraps_tool_results, const std::string& path) {
  const ChatRequest request(messages);
  MessageGroups groups(wraps_tool_results);
  for (const chat::Message& message : request.conversation().messages) {
    groups.Add(chat::FactsOf(message), path);
  }
  return groups;
}

// Messages that were chosen: tuples as ChatRequest takes them, which most are made of only when
// asked for.
class Chosen {
 public:
  void Add(py::object tuple) { messages_.emplace_back(std::move(tuple)); }
  void Add(const MessageMemory::Reference& entry) { messages_.emplace_back(entry); }

  std::size_t size() const noexcept { return messages_.size(); }

  py::list Tuples() const {
    py::list tuples;
    for (const auto& message : messages_) {
      if (const auto* const tuple = std::get_if<py::object>(&message)) {
        tuples.append(*tuple);
        continue;
      }
      ReadEntries read;
      if (!read.Add(*std::get<MessageMemory::Reference>(message))) {
        throw std::logic_error("an entry that was read cannot be read");
      }
      tuples.append(TupleOf(read.messages().front()));
    }
    return tuples;
  }

 private:
  std::vector<std::variant<py::object, MessageMemory::Reference>> messages_;
};

py::list TuplesOf(const KnownHistory& self, const std::vector<std::size_t>& indices) {
  Chosen chosen;
  for (const std::size_t i : indices) {
    if (i >= self.entries().size()) throw py::index_error();
    chosen.Add(self.entries()[i]);
  }
  return chosen.Tuples();
}

std::unique_ptr<Chosen> Choose(const KnownHistory& self, const py::list& head,
                               const std::vector<std::size_t>& kept, const py::dict& others) {
  auto chosen = std::make_unique<Chosen>();
  for (const py::handle message : head) {
    chosen->Add(py::reinterpret_borrow<py::object>(message));
  }
  for (const std::size_t i : kept) {
    if (i >= self.entries().size()) throw py::index_error();
    const py::int_ key(i);
    if (others.contains(key)) {
      chosen->Add(py::object(others[key]));
    } else {
      chosen->Add(self.entries()[i]);
    }
  }
  return chosen;
}

py::tuple PlaceTokensOf(const KnownHistory& self, const std::vector<std::size_t>& stays) {
  std::vector<bool> is_kept(self.groups().size());
  for (const std::size_t group : stays) is_kept.at(group) = true;
  const budget::PlaceTokens tokens =
      budget::TokensByPlace(self.groups(), self.measured(), self.shown(), is_kept);
  return py::make_tuple(Int64Array(tokens.measure), Int64Array(tokens.tokens),
                        Int64Array(tokens.carried));
}

// Those of the messages whose text another one of them has too, or one of `texts`; and a few that
// only seem to.
std::vector<std::size_t> Repeated(const KnownHistory& self, const std::vector<std::size_t>& kept,
                                  const py::list& texts) {
  std::vector<std::uint64_t> hashes;
  hashes.reserve(texts.size() + kept.size());
  for (const py::handle text : texts) {
    hashes.push_back(MessageMemory::HashOf(Utf8Text(text).view()));
  }
  for (const std::size_t i : kept) {
    if (i >= self.entries().size()) throw py::index_error();
    hashes.push_back(self.entries()[i]->content_hash);
  }
  std::ranges::sort(hashes);
  std::vector<std::uint64_t> twice;
  for (std::size_t i = 1; i < hashes.size(); ++i) {
    if (hashes[i] == hashes[i - 1]) twice.push_back(hashes[i]);
  }
  std::vector<std::size_t> repeated;
  if (twice.empty()) return repeated;
  for (const std::size_t i : kept) {
    if (std::ranges::binary_search(twice, self.entries()[i]->content_hash)) repeated.push_back(i);
  }
  return repeated;
}

// The places that begin turns, and the first.
py::list TurnsOf(const MessageGroups& self) {
  std::vector<std::size_t> turns;
  for (std::size_t p = 0; p < self.places().size(); ++p) {
    const std::size_t group = self.places()[p];
    if (group == 0 || group == self.heads()[group]) turns.push_back(p);
  }
  return ListOfSizes(turns);
}

std::unique_ptr<KnownHistory> ReadHistory(const py::list& messages, const ChatTemplate& family,
                                          bool has_tools, const Encoding& encoding,
                                          chat::CountTable& table, MessageMemory& memory) {
  return KnownHistory::Read(py::tuple(messages), family, has_tools, encoding, table, memory);
}

// The tokens of the messages that are kept in any case, by themselves; negative for what cannot be
// counted.
std::int64_t TokensOfKept(const KnownHistory& history, const std::vector<bool>& stays,
                          const ChatTemplate& family, const py::list& tools,
                          const Encoding& encoding, chat::CountTable& table) {
  const MessageGroups& groups = history.groups();
  ReadEntries read;
  bool is_read = true;
  for (std::size_t i = 0; i < groups.lead(); ++i) {
    is_read = is_read && read.Add(*history.entries()[i]);
  }
  for (std::size_t group = 0; group < groups.size(); ++group) {
    if (!stays[group]) continue;
    for (std::size_t i = groups.begin_of(group); i < groups.begin_of(group + 1); ++i) {
      is_read = is_read && read.Add(*history.entries()[i]);
    }
  }
  if (!is_read) return -1;
  const ChatRequest request(py::list(), tools, true);
  const chat::Conversation conversation{read.messages(), request.conversation().tools_json};
  const ReleaseGilForLongWork release(read.size_bytes() + request.size_bytes());
  chat::Validate(*family.family, family.options, conversation.messages, "history");
  chat::ValidateRequest(*family.family, family.options, conversation);
  chat::Rendered rendered;
  family.family->render(conversation, family.options, rendered);
  return chat::CountTokens(rendered, conversation.messages.size(), encoding, &table).total;
}

// The messages that are kept, and their tokens; None for what has to be planned as a whole, and
// where what must be kept is too large.
py::object TrimMessages(const py::list& messages, const ChatTemplate& family, const py::list& tools,
                        const Encoding& encoding, chat::CountTable& table, MessageMemory& memory,
                        std::int64_t max_tokens, std::int64_t cap, std::int64_t step) {
  const py::tuple given(messages);
  const auto history = KnownHistory::Read(given, family, !tools.empty(), encoding, table, memory);
  if (history == nullptr) return py::none();
  const MessageGroups& groups = history->groups();
  std::vector<bool> stays(groups.size());
  stays.back() = true;
  if (groups.last_user() != MessageGroups::kNone) stays[groups.last_user()] = true;
  std::int64_t least = -1;
  try {
    least = TokensOfKept(*history, stays, family, tools, encoding, table);
  } catch (const ArgumentError&) {
    return py::none();
  }
  if (least < 0 || least > max_tokens) return py::none();
  const budget::PlaceTokens tokens =
      budget::TokensByPlace(groups, history->measured(), history->shown(), stays);
  const budget::CutRule rule = step > 0 ? budget::CutRule::kGrid : budget::CutRule::kTight;
  const budget::HistoryCut cut = budget::CutHistory(
      {tokens.measure, tokens.tokens, tokens.carried, cap, rule, step}, max_tokens - least);
  const std::size_t first_kept = groups.places()[cut.first_kept];
  if (const std::size_t head = groups.heads()[first_kept]; head != MessageGroups::kNone) {
    stays[head] = true;
  }
  std::vector<std::pair<std::size_t, std::size_t>> spans{{0, groups.lead()}};
  std::size_t num_kept = groups.lead();
  const auto keep = [&](std::size_t begin, std::size_t end) {
    spans.emplace_back(begin, end);
    num_kept += end - begin;
  };
  for (std::size_t group = 0; group < first_kept; ++group) {
    if (stays[group]) keep(groups.begin_of(group), groups.begin_of(group + 1));
  }
  keep(groups.begin_of(first_kept), groups.num_messages());
  py::list kept(num_kept);
  Py_ssize_t at = 0;
  for (const auto& [begin, end] : spans) {
    for (std::size_t i = begin; i < end; ++i) {
      PyObject* const message = PyTuple_GET_ITEM(given.ptr(), static_cast<Py_ssize_t>(i));
      Py_INCREF(message);
      PyList_SET_ITEM(kept.ptr(), at++, message);
    }
  }
  return py::make_tuple(kept, least + cut.kept_tokens);
}

}  // namespace

void RegisterHistory(py::module_& module) {
  const auto family = py::arg("template");
  const auto encoding = py::arg("encoding");
  const auto table = py::arg("table");
  const auto memory = py::arg("memory");

  py::class_<MessageMemory>(module, "MessageMemory")
      .def(py::init<std::size_t>(), py::arg("capacity_bytes"), py::pos_only())
      .def("clear", &MessageMemory::Clear)
      .def_property_readonly("num_entries", &MessageMemory::num_entries)
      .def_property_readonly("size_bytes", &MessageMemory::size_bytes);

  py::class_<MessageGroups>(module, "Groups")
      .def(py::init(&GroupsOf), py::arg("messages"), py::arg("wraps_tool_results"), py::arg("path"),
           py::pos_only())
      .def_property_readonly("lead", &MessageGroups::lead)
      .def_property_readonly("num_messages", &MessageGroups::num_messages)
      .def_property_readonly(
          "last_user",
          [](const MessageGroups& self) { return static_cast<std::ptrdiff_t>(self.last_user()); })
      .def_property_readonly("starts",
                             [](const MessageGroups& self) { return ListOfSizes(self.starts()); })
      .def_property_readonly("heads",
                             [](const MessageGroups& self) { return ListOfSizes(self.heads()); })
      .def_property_readonly("places",
                             [](const MessageGroups& self) { return ListOfSizes(self.places()); })
      .def_property_readonly("turns", &TurnsOf);

  py::class_<Chosen>(module, "ChosenMessages")
      .def("tuples", &Chosen::Tuples)
      .def("__len__", &Chosen::size)
      .def("__eq__",
           [](const Chosen& self, const py::object& other) -> py::object {
             if (py::isinstance<py::list>(other)) return py::bool_(self.Tuples().equal(other));
             if (!py::isinstance<Chosen>(other)) {
               return py::reinterpret_borrow<py::object>(Py_NotImplemented);
             }
             return py::bool_(self.Tuples().equal(py::cast<const Chosen&>(other).Tuples()));
           })
      .def("__reduce__", [](const Chosen& self) {
        const py::handle list(reinterpret_cast<PyObject*>(&PyList_Type));
        return py::make_tuple(list, py::make_tuple(self.Tuples()));
      });

  py::class_<KnownHistory>(module, "History")
      .def_static("read", &ReadHistory, py::arg("messages"), family, py::arg("has_tools"), encoding,
                  table, memory, py::pos_only())
      .def_property_readonly("groups", [](const KnownHistory& self) { return self.groups(); })
      .def_property_readonly("shown",
                             [](const KnownHistory& self) { return Int64Array(self.shown()); })
      .def("place_tokens", &PlaceTokensOf, py::arg("stays"), py::pos_only())
      .def("tuples", &TuplesOf, py::arg("indices"), py::pos_only())
      .def("choose", &Choose, py::arg("head"), py::arg("kept"), py::arg("others"), py::pos_only())
      .def("repeated", &Repeated, py::arg("kept"), py::arg("texts"), py::pos_only());

  module.def("trim_messages", &TrimMessages, py::arg("messages"), family, py::arg("tools"),
             encoding, table, memory, py::arg("max_tokens"), py::arg("cap"), py::arg("step"),
             py::pos_only());
}

}  // namespace ctx::bindings
