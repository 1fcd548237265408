#include "bindings/live_source.h"

#include <algorithm>

#include "bindings/json_text.h"
#include "chat/json.h"
#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::bindings {
namespace {

bool IsInstance(PyObject* value, const char* abstract_class) {
  const py::object type = py::module_::import("collections.abc").attr(abstract_class);
  const int result = PyObject_IsInstance(value, type.ptr());
  if (result < 0) throw py::error_already_set();
  return result == 1;
}

}  // namespace

chat::ValueKind LiveSource::KindOf(const Value& value) const {
  using chat::ValueKind;
  PyObject* const object = OrNone(value);
  if (object == Py_None) return ValueKind::kNull;
  if (PyUnicode_Check(object)) return ValueKind::kText;
  if (PyList_Check(object) || PyTuple_Check(object)) return ValueKind::kList;
  if (PyDict_Check(object)) return ValueKind::kMapping;
  if (PyLong_Check(object) || PyFloat_Check(object) || PyBytes_Check(object) ||
      PyByteArray_Check(object)) {
    return ValueKind::kOther;
  }
  if (IsInstance(object, "Mapping")) return ValueKind::kMapping;
  if (IsInstance(object, "Sequence")) return ValueKind::kList;
  return ValueKind::kOther;
}

py::object LiveSource::MappingOf(const Value& value) const {
  if (!value || KindOf(value) != chat::ValueKind::kMapping) return {};
#ifndef Py_GIL_DISABLED  // else another thread may change it meanwhile
  if (PyDict_Check(value.ptr())) return value;
#endif
  return py::dict(value);
}

LiveSource::Value LiveSource::Find(const Value& value, std::string_view name) {
  const py::object mapping = MappingOf(value);
  if (!mapping) return value ? Attribute(value, name) : Value();
  PyObject* const found = PyDict_GetItemWithError(mapping.ptr(), NameObject(name));
  if (found == nullptr && PyErr_Occurred() != nullptr) throw py::error_already_set();
  return py::reinterpret_borrow<py::object>(found);
}

bool LiveSource::Has(const Value& value, std::string_view name) {
  return static_cast<bool>(Find(value, name));
}

std::span<const chat::Field>::iterator LiveSource::FindField(PyObject* key,
                                                             std::span<const chat::Field> fields) {
  if (!PyUnicode_Check(key)) return fields.end();
  const auto name = Utf8Text::Ready(key);  // all names are ASCII
  return name ? std::ranges::find(fields, *name, &chat::Field::name) : fields.end();
}

py::object LiveSource::Attribute(const Value& value, std::string_view name) {
  PyObject* const found = PyObject_GetAttr(value.ptr(), NameObject(name));
  if (found != nullptr) return py::reinterpret_steal<py::object>(found);
  if (PyErr_ExceptionMatches(PyExc_AttributeError) == 0) throw py::error_already_set();
  PyErr_Clear();
  return {};
}

PyObject* LiveSource::NameObject(std::string_view name) {
  for (const auto& [known, object] : names_) {
    if (known == name.data()) return object.ptr();
  }
  PyObject* made = PyUnicode_FromStringAndSize(name.data(), static_cast<Py_ssize_t>(name.size()));
  if (made == nullptr) throw py::error_already_set();
  PyUnicode_InternInPlace(&made);
  return names_.emplace_back(name.data(), py::reinterpret_steal<py::object>(made)).second.ptr();
}

std::string_view LiveSource::Text(const Value& value) {
  held_.push_back(value);
  const std::string_view view = texts_.emplace_back(value).view();
  size_bytes_ += view.size();
  return view;
}

LiveSource::Value LiveSource::Unwrapped(const Value& value) {
  if (!value || PyUnicode_CheckExact(value.ptr())) return value;
  py::object inner = Attribute(value, "value");
  return inner ? inner : value;
}

std::string_view LiveSource::CanonicalJson(std::string_view text, const chat::Path& path) {
  return Keep(chat::CanonicalObject(text, path.str()));
}

std::string_view LiveSource::Json(const Value& value, const chat::Path& path) {
  const py::object mapping = MappingOf(value);
  const std::string_view text = Keep(JsonTextOf(mapping ? mapping : value, path.str()));
  size_bytes_ += text.size();
  return text;
}

std::vector<std::pair<std::string_view, py::handle>> LiveSource::texts() const {
  std::vector<std::pair<std::string_view, py::handle>> texts;
  for (std::size_t k = 0; k < texts_.size(); ++k) texts.emplace_back(texts_[k].view(), held_[k]);
  return texts;
}

}  // namespace ctx::bindings
