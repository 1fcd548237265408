#include "bindings/bindings.h"

namespace ctx::bindings {

void RegisterCuda(pybind11::module_& /*module*/) {}

}  // namespace ctx::bindings
