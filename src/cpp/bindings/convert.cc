#include "bindings/convert.h"

#include <array>
#include <atomic>
#include <limits>
#include <memory>
#include <string>

#include "bindings/arguments.h"
#include "bindings/int_array.h"
#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::bindings {
namespace {

constexpr std::size_t kNumSharedInts = std::size_t{1} << 18;

/// A new reference to the int object of `id`.
PyObject* IntOf(TokenId id) {
  static std::array<std::atomic<PyObject*>, kNumSharedInts> shared_ints;
  if (id >= kNumSharedInts) return PyLong_FromUnsignedLong(id);
  PyObject* known = shared_ints[id].load(std::memory_order_acquire);
  if (known == nullptr) {
    PyObject* const made = PyLong_FromUnsignedLong(id);
    if (made == nullptr) return nullptr;
    if (shared_ints[id].compare_exchange_strong(known, made, std::memory_order_acq_rel)) {
      known = made;  // the table keeps the reference
    } else {
      Py_DECREF(made);  // another thread was first
    }
  }
  Py_INCREF(known);
  return known;
}

[[noreturn]] void ThrowNoToken(const char* /*name*/, std::size_t /*index*/, const std::string& id,
                               std::int64_t /*low*/, std::int64_t /*high*/) {
  throw UnknownTokenError(StrCat("no token has the id ", id));
}

}  // namespace

Utf8Text::Utf8Text(py::handle text) {
  Py_ssize_t size = 0;
  const char* data = PyUnicode_AsUTF8AndSize(text.ptr(), &size);
  if (data == nullptr) {
    if (PyErr_ExceptionMatches(PyExc_UnicodeEncodeError) == 0) throw py::error_already_set();
    PyErr_Clear();
    const auto utf16 = py::reinterpret_steal<py::object>(
        PyUnicode_AsEncodedString(text.ptr(), "utf-16", "surrogatepass"));
    if (!utf16) throw py::error_already_set();
    replaced_ = py::reinterpret_steal<py::object>(
        PyUnicode_FromEncodedObject(utf16.ptr(), "utf-16", "replace"));
    if (!replaced_) throw py::error_already_set();
    data = PyUnicode_AsUTF8AndSize(replaced_.ptr(), &size);
    if (data == nullptr) throw py::error_already_set();
  }
  view_ = {data, static_cast<std::size_t>(size)};
}

py::list ListOfIds(const std::vector<TokenId>& ids) {
  auto list = py::reinterpret_steal<py::list>(PyList_New(static_cast<Py_ssize_t>(ids.size())));
  if (!list) throw py::error_already_set();
  for (std::size_t i = 0; i < ids.size(); ++i) {
    PyObject* const number = IntOf(ids[i]);
    if (number == nullptr) throw py::error_already_set();
    PyList_SET_ITEM(list.ptr(), static_cast<Py_ssize_t>(i), number);
  }
  return list;
}

py::array_t<TokenId> ArrayOfIds(std::vector<TokenId>&& ids) {
  auto owned = std::make_unique<std::vector<TokenId>>(std::move(ids));
  const auto size = static_cast<py::ssize_t>(owned->size());
  TokenId* const data = owned->data();
  py::capsule owner(owned.get(),
                    [](void* vector) { delete static_cast<std::vector<TokenId>*>(vector); });
  owned.release();
  return py::array_t<TokenId>(size, data, owner);
}

TokenId IdFrom(py::handle item) {
  if (PyIndex_Check(item.ptr()) == 0) ThrowWrongType("a token id", "int", item);
  return IdsFrom(py::make_tuple(item)).front();
}

std::vector<TokenId> IdsFrom(const py::object& ids) {
  return IntArray<TokenId>(ids, "ids", 0, UINT32_MAX, &ThrowNoToken).Take();
}

}  // namespace ctx::bindings
