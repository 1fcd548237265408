// ctxengine._core.Messages: the messages of a request, read from JSON text or from Python's
// objects, for one call or a few that follow each other.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bindings/live_source.h"
#include "chat/body.h"
#include "chat/request_count.h"
#include "chat/text_arena.h"

namespace ctx::bindings {

/// Messages of Python's objects, as chat::Body holds those of JSON text.
struct LiveMessages {
  explicit LiveMessages(bool knows_part_tokens) : source(knows_part_tokens) {}

  LiveSource source;
  std::vector<chat::Message> messages;
  std::vector<std::size_t> items;
  std::size_t num_items = 0;
  chat::TextArena written;
  std::vector<std::string_view> tools_json;
  std::string path = "messages";
};

/// Registers Messages, BodyMemory and the functions that make and count them.
void RegisterMessages(py::module_& module);

/// A message as ChatRequest takes it.
py::tuple TupleOf(const chat::Message& message);

class Messages {
 public:
  explicit Messages(std::unique_ptr<LiveMessages> live) : live_(std::move(live)) {}
  /// `memory`, if any, gets the body back in the end; `owner` keeps it alive.
  Messages(std::unique_ptr<chat::Body> body, chat::BodyMemory* memory, py::object owner)
      : body_(std::move(body)), memory_(memory), owner_(std::move(owner)) {}
  Messages(Messages&&) = default;
  ~Messages() {
    if (memory_ != nullptr && body_ != nullptr && is_good_) memory_->Put(std::move(body_));
  }

  chat::RequestView view(bool add_generation_prompt) const;
  /// Null for messages of Python's objects.
  chat::Body* body() const noexcept { return body_.get(); }
  /// Null for messages of JSON text.
  const LiveMessages* live() const noexcept { return live_.get(); }
  chat::RequestMemo* memo() const noexcept { return body_ ? &body_->memo() : nullptr; }
  std::size_t size_bytes() const noexcept;

  /// The body will not be kept: a call that uses it has failed, or may.
  void Spoil() noexcept { is_good_ = false; }
  void Mend() noexcept { is_good_ = true; }

 private:
  std::unique_ptr<LiveMessages> live_;
  std::unique_ptr<chat::Body> body_;
  chat::BodyMemory* memory_ = nullptr;
  py::object owner_;
  bool is_good_ = false;
};

}  // namespace ctx::bindings
