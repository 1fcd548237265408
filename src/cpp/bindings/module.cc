#include <exception>

#include "bindings/bindings.h"
#include "common/version.h"

namespace {

newfunc make_pybind_object = nullptr;

/// What makes objects of pybind11's own base class throws a C++ exception for that class itself,
/// into Python's C code; copying by pickle's old protocols goes there.
PyObject* MakePybindObject(PyTypeObject* type, PyObject* arguments, PyObject* keywords) {
  try {
    return make_pybind_object(type, arguments, keywords);
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_TypeError, error.what());
    return nullptr;
  }
}

/// Before the first class is registered: classes take the function over from their base.
void CatchErrorsOfPybindObjects() {
  auto* const base =
      reinterpret_cast<PyTypeObject*>(pybind11::detail::get_internals().instance_base);
  if (base->tp_new == &MakePybindObject) return;
  make_pybind_object = base->tp_new;
  base->tp_new = &MakePybindObject;
}

}  // namespace

PYBIND11_MODULE(_core, module, pybind11::mod_gil_not_used()) {
  namespace bindings = ctx::bindings;
  module.doc() = "The native core of ctxengine; use the public modules instead.";
  module.attr("__version__") = ctx::Version();
  CatchErrorsOfPybindObjects();
  bindings::RegisterExceptions(module);
  bindings::RegisterPretokenize(module);
  bindings::RegisterSpecialTokens(module);
  bindings::RegisterTokenize(module);
  bindings::RegisterEncodeArrays(module);
  bindings::RegisterEncodingCalls(module);
  bindings::RegisterAppender(module);
  bindings::RegisterCuts(module);
  bindings::RegisterDecodeStream(module);
  bindings::RegisterChat(module);
  bindings::RegisterConversation(module);
  bindings::RegisterHistory(module);
  bindings::RegisterBudget(module);
  bindings::RegisterCachePlan(module);
  bindings::RegisterPrefix(module);
  bindings::RegisterKv(module);
  bindings::RegisterLimits(module);
  bindings::RegisterCuda(module);
}
