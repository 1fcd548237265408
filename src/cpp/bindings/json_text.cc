#include "bindings/json_text.h"

#include <memory>

#include "bindings/convert.h"
#include "bindings/live_json.h"
#include "chat/json.h"
#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::bindings {
namespace {

constexpr int kMaxDepth = 64;  // what nests deeper, or in itself, is left to json.dumps

bool Write(PyObject* value, int depth, std::string& out);

bool WriteDict(PyObject* dict, int depth, std::string& out) {
  bool is_plain = true;
  char before = '{';
  ForEachEntry(dict, [&](PyObject* key, PyObject* value) {
    if (!is_plain) return;
    out += before;
    if (before == ',') out += ' ';
    before = ',';
    is_plain = PyUnicode_CheckExact(key) && Write(key, depth, out);
    out += ": ";
    is_plain = is_plain && Write(value, depth, out);
  });
  out += before == '{' ? "{}" : "}";
  return is_plain;
}

bool WriteList(PyObject* list, int depth, std::string& out) {
  bool is_plain = true;
  out += '[';
  ForEachElement(list, [&](Py_ssize_t i, const py::object& element) {
    if (!is_plain) return;
    if (i > 0) out += ", ";
    is_plain = Write(element.ptr(), depth, out);
  });
  out += ']';
  return is_plain;
}

// Whether the value is plain: of Python's own types, which run no code of others.
bool Write(PyObject* value, int depth, std::string& out) {
  if (PyUnicode_CheckExact(value)) {
    chat::AppendJsonString(Utf8Text(value).view(), out);
  } else if (value == Py_None) {
    out += "null";
  } else if (PyBool_Check(value)) {
    out += value == Py_True ? "true" : "false";
  } else if (PyLong_CheckExact(value)) {
    int overflow = 0;
    const long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow != 0) return false;
    out += std::to_string(number);
  } else if (PyFloat_CheckExact(value)) {
    const double number = PyFloat_AS_DOUBLE(value);
    if (!(number - number == 0)) return false;  // infinite, or no number
    char* const digits = PyOS_double_to_string(number, 'r', 0, Py_DTSF_ADD_DOT_0, nullptr);
    if (digits == nullptr) throw py::error_already_set();
    out += digits;
    PyMem_Free(digits);
  } else if (depth == kMaxDepth) {
    return false;
  } else if (PyDict_CheckExact(value)) {
    return WriteDict(value, depth + 1, out);
  } else if (PyList_CheckExact(value) || PyTuple_CheckExact(value)) {
    return WriteList(value, depth + 1, out);
  } else {
    return false;
  }
  return true;
}

}  // namespace

std::string JsonTextOf(const py::object& value, const std::string& path) {
  std::string text;
  if (Write(value.ptr(), 0, text)) return text;
  try {
    const py::object dumps = py::module_::import("json").attr("dumps");
    const py::object written = dumps(value, py::arg("ensure_ascii") = false);
    return std::string(Utf8Text(written).view());
  } catch (py::error_already_set& error) {
    for (const py::handle type : {PyExc_TypeError, PyExc_ValueError, PyExc_RecursionError}) {
      if (error.matches(type)) {
        throw ArgumentError(
            StrCat(path, ": cannot be written as JSON: ", Utf8Text(py::str(error.value())).view()));
      }
    }
    throw;
  }
}

}  // namespace ctx::bindings
