#include "bindings/bindings.h"

namespace ctx::bindings {

void RegisterPrefix(pybind11::module_& /*module*/) {}

}  // namespace ctx::bindings
