// What the published templates do to the caller's text before they show it: the filters of jinja2
// and of the environment that transformers sets up for chat templates.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace ctx::chat {

/// `text | trim`: without the white space of Python's str.strip() at both ends.
std::string_view Trim(std::string_view text) noexcept;

/// `text | tojson` of a string, without the escaping of what is not ASCII.
std::string JsonString(std::string_view text);

/// `value | tojson(indent=4)`, given `value | tojson`. O(size of the result).
std::string IndentJson(std::string_view json);

/// How many arrays and objects of a JSON text lie in each other at most.
std::size_t JsonDepth(std::string_view json) noexcept;

/// Of an object as json.dumps writes it the value of a field, as written there; empty when there is
/// none, or when `object` is no object.
std::string_view JsonField(std::string_view object, std::string_view name) noexcept;

}  // namespace ctx::chat
