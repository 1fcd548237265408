// Arguments that judge themselves. What pybind11 says of a wrong type holds the repr of every
// argument, prompts included; these say "text must be str, not list" and never a value. All
// functions need the GIL (or an attached thread).
#pragma once

#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace ctx::bindings {

namespace py = pybind11;

/// Throws TypeError: "`what` must be `wanted`, not <the object's type>".
[[noreturn]] void ThrowWrongType(std::string_view what, std::string_view wanted, py::handle object);

inline void RequireStr(py::handle object, std::string_view what) {
  if (PyUnicode_Check(object.ptr()) == 0) [[unlikely]]
    ThrowWrongType(what, "str", object);
}

/// The bytes of a bytes object, which must outlive them.
std::string_view RequireBytes(py::handle object, std::string_view what);

/// Any object with __index__. Throws ArgumentError for what does not fit in 64 bits.
std::int64_t RequireInt(py::handle object, std::string_view what);

/// The UTF-8 of a str, which must outlive it. Throws ArgumentError for a lone surrogate.
std::string_view RequireUtf8(py::handle object, std::string_view what);

/// Throws TypeError unless the object is a sequence that may hold integers: no set or dict, which
/// have no order, and no str.
void RequireIntegerSequence(py::handle object, std::string_view what);

/// An int for a message: its digits, or how many bits it has when these are many.
std::string Printed(py::handle integer);

/// An argument's name as a template argument.
template <std::size_t kSize>
struct Name {
  // NOLINTNEXTLINE(google-explicit-constructor): Str<"text"> is the point.
  constexpr Name(const char (&name)[kSize]) { std::copy_n(name, kSize, text); }
  constexpr std::string_view view() const { return {text, kSize - 1}; }
  char text[kSize];
};

/// A str that lives as long as the call. What its UTF-8 is, is left to the function.
template <Name kName>
struct Str {
  py::handle object;
};

/// The bytes of a bytes object that lives as long as the call.
template <Name kName>
struct Bytes {
  std::string_view view;
};

template <Name kName>
struct Int {
  std::int64_t value;
};

}  // namespace ctx::bindings

namespace pybind11::detail {

template <ctx::bindings::Name kName>
struct type_caster<ctx::bindings::Str<kName>> {
  PYBIND11_TYPE_CASTER(ctx::bindings::Str<kName>, const_name("str"));
  bool load(handle source, bool /*convert*/) {
    ctx::bindings::RequireStr(source, kName.view());
    value.object = source;
    return true;
  }
};

template <ctx::bindings::Name kName>
struct type_caster<ctx::bindings::Bytes<kName>> {
  PYBIND11_TYPE_CASTER(ctx::bindings::Bytes<kName>, const_name("bytes"));
  bool load(handle source, bool /*convert*/) {
    value.view = ctx::bindings::RequireBytes(source, kName.view());
    return true;
  }
};

template <ctx::bindings::Name kName>
struct type_caster<ctx::bindings::Int<kName>> {
  PYBIND11_TYPE_CASTER(ctx::bindings::Int<kName>, const_name("int"));
  bool load(handle source, bool /*convert*/) {
    value.value = ctx::bindings::RequireInt(source, kName.view());
    return true;
  }
};

}  // namespace pybind11::detail
