// What stands inside harmony's system and developer messages, as openai-harmony 0.0.8 writes its
// SystemContent and DeveloperContent: the JSON of the content, as its to_dict writes it, becomes
// text. Pure functions; O(text), times the depth of schemas in each other (at most
// kMaxParameterDepth).
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "chat/json_tree.h"

namespace ctx::chat {

/// Arrays and objects in each other within a tool's parameters; openai-harmony refuses more.
inline constexpr std::size_t kMaxParameterDepth = 118;

/// A structured content, parsed and checked.
class HarmonyContent {
 public:
  enum class Kind { kSystem, kDeveloper };

  /// Throws ArgumentError, naming the field below `path`, for what is no such content and for a
  /// field that openai-harmony does not know. An absent field shows nothing; null is as absent.
  HarmonyContent(Kind kind, std::string_view json, std::string path);

  /// Whether a developer content brings function tools; the system content then mentions them.
  bool has_function_tools() const;

  std::string Text(bool conversation_has_function_tools) const;

 private:
  std::string SystemText(bool conversation_has_function_tools) const;
  std::string DeveloperText() const;

  Kind kind_;
  std::string path_;
  JsonTree root_;
};

/// The developer message's text for instructions and for tools as a request body has them. Throws
/// ArgumentError, naming tools[i].field, for a tool that is not {"type": "function", "function":
/// {"name", "description", "parameters"}}.
std::string DeveloperText(const std::optional<std::string>& instructions,
                          std::span<const std::string_view> tools_json);

}  // namespace ctx::chat
