#include "bindings/convert.h"

#include <array>
#include <atomic>
#include <limits>
#include <memory>
#include <string>

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

[[noreturn]] void ThrowNoToken(const std::string& id) {
  throw UnknownTokenError(StrCat("no token has the id ", id));
}

template <typename Integer>
void AppendIntegers(const py::array& array, std::vector<TokenId>& ids) {
  const auto values = array.unchecked<Integer, 1>();
  ids.reserve(static_cast<std::size_t>(values.shape(0)));
  for (py::ssize_t i = 0; i < values.shape(0); ++i) {
    const Integer value = values(i);
    if constexpr (std::numeric_limits<Integer>::is_signed) {
      if (value < 0) ThrowNoToken(StrCat(value));
    }
    if constexpr (sizeof(Integer) > sizeof(TokenId)) {
      if (value > Integer{std::numeric_limits<TokenId>::max()}) ThrowNoToken(StrCat(value));
    }
    ids.push_back(static_cast<TokenId>(value));
  }
}

/// False when the array holds none of the usual integers.
bool AppendArray(const py::array& array, std::vector<TokenId>& ids) {
  if (array.ndim() != 1) throw py::type_error("token ids must be one-dimensional");
  if (py::isinstance<py::array_t<std::uint32_t>>(array)) {
    AppendIntegers<std::uint32_t>(array, ids);
  } else if (py::isinstance<py::array_t<std::int64_t>>(array)) {
    AppendIntegers<std::int64_t>(array, ids);
  } else if (py::isinstance<py::array_t<std::int32_t>>(array)) {
    AppendIntegers<std::int32_t>(array, ids);
  } else {
    return false;
  }
  return true;
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
  // PyNumber_Index: numpy integers too, but neither float nor str.
  const py::object number = py::reinterpret_steal<py::object>(PyNumber_Index(item.ptr()));
  if (!number) throw py::error_already_set();
  int overflow = 0;
  const long long value = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
  if (value == -1 && PyErr_Occurred() != nullptr) throw py::error_already_set();
  if (overflow != 0 || value < 0 || value > std::numeric_limits<TokenId>::max()) {
    ThrowNoToken(py::str(number));
  }
  return static_cast<TokenId>(value);
}

std::vector<TokenId> IdsFrom(const py::object& ids) {
  std::vector<TokenId> result;
  if (PyObject_CheckBuffer(ids.ptr()) != 0 && PyBytes_Check(ids.ptr()) == 0) {
    const auto array = py::array::ensure(ids);
    if (array && AppendArray(array, result)) return result;
    PyErr_Clear();
  }
  if (PyUnicode_Check(ids.ptr()) != 0)
    throw py::type_error("token ids must be integers, got a str");
  const auto items = py::reinterpret_steal<py::object>(PySequence_Tuple(ids.ptr()));
  if (!items) throw py::error_already_set();
  const auto size = static_cast<std::size_t>(PyTuple_GET_SIZE(items.ptr()));
  result.reserve(size);
  for (std::size_t i = 0; i < size; ++i) {
    result.push_back(IdFrom(PyTuple_GET_ITEM(items.ptr(), static_cast<Py_ssize_t>(i))));
  }
  return result;
}

}  // namespace ctx::bindings
