#include "bindings/int_array.h"

#include <Python.h>
#if PY_VERSION_HEX < 0x030B0000
#include <longintrepr.h>
#endif

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <string_view>
#include <type_traits>

#include "bindings/arguments.h"
#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::bindings {
namespace py = pybind11;
namespace {

/// The integer kind of a struct-module format: 'i' signed, 'u' unsigned, 0 anything else.
char IntegerKind(const char* format) {
  std::string_view text = format == nullptr ? "B" : format;
  if (!text.empty() && (text[0] == '@' || text[0] == '=' || text[0] == '<')) text.remove_prefix(1);
  if (text.size() != 1) return 0;
  if (std::string_view("bhilqn").find(text[0]) != std::string_view::npos) return 'i';
  if (std::string_view("BHILQN").find(text[0]) != std::string_view::npos) return 'u';
  return 0;
}

/// The value of an int of one digit; nothing for others and for what is no plain int.
std::optional<std::int64_t> SmallValue(PyObject* object) noexcept {
  if (PyLong_CheckExact(object) == 0) return std::nullopt;
  auto* const number = reinterpret_cast<PyLongObject*>(object);
#if PY_VERSION_HEX >= 0x030C0000
  if (PyUnstable_Long_IsCompact(number) == 0) return std::nullopt;
  return PyUnstable_Long_CompactValue(number);
#else
  const Py_ssize_t sign = Py_SIZE(object);
  if (sign < -1 || sign > 1) return std::nullopt;
  return sign == 0 ? 0 : sign * static_cast<std::int64_t>(number->ob_digit[0]);
#endif
}

/// Whether values of type U lie outside [low, high].
template <typename U>
class Outside {
 public:
  using Bits = std::make_unsigned_t<U>;

  Outside(std::int64_t low, std::int64_t high)
      : low_(Clamped(low)),
        width_(static_cast<Bits>(static_cast<Bits>(Clamped(high)) - static_cast<Bits>(low_))),
        all_(std::cmp_greater(low, std::numeric_limits<U>::max()) ||
             std::cmp_less(high, std::numeric_limits<U>::min())) {}
  bool operator()(U value) const { return all_ || Mask(value) != 0; }
  /// Not 0 outside, without a branch, for vector instructions; not for a range that has nothing of
  /// U's.
  Bits Mask(U value) const {
    const auto above_low = static_cast<Bits>(static_cast<Bits>(value) - static_cast<Bits>(low_));
    if (is_low_bits_) return above_low & static_cast<Bits>(~width_);
    return above_low > width_ ? static_cast<Bits>(~Bits{0}) : Bits{0};
  }
  bool all() const { return all_; }

 private:
  static U Clamped(std::int64_t limit) {
    if (std::cmp_less(limit, std::numeric_limits<U>::min())) return std::numeric_limits<U>::min();
    if (std::cmp_greater(limit, std::numeric_limits<U>::max())) {
      return std::numeric_limits<U>::max();
    }
    return static_cast<U>(limit);
  }
  U low_;
  Bits width_;
  bool is_low_bits_ = (width_ & static_cast<Bits>(width_ + 1)) == 0;  // a width of 2^n - 1
  bool all_;
};

}  // namespace

void ThrowArgumentOutOfRange(const char* name, std::size_t index, const std::string& value,
                             std::int64_t low, std::int64_t high) {
  throw ArgumentError(
      StrCat(name, "[", index, "] is ", value, "; it must be in ", low, "..", high));
}

template <typename T>
IntArray<T>::IntArray(py::handle object, const char* name, std::int64_t low, std::int64_t high,
                      ThrowOutOfRange out_of_range)
    : name_(name), low_(low), high_(high), out_of_range_(out_of_range) {
  try {
    if (!PyObject_CheckBuffer(object.ptr()) || !ReadBuffer(object)) ReadSequence(object);
  } catch (...) {
    if (view_.obj != nullptr) PyBuffer_Release(&view_);
    throw;
  }
}

template <typename T>
IntArray<T>::~IntArray() {
  if (view_.obj != nullptr) PyBuffer_Release(&view_);
}

template <typename T>
void IntArray<T>::ThrowOutside(std::size_t index, const std::string& value) const {
  out_of_range_(name_, index, value, low_, high_);
  __builtin_unreachable();  // it throws
}

/// Reads `count` integers of type U, `stride` bytes apart.
template <typename T>
template <typename U>
void IntArray<T>::CopyChecked(const char* data, std::size_t count, std::ptrdiff_t stride) {
  copy_.resize(count);
  const Outside<U> outside(low_, high_);
  const auto load = [data](std::size_t i, std::ptrdiff_t step) {
    U value;
    std::memcpy(&value, data + static_cast<std::ptrdiff_t>(i) * step, sizeof(U));
    return value;
  };
  // A branch-free pass first; the search for the culprit only when there is one.
  typename Outside<U>::Bits bad = 0;
  const auto copy = [&](std::ptrdiff_t step) {
    T* const out = copy_.data();
    for (std::size_t i = 0; i < count; ++i) {
      const U value = load(i, step);
      bad |= outside.Mask(value);
      out[i] = static_cast<T>(value);
    }
  };
  if (stride == sizeof(U)) {
    copy(sizeof(U));  // a constant, for vector instructions
  } else {
    copy(stride);
  }
  if (bad == 0 && !outside.all()) return;
  for (std::size_t i = 0; i < count; ++i) {
    const U value = load(i, stride);
    if (outside(value)) ThrowOutside(i, StrCat(+value));
  }
}

