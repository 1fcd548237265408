// JSON as Python's json module reads and writes it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace ctx::chat {

/// json.dumps(json.loads(text), ensure_ascii=False); nothing for what json.loads calls no JSON.
/// Throws ArgumentError for what Python cannot show either: half a surrogate pair, an integer of
/// more than 4,300 digits, nesting of more than 512. O(text).
std::optional<std::string> RewriteJson(std::string_view text);

}  // namespace ctx::chat
