// Python's JSON data (dict, list, tuple, str, numbers) walked where it lies: digests for telling
// whether two requests hold the same, with no copy and no Python code run meanwhile. All functions
// need the GIL (or an attached thread).
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::bindings {

namespace py = pybind11;

/// What tells apart values whose bytes are equal.
enum JsonKind : std::uint64_t { kKindNull, kKindBool, kKindInt, kKindFloat, kKindText, kKindWide };

/// An item of a request; written out only for an error.
struct Where {
  const char* section;
  Py_ssize_t item = -1;
};

[[noreturn]] inline void Refuse(const std::string& path, std::string_view why) {
  throw ArgumentError(StrCat(path, ": ", why));
}
[[noreturn]] inline void Refuse(const Where& where, std::string_view why) {
  if (where.item < 0) Refuse(std::string(where.section), why);
  Refuse(StrCat(where.section, "[", where.item, "]"), why);
}
inline std::string_view TypeName(py::handle value) { return Py_TYPE(value.ptr())->tp_name; }

/// A str as its characters lie in memory: equal texts have equal bytes of an equal width.
std::string_view BytesOf(PyObject* text);
std::uint64_t DigestOfText(PyObject* text);
/// The spelling of a key when it is ASCII; other keys are none of ours.
std::string_view Ascii(PyObject* key);
/// Whether a key marks a breakpoint, which is no content.
bool IsMarkerKey(std::string_view key);
/// Whether the value below a key is written out for the model as it stands, so that the order of
/// its keys counts; elsewhere an API reads the keys by name.
bool IsWrittenOut(std::string_view key);

/// A dict or list that no other thread changes: the object itself where a lock holds the others
/// off.
inline py::object Still(py::handle value) {
#ifdef Py_GIL_DISABLED
  PyObject* const copy =
      PyDict_Check(value.ptr()) ? PyDict_Copy(value.ptr()) : PySequence_List(value.ptr());
  if (copy == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(copy);
#else
  return py::reinterpret_borrow<py::object>(value);
#endif
}

template <typename Visit>
void ForEachEntry(py::handle dict, const Visit& visit) {
  const py::object still = Still(dict);
  PyObject* key = nullptr;
  PyObject* value = nullptr;
  Py_ssize_t at = 0;
  while (PyDict_Next(still.ptr(), &at, &key, &value) != 0) visit(key, value);
}

inline bool IsList(py::handle value) {
  return PyList_Check(value.ptr()) || PyTuple_Check(value.ptr());
}

template <typename Visit>
void ForEachElement(py::handle list, const Visit& visit) {
  const py::object still = Still(list);
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(still.ptr()); ++i) {
    visit(i, py::reinterpret_borrow<py::object>(PySequence_Fast_GET_ITEM(still.ptr(), i)));
  }
}

/// A value's digest, and about how long it is when it is written out.
struct JsonValue {
  std::uint64_t digest = 0;
  std::int64_t size = 0;
};

/// Throws ArgumentError, with the path, for what is no JSON data. O(size).
JsonValue DigestOfValue(PyObject* value, bool written_out, int depth, const Where& path);

/// The value of a key that is not null, or a null pointer: O(entries), for small dicts.
PyObject* Lookup(PyObject* dict, std::string_view wanted);

}  // namespace ctx::bindings
