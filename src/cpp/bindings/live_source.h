// Python's objects as chat::MessageReader reads values: mappings, sequences, strings, and objects
// with attributes (pydantic models, dataclasses). All functions need the GIL (or an attached
// thread) and throw py::error_already_set when Python raised.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bindings/convert.h"
#include "chat/input.h"

namespace ctx::bindings {

/// The strings that messages view, held as long as it lives.
class LiveSource {
 public:
  using Value = py::object;  // a reference of its own: what was asked may change what it was in

  explicit LiveSource(bool knows_part_tokens) : knows_part_tokens_(knows_part_tokens) {}

  chat::ValueKind KindOf(const Value& value) const;
  Value Find(const Value& value, std::string_view name);
  bool Has(const Value& value, std::string_view name);
  template <typename Slots>
  void ReadFields(const Value& value, std::span<const chat::Field> fields, Slots& slots,
                  chat::OtherFields& others) {
    const py::object mapping = MappingOf(value);
    if (!mapping) return ReadAttributes(value, fields, slots, others);
    PyObject* key = nullptr;
    PyObject* inner = nullptr;
    Py_ssize_t at = 0;
    while (PyDict_Next(mapping.ptr(), &at, &key, &inner) != 0) {
      const auto field = FindField(key, fields);
      if (field == fields.end()) {
        if (others.has_unknown || IsAbsent(inner)) continue;
        const auto name = py::reinterpret_borrow<py::object>(key);
        others.has_unknown = true;
        others.unknown = Utf8Text(py::str(name)).view();
        return;  // what printed the name may have changed the mapping
      }
      if (field->slot >= 0) {
        slots[static_cast<std::size_t>(field->slot)] = py::reinterpret_borrow<py::object>(inner);
      } else if (field->slot == chat::kRefused && others.refused == nullptr && !IsAbsent(inner) &&
                 inner != Py_False) {
        others.refused = &*field;
      }
    }
  }
  std::string TypeName(const Value& value) const { return Py_TYPE(OrNone(value))->tp_name; }
  /// Of a str.
  std::string_view Text(const Value& value);
  template <typename F>
  void ForEach(const Value& list, F f) {
    const auto items = py::reinterpret_steal<py::object>(PySequence_Tuple(list.ptr()));
    if (!items) throw py::error_already_set();
    const auto size = static_cast<std::size_t>(PyTuple_GET_SIZE(items.ptr()));
    for (std::size_t k = 0; k < size; ++k) {
      f(k, py::reinterpret_borrow<py::object>(
               PyTuple_GET_ITEM(items.ptr(), static_cast<Py_ssize_t>(k))));
    }
  }
  bool IsEmptyList(const Value& value) const { return IsEmptyList(value.ptr()); }
  bool IsFalse(const Value& value) const { return value.ptr() == Py_False; }
  bool IsAbsent(const Value& value) const { return IsAbsent(OrNone(value)); }
  Value Unwrapped(const Value& value);
  std::string_view MappingJson(const Value& value, const chat::Path& path) {
    return Json(value, path);
  }
  std::string_view CanonicalJson(std::string_view text, const chat::Path& path);
  std::string_view Keep(std::string text) { return made_.emplace_back(std::move(text)); }
  bool knows_part_tokens() const noexcept { return knows_part_tokens_; }

  /// json.dumps(value, ensure_ascii=False), of a mapping that is no dict as of one. Throws
  /// ArgumentError for what cannot be written.
  std::string_view Json(const Value& value, const chat::Path& path);

  std::size_t size_bytes() const noexcept { return size_bytes_; }
  /// Each text that was read, and the str that it is of.
  std::vector<std::pair<std::string_view, py::handle>> texts() const;

 private:
  static PyObject* OrNone(const Value& value) { return value ? value.ptr() : Py_None; }
  static bool IsEmptyList(PyObject* value) {
    return (PyList_Check(value) && PyList_GET_SIZE(value) == 0) ||
           (PyTuple_Check(value) && PyTuple_GET_SIZE(value) == 0);
  }
  static bool IsAbsent(PyObject* value) { return value == Py_None || IsEmptyList(value); }
  static std::span<const chat::Field>::iterator FindField(PyObject* key,
                                                          std::span<const chat::Field> fields);

  // The value as a dict; null for what is no mapping.
  py::object MappingOf(const Value& value) const;
  py::object Attribute(const Value& value, std::string_view name);
  PyObject* NameObject(std::string_view name);

  template <typename Slots>
  void ReadAttributes(const Value& value, std::span<const chat::Field> fields, Slots& slots,
                      chat::OtherFields& others) {
    if (!value) return;
    for (const chat::Field& field : fields) {
      if (field.slot == chat::kWithoutEffect) continue;
      py::object inner = Attribute(value, field.name);
      if (!inner) continue;
      if (field.slot >= 0) {
        slots[static_cast<std::size_t>(field.slot)] = std::move(inner);
      } else if (others.refused == nullptr && !IsAbsent(inner) && !IsFalse(inner)) {
        others.refused = &field;
      }
    }
  }

  bool knows_part_tokens_;
  std::vector<py::object> held_;
  std::vector<Utf8Text> texts_;
  std::deque<std::string> made_;
  std::vector<std::pair<const char*, py::object>> names_;
  std::size_t size_bytes_ = 0;
};

}  // namespace ctx::bindings
