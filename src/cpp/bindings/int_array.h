// Integers from Python: lists, tuples and other sequences, and anything with a buffer (numpy
// arrays, array.array, memoryview). A contiguous buffer of the wanted type is used where it lies;
// everything else is copied once. Every value is checked against the stated range.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <span>
#include <vector>

#include "common/ids.h"

namespace ctx::bindings {

/// Holds the values, or the buffer they lie in, for its own lifetime. T is std::uint32_t or
/// std::int64_t. Construction and destruction need the GIL, values() does not.
template <typename T>
class IntArray {
 public:
  /// `name` is what messages call the argument. Throws ArgumentError, with the index and the value,
  /// for a value outside [low, high] or an array that is not one-dimensional; TypeError (as
  /// py::error_already_set) for what is not integers.
  IntArray(pybind11::handle object, const char* name, std::int64_t low, std::int64_t high);
  ~IntArray();
  IntArray(const IntArray&) = delete;
  IntArray& operator=(const IntArray&) = delete;

  std::span<const T> values() const noexcept { return values_; }

 private:
  bool ReadBuffer(pybind11::handle object, const char* name, std::int64_t low, std::int64_t high);
  void ReadSequence(pybind11::handle object, const char* name, std::int64_t low, std::int64_t high);

  Py_buffer view_{};  // view_.obj is null when values_ lies in copy_
  std::vector<T> copy_;
  std::span<const T> values_;
};

extern template class IntArray<std::uint32_t>;
extern template class IntArray<std::int64_t>;

/// Token ids: 0..2^31-1, as uint32.
class TokenIds : public IntArray<TokenId> {
 public:
  explicit TokenIds(pybind11::handle object, const char* name = "token_ids")
      : IntArray(object, name, 0, INT32_MAX) {}
};

}  // namespace ctx::bindings
