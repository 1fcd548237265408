// A conversation as the templates read it: views into text that the caller keeps alive. All text is
// valid UTF-8.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace ctx::chat {

enum class Role : std::uint8_t { kSystem, kDeveloper, kUser, kAssistant, kTool };

/// "system", "developer", ...: the spelling in request bodies and in templates.
std::string_view RoleName(Role role) noexcept;

struct ToolCall {
  std::string_view name;
  std::string_view arguments_json;  ///< as the templates' tojson writes it
};

struct Message {
  Role role = Role::kUser;
  std::string_view content;
  std::optional<std::string_view> name;
  std::optional<std::string_view> reasoning;
  std::optional<std::string_view> channel;
  std::vector<ToolCall> tool_calls;
  bool has_joined_parts = false;  ///< the content was several texts, now joined by a newline
};

struct Conversation {
  std::span<const Message> messages;
  std::span<const std::string_view> tools_json;  ///< one JSON text per tool, as tojson writes it
  bool add_generation_prompt = true;
};

}  // namespace ctx::chat
