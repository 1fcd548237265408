// One way to build error messages: every argument streamed in turn.
#pragma once

#include <sstream>
#include <string>

namespace ctx {

/// Concatenates the arguments as operator<< prints them. For messages, not for hot paths.
template <typename... Args>
std::string StrCat(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return std::move(out).str();
}

}  // namespace ctx
