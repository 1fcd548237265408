// Python's JSON data written out as the templates show it.
#pragma once

#include <pybind11/pybind11.h>

#include <string>

namespace ctx::bindings {

namespace py = pybind11;

/// json.dumps(value, ensure_ascii=False), written natively where it is plain data. Throws
/// ArgumentError, with the path, for what cannot be written; error_already_set for what the value's
/// own code raises. O(size).
std::string JsonTextOf(const py::object& value, const std::string& path);

}  // namespace ctx::bindings
