// The messages of one call, as Python hands them over: tuples (role, content, name, reasoning,
// channel, tool calls, rare fields, has joined parts) that python/ctxengine/chat/convert.py has
// made. A tool call is (name, arguments as JSON, arguments as text or None, id or None); rare
// fields are None or (tool_call_id, recipient, content_type, ((part's type, text), ...)).
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "bindings/convert.h"
#include "chat/message.h"
#include "chat/template.h"

namespace ctx::bindings {

struct ChatTemplate {
  const chat::Template* family;
  chat::TemplateOptions options;
};

/// Views into Python's strings, which must outlive it. Construction and destruction need the GIL.
class ChatRequest {
 public:
  /// Throws ArgumentError for what is not such a tuple, or an unknown role.
  explicit ChatRequest(const py::list& messages);
  ChatRequest(const py::list& messages, const py::list& tools, bool add_generation_prompt);

  /// `first_generated` as in chat::Conversation; negative for none.
  chat::Conversation conversation(std::int64_t first_generated = -1) const {
    return {messages_, tools_json_, add_generation_prompt_,
            static_cast<std::size_t>(first_generated)};
  }
  /// Of all texts together.
  std::size_t size_bytes() const noexcept { return size_bytes_; }

 private:
  std::string_view View(py::handle text);
  std::optional<std::string_view> OptionalView(py::handle text);
  chat::Message MessageFrom(py::handle item);
  void ReadRareFields(const py::tuple& fields, chat::Message& message);

  std::vector<Utf8Text> strings_;
  std::vector<chat::Message> messages_;
  std::vector<std::string_view> tools_json_;
  bool add_generation_prompt_ = false;
  std::size_t size_bytes_ = 0;
};

}  // namespace ctx::bindings
