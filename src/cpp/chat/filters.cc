#include "chat/filters.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "chat/json.h"

namespace ctx::chat {
namespace {

using std::string_view;

// The characters for which Python's str.isspace() holds, beyond ASCII.
constexpr std::array<string_view, 19> kWideSpaces = {
    "\u0085", "\u00a0", "\u1680", "\u2000", "\u2001", "\u2002", "\u2003",
    "\u2004", "\u2005", "\u2006", "\u2007", "\u2008", "\u2009", "\u200a",
    "\u2028", "\u2029", "\u202f", "\u205f", "\u3000"};

bool IsAsciiSpace(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r') || (c >= '\x1c' && c <= '\x1f');
}

std::size_t SpaceAtFront(string_view text) {
  if (text.empty()) return 0;
  if (IsAsciiSpace(text.front())) return 1;
  if (static_cast<signed char>(text.front()) >= 0) return 0;
  const auto found =
      std::ranges::find_if(kWideSpaces, [&](string_view s) { return text.starts_with(s); });
  return found == kWideSpaces.end() ? 0 : found->size();
}

std::size_t SpaceAtBack(string_view text) {
  if (text.empty()) return 0;
  if (IsAsciiSpace(text.back())) return 1;
  if (static_cast<signed char>(text.back()) >= 0) return 0;
  const auto found =
      std::ranges::find_if(kWideSpaces, [&](string_view s) { return text.ends_with(s); });
  return found == kWideSpaces.end() ? 0 : found->size();
}

// One past the closing quote of the JSON string that begins at `begin`.
std::size_t EndOfString(string_view json, std::size_t begin) {
  for (std::size_t i = begin + 1; i < json.size(); ++i) {
    if (json[i] == '\\') {
      ++i;
    } else if (json[i] == '"') {
      return i + 1;
    }
  }
  return json.size();
}

void NewLine(std::size_t depth, std::string& out) {
  constexpr std::size_t kIndent = 4;
  out += '\n';
  out.append(kIndent * depth, ' ');
}

}  // namespace

string_view Trim(string_view text) noexcept {
  while (const std::size_t size = SpaceAtFront(text)) text.remove_prefix(size);
  while (const std::size_t size = SpaceAtBack(text)) text.remove_suffix(size);
  return text;
}

std::string JsonString(string_view text) {
  std::string out;
  out.reserve(text.size() + 2);
  AppendJsonString(text, out);
  return out;
}

std::string IndentJson(string_view json) {
  std::string out;
  std::size_t depth = 0;
  for (std::size_t i = 0; i < json.size();) {
    const char c = json[i];
    if (c == '"') {
      const std::size_t end = EndOfString(json, i);
      out.append(json.substr(i, end - i));
      i = end;
      continue;
    }
    ++i;
    if (c == '[' || c == '{') {
      out += c;
      if (i < json.size() && (json[i] == ']' || json[i] == '}')) {
        out += json[i++];
      } else {
        NewLine(++depth, out);
      }
    } else if (c == ']' || c == '}') {
      NewLine(--depth, out);
      out += c;
    } else if (c == ',') {
      out += c;
      NewLine(depth, out);
      ++i;  // the space that tojson writes after a comma
    } else {
      out += c;
    }
  }
  return out;
}

std::size_t JsonDepth(string_view json) noexcept {
  std::size_t depth = 0;
  std::size_t deepest = 0;
  for (std::size_t i = 0; i < json.size();) {
    const char c = json[i];
    if (c == '"') {
      i = EndOfString(json, i);
      continue;
    }
    if (c == '[' || c == '{') deepest = std::max(deepest, ++depth);
    if (c == ']' || c == '}') --depth;
    ++i;
  }
  return deepest;
}

string_view JsonField(string_view object, string_view name) noexcept {
  if (!object.starts_with('{')) return {};
  std::size_t depth = 0;
  string_view key;
  std::size_t begin = 0;  // of what was last seen at the top: a key or a value
  for (std::size_t i = 0; i < object.size();) {
    const char c = object[i];
    if (c == '"') {
      i = EndOfString(object, i);
      continue;
    }
    if (depth == 1 && c == ':') {
      key = object.substr(begin, i - begin);
      begin = i + 2;  // after the space that tojson writes
    } else if (depth == 1 && (c == ',' || c == '}')) {
      if (key.size() == name.size() + 2 && key.substr(1, name.size()) == name) {
        return object.substr(begin, i - begin);
      }
      begin = i + 2;
    }
    if (c == '{' || c == '[') {
      if (++depth == 1) begin = i + 1;
    }
    if (c == '}' || c == ']') --depth;
    ++i;
  }
  return {};
}

}  // namespace ctx::chat
