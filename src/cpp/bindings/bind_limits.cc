#include "bindings/bindings.h"

namespace ctx::bindings {

void RegisterLimits(pybind11::module_& /*module*/) {}

}  // namespace ctx::bindings
