#include "bindings/arguments.h"

#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::bindings {

void ThrowWrongType(std::string_view what, std::string_view wanted, py::handle object) {
  const char* const found = object.is_none() ? "None" : Py_TYPE(object.ptr())->tp_name;
  throw py::type_error(StrCat(what, " must be ", wanted, ", not ", found));
}

std::string_view RequireBytes(py::handle object, std::string_view what) {
  if (PyBytes_Check(object.ptr()) == 0) ThrowWrongType(what, "bytes", object);
  return {PyBytes_AS_STRING(object.ptr()),
          static_cast<std::size_t>(PyBytes_GET_SIZE(object.ptr()))};
}

std::int64_t RequireInt(py::handle object, std::string_view what) {
  if (PyIndex_Check(object.ptr()) == 0) ThrowWrongType(what, "int", object);
  const auto number = py::reinterpret_steal<py::object>(PyNumber_Index(object.ptr()));
  if (!number) throw py::error_already_set();
  int overflow = 0;
  const long long value = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
  if (value == -1 && PyErr_Occurred() != nullptr) throw py::error_already_set();
  if (overflow != 0) {
    throw ArgumentError(StrCat(what, " is ", Printed(number), ", which does not fit in 64 bits"));
  }
  return value;
}

std::string_view RequireUtf8(py::handle object, std::string_view what) {
  RequireStr(object, what);
  Py_ssize_t size = 0;
  const char* const data = PyUnicode_AsUTF8AndSize(object.ptr(), &size);
  if (data == nullptr) {
    if (PyErr_ExceptionMatches(PyExc_UnicodeEncodeError) == 0) throw py::error_already_set();
    PyErr_Clear();
    throw ArgumentError(StrCat(what, " holds a surrogate, which has no UTF-8"));
  }
  return {data, static_cast<std::size_t>(size)};
}

void RequireIntegerSequence(py::handle object, std::string_view what) {
  if (PySequence_Check(object.ptr()) == 0 || PyUnicode_Check(object.ptr()) != 0) {
    ThrowWrongType(what, "a sequence of integers", object);
  }
}

std::string Printed(py::handle integer) {
  constexpr std::size_t kMaxBits = 256;  // Python refuses to print thousands of digits
  const auto num_bits = integer.attr("bit_length")().cast<std::size_t>();
  if (num_bits <= kMaxBits) return py::str(integer);
  return StrCat("a number of ", num_bits, " bits");
}

}  // namespace ctx::bindings
