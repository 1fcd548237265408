// A conversation as the templates read it: views into text that the caller keeps alive. All text is
// valid UTF-8.
#pragma once

#include <cstddef>
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
  std::string_view arguments_json;       ///< as the templates' tojson writes it
  std::string_view arguments_text = {};  ///< as given, where they came as text; else as above
  std::optional<std::string_view> id = {};
};

/// One element of a content that came as a list.
struct ContentPart {
  enum class Kind : std::uint8_t { kText, kSystemContent, kDeveloperContent };
  Kind kind = Kind::kText;
  std::string_view text;  ///< of harmony's two structured kinds the JSON text
};

struct Message {
  Role role = Role::kUser;
  std::string_view content;
  std::optional<std::string_view> name;
  std::optional<std::string_view> reasoning;
  std::optional<std::string_view> channel;
  std::vector<ToolCall> tool_calls;
  std::optional<std::string_view> tool_call_id;
  std::optional<std::string_view> recipient;     ///< harmony
  std::optional<std::string_view> content_type;  ///< harmony
  /// What the content was made of, unless that was one text.
  std::vector<ContentPart> parts;
  bool has_joined_parts = false;  ///< the content was several texts, now joined by a newline
  std::int64_t extra_tokens = 0;  ///< of parts that are no text, as the caller says
};

struct Conversation {
  std::span<const Message> messages;
  std::span<const std::string_view> tools_json;  ///< one JSON text per tool, as tojson writes it
  bool add_generation_prompt = true;
  /// Messages from this one on are shown as the model has just generated them: what a family drops
  /// once the next turn has begun is still there.
  std::size_t first_generated = static_cast<std::size_t>(-1);
  /// Where the family has Template::first_changed, chunks before those of this message are left
  /// out.
  std::size_t first_message = 0;
};

}  // namespace ctx::chat
