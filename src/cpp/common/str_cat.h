// One way to build error messages: every argument streamed in turn.
#pragma once

#include <sstream>
#include <string>

namespace ctx {

/// Concatenates the arguments as operator<< prints them. For messages, not for hot paths. Throws
/// std::bad_alloc when memory runs out (a stream left to itself would return cut text).
template <typename... Args>
std::string StrCat(const Args&... args) {
  std::ostringstream out;
  out.exceptions(std::ios::badbit);
  (out << ... << args);
  return std::move(out).str();
}

}  // namespace ctx
