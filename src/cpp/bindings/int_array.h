// Integers from Python: lists, tuples and other sequences, and anything with a buffer (numpy
// arrays, array.array, memoryview). A contiguous buffer of the wanted type is used where it lies;
// everything else is copied once. Every value is checked against the stated range.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "common/ids.h"

namespace ctx::bindings {

/// Called for a value outside [low, high]; throws.
using ThrowOutOfRange = void (*)(const char* name, std::size_t index, const std::string& value,
                                 std::int64_t low, std::int64_t high);

/// ArgumentError with the index, the value and the range.
[[noreturn]] void ThrowArgumentOutOfRange(const char* name, std::size_t index,
                                          const std::string& value, std::int64_t low,
                                          std::int64_t high);

/// Holds the values, or the buffer they lie in, for its own lifetime. T is std::uint32_t or
/// std::int64_t. Construction and destruction need the GIL, values() does not.
template <typename T>
class IntArray {
 public:
  /// `name` is what messages call the argument. Throws by `out_of_range` for a value outside
  /// [low, high], ArgumentError for an array that is not one-dimensional, TypeError (as
  /// py::error_already_set) for what is not integers.
  IntArray(pybind11::handle object, const char* name, std::int64_t low, std::int64_t high,
           ThrowOutOfRange out_of_range = &ThrowArgumentOutOfRange);
  ~IntArray();
  IntArray(const IntArray&) = delete;
  IntArray& operator=(const IntArray&) = delete;

  std::span<const T> values() const noexcept { return values_; }

  /// The values as a vector; values() must not be used any more.
  std::vector<T> Take() {
    return view_.obj == nullptr ? std::move(copy_) : std::vector<T>(values_.begin(), values_.end());
  }

 private:
  bool ReadBuffer(pybind11::handle object);
  bool ReadSmallInts(pybind11::handle object);
  void ReadSequence(pybind11::handle object);
  template <typename U>
  void CopyChecked(const char* data, std::size_t count, std::ptrdiff_t stride);
  [[noreturn]] void ThrowOutside(std::size_t index, const std::string& value) const;

  const char* name_;
  std::int64_t low_;
  std::int64_t high_;
  ThrowOutOfRange out_of_range_;

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
