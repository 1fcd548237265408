#include "bindings/id_buffer.h"

#include <pybind11/numpy.h>

#include <bit>
#include <cstdint>
#include <string_view>

#include "bindings/arguments.h"

namespace ctx::bindings {
namespace py = pybind11;
namespace {

[[noreturn]] void ThrowNotIds() {
  throw py::type_error("buffer must be a contiguous one-dimensional array of uint32 or int32");
}

}  // namespace

/// A numpy array's own fields say the same as the buffer protocol, in a tenth of the time.
bool IdBuffer::IsPlainArray(py::handle object) {
  if (std::string_view(Py_TYPE(object.ptr())->tp_name) != "numpy.ndarray") return false;
  const auto& numpy = py::detail::npy_api::get();
  if (Py_TYPE(object.ptr()) != numpy.PyArray_Type_) return false;
  const auto* const array = py::detail::array_proxy(object.ptr());
  const auto* const type = py::detail::array_descriptor_proxy(array->descr);
  constexpr int kWanted = py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ |
                          py::detail::npy_api::NPY_ARRAY_ALIGNED_ |
                          py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
  const bool is_integer = type->type_num == py::detail::npy_api::NPY_UINT32_ ||
                          type->type_num == py::detail::npy_api::NPY_INT32_;
  const bool is_native = type->byteorder == '=' || type->byteorder == '|';
  if (array->nd != 1 || (array->flags & kWanted) != kWanted || !is_integer || !is_native) {
    return false;
  }
  ids_ = {reinterpret_cast<TokenId*>(array->data), static_cast<std::size_t>(array->dimensions[0])};
  return true;
}

IdBuffer::IdBuffer(py::handle object) {
  if (IsPlainArray(object)) return;
  if (PyObject_CheckBuffer(object.ptr()) == 0) {
    ThrowWrongType("buffer", "a writable buffer", object);
  }
  if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_RECORDS) != 0) throw py::error_already_set();
  const std::string_view format = view_.format == nullptr ? "B" : view_.format;
  const bool is_integer = format == "I" || format == "i" || format == "L" || format == "l";
  if (view_.ndim != 1 || view_.itemsize != sizeof(TokenId) || !is_integer ||
      (view_.shape[0] > 1 && view_.strides[0] != view_.itemsize)) {
    PyBuffer_Release(&view_);
    ThrowNotIds();
  }
  ids_ = {static_cast<TokenId*>(view_.buf), static_cast<std::size_t>(view_.shape[0])};
}

}  // namespace ctx::bindings
