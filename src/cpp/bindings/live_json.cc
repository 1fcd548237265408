#include "bindings/live_json.h"

#include <algorithm>
#include <array>

#include "budget/content_digest.h"

namespace ctx::bindings {

using budget::DigestOf;
using budget::JoinDigests;

namespace {

constexpr int kMaxDepth = 200;

JsonValue DigestOfNumber(PyObject* value) {
  if (PyBool_Check(value)) return {DigestOf(value == Py_True ? "1" : "0", kKindBool), 2};
  if (PyFloat_Check(value)) {
    const double number = PyFloat_AS_DOUBLE(value);
    return {DigestOf({reinterpret_cast<const char*>(&number), sizeof number}, kKindFloat), 8};
  }
  int overflow = 0;
  const long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
  if (overflow == 0) {
    return {DigestOf({reinterpret_cast<const char*>(&number), sizeof number}, kKindInt), 4};
  }
  const auto digits = py::reinterpret_steal<py::object>(PyNumber_ToBase(value, 16));
  if (!digits) throw py::error_already_set();
  return {DigestOf(BytesOf(digits.ptr()), kKindInt), PyUnicode_GET_LENGTH(digits.ptr())};
}

JsonValue DigestOfDict(PyObject* dict, bool written_out, int depth, const Where& path) {
  JsonValue all{budget::DigestOf({}, kKindWide + 2), 2};
  ForEachEntry(dict, [&](PyObject* key, PyObject* value) {
    if (!PyUnicode_Check(key)) Refuse(path, "the keys of an object must be str");
    const std::string_view name = Ascii(key);
    if (!written_out && (IsMarkerKey(name) || value == Py_None)) return;
    const JsonValue inner =
        DigestOfValue(value, written_out || IsWrittenOut(name), depth + 1, path);
    const std::uint64_t entry = JoinDigests(DigestOfText(key), inner.digest);
    all.digest = written_out ? JoinDigests(all.digest, entry) : all.digest + entry;
    all.size += PyUnicode_GET_LENGTH(key) + inner.size + 2;
  });
  all.digest = JoinDigests(all.digest, kKindWide);
  return all;
}

}  // namespace

std::string_view BytesOf(PyObject* text) {
  const auto width = static_cast<std::size_t>(PyUnicode_KIND(text));
  return {static_cast<const char*>(PyUnicode_DATA(text)),
          static_cast<std::size_t>(PyUnicode_GET_LENGTH(text)) * width};
}

std::uint64_t DigestOfText(PyObject* text) {
  return DigestOf(BytesOf(text), kKindText + (PyUnicode_IS_ASCII(text) ? 0 : 1) +
                                     2 * static_cast<std::uint64_t>(PyUnicode_KIND(text)));
}

std::string_view Ascii(PyObject* key) {
  return PyUnicode_Check(key) && PyUnicode_IS_ASCII(key) ? BytesOf(key) : std::string_view();
}

bool IsMarkerKey(std::string_view key) {
  return key == "cache_control" || key == "prompt_cache_breakpoint";
}

bool IsWrittenOut(std::string_view key) {
  constexpr std::array<std::string_view, 10> kKeys = {
      "input", "input_schema", "parameters", "arguments", "schema",
      "args",  "inputSchema",  "properties", "json",      "parametersJsonSchema"};
  return std::ranges::find(kKeys, key) != kKeys.end();
}

JsonValue DigestOfValue(PyObject* value, bool written_out, int depth, const Where& path) {
  if (PyUnicode_Check(value)) return {DigestOfText(value), PyUnicode_GET_LENGTH(value) + 2};
  if (value == Py_None) return {DigestOf({}, kKindNull), 4};
  if (PyLong_Check(value) || PyFloat_Check(value)) return DigestOfNumber(value);
  if (depth > kMaxDepth) Refuse(path, StrCat("nested deeper than ", kMaxDepth, " levels"));
  if (PyDict_Check(value)) return DigestOfDict(value, written_out, depth, path);
  if (!IsList(value)) {
    Refuse(path, StrCat("a value of type ", TypeName(value), " is not JSON data"));
  }
  JsonValue all{DigestOf({}, kKindWide + 3), 2};
  ForEachElement(value, [&](Py_ssize_t, const py::object& element) {
    const JsonValue inner = DigestOfValue(element.ptr(), written_out, depth + 1, path);
    all.digest = JoinDigests(all.digest, inner.digest);
    all.size += inner.size + 1;
  });
  return all;
}

PyObject* Lookup(PyObject* dict, std::string_view wanted) {
  PyObject* found = nullptr;
  ForEachEntry(dict, [&](PyObject* key, PyObject* value) {
    if (value != Py_None && Ascii(key) == wanted) found = value;
  });
  return found;
}

}  // namespace ctx::bindings
