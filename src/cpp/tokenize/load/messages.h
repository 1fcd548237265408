// How the loaders say what is wrong and where. Messages are valid UTF-8 of bounded length whatever
// the file holds.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::tokenize::load {

/// `text` for a message: printable ASCII and whole UTF-8 characters as they are, other bytes as
/// \xHH, cut to about 64 bytes.
std::string Shown(std::string_view text);

/// Shown() in double quotes.
inline std::string Quoted(std::string_view text) { return '"' + Shown(text) + '"'; }

/// The number of the line, counted from 1, that the byte at `offset` is on.
std::size_t LineOf(std::string_view text, std::size_t offset) noexcept;

/// The last component of a path without its last extension: "model/tekken.json" -> "tekken".
std::string StemOf(std::string_view path);

/// Throws LoadError("FILE: MESSAGE").
template <typename... Args>
[[noreturn]] void Fail(const std::string& file_name, const Args&... message) {
  throw LoadError(StrCat(file_name, ": ", message...));
}

/// Throws LoadError("FILE:LINE: MESSAGE").
template <typename... Args>
[[noreturn]] void FailAtLine(const std::string& file_name, std::size_t line,
                             const Args&... message) {
  throw LoadError(StrCat(file_name, ':', line, ": ", message...));
}

}  // namespace ctx::tokenize::load
