#include "bindings/bindings.h"

namespace ctx::bindings {

void RegisterKv(pybind11::module_& /*module*/) {}

}  // namespace ctx::bindings
