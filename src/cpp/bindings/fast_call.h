// Methods that Python calls without a frame, a tuple or a dict between: METH_FASTCALL |
// METH_KEYWORDS. pybind11's own call path costs several times as much as counting the tokens of a
// short text.
#pragma once

#include <pybind11/pybind11.h>

#include <array>
#include <cstddef>
#include <exception>
#include <string_view>

#include "bindings/arguments.h"
#include "common/str_cat.h"

namespace ctx::bindings {

/// What a call was given: positional arguments, then the values of those given by name.
struct CallArguments {
  PyObject* const* values;
  std::size_t num_positional;
  PyObject* names;  // tuple of str, or null
};

/// The parameters of a method, in order: the first `num_positional` may be given by position, the
/// first `num_required` must be given.
template <std::size_t kNum>
struct Parameters {
  std::string_view method;
  std::array<const char*, kNum> names;
  std::size_t num_positional;
  std::size_t num_required;

  /// One borrowed reference each, null for what was not given. Throws TypeError, in Python's words,
  /// for a call that does not match.
  std::array<PyObject*, kNum> Bind(const CallArguments& given) const {
    std::array<PyObject*, kNum> bound{};
    if (given.num_positional > num_positional) [[unlikely]]
      ThrowTooMany(given);
    for (std::size_t i = 0; i < given.num_positional; ++i) bound[i] = given.values[i];
    if (given.names != nullptr) [[unlikely]]
      BindNames(given, bound);
    for (std::size_t i = given.num_positional; i < num_required; ++i) {
      if (bound[i] == nullptr) [[unlikely]]
        ThrowMissing(i);
    }
    return bound;
  }

 private:
  [[noreturn]] void ThrowTooMany(const CallArguments& given) const {
    throw py::type_error(StrCat(method, "() takes at most ", num_positional,
                                " positional arguments (", given.num_positional, " given)"));
  }
  [[noreturn]] void ThrowMissing(std::size_t i) const {
    throw py::type_error(StrCat(method, "() missing required argument '", names[i], "'"));
  }
  [[gnu::noinline]] void BindNames(const CallArguments& given,
                                   std::array<PyObject*, kNum>& bound) const {
    for (Py_ssize_t given_name = 0; given_name < PyTuple_GET_SIZE(given.names); ++given_name) {
      PyObject* const name = PyTuple_GET_ITEM(given.names, given_name);
      std::size_t i = 0;
      while (i < kNum && PyUnicode_CompareWithASCIIString(name, names[i]) != 0) ++i;
      if (i == kNum) {
        throw py::type_error(StrCat(method, "() got an unexpected keyword argument '",
                                    RequireUtf8(name, "the name of an argument"), "'"));
      }
      if (bound[i] != nullptr) {
        throw py::type_error(
            StrCat(method, "() got multiple values for argument '", names[i], "'"));
      }
      bound[i] = given.values[given.num_positional + static_cast<std::size_t>(given_name)];
    }
  }
};

/// A method of Self, which is what the PyObject is, as CPython wants it: errors become Python's.
template <typename Self, PyObject* (*kMethod)(Self&, const CallArguments&)>
PyObject* FastCall(PyObject* self, PyObject* const* values, Py_ssize_t num_positional,
                   PyObject* names) {
  try {
    return kMethod(*reinterpret_cast<Self*>(self),
                   {values, static_cast<std::size_t>(num_positional), names});
  } catch (py::error_already_set& error) {
    error.restore();
#ifdef __GLIBCXX__
  } catch (abi::__forced_unwind&) {
    throw;
#endif
  } catch (...) {
    py::detail::try_translate_exceptions();
  }
  return nullptr;
}

/// The entry of a method table.
template <typename Self, PyObject* (*kMethod)(Self&, const CallArguments&)>
PyMethodDef FastMethod(const char* name, const char* doc) {
  return {name,
          reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&FastCall<Self, kMethod>)),
          METH_FASTCALL | METH_KEYWORDS, doc};
}

}  // namespace ctx::bindings