/// False for a buffer of something else than integers, which the sequence path then judges.
template <typename T>
bool IntArray<T>::ReadBuffer(py::handle object) {
  if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_FORMAT | PyBUF_STRIDES) != 0) {
    throw py::error_already_set();
  }
  const char kind = IntegerKind(view_.format);
  const std::ptrdiff_t size = view_.itemsize;
  if (view_.ndim != 1) {
    throw ArgumentError(StrCat(name_, " has ", view_.ndim, " dimensions; it must have one"));
  }
  const auto count = static_cast<std::size_t>(view_.shape[0]);
  const std::ptrdiff_t stride = view_.strides[0];
  const auto* data = static_cast<const char*>(view_.buf);
  if (kind == (std::is_signed_v<T> ? 'i' : 'u') && size == sizeof(T) && stride == sizeof(T) &&
      reinterpret_cast<std::uintptr_t>(data) % alignof(T) == 0) {
    values_ = {reinterpret_cast<const T*>(data), count};
    if (std::cmp_less_equal(low_, std::numeric_limits<T>::min()) &&
        std::cmp_greater_equal(high_, std::numeric_limits<T>::max())) {
      return true;
    }
    const Outside<T> outside(low_, high_);
    typename Outside<T>::Bits bad = 0;
    for (const T value : values_) bad |= outside.Mask(value);
    if (bad != 0) {
      const auto culprit = std::find_if(values_.begin(), values_.end(), outside);
      ThrowOutside(static_cast<std::size_t>(culprit - values_.begin()), StrCat(*culprit));
    }
    return true;
  }
  const auto copy = [&]<typename U>(U) { CopyChecked<U>(data, count, stride); };
  if (kind == 'i' && size == 8) copy(std::int64_t{});
  if (kind == 'u' && size == 8) copy(std::uint64_t{});
  if (kind == 'i' && size == 4) copy(std::int32_t{});
  if (kind == 'u' && size == 4) copy(std::uint32_t{});
  if (kind == 'i' && size == 2) copy(std::int16_t{});
  if (kind == 'u' && size == 2) copy(std::uint16_t{});
  if (kind == 'i' && size == 1) copy(std::int8_t{});
  if (kind == 'u' && size == 1) copy(std::uint8_t{});
  PyBuffer_Release(&view_);  // clears view_.obj
  values_ = copy_;
  return kind != 0;
}

/// Reads a list or tuple of small ints in the range. False, and copy_ left as it was, for all else.
template <typename T>
bool IntArray<T>::ReadSmallInts(py::handle object) {
#ifdef Py_GIL_DISABLED
  return false;  // another thread may change the list
#else
  if (PyList_CheckExact(object.ptr()) == 0 && PyTuple_CheckExact(object.ptr()) == 0) return false;
  // No item runs any code, so that the list stays as it is meanwhile.
  PyObject* const* const items = PySequence_Fast_ITEMS(object.ptr());
  std::vector<T> values(static_cast<std::size_t>(PySequence_Fast_GET_SIZE(object.ptr())));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto value = SmallValue(items[i]);
    if (!value || *value < low_ || *value > high_) return false;
    values[i] = static_cast<T>(*value);
  }
  copy_ = std::move(values);
  return true;
#endif
}

template <typename T>
void IntArray<T>::ReadSequence(py::handle object) {
  if (ReadSmallInts(object)) {
    values_ = copy_;
    return;
  }
  RequireIntegerSequence(object, name_);
  // A tuple of its own: an item's __index__, or another thread, may change a list meanwhile.
  const auto items = py::reinterpret_steal<py::object>(PySequence_Tuple(object.ptr()));
  if (!items) throw py::error_already_set();
  const Py_ssize_t count = PyTuple_GET_SIZE(items.ptr());
  copy_.reserve(static_cast<std::size_t>(count));
  for (Py_ssize_t i = 0; i < count; ++i) {
    auto item = py::reinterpret_borrow<py::object>(PyTuple_GET_ITEM(items.ptr(), i));
    if (!PyLong_Check(item.ptr())) {
      if (PyIndex_Check(item.ptr()) == 0) {
        ThrowWrongType(StrCat(name_, "[", i, "]"), "int", item);
      }
      item = py::reinterpret_steal<py::object>(PyNumber_Index(item.ptr()));
      if (!item) throw py::error_already_set();
    }
    int overflow = 0;
    const long long value = PyLong_AsLongLongAndOverflow(item.ptr(), &overflow);
    if (overflow != 0 || value < low_ || value > high_) {
      ThrowOutside(static_cast<std::size_t>(i), Printed(item));
    }
    copy_.push_back(static_cast<T>(value));
  }
  values_ = copy_;
}

template class IntArray<std::uint32_t>;
template class IntArray<std::int64_t>;

}  // namespace ctx::bindings
