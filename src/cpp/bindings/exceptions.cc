// C++ error -> the Python class of the same name in ctxengine.errors. The classes live in Python,
// where they are documented and picklable; they are looked up when an error is raised, so importing
// the extension stays cheap.
#include "bindings/bindings.h"
#include "common/error.h"

namespace ctx::bindings {
namespace py = pybind11;
namespace {

template <typename... Args>
void Raise(const char* class_name, const Error& error, Args... numbers) {
  try {
    const py::object type = py::module_::import("ctxengine.errors").attr(class_name);
    const py::object instance = type(error.what(), numbers...);
    PyErr_SetObject(type.ptr(), instance.ptr());
  } catch (py::error_already_set& failure) {
    failure.restore();
  }
}

void Translate(std::exception_ptr pending) {
  try {
    if (pending) std::rethrow_exception(pending);
  } catch (const ArgumentError& error) {
    Raise("ArgumentError", error);
  } catch (const LoadError& error) {
    Raise("LoadError", error);
  } catch (const SpecialTokenError& error) {
    Raise("SpecialTokenError", error);
  } catch (const UnknownTokenError& error) {
    Raise("UnknownTokenError", error);
  } catch (const BudgetExceeded& error) {
    Raise("BudgetExceeded", error, error.needed_tokens(), error.available_tokens());
  } catch (const StaleMatchError& error) {
    Raise("StaleMatchError", error);
  } catch (const CapacityError& error) {
    Raise("CapacityError", error, error.needed(), error.capacity());
  } catch (const DeviceError& error) {
    Raise("DeviceError", error);
  } catch (const Error& error) {
    Raise("CtxEngineError", error);
  }
}

}  // namespace

void RegisterExceptions(py::module_& /*module*/) {
  py::register_local_exception_translator(Translate);
}

}  // namespace ctx::bindings
