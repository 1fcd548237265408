// A JSON text as a tree, for renderings that show what a schema says. Numbers keep their spelling.
// Keys of one object are taken to be distinct, as writers of mappings leave them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ctx::chat {

struct JsonTree {
  enum class Kind : std::uint8_t { kNull, kBoolean, kNumber, kString, kArray, kObject };

  Kind kind = Kind::kNull;
  bool boolean = false;
  std::string text;  ///< of a string its value, of a number its spelling
  std::vector<JsonTree> items;
  std::vector<std::pair<std::string, JsonTree>> members;  ///< in the order of the text

  bool is(Kind wanted) const noexcept { return kind == wanted; }
  /// The member's value; null when this is no object or has no such key. O(members).
  const JsonTree* Find(std::string_view key) const noexcept;
  /// The member's value where that is a string, else null.
  const std::string* FindString(std::string_view key) const noexcept;
};

/// Parses one value and nothing after it. Throws ArgumentError, prefixed with `path`, for what is
/// no JSON and for more than `max_depth` arrays and objects in each other. O(n).
JsonTree ParseJson(std::string_view utf8, std::size_t max_depth, std::string_view path);

/// The value written without white space, as Rust's serde_json writes what it has read: numbers
/// that are no 64-bit integers pass through its reading (not always the nearest double) and its
/// shortest form. Throws ArgumentError, prefixed with `path`, for a number that it refuses.
void WriteLikeSerde(const JsonTree& value, std::string_view path, std::string& out);

}  // namespace ctx::chat
