// `_core.Conversation`. ctxengine/chat/conversation.py documents what users call.
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "bindings/chat_request.h"
#include "bindings/convert.h"
#include "bindings/int_array.h"
#include "bindings/release_gil.h"
#include "chat/conversation.h"
#include "chat/count_table.h"
#include "tokenize/encoding.h"

namespace ctx::bindings {
namespace {

using chat::CountTable;
using chat::LiveConversation;
using tokenize::Encoding;

// All calls wait for the conversation's mutex without the GIL: who appends holds it for long.

/// A read-only view that keeps the ids alive, as they are now.
py::array_t<TokenId> ArrayOf(LiveConversation::Ids ids) {
  auto kept = std::make_unique<LiveConversation::Ids>(std::move(ids));
  const auto elements = kept->elements();
  const py::capsule owner(kept.get(),
                          [](void* view) { delete static_cast<LiveConversation::Ids*>(view); });
  kept.release();
  py::array_t<TokenId> view(static_cast<py::ssize_t>(elements.size()), elements.data(), owner);
  view.attr("setflags")(py::arg("write") = false);
  return view;
}

std::unique_ptr<LiveConversation> Make(std::shared_ptr<Encoding> encoding,
                                       const ChatTemplate& family, const py::list& tools,
                                       bool add_generation_prompt) {
  const ChatRequest request(py::list(), tools, add_generation_prompt);
  const ReleaseGil release;
  return std::make_unique<LiveConversation>(std::move(encoding), *family.family, family.options,
                                            request.conversation().tools_json,
                                            add_generation_prompt);
}

void Append(LiveConversation& self, const py::list& messages, const std::string& path,
            CountTable& table) {
  const ChatRequest request(messages);
  const ReleaseGil release;
  self.Append(request.conversation().messages, path, &table);
}

std::pair<std::size_t, std::size_t> AppendGenerated(LiveConversation& self, py::handle ids,
                                                    const std::optional<py::list>& messages,
                                                    const std::string& path, CountTable& table) {
  const std::vector<TokenId> sampled = IdsFrom(ids);
  std::optional<ChatRequest> request;
  if (messages) request.emplace(*messages);
  LiveConversation::Generated generated{};
  {
    const ReleaseGil release;
    std::optional<std::span<const chat::Message>> given;
    if (request) given = request->conversation().messages;
    generated = self.AppendGenerated(sampled, given, path, &table);
  }
  return {generated.num_kept, generated.changed_from};
}

void Replace(LiveConversation& self, std::size_t begin, std::size_t end, const py::list& messages,
             const std::string& path, CountTable& table) {
  const ChatRequest request(messages);
  const ReleaseGil release;
  self.Replace(begin, end, request.conversation().messages, path, &table);
}

std::unique_ptr<LiveConversation> Fork(const LiveConversation& self) {
  const ReleaseGil release;
  return std::make_unique<LiveConversation>(self);
}

py::array_t<TokenId> Ids(const LiveConversation& self) {
  LiveConversation::Ids ids;
  {
    const ReleaseGil release;
    ids = self.ids();
  }
  return ArrayOf(std::move(ids));
}

py::tuple Since(const LiveConversation& self, std::uint64_t branch, std::uint64_t version) {
  LiveConversation::Since since{};
  {
    const ReleaseGil release;
    since = self.since({branch, version});
  }
  return py::make_tuple(since.changed_from, ArrayOf(std::move(since.ids)));
}

std::pair<std::uint64_t, std::uint64_t> Cursor(const LiveConversation& self) {
  const ReleaseGil release;
  const LiveConversation::Cursor cursor = self.cursor();
  return {cursor.branch, cursor.version};
}

py::tuple Counts(const LiveConversation& self) {
  LiveConversation::Counts counts;
  {
    const ReleaseGil release;
    counts = self.counts();
  }
  return py::make_tuple(
      py::array_t<std::int64_t>(static_cast<py::ssize_t>(counts.per_message.size()),
                                counts.per_message.data()),
      counts.template_tokens);
}

py::list Turns(const LiveConversation& self) {
  std::vector<std::size_t> turns;
  {
    const ReleaseGil release;
    turns = self.turns();
  }
  py::list starts;
  for (const std::size_t start : turns) starts.append(start);
  return starts;
}

py::tuple Fit(const LiveConversation& self, std::int64_t max_tokens) {
  LiveConversation::Cut cut{};
  {
    const ReleaseGil release;
    cut = self.Fit(max_tokens);
  }
  return py::make_tuple(cut.lead, cut.carried_begin, cut.carried_end, cut.start, cut.tokens);
}

template <auto kMember>
auto Get(const LiveConversation& self) {
  const ReleaseGil release;
  return (self.*kMember)();
}

}  // namespace

void RegisterConversation(py::module_& module) {
  const auto messages = py::arg("messages");
  const auto path = py::arg("path");
  const auto table = py::arg("table");
  py::class_<LiveConversation>(module, "Conversation")
      .def(py::init(&Make), py::arg("encoding"), py::arg("template"), py::arg("tools"),
           py::arg("add_generation_prompt"), py::pos_only())
      .def("append", &Append, messages, path, table, py::pos_only())
      .def("append_generated", &AppendGenerated, py::arg("ids"), messages, path, table,
           py::pos_only())
      .def("replace", &Replace, py::arg("begin"), py::arg("end"), messages, path, table,
           py::pos_only())
      .def("fork", &Fork)
      .def("since", &Since, py::arg("branch"), py::arg("version"), py::pos_only())
      .def("counts", &Counts)
      .def("turns", &Turns)
      .def("fit", &Fit, py::arg("max_tokens"), py::pos_only())
      .def_property_readonly("cursor", &Cursor)
      .def_property_readonly("ids", &Ids)
      .def_property_readonly("count", &Get<&LiveConversation::count>)
      .def_property_readonly("num_messages", &Get<&LiveConversation::num_messages>)
      .def_property_readonly("changed_from", &Get<&LiveConversation::changed_from>);
}

}  // namespace ctx::bindings
